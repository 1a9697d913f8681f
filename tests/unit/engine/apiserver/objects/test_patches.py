from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.objects import patches
from kontinue_engine.apiserver.statuses import StatusError

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), documents, max_size=4)


def pointer(path: tuple[str | int, ...]) -> str:
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path of a document, the root first."""
    found = [path]
    if isinstance(document, dict):
        items: list[tuple[str | int, Any]] = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    else:
        items = []
    return found + [place for key, value in items for place in places(value, (*path, key))]


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@st.composite
def documents_and_places(draw: st.DrawFn) -> tuple[Any, tuple[str | int, ...]]:
    document = draw(documents)
    return document, draw(st.sampled_from(places(document)))


@given(documents_and_places())
def test_every_place_of_a_document_can_be_tested(drawn: tuple[Any, tuple[str | int, ...]]):
    """A test with the value that is there passes and changes nothing."""
    document, path = drawn
    operation = {"op": "test", "path": pointer(path), "value": at(document, path)}
    assert patches.apply_json_patch(document, [operation]) == document


@given(documents_and_places(), documents)
def test_replace_and_its_inverse_restore_the_document(drawn: tuple[Any, tuple[str | int, ...]], value: Any):
    """The new value is there after the first patch, the old document after the second; the input stays as it was."""
    document, path = drawn
    before = copy.deepcopy(document)
    replaced = patches.apply_json_patch(document, [{"op": "replace", "path": pointer(path), "value": value}])
    assert at(replaced, path) == value
    back = {"op": "replace", "path": pointer(path), "value": at(document, path)}
    assert patches.apply_json_patch(replaced, [back]) == before
    assert document == before


@given(documents_and_places())
def test_remove_and_add_restore_the_document(drawn: tuple[Any, tuple[str | int, ...]]):
    """What was removed from an object or an array goes back to its place."""
    document, path = drawn
    if not path:
        return
    removed = patches.apply_json_patch(document, [{"op": "remove", "path": pointer(path)}])
    assert len(places(removed)) < len(places(document))
    back = {"op": "add", "path": pointer(path), "value": at(document, path)}
    assert patches.apply_json_patch(removed, [back]) == document


@given(objects, documents)
def test_move_is_remove_and_add(document: dict[str, Any], value: Any):
    """A move there and back changes nothing; a copy leaves the source."""
    document = {**document, "here": value}
    document.pop("there", None)
    there = {"op": "move", "from": "/here", "path": "/there"}
    moved = patches.apply_json_patch(document, [there])
    assert "here" not in moved
    assert moved["there"] == value
    assert patches.apply_json_patch(moved, [{"op": "move", "from": "/there", "path": "/here"}]) == document
    copied = patches.apply_json_patch(document, [{**there, "op": "copy"}])
    assert copied == {**document, "there": value}


@given(documents, st.lists(st.dictionaries(st.text(max_size=4), documents, max_size=4), max_size=3) | documents)
def test_any_patch_applies_or_is_refused(document: Any, operations: Any):
    """No input from outside raises anything but a refusal."""
    try:
        patches.apply_json_patch(document, operations)
    except StatusError as error:
        assert error.code in {400, 413, 422}  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 2}], 2),
        ({"a": 1}, [{"op": "add", "path": "/a", "value": 2}], {"a": 2}),
        ({"a/b": {"~c": 1}}, [{"op": "remove", "path": "/a~1b/~0c"}], {"a/b": {}}),
        ({"~1": 1}, [{"op": "replace", "path": "/~01", "value": 2}], {"~1": 2}),
        ({"": {"": 1}}, [{"op": "replace", "path": "//", "value": 2}], {"": {"": 2}}),
        ({"a": [{"b": 1}]}, [{"op": "replace", "path": "/a/0/b", "value": 2}], {"a": [{"b": 2}]}),
        ({"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": [2, 1]}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/a/c"}], {"a": {"b": 1, "c": {"b": 1}}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"spec": 1}, [{"op": "test", "path": "/status", "value": None}], {"spec": 1}),
        ({"a": 1}, [], {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": 1}, [{"op": "copy", "from": "/b", "path": "/c"}], {"a": 1, "c": None}),
        ({"a": 1}, [{"op": "add", "path": "/b"}], {"a": 1, "b": None}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-1", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/01", "value": 3}], {"a": [1, 3]}),
        ({}, [{"op": "add", "path": "/a~2", "value": 1}], {"a~2": 1}),
    ],
)
def test_operations_follow_rfc_6902_as_kubernetes_reads_it(document: Any, operations: list[Any], expected: Any):
    """The cases of the RFC; an absent member and value are null, replace adds, indices may count from the end."""
    assert patches.apply_json_patch(document, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": True},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/b", "value": 2},
        {"op": "test", "path": "/b/c", "value": None},
        {"op": "test", "path": "/list/2", "value": None},
        {"op": "test", "path": "/list", "value": [1, True]},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/a/c", "value": 1},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/-4", "value": 1},
        {"op": "remove", "path": "/list/-3"},
        {"op": "add", "path": "/list/-/x", "value": 1},
        {"op": "remove", "path": "/list/2"},
        {"op": "remove", "path": "/list/-"},
        {"op": "replace", "path": "/list/99999999999999999999999", "value": 1},
        {"op": "move", "from": "/b", "path": "/c"},
        {"op": "copy", "from": "/b/c", "path": "/c"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "frobnicate", "path": "/a"},
        {"op": "add", "value": 1},
        {"op": "add", "path": "", "value": 1},
        {"op": "remove", "path": ""},
        {"op": "copy", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {},
        None,
    ],
)
def test_an_operation_that_does_not_apply_is_invalid(operation: dict[str, Any]):
    """422, and nothing of the patch is done."""
    document = {"a": 1, "list": [1, 2]}
    first = {"op": "add", "path": "/done", "value": 1}
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch(document, [first, operation])
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert document == {"a": 1, "list": [1, 2]}


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        ["add"],
        [5],
        [{"op": "add", "path": 1, "value": 1}],
        [{"op": 1, "path": "/a"}],
        [{"op": "copy", "path": "/a", "from": 1}],
    ],
)
def test_what_is_no_json_patch_is_a_bad_request(operations: Any):
    """400: the patch itself is malformed."""
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch({}, operations)
    assert caught.value.code == 400


def test_too_many_operations_are_refused():
    """As in kube-apiserver, more than 10,000."""
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch({}, [{"op": "test", "path": "", "value": {}}] * 10_001)
    assert caught.value.code == 413


def test_copies_of_copies_are_bounded():
    """Doubling by copy would otherwise fill the memory with a patch of a few hundred bytes."""
    operations = [{"op": "copy", "from": "/b", "path": f"/b/copy{number}"} for number in range(64)]
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch({"b": {"c": "x" * 1000}}, operations)
    assert caught.value.code == 413


def test_a_copy_of_what_cannot_be_encoded_is_a_bad_request():
    """JSON nested more than 254 levels deep cannot be stored."""
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch({"a": nested(400)}, [{"op": "copy", "from": "/a", "path": "/b"}])
    assert caught.value.code == 400


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(depth):
        document = {"a": document}
    return document


def test_deep_nesting_is_refused_and_does_not_crash():
    """The recursion limit of Python becomes a 400."""
    deep = nested(100_000)
    with pytest.raises(StatusError) as caught:
        patches.apply_merge_patch({}, deep)
    assert caught.value.code == 400
    with pytest.raises(StatusError) as caught:
        patches.apply_json_patch(deep, [{"op": "add", "path": "/a" * 50_000 + "/b", "value": 1}])
    assert caught.value.code == 400
    while deep:  # taken apart by hand: the interpreter frees nested containers recursively
        deep = deep["a"]


@given(objects)
def test_merging_an_object_into_nothing_drops_its_nulls(patch: dict[str, Any]):
    """The result of any merge patch on an empty object holds no null member, and merging again changes nothing."""
    merged = patches.apply_merge_patch({}, patch)
    assert not any(
        value is None
        for place in places(merged)
        for value in [at(merged, place)]
        if place and not in_array(merged, place)
    )
    assert patches.apply_merge_patch(merged, patch) == merged


def in_array(document: Any, path: tuple[str | int, ...]) -> bool:
    return any(isinstance(at(document, path[:depth]), list) for depth in range(len(path)))


@given(objects, objects)
def test_a_merge_patch_is_idempotent_and_pure(document: dict[str, Any], patch: dict[str, Any]):
    """Applying it twice is applying it once, and neither argument changes."""
    before = copy.deepcopy((document, patch))
    once = patches.apply_merge_patch(document, patch)
    assert patches.apply_merge_patch(once, patch) == once
    assert (document, patch) == before


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a"], ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, "bar", "bar"),
    ],
)
def test_merge_patches_follow_rfc_7386(document: Any, patch: Any, expected: Any):
    """The examples of the RFC's appendix."""
    assert patches.apply_merge_patch(document, patch) == expected


def test_a_patch_of_many_operations_copies_a_large_object_once() -> None:
    """Ten thousand additions to a hundred thousand members would hold the server up for ten seconds."""
    copies = 0

    class Counting(dict[str, Any]):
        def copy(self) -> dict[str, Any]:
            nonlocal copies
            copies += 1
            return super().copy()

    before = Counting({f"k{n}": "v" for n in range(1000)})
    operations = [{"op": "add", "path": f"/data/n{n}", "value": "x"} for n in range(1000)]
    after = patches.apply_json_patch({"data": before}, operations)
    assert (len(after["data"]), len(before), copies) == (2000, 1000, 1)


def test_what_a_patch_copied_does_not_change_with_its_source() -> None:
    """Nor do the patch's own values: it may be applied again after a conflict."""
    value = {"x": 1}
    operations = [
        {"op": "add", "path": "/a", "value": value},
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "add", "path": "/a/y", "value": 2},
        {"op": "copy", "from": "/a", "path": "/c"},
        {"op": "replace", "path": "/c/y", "value": 3},
        {"op": "move", "from": "/c", "path": "/d"},
        {"op": "add", "path": "/d/z", "value": 4},
    ]
    for _ in range(2):
        assert patches.apply_json_patch({}, operations) == {
            "a": {"x": 1, "y": 2},
            "b": {"x": 1},
            "d": {"x": 1, "y": 3, "z": 4},
        }
    assert value == {"x": 1}
