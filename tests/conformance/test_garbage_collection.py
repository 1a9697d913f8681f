"""Objects whose owners are gone, or never were where they are said to be."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


def _reference(owner: Any, **fields: Any) -> dict[str, Any]:
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": uid, **fields}


async def _create(api: Api, name: str, *references: Any, plural: str = EXECUTIONS, namespace: str | None = None) -> Any:
    metadata = {"ownerReferences": list(references)}
    body = execution(name, metadata=metadata) if plural == EXECUTIONS else {"metadata": {"name": name, **metadata}}
    status, created = await api.send("POST", api.path(plural, namespace=namespace), body)
    assert status == 201, created
    return created


async def _delete(api: Api, name: str) -> None:
    assert (await api.send("DELETE", api.path(EXECUTIONS, name)))[0] == 200


async def _collected(api: Api, *names: str) -> None:
    for name in names:
        await api.eventually(api.path(EXECUTIONS, name), 404)


async def _is_collecting(api: Api) -> None:
    """Wait until an object of which the collector heard last is collected: what it had to judge before, it has."""
    name = unique("marker")
    owner = await _create(api, name)
    await _create(api, f"{name}-below", _reference(owner))
    await _delete(api, name)
    await _collected(api, f"{name}-below")


async def test_the_whole_tree_below_an_owner_goes(api: Api) -> None:
    """Of any kind, and nothing else."""
    root = await _create(api, "root")
    child = await _create(api, "child", _reference(root))
    await _create(api, "grandchild", _reference(child))
    await _create(api, "memo", _reference(child), plural="configmaps")
    await _create(api, "stranger")
    await _delete(api, "root")
    await _collected(api, "child", "grandchild")
    await api.eventually(api.path("configmaps", "memo"), 404)
    assert (await api.send("GET", api.path(EXECUTIONS, "stranger")))[0] == 200


async def test_an_object_with_a_living_owner_stays_and_loses_the_dead_reference(api: Api) -> None:
    """Only with the last owner it goes."""
    first, second = await _create(api, "first"), await _create(api, "second")
    await _create(api, "both", _reference(first), _reference(second))
    await _delete(api, "first")

    def has_one_owner(body: Any) -> bool:
        return [owner["name"] for owner in body["metadata"]["ownerReferences"]] == ["second"]

    await api.eventually(api.path(EXECUTIONS, "both"), has_one_owner)
    await _delete(api, "second")
    await _collected(api, "both")


async def test_an_owner_counts_by_its_uid(api: Api) -> None:
    """One of the same name, created later, does not save the dependent."""
    before = await _create(api, "owner")
    await _delete(api, "owner")
    await _create(api, "owner")
    await _create(api, "late", _reference(before))
    await _collected(api, "late")
    assert (await api.send("GET", api.path(EXECUTIONS, "owner")))[0] == 200


@pytest.mark.parametrize("wrong", [{"name": "other"}, {"kind": "ConfigMap", "apiVersion": "v1"}])
async def test_a_uid_alone_does_not_make_an_owner(api: Api, wrong: dict[str, str]) -> None:
    """What the reference names must be there and have it."""
    owner = await _create(api, "owner")
    await _create(api, "dependent", _reference(owner, **wrong))
    await _collected(api, "dependent")


async def test_an_owner_in_another_namespace_is_none(api: Api) -> None:
    """Its dependent is collected; the owner's namespace is not looked at."""
    name = unique("owner")
    owner = await _create(api, name, plural="configmaps", namespace="default")
    try:
        await _create(api, "dependent", _reference({"apiVersion": "v1", "kind": "ConfigMap", **owner}))
        await _collected(api, "dependent")
    finally:
        await api.send("DELETE", api.path("configmaps", name, namespace="default"))


async def test_an_owner_without_a_namespace_may_be_anywhere(api: Api) -> None:
    """A namespaced object may belong to a cluster-scoped one."""
    _, namespace = await api.send("GET", f"/api/v1/namespaces/{api.namespace}")
    kept = _reference({"apiVersion": "v1", "kind": "Namespace", **namespace})
    await _create(api, "kept", kept)
    await _create(api, "lost", {**kept, "uid": "00000000-0000-4000-8000-000000000000"})
    await _collected(api, "lost")
    assert (await api.send("GET", api.path(EXECUTIONS, "kept")))[0] == 200


async def test_a_namespaced_owner_of_a_cluster_scoped_object_is_not_believed(api: Api) -> None:
    """Nobody can say where it would be: the object stays."""
    owner = await _create(api, "owner")
    name = unique("scoped")
    body = {"metadata": {"name": name, "ownerReferences": [_reference(owner)]}}
    assert (await api.send("POST", "/api/v1/namespaces", body))[0] == 201
    try:
        await _delete(api, "owner")
        await _is_collecting(api)
        _, kept = await api.send("GET", f"/api/v1/namespaces/{name}")
        assert "deletionTimestamp" not in kept["metadata"]
    finally:
        await api.send("DELETE", f"/api/v1/namespaces/{name}")


async def test_an_owner_of_a_kind_that_is_not_served_is_left_alone(api: Api) -> None:
    """What cannot be judged is kept."""
    await _create(api, "kept", {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "u-1"})
    await _is_collecting(api)
    assert (await api.send("GET", api.path(EXECUTIONS, "kept")))[0] == 200


async def test_a_reference_that_is_added_later_counts_too(api: Api) -> None:
    """To an owner that is gone."""
    owner = await _create(api, "owner")
    await _delete(api, "owner")
    kept = await _create(api, "kept")
    kept["metadata"]["ownerReferences"] = [_reference(owner)]
    assert (await api.send("PUT", api.path(EXECUTIONS, "kept"), kept))[0] == 200
    await _collected(api, "kept")


async def test_events_are_not_collected(api: Api) -> None:
    """They go by their age."""
    owner = await _create(api, "owner")
    involved = {"kind": "Execution", "namespace": api.namespace, "name": "owner"}
    metadata = {"name": "told", "ownerReferences": [_reference(owner)]}
    body = {"metadata": metadata, "involvedObject": involved, "reason": "Told", "type": "Normal"}
    assert (await api.send("POST", api.path("events"), body))[0] == 201
    await _delete(api, "owner")
    await _is_collecting(api)
    assert (await api.send("GET", api.path("events", "told")))[0] == 200
