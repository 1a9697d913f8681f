from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver import resources
from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.objects.strategic_patch import apply_strategic_patch
from kontinue_engine.apiserver.statuses import StatusError

OWNERS = [{"uid": "1", "name": "a"}, {"uid": "2"}]


def named(*names: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": name, **fields} for name in names]


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"data": {"a": "1"}}, {"data": {"b": "2", "a": None}}, {"data": {"b": "2"}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "replace", "b": "2"}}, {"data": {"b": "2"}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "delete"}}, {"data": {}}),
        ({"data": {"a": "1"}}, {"data": {"$patch": "merge", "b": "2"}}, {"data": {"a": "1", "b": "2"}}),
        ({"data": {"a": 1, "b": 2}}, {"data": {"$retainKeys": ["b", "c"], "c": 3}}, {"data": {"b": 2, "c": 3}}),
        ({"data": "malformed"}, {"data": {"a": {"b": 1}}}, {"data": {"a": {"b": 1}}}),
    ],
)
def test_maps_are_merged(document: Any, patch: Any, expected: Any):
    """As in a merge patch, and with directives."""
    assert apply_strategic_patch(resources.CONFIG_MAPS, document, patch) == expected


@pytest.mark.parametrize("resource", [resources.CONFIG_MAPS, resources.CUSTOM_RESOURCE_DEFINITIONS])
@pytest.mark.parametrize(
    ("before", "patch", "expected"),
    [
        ({"finalizers": ["a"]}, {"finalizers": ["b", "a"]}, {"finalizers": ["b", "a"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        ({}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {}),
        (
            {"finalizers": ["a", "b", "c"]},
            {"$setElementOrder/finalizers": ["d", "a"], "finalizers": ["d"]},
            {"finalizers": ["d", "a", "b", "c"]},
        ),
        (
            {"ownerReferences": OWNERS},
            {"ownerReferences": [{"uid": "1", "kind": "K"}, {"uid": "2", "$patch": "delete"}, {"uid": "3"}]},
            {"ownerReferences": [{"uid": "1", "name": "a", "kind": "K"}, {"uid": "3"}]},
        ),
        (
            {"ownerReferences": OWNERS},
            {"ownerReferences": [{"uid": "9"}, {"$patch": "replace"}]},
            {"ownerReferences": [{"uid": "9"}]},
        ),
        ({"ownerReferences": "malformed"}, {"ownerReferences": [{"uid": "1"}]}, {"ownerReferences": [{"uid": "1"}]}),
    ],
)
def test_lists_of_metadata_merge(resource: Any, before: Any, patch: Any, expected: Any):
    """Owners by uid, finalizers as values, whatever the kind."""
    assert apply_strategic_patch(resource, {"metadata": before}, {"metadata": patch}) == {"metadata": expected}


@pytest.mark.parametrize(
    ("before", "patch", "expected"),
    [
        (
            {"containers": named("a", "b", image="old")},
            {"containers": [{"name": "b", "image": "new"}]},
            {"containers": [{"name": "a", "image": "old"}, {"name": "b", "image": "new"}]},
        ),
        ({"containers": named("a")}, {"containers": named("b")}, {"containers": named("b", "a")}),
        (
            {"containers": named("a", "b", "c")},
            {"$setElementOrder/containers": named("c", "a")},
            {"containers": named("b", "c", "a")},
        ),
        (
            {"containers": [{"name": "a", "args": ["1"]}]},
            {"containers": [{"name": "a", "args": ["2"]}]},
            {"containers": [{"name": "a", "args": ["2"]}]},
        ),
        (
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        ),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
    ],
)
def test_lists_of_pods_merge_by_their_keys(before: Any, patch: Any, expected: Any):
    """Containers and volumes by name, in the order that kube-apiserver gives; arguments and tolerations as a whole."""
    assert apply_strategic_patch(kinds.PODS, {"spec": before}, {"spec": patch}) == {"spec": expected}


def test_neither_argument_changes():
    """The document may be shared with others."""
    document = {"metadata": {"finalizers": ["a"], "ownerReferences": OWNERS}}
    patch = {"metadata": {"finalizers": ["b"], "ownerReferences": [{"uid": "1", "kind": "K"}]}}
    apply_strategic_patch(resources.CONFIG_MAPS, document, patch)
    assert document == {"metadata": {"finalizers": ["a"], "ownerReferences": OWNERS}}
    assert "name" not in patch["metadata"]["ownerReferences"][0]


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"$retainKeys": "a"},
        {"$retainKeys": [], "data": {}},
        {"$setElementOrder/finalizers": "a", "finalizers": ["b"]},
        {"metadata": {"ownerReferences": [{"name": "a"}]}},
        {"metadata": {"ownerReferences": ["a"]}},
    ],
)
def test_a_malformed_directive_is_a_bad_request(patch: dict[str, Any]):
    """A directive that is not understood must not be stored as a field."""
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch(resources.CONFIG_MAPS, {}, patch)
    assert caught.value.code == 400


def test_deep_nesting_is_refused():
    """The recursion limit of Python becomes a 400."""
    patch: dict[str, Any] = {}
    for _ in range(5000):
        patch = {"a": patch}
    with pytest.raises(StatusError, match="nested too deeply"):
        apply_strategic_patch(resources.CONFIG_MAPS, {}, patch)


@pytest.mark.timeout(60)  # once hours
@pytest.mark.parametrize(
    "patch",
    [
        {"finalizers": [f"x/{number}" for number in range(100_000)]},
        {"ownerReferences": [{"uid": f"{number}"} for number in range(100_000)]},
        {"$setElementOrder/finalizers": [f"x/{number}" for number in range(100_000)], "finalizers": ["x/7"]},
        {"$retainKeys": [f"x{n}" for n in range(100_000)], **{f"x{n}": 1 for n in range(100_000)}},
    ],
    ids=["values", "items", "order", "keys"],
)
def test_a_long_list_costs_its_length(patch: dict[str, Any]) -> None:
    """Not its length squared: the server does nothing else meanwhile."""
    patched = apply_strategic_patch(resources.CONFIG_MAPS, {"metadata": {"name": "a"}}, {"metadata": patch})
    assert "metadata" in patched
