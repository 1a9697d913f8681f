"""What applies and updates do to objects and to who owns their fields."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.apply import merging, ownership, typed_values
from kontinue_engine.apiserver.apply.field_sets import field
from kontinue_engine.apiserver.apply.managers import APPLY, UPDATE, Manager, Owned, Owners
from kontinue_engine.apiserver.apply.ownership import ConflictError, Rules

ONE, TWO = (Manager.of(name, APPLY, "example.com/v1", "") for name in ("one", "two"))
EDITOR = Manager.of("editor", UPDATE, "example.com/v1", "")

texts = st.sampled_from("xy")
names = st.sampled_from("abc")
items = st.fixed_dictionaries({"name": names}, optional={"value": texts, "port": st.integers(1, 2)})
fields_of_spec: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "inner": st.fixed_dictionaries({}, optional={"a": texts, "b": texts}),
    "whole": st.fixed_dictionaries({}, optional={"a": texts, "b": texts}),
    "free": st.dictionaries(names, texts | st.dictionaries(names, texts, max_size=2), max_size=2),
    "texts": st.dictionaries(names, texts, max_size=2),
    "plain": st.lists(texts, max_size=2),
    # An empty list of these has no fields, so that it comes and goes with its items, as upstream.
    "set": st.lists(names, unique=True, min_size=1, max_size=3),
    "map": st.lists(items, unique_by=lambda item: item["name"], min_size=1, max_size=3),
}
specs = st.fixed_dictionaries({}, optional=fields_of_spec)
writes = st.lists(st.tuples(st.sampled_from([ONE, TWO, EDITOR]), specs), max_size=4)


def config(spec: Any) -> dict[str, Any]:
    said = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
    return {**said, "spec": spec} if spec else said


def has_nulls(value: Any) -> bool:
    """Tell whether something lost all it had; such an apply is refused where the schema allows no null."""
    return b"null" in orjson.dumps(value)


def world(rules: Rules, history: list[tuple[Manager, Any]]) -> tuple[Any, Owners]:
    """Return object and owners after ``history``: forced applies, and replacements by the editor."""
    live: Any = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"uid": "u"}}
    owners: Owners = {}
    for manager, spec in history:
        if manager is EDITOR:
            changed = {**live, "spec": spec}
            owners = ownership.update(rules, live, changed, owners, EDITOR)
            live = changed
        else:
            applied, after = ownership.apply(rules, live, config(spec), owners, manager, force=True)
            if not has_nulls(applied):
                live, owners = applied, after
    return live, owners


def owned(owners: Owners) -> dict[Manager, Any]:
    return {manager: entry.fields for manager, entry in owners.items()}


def canonical(value: Any) -> Any:
    """Return ``value`` so that the order of lists does not matter."""
    if isinstance(value, dict):
        return {key: canonical(below) for key, below in value.items()}
    if isinstance(value, list):
        return sorted(map(canonical, value), key=orjson.dumps)
    return value


@settings(max_examples=25)
@given(writes, specs)
def test_apply_is_idempotent(rules: Rules, history: Any, spec: Any) -> None:
    """The second time nothing changes, neither object nor owners."""
    live, owners = world(rules, history)
    once = ownership.apply(rules, live, config(spec), owners, ONE, force=True)
    assume(not has_nulls(once[0]))
    twice = ownership.apply(rules, once[0], config(spec), once[1], ONE, force=True)
    assert twice == once


@settings(max_examples=25)
@given(writes, specs)
def test_what_is_applied_is_there(rules: Rules, history: Any, spec: Any) -> None:
    """The object says everything that the configuration says, and the manager owns it."""
    live, owners = world(rules, history)
    applied, after = ownership.apply(rules, live, config(spec), owners, ONE, force=True)
    assume(not has_nulls(applied))
    kind = rules.kind()
    assert canonical(merging.merge(kind, applied, config(spec))) == canonical(applied)
    said = {path for path in typed_values.field_set(kind, config(spec)) if path[0] == "f:spec"}
    assert said == set(after[ONE].fields if ONE in after else ())


@settings(max_examples=25)
@given(writes, specs)
def test_nothing_that_somebody_else_owns_is_lost(rules: Rules, history: Any, spec: Any) -> None:
    """Without force an apply changes and removes only what is the manager's own or nobody's.

    An item or free member that nobody but the manager has goes with what others put into it, as upstream.
    """
    live, owners = world(rules, history)
    forced, _ = ownership.apply(rules, live, config(spec), owners, ONE, force=True)
    would_change = typed_values.compare(rules.kind(), live, forced)
    taken = would_change.modified | would_change.added
    if any(entry.fields & taken for manager, entry in owners.items() if manager != ONE):
        with pytest.raises(ConflictError):
            ownership.apply(rules, live, config(spec), owners, ONE, force=False)
        return
    applied, after = ownership.apply(rules, live, config(spec), owners, ONE, force=False)
    changes = typed_values.compare(rules.kind(), live, applied)
    mine = owners[ONE].fields if ONE in owners else frozenset()
    given_up = mine & changes.removed
    for manager, entry in owners.items():
        if manager != ONE:
            assert not entry.fields & changes.modified
            lost = entry.fields & changes.removed
            assert all(any(path[:length] in given_up for length in range(len(path))) for path in lost)
            assert entry.fields - lost == (after[manager].fields if manager in after else frozenset())


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(sorted(fields_of_spec)), st.booleans()), st.data())
def test_managers_of_different_fields_commute(rules: Rules, parts: dict[str, bool], data: Any) -> None:
    """Who comes first makes no difference, and there is nothing to force."""
    mine, others = (
        {name: data.draw(fields_of_spec[name]) for name, is_mine in parts.items() if is_mine == whose}
        for whose in (True, False)
    )
    outcomes = []
    for order in (((ONE, mine), (TWO, others)), ((TWO, others), (ONE, mine))):
        live, owners = world(rules, [])
        for manager, spec in order:
            live, owners = ownership.apply(rules, live, config(spec), owners, manager, force=False)
        outcomes.append((live, owned(owners)))
    assert outcomes[0] == outcomes[1]


@settings(max_examples=25)
@given(writes, specs)
def test_update_owns_what_it_changed_and_nobody_else_does(rules: Rules, history: Any, spec: Any) -> None:
    """Every changed field has the updater as its only owner, and what is gone has none."""
    live, owners = world(rules, history)
    changed = {**live, "spec": spec}
    after = ownership.update(rules, live, changed, owners, EDITOR)
    changes = typed_values.compare(rules.kind(), live, changed)
    for path in changes.added | changes.modified:
        assert [manager for manager, entry in after.items() if path in entry.fields] == [EDITOR]
    assert not any(entry.fields & changes.removed for entry in after.values())


@settings(max_examples=25)
@given(specs, specs)
def test_comparing_backwards_swaps_what_was_added_and_removed(rules: Rules, old: Any, new: Any) -> None:
    """And a value does not differ from itself."""
    there = typed_values.compare(rules.kind(), config(old), config(new))
    back = typed_values.compare(rules.kind(), config(new), config(old))
    assert (there.added, there.modified, there.removed) == (back.removed, back.modified, back.added)
    assert not any(typed_values.compare(rules.kind(), config(old), orjson.loads(orjson.dumps(config(old)))))


@settings(max_examples=25)
@given(specs, specs)
def test_merging_changes_no_argument(rules: Rules, live: Any, spec: Any) -> None:
    """What was read stays as it was read."""
    before = orjson.dumps([live, spec])
    merging.merge(rules.kind(), config(live), config(spec))
    assert orjson.dumps([live, spec]) == before


@settings(max_examples=25)
@given(specs)
def test_configurations_fit_their_kind(rules: Rules, spec: Any) -> None:
    """Nothing that a kind describes is complained of."""
    assert list(typed_values.problems(rules.kind(), config(spec))) == []


def test_giving_up_a_field_removes_it_and_what_led_to_it(rules: Rules) -> None:
    """An object that only held it goes too, one that holds something of others stays."""
    live, owners = world(rules, [(ONE, {"inner": {"a": "x"}, "texts": {"k": "x"}}), (TWO, {"texts": {"l": "y"}})])
    left, after = ownership.apply(rules, live, config({}), owners, ONE, force=False)
    assert left["spec"] == {"texts": {"l": "y"}}
    assert ONE not in after


def test_item_is_removed_with_everything_in_it(rules: Rules) -> None:
    """Unless somebody else has a part of it."""
    live, owners = world(
        rules,
        [(ONE, {"map": [{"name": "a", "value": "x"}, {"name": "b", "value": "x"}]}), (TWO, {"map": [{"name": "b"}]})],
    )
    left, _ = ownership.apply(rules, live, config({}), owners, ONE, force=False)
    assert left["spec"] == {"map": [{"name": "b"}]}


def test_field_of_a_version_that_is_not_served_any_more_has_no_owner(rules: Rules) -> None:
    """Nobody can be asked about it."""
    old = {Manager.of("old", APPLY, "", ""): Owned(frozenset({field("spec", "text")}), "example.com/v0", None)}
    live = config({"text": "x"})
    _, after = ownership.apply(rules, live, config({"text": "y"}), old, ONE, force=False)
    assert set(after) == {ONE}


def test_fields_follow_a_schema_that_became_atomic(rules: Rules) -> None:
    """Who owned something within now owns the whole."""
    before = {TWO: Owned(frozenset({field("spec", "whole", "a")}), "example.com/v1", None)}
    live = config({"whole": {"a": "x"}})
    with pytest.raises(ConflictError) as caught:
        ownership.apply(rules, live, config({"whole": {"a": "y"}}), before, ONE, force=False)
    assert caught.value.conflicts == [(TWO, field("spec", "whole"))]


def test_time_is_that_of_the_last_change(rules: Rules) -> None:
    """A manager that changes nothing keeps the time that it had, or has none."""
    live, owners = world(rules, [(ONE, {"text": "x"})])
    _, after = ownership.apply(rules, live, config({"text": "x"}), owners, TWO, force=False)
    assert (after[ONE].time, after[TWO].time) == ("2026-01-01T00:00:00Z", None)


def test_repeated_items_are_one_field_and_are_replaced_as_one(rules: Rules) -> None:
    """An object can hold them, from before its list was a set; a configuration cannot."""
    live = config({"set": ["a", "b", "a"]})
    assert typed_values.field_set(rules.kind(), {"spec": live["spec"]}) == {
        (*field("spec", "set"), 'v:"a"'),
        (*field("spec", "set"), 'v:"b"'),
    }
    merged = merging.merge(rules.kind(), live, config({"set": ["a"]}))
    assert merged["spec"]["set"] == ["a", "b"]
    assert "duplicate entries" in next(typed_values.problems(rules.kind(), live))


def test_item_without_its_keys_is_kept(rules: Rules) -> None:
    """It was stored under an older schema and nobody can name it."""
    live = config({"map": [{"value": "x"}, {"name": "a"}]})
    merged = merging.merge(rules.kind(), live, config({"map": [{"name": "a", "value": "y"}]}))
    assert merged["spec"]["map"] == [{"value": "x"}, {"name": "a", "value": "y"}]


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}, [{"name": 1}], {"set": {}}, {"map": ["a"]}], ids=str)
def test_values_of_a_wrong_type_break_nothing(rules: Rules, value: Any) -> None:
    """Stored under another schema they are compared and replaced as they are."""
    kind = rules.kind()
    for name in fields_of_spec:
        live, new = config({name: value}), config({name: {"a": "x"} if name in {"inner", "whole"} else []})
        typed_values.field_set(kind, live)
        typed_values.compare(kind, live, new)
        typed_values.compare(kind, new, live)
        merging.merge(kind, live, new)
        merging.remove(kind, live, typed_values.field_set(kind, new))
        ownership.update(rules, live, new, {}, EDITOR)
