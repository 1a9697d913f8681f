"""How schemas say that values are owned."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.apply.types import LIST, MAP, SCALAR, UNKNOWN, Type, compile_type
from kontinue_engine.apiserver.resources import ResourceInfo


def spec(**schema: Any) -> Type:
    """Return the type of ``spec`` in a kind."""
    found = compile_type({"type": "object", "properties": {"spec": schema}}).member("spec")
    assert found is not None
    return found


def test_lists_are_owned_as_their_type_says() -> None:
    """By value, by key, or as a whole; as a whole when nothing is said."""
    items = {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer", "default": 80}}}
    by_key = spec(
        type="array",
        items=items,
        **{
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "port"],
        },
    ).list
    assert by_key
    assert (by_key.is_associative, by_key.keys, by_key.defaults) == (True, ("name", "port"), {"port": 80})
    by_value = spec(type="array", items={"type": "string"}, **{"x-kubernetes-list-type": "set"}).list
    assert by_value
    assert (by_value.is_associative, by_value.keys) == (True, ())
    for said in ({}, {"x-kubernetes-list-type": "atomic"}):
        whole = spec(type="array", items={"type": "string"}, **said).list
        assert whole
        assert not whole.is_associative


def test_lists_of_older_kinds_are_owned_as_they_are_patched() -> None:
    """Without a list type the patch strategy counts: its merge key, or the values."""
    items = {"type": "object", "properties": {"name": {"type": "string"}}}
    said = {"x-kubernetes-patch-strategy": "merge,retainKeys", "x-kubernetes-patch-merge-key": "name"}
    by_key = spec(type="array", items=items, **said).list
    assert by_key
    assert (by_key.is_associative, by_key.keys) == (True, ("name",))
    by_value = spec(type="array", items=items, **{"x-kubernetes-patch-strategy": "merge"}).list
    assert by_value
    assert (by_value.is_associative, by_value.keys) == (True, ())
    replaced = spec(type="array", items=items, **{"x-kubernetes-patch-strategy": "replace"}).list
    assert replaced
    assert not replaced.is_associative


def test_objects_are_owned_by_member_unless_atomic() -> None:
    """And what a schema says nothing of may hold anything."""
    free = spec(type="object")
    assert free.map
    assert (free.map.is_atomic, free.member("any")) == (False, UNKNOWN)
    atomic = spec(type="object", **{"x-kubernetes-map-type": "atomic"})
    assert atomic.map
    assert atomic.map.is_atomic


@pytest.mark.parametrize(
    ("schema", "has_unknown"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, False),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}, True),
        ({"type": "object", "additionalProperties": False}, False),
        (
            {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}},
            },
            True,
        ),
    ],
)
def test_unknown_members_have_a_place_where_the_schema_leaves_one(schema: Any, *, has_unknown: bool) -> None:
    """Pruned kinds have none."""
    assert (spec(**schema).member("unknown") is not None) == has_unknown


def test_what_keeps_unknown_members_keeps_them_below_too() -> None:
    """As in kube-apiserver's field manager."""
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    outer = spec(type="object", properties={"a": inner}, **{"x-kubernetes-preserve-unknown-fields": True})
    below = outer.member("a")
    assert below
    assert below.member("unknown") is UNKNOWN


def test_a_value_without_a_type_is_taken_as_it_comes() -> None:
    """An int-or-string is a scalar, whichever it is."""
    either = spec(**{"x-kubernetes-int-or-string": True})
    assert [either.form(value) for value in (1, "1", {}, [])] == [SCALAR, SCALAR, MAP, LIST]


def test_embedded_objects_have_metadata() -> None:
    """Its finalizers are a set there too."""
    embedded = spec(type="object", **{"x-kubernetes-embedded-resource": True})
    metadata = embedded.member("metadata")
    assert metadata
    finalizers = metadata.member("finalizers")
    assert finalizers
    assert finalizers.list
    assert finalizers.list.is_associative


def test_references_are_followed_even_in_circles() -> None:
    """Published schemas refer to each other and to themselves; the place of a reference can say that it is atomic."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/tree"}, "n": {"type": "integer"}}}
    kind = compile_type(
        {
            "type": "object",
            "properties": {
                "tree": {"$ref": "#/components/schemas/tree"},
                "whole": {"allOf": [{"$ref": "#/components/schemas/tree"}], "x-kubernetes-map-type": "atomic"},
            },
        },
        {"tree": tree},
    )
    found = kind.member("tree")
    assert found
    child = found.member("child")
    assert child
    assert child.member("child") is child
    whole = kind.member("whole")
    assert whole
    assert whole.map
    assert whole.map.is_atomic
    assert child.map
    assert not child.map.is_atomic


def test_free_form_fields_of_executions_are_atomic(execution_resource: ResourceInfo) -> None:
    """So that large memos are one field."""
    kind = compile_type(execution_resource.schema)
    for outer, inner in (("spec", "arguments"), ("status", "state"), ("status", "result")):
        below = kind.member(outer)
        assert below
        found = below.member(inner)
        assert found
        assert (found.map and found.map.is_atomic) or (found.list and not found.list.is_associative)
