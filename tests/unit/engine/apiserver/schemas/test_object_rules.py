from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.schemas import celrules, object_rules
from kontinue_engine.apiserver.schemas.object_rules import ABSENT

PHASE = {
    "type": "string",
    "x-kubernetes-validations": [
        {"rule": "!(oldSelf in ['Completed', 'Skipped']) || self == oldSelf", "message": "final"}
    ],
}
WITH_PHASE = {"type": "object", "properties": {"name": {"type": "string"}, "phase": PHASE}}
LIST_MAP = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": WITH_PHASE,
}
LIST_SET = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}


def check(schema: dict[str, Any], value: Any, old: Any = ABSENT) -> list[str]:
    whole = {"type": "object", "properties": {"f": schema}}
    causes: list[object_rules.Cause] = []
    for checker in (object_rules.compile_lists(whole), object_rules.compile_cel(whole, has_old=old is not ABSENT)):
        if checker is not None:
            checker({"f": value}, old if old is ABSENT else {"f": old}, "", causes)
    return [cause.field for cause in causes]


def test_a_schema_without_rules_costs_nothing():
    """None means that there is nothing to ask; a create does not ask transition rules either."""
    plain = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}
    for schema in (plain, {"type": "array", "items": plain}, {"type": "object", "additionalProperties": True}):
        assert object_rules.compile_cel(schema, has_old=True) is None
        assert object_rules.compile_lists(schema) is None
        assert object_rules.compile_embedded(schema) is None
    assert object_rules.compile_cel(PHASE, has_old=False) is None


def test_a_repeated_key_of_a_list_map_is_a_duplicate():
    """Items are told apart by their key only; the later one is named."""
    items = [{"name": "a"}, {"name": "b"}, {"name": "a", "phase": "Failed"}]
    assert check(LIST_MAP, items) == ["f[2]"]
    assert check(LIST_MAP, items[:2]) == []


def test_a_repeated_value_of_a_set_is_a_duplicate():
    """Values are compared as JSON."""
    assert check(LIST_SET, ["a", "b", "a"]) == ["f[2]"]
    assert check({**LIST_SET, "items": {}}, [1, True]) == []


def test_a_duplicate_is_told_once():
    """However often the value is repeated."""
    assert check(LIST_SET, ["a", "a", "a"]) == ["f[1]"]
    assert check(LIST_MAP, [{"name": "a"}, "text"]) == ["f[1]"]


def test_an_embedded_resource_is_judged_as_a_resource():
    """Its version, its kind and its metadata, as far as they have the right types."""
    schema = {"type": "object", "x-kubernetes-embedded-resource": True}
    checker = object_rules.compile_embedded({"type": "object", "properties": {"f": schema}})
    assert checker is not None
    causes: list[object_rules.Cause] = []
    labels = {"a": "b c"}
    checker({"f": {"apiVersion": "a/b/c", "kind": "_", "metadata": {"labels": labels}}}, ABSENT, "", causes)
    assert [cause.field for cause in causes] == ["f.apiVersion", "f.kind", "f.metadata.labels"]


def test_transitions_in_a_list_map_compare_items_of_one_key():
    """Whatever their order; an item that is new has no old value."""
    old = [{"name": "a", "phase": "Completed"}, {"name": "b", "phase": "Executing"}]
    new = [{"name": "c", "phase": "Pending"}, {"name": "b", "phase": "Failed"}, {"name": "a", "phase": "Pending"}]
    assert check(LIST_MAP, new, old) == ["f[2].phase"]


def test_transitions_in_other_lists_are_not_judged():
    """Their items have no identity, so there is no old value."""
    plain = {"type": "array", "items": WITH_PHASE}
    assert check(plain, [{"phase": "Pending"}], [{"phase": "Completed"}]) == []


def test_transitions_in_maps_compare_by_key():
    """The path names the key."""
    schema = {"type": "object", "additionalProperties": PHASE}
    assert check(schema, {"a": "Pending", "b": "Pending"}, {"a": "Completed"}) == ["f[a]"]
    assert check(schema, {"a": "Pending"}, "malformed") == []


def test_a_rule_without_old_value_is_judged_unless_unchanged(monkeypatch: pytest.MonkeyPatch):
    """What is stored stays storable after a stricter rule came."""
    monkeypatch.setitem(celrules.RULES, "self.limit < 5", lambda new, _old: new.get("limit", 0) < 5)
    entry = {"rule": "self.limit < 5", "message": "too many", "reason": "FieldValueForbidden", "fieldPath": ".limit"}
    schema = {"type": "object", "x-kubernetes-validations": [entry], "properties": {"limit": {"type": "integer"}}}
    assert check(schema, {"limit": 9}) == ["f.limit"]
    assert check(schema, {"limit": 9}, {"limit": 9}) == []
    assert check(schema, {"limit": 9}, {"limit": 8}) == ["f.limit"]
    assert check(schema, {"limit": 1}, {"limit": 9}) == []


def test_a_refusal_at_the_root_names_the_field_of_the_rule():
    """There is no path to put before it."""
    schema = {
        "type": "object",
        "x-kubernetes-validations": [
            {"rule": "!has(oldSelf.status) || has(self.status)", "message": "kept", "fieldPath": ".status"}
        ],
    }
    checker = object_rules.compile_cel(schema, has_old=True)
    assert checker is not None
    causes: list[object_rules.Cause] = []
    checker({}, {"status": {}}, "", causes)
    assert [(cause.field, cause.message) for cause in causes] == [("status", "Invalid value: kept")]


@pytest.mark.parametrize("value", ["text", 1, [1, "a"], {"phase": 1}, None])
def test_values_of_a_wrong_type_are_passed_over(value: Any):
    """They are judged by the schema; rules must not fail on what it tolerates."""
    for schema in (WITH_PHASE, LIST_MAP, {"type": "object", "additionalProperties": PHASE}):
        assert check(schema, value, value) == []
