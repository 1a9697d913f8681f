from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.statuses import StatusError
from kontinue_engine.apiserver.strategic_patch import apply_strategic_patch


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"data": {"a": "1"}}, {"data": {"b": "2", "a": None}}, {"data": {"b": "2"}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "replace", "b": "2"}}, {"data": {"b": "2"}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "delete"}}, {"data": {}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "merge", "b": "2"}}, {"data": {"a": "1", "b": "2"}}),
        ({"s": {"a": 1, "b": 2}}, {"s": {"$retainKeys": ["b", "c"], "c": 3}}, {"s": {"b": 2, "c": 3}}),
        ({"finalizers": ["a"]}, {"finalizers": ["b", "a"]}, {"finalizers": ["a", "b"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        ({}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {}),
        ({"args": ["a"]}, {"args": ["b"], "$setElementOrder/args": ["b"]}, {"args": ["b"]}),
        (
            {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2"}]},
            {"ownerReferences": [{"uid": "1", "kind": "K"}, {"uid": "2", "$patch": "delete"}, {"uid": "3"}]},
            {"ownerReferences": [{"uid": "1", "name": "a", "kind": "K"}, {"uid": "3"}]},
        ),
        ({"conditions": "malformed"}, {"conditions": [{"type": "A"}]}, {"conditions": [{"type": "A"}]}),
        ("text", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, "text", "text"),
    ],
)
def test_maps_and_known_lists_are_merged(document: Any, patch: Any, expected: Any):
    """What kubectl sends for labels, data, owners and finalizers of built-in kinds."""
    assert apply_strategic_patch(document, patch) == expected


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"$retainKeys": "a"},
        {"$deleteFromPrimitiveList/finalizers": "a"},
        {"ownerReferences": [{"name": "a"}]},
        {"ownerReferences": ["a"]},
    ],
)
def test_a_malformed_directive_is_a_bad_request(patch: dict[str, Any]):
    """A directive that is not understood must not be stored as a field."""
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch({}, patch)
    assert caught.value.code == 400


def test_deep_nesting_is_refused():
    """The recursion limit of Python becomes a 400."""
    patch: dict[str, Any] = {}
    for _ in range(5000):
        patch = {"a": patch}
    with pytest.raises(StatusError, match="nested too deeply"):
        apply_strategic_patch({}, patch)
