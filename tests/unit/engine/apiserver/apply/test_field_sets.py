"""Sets of fields and their form in managedFields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.apply import field_sets
from kontinue_engine.apiserver.apply.field_sets import field

elements = st.sampled_from(
    [
        *("f:", "f:a", "f:b:c", "i:0", "i:1"),
        *map(field_sets.key_element, ({"a": 1}, {"a": "1"}, {"a": 1, "b": "x"})),
        *map(field_sets.value_element, (1, 1.5, True, "1", "a:b")),
    ]
)
sets = st.frozensets(st.lists(elements, min_size=1, max_size=4).map(tuple), max_size=6)


@settings(max_examples=50)
@given(sets)
def test_what_is_written_reads_as_the_same_set(fields: Any) -> None:
    """Nothing is lost or added on the way through FieldsV1."""
    assert field_sets.parse(field_sets.dump(fields)) == fields


@settings(max_examples=50)
@given(sets)
def test_leading_paths_are_those_above_and_never_themselves_without_something_below(fields: Any) -> None:
    """Every leading path has a field below it."""
    for prefix in field_sets.prefixes(fields):
        assert any(path[: len(prefix)] == prefix and path != prefix for path in fields)


@settings(max_examples=50)
@given(sets, sets)
def test_a_set_without_subtrees_keeps_what_is_outside_of_them(fields: Any, roots: Any) -> None:
    """A field goes if and only if a root leads to it or is it."""
    kept = field_sets.without_subtrees(fields, roots)
    assert kept <= fields
    for path in fields:
        assert (path in kept) != any(path[: len(root)] == root for root in roots)


def test_field_and_what_is_below_it_are_both_written() -> None:
    """A dot stands for the field itself beside those below it."""
    fields = frozenset({field("spec"), field("spec", "a"), field("x")})
    assert field_sets.dump(fields) == {"f:spec": {".": {}, "f:a": {}}, "f:x": {}}


@pytest.mark.parametrize("text", ["v:1e30", 'k:{"a":-1e300}', "v:18446744073709551616"])
def test_numbers_beyond_every_integer_are_elements_too(text: str) -> None:
    """JSON has them, so lists can hold them; what is read is written again."""
    fields = field_sets.parse({text: {}})
    assert len(fields) == 1
    assert field_sets.parse(field_sets.dump(fields)) == fields


@pytest.mark.parametrize("text", ["v:" + "[" * 400 + "]" * 400, 'k:{"a":' + "[" * 400 + "]" * 400 + "}"])
def test_values_nested_too_deeply_are_refused(text: str) -> None:
    """Some JSON can be read and not be written."""
    with pytest.raises(field_sets.FieldSetError):
        field_sets.parse({text: {}})


def test_equal_numbers_and_reordered_keys_are_one_element() -> None:
    """1.0 is 1, and the order of keys means nothing."""
    one = field_sets.parse({'k:{"b":1.0,"a":"x"}': {}})
    assert one == field_sets.parse({'k:{"a":"x","b":1}': {}}) == {(field_sets.key_element({"a": "x", "b": 1}),)}


def test_elements_of_unknown_kinds_are_left_out() -> None:
    """As upstream: a later version may have more kinds."""
    assert field_sets.parse({"z:what": {}, "f:a": {}}) == {field("a")}


@pytest.mark.parametrize(
    "wrong", [[], "x", {"f": {}}, {"f:a": [1]}, {"k:{": {}}, {"k:3": {}}, {"v:{": {}}, {"i:x": {}}]
)
def test_what_is_no_fieldsv1_is_refused(wrong: Any) -> None:
    """Never a crash, never a guess."""
    with pytest.raises(field_sets.FieldSetError):
        field_sets.parse(wrong)


def test_paths_are_shown_as_in_conflicts() -> None:
    """Members, keys, values and places each have their form."""
    path = (*field("status", "conditions"), field_sets.key_element({"type": "Ready", "port": 1}), "f:status")
    assert field_sets.text(path) == '.status.conditions[port=1,type="Ready"].status'
    assert field_sets.text((*field("metadata", "finalizers"), field_sets.value_element("a/b"))) == (
        '.metadata.finalizers[="a/b"]'
    )
    assert field_sets.text((*field("a"), "i:0")) == ".a[0]"
