from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.schemas import pruning

TEXT = {"type": "string"}
POINT = {"type": "object", "properties": {"x": {"type": "integer"}}}


def root(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


@pytest.mark.parametrize(
    ("properties", "spec", "pruned", "dropped"),
    [
        ({"a": TEXT}, {"a": "1", "b": 2}, {"a": "1"}, ["spec.b"]),
        ({"a": TEXT}, {"a": "1"}, {"a": "1"}, []),
        ({"p": POINT}, {"p": {"x": 1, "y": 2}}, {"p": {"x": 1}}, ["spec.p.y"]),
        ({"p": POINT}, {"p": "text"}, {"p": "text"}, []),
        ({"l": {"type": "array", "items": POINT}}, {"l": [{"y": 1}, 3]}, {"l": [{}, 3]}, ["spec.l[0].y"]),
        ({"l": {"type": "array", "items": POINT}}, {"l": "text"}, {"l": "text"}, []),
        ({"l": {"type": "array", "items": TEXT}}, {"l": [{"y": 1}]}, {"l": [{"y": 1}]}, []),
        (
            {"m": {"type": "object", "additionalProperties": POINT}},
            {"m": {"k": {"y": 1}}},
            {"m": {"k": {}}},
            ["spec.m.k.y"],
        ),
        ({"m": {"type": "object", "additionalProperties": POINT}}, {"m": 1}, {"m": 1}, []),
        ({"m": {"type": "object", "additionalProperties": TEXT}}, {"m": {"k": "v"}}, {"m": {"k": "v"}}, []),
        ({"m": {"type": "object", "additionalProperties": True}}, {"m": {"k": 1}}, {"m": {"k": 1}}, []),
        ({"e": {"type": "object"}}, {"e": {"k": 1}}, {"e": {}}, ["spec.e.k"]),
        ({"f": {"type": "object", pruning.PRESERVE: True}}, {"f": {"k": None}}, {"f": {"k": None}}, []),
        ({"f": {**POINT, pruning.PRESERVE: True}}, {"f": {"k": 1, "x": None}}, {"f": {"k": 1}}, []),
        (
            {"o": {"type": "object", pruning.EMBEDDED: True}},
            {"o": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "odd": 1}, "spec": {}}},
            {"o": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"}}},
            ["spec.o.spec", "spec.o.metadata.odd"],
        ),
    ],
)
def test_unknown_fields_are_dropped_and_named(
    properties: dict[str, Any], spec: dict[str, Any], pruned: dict[str, Any], dropped: list[str]
):
    """Wherever they stand, and only where the schema does not preserve them."""
    obj = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec}
    assert pruning.compile_root_pruner(root(**properties))(obj) == dropped
    assert obj["spec"] == pruned


def test_metadata_keeps_the_fields_of_kubernetes():
    """A misspelt metadata field is dropped and named; a metadata that is no object is left for validation."""
    prune = pruning.compile_root_pruner(root())
    obj: dict[str, Any] = {"metadata": {"name": "a", "lables": {}}}
    assert prune(obj) == ["metadata.lables"]
    assert obj == {"metadata": {"name": "a"}}
    assert prune({"metadata": "text"}) == []


def test_nulls_that_are_not_allowed_count_as_unset():
    """Clients in Python send None for "unset"; a default or nullable keeps the null for later."""
    prune = pruning.compile_root_pruner(
        root(
            a=TEXT,
            b={**TEXT, "nullable": True},
            c={**TEXT, "default": "x"},
            f={pruning.PRESERVE: True, "nullable": True},
        )
    )
    obj = {"spec": dict.fromkeys("abcf")}
    assert prune(obj) == []
    assert obj == {"spec": dict.fromkeys("bcf")}


def test_a_second_pruning_finds_nothing():
    """Pruning is idempotent."""
    prune = pruning.compile_root_pruner(root(p=POINT))
    obj = {"spec": {"p": {"y": 1}, "z": 2}}
    assert prune(obj)
    assert prune(obj) == []


def test_defaults_fill_what_is_missing_or_null():
    """At every depth, into fresh copies; a nullable null stays."""
    schema = root(
        a={**TEXT, "default": "x"},
        n={**TEXT, "default": "x", "nullable": True},
        d={"type": "object", "default": {}, "properties": {"l": {"type": "array", "default": [1], "items": TEXT}}},
        i={"type": "array", "items": {"type": "object", "properties": {"b": {"type": "boolean", "default": True}}}},
        m={"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {**TEXT, "default": "y"}}}},
    )
    fill = pruning.compile_defaulter(schema)
    assert fill is not None
    first: dict[str, Any] = {"spec": {"a": None, "n": None, "i": [{}, 1], "m": {"k": {}}}}
    second: dict[str, Any] = {"spec": {"m": 2}}
    fill(first)
    fill(second)
    first["spec"]["d"]["l"].append(2)
    assert first == {"spec": {"a": "x", "n": None, "d": {"l": [1, 2]}, "i": [{"b": True}, 1], "m": {"k": {"c": "y"}}}}
    assert second == {"spec": {"a": "x", "n": "x", "d": {"l": [1]}, "m": 2}}
    malformed: dict[str, Any] = {"spec": {"i": 1}}
    fill(malformed)
    fill([])
    assert malformed["spec"]["i"] == 1


def test_a_schema_without_defaults_costs_nothing():
    """None means that there is nothing to do."""
    schema = root(a=TEXT, l={"type": "array", "items": TEXT}, m={"type": "object", "additionalProperties": TEXT})
    assert pruning.compile_defaulter(schema) is None


MANY_FORMS = root(
    a=TEXT,
    n={"type": "string", "nullable": True},
    d={"type": "string", "default": "x"},
    p=POINT,
    l={"type": "array", "items": POINT},
    m={"type": "object", "additionalProperties": POINT},
    f={**POINT, pruning.PRESERVE: True},
    o={"type": "object", pruning.EMBEDDED: True},
)
KEYS = st.sampled_from(["a", "n", "d", "p", "l", "m", "f", "o", "x", "kind", "metadata", "name", "odd"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"spec": VALUES}, optional={"metadata": VALUES, "kind": VALUES, "odd": VALUES}))
def test_the_exact_schema_holds_only_where_nothing_is_pruned(obj: dict[str, Any]):
    """So the pruner need not walk what it holds for."""
    pruned = copy.deepcopy(obj)
    dropped = pruning.compile_root_pruner(MANY_FORMS)(pruned)
    is_exact = jsonschema_rs.Draft7Validator(pruning.exact_root_schema(MANY_FORMS)).is_valid(obj)
    assert not is_exact or (dropped == [] and pruned == obj)


def test_the_exact_schema_holds_for_the_usual_object():
    """With every form of schema in it."""
    point = {"x": 1}
    embedded = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"}}
    spec = {"a": "t", "n": None, "d": "t", "p": point, "l": [point], "m": {"k": point}, "f": {"k": 1}, "o": embedded}
    obj = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "labels": {"k": "v"}}, "spec": spec}
    assert jsonschema_rs.Draft7Validator(pruning.exact_root_schema(MANY_FORMS)).is_valid(obj)
