"""What may stand in metadata: labels, annotations, owners, finalizers and their types."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api, execution

OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}


@pytest.fixture(params=["executions", "configmaps"])
def kind(request: pytest.FixtureRequest) -> str:
    """A custom kind and a built-in one."""
    return str(request.param)


async def create(api: Api, kind: str, metadata: dict[str, Any]) -> tuple[int, Any]:
    """Create an object with this metadata."""
    if kind == "executions":
        return await api.send("POST", api.path("kontinue.cloud/v1alpha1/executions"), execution("a", metadata=metadata))
    return await api.send("POST", api.path(kind), {"metadata": {"name": "a", **metadata}})


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"a": "", "A.b_c-1": "V.1_2-3", "example.com/x": "a" * 63, "x" * 63: "a"}},
        {"labels": None, "annotations": None, "finalizers": None, "ownerReferences": None},
        {"annotations": {"note": "any text\nü", "UPPER.com/Note": ""}},
        {"annotations": {"a": "x" * (256 * 1024 - 1)}},
        {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "v", "controller": False}]},
        {"ownerReferences": [{**OWNER, "apiVersion": "example.com/v1", "blockOwnerDeletion": True}]},
    ],
)
async def test_good_metadata_is_taken(api: Api, kind: str, metadata: dict[str, Any]) -> None:
    """As it is, without what is null."""
    status, created = await create(api, kind, metadata)
    assert status == 201, created
    for field, value in metadata.items():
        assert created["metadata"].get(field) == value


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"labels": {"a b": "x"}}, "metadata.labels"),
    ({"labels": {"": "x"}}, "metadata.labels"),
    ({"labels": {"a/b/c": "x"}}, "metadata.labels"),
    ({"labels": {"/a": "x"}}, "metadata.labels"),
    ({"labels": {"a/": "x"}}, "metadata.labels"),
    ({"labels": {"UPPER.com/a": "x"}}, "metadata.labels"),
    ({"labels": {"x" * 64: "x"}}, "metadata.labels"),
    ({"labels": {f"{'a' * 254}/x": "x"}}, "metadata.labels"),
    ({"labels": {"a": "x y"}}, "metadata.labels"),
    ({"labels": {"a": "-"}}, "metadata.labels"),
    ({"labels": {"a": "x" * 64}}, "metadata.labels"),
    ({"annotations": {"a b": "x"}}, "metadata.annotations"),
    ({"annotations": {"a": "x" * (256 * 1024)}}, "metadata.annotations"),
    ({"finalizers": ["a b/c"]}, "metadata.finalizers"),
    ({"finalizers": [""]}, "metadata.finalizers"),
    ({"finalizers": ["orphan", "foregroundDeletion"]}, "metadata.finalizers"),
    ({"ownerReferences": [{**OWNER, "uid": ""}]}, "metadata.ownerReferences.uid"),
    ({"ownerReferences": [{**OWNER, "name": ""}]}, "metadata.ownerReferences.name"),
    ({"ownerReferences": [{**OWNER, "kind": ""}]}, "metadata.ownerReferences.kind"),
    ({"ownerReferences": [{**OWNER, "apiVersion": ""}]}, "metadata.ownerReferences.apiVersion"),
    ({"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]}, "metadata.ownerReferences.apiVersion"),
    ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, "metadata.ownerReferences"),
    (
        {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "v", "controller": True}]},
        "metadata.ownerReferences",
    ),
]


async def test_wrong_metadata_is_invalid(api: Api, kind: str) -> None:
    """422 names the field."""
    for metadata, field in WRONG:
        status, answer = await create(api, kind, metadata)
        assert (status, answer["reason"]) == (422, "Invalid"), metadata
        assert answer["details"]["causes"][0]["field"] == field


UNREADABLE: list[dict[str, Any]] = [
    {"labels": {"a": 5}},
    {"labels": []},
    {"annotations": {"a": True}},
    {"finalizers": [5]},
    {"finalizers": "a"},
    {"ownerReferences": ["a"]},
    {"ownerReferences": [{**OWNER, "uid": 5}]},
    {"ownerReferences": [{**OWNER, "controller": "yes"}]},
    {"generation": "x"},
    {"creationTimestamp": 5},
    {"creationTimestamp": "yesterday"},
    {"deletionTimestamp": "yesterday"},
    {"managedFields": "x"},
    {"generateName": 5},
    {"name": 5},
    {"namespace": 5},
    {"uid": 5},
    {"resourceVersion": 5},
    {"selfLink": 5},
]


async def test_metadata_of_another_type_cannot_be_read(api: Api, kind: str) -> None:
    """400 before anything is judged."""
    for metadata in UNREADABLE:
        status, answer = await create(api, kind, metadata)
        assert (status, answer["reason"]) == (400, "BadRequest"), metadata


@pytest.mark.parametrize("metadata", [[], "x", 5, True])
async def test_metadata_is_an_object(api: Api, metadata: Any) -> None:
    """400 otherwise."""
    for path, body in (
        (api.path("kontinue.cloud/v1alpha1/executions"), execution("a")),
        (api.path("configmaps"), {}),
    ):
        status, answer = await api.send("POST", path, {**body, "metadata": metadata})
        assert (status, answer["reason"]) == (400, "BadRequest")


async def test_finalizers_of_built_in_kinds_are_qualified(api: Api) -> None:
    """422 of the item unless it is one that Kubernetes knows; custom kinds may have any."""
    status, answer = await create(api, "configmaps", {"finalizers": ["example.com/a", "mine"]})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "metadata.finalizers[1]")
    status, created = await create(api, "executions", {"finalizers": ["mine"]})
    assert (status, created["metadata"]["finalizers"]) == (201, ["mine"])
    path = api.path("kontinue.cloud/v1alpha1/executions", "a")
    patch = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", path, patch, content_type="application/merge-patch+json"))[0] == 200


async def test_unknown_members_of_metadata_are_dropped(api: Api, kind: str) -> None:
    """With a warning, by default."""
    status, created = await create(api, kind, {"nonsense": 1})
    assert (status, "nonsense" in created["metadata"]) == (201, False)
    assert api.headers.getall("Warning") == ['299 - "unknown field \\"metadata.nonsense\\""']


async def test_roles_have_names_that_others_cannot_have(api: Api) -> None:
    """With colons, say; whatever stays one segment of a path."""
    path = api.path("rbac.authorization.k8s.io/v1/roles")
    status, _ = await api.send("POST", path, {"metadata": {"name": "system:Reader"}})
    assert status == 201
    assert (await api.send("GET", f"{path}/system:Reader"))[0] == 200
    for name in ("a%b", "a/b", ".."):
        status, answer = await api.send("POST", path, {"metadata": {"name": name}})
        assert (status, [cause["field"] for cause in answer["details"]["causes"]]) == (422, ["metadata.name"])


async def test_paths_may_be_escaped(api: Api) -> None:
    """As the Python client does with every colon; an escaped slash is a slash."""
    roles, maps = api.path("rbac.authorization.k8s.io/v1/roles"), api.path("configmaps")
    await api.send("POST", roles, {"metadata": {"name": "system:reader"}})
    assert (await api.send("GET", f"{roles}/system%3Areader"))[0] == 200
    assert (await api.send("GET", maps.replace("/configmaps", "%2Fconfigmaps")))[0] == 200
