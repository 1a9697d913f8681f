"""Garbage collection by owner references, and the life of namespaces."""

from __future__ import annotations

from typing import Any


async def _create(api: Any, name: str, *owners: Any, block: bool = False, **metadata: Any) -> Any:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    body = api.execution(name, metadata={**metadata, "ownerReferences": references})
    status, created = await api.send("POST", api.executions, body)
    assert status == 201, created
    return created


async def test_deleting_an_owner_deletes_the_tree_below_it(api: Any) -> None:
    """Background: the owner goes at once, descendants follow, others stay."""
    root = await _create(api, "root")
    child = await _create(api, "child", root)
    await _create(api, "grandchild", child)
    await _create(api, "stranger")
    await api.send("DELETE", f"{api.executions}/root")
    for name in ("child", "grandchild"):
        await api.eventually(f"{api.executions}/{name}", 404)
    assert (await api.send("GET", f"{api.executions}/stranger"))[0] == 200


async def test_an_object_with_a_living_owner_stays_and_loses_the_dead_reference(api: Any) -> None:
    """Only when the last owner is gone the object goes."""
    first, second = await _create(api, "first"), await _create(api, "second")
    await _create(api, "both", first, second)
    await api.send("DELETE", f"{api.executions}/first")
    for _ in range(200):
        body = await api.eventually(f"{api.executions}/both", 200)
        if len(body["metadata"]["ownerReferences"]) == 1:
            break
    assert [owner["name"] for owner in body["metadata"]["ownerReferences"]] == ["second"]
    await api.send("DELETE", f"{api.executions}/second")
    await api.eventually(f"{api.executions}/both", 404)


async def test_an_object_created_for_a_vanished_owner_is_deleted(api: Any) -> None:
    """The owner counts by uid: one of the same name does not save it."""
    owner = await _create(api, "owner")
    await api.send("DELETE", f"{api.executions}/owner")
    await _create(api, "owner")
    await _create(api, "late", owner)
    await api.eventually(f"{api.executions}/late", 404)


async def test_an_owner_of_a_kind_that_is_not_served_is_left_alone(api: Any) -> None:
    """What cannot be judged is kept."""
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x", "uid": "u-1"}}
    await _create(api, "kept", owner)
    marker = await _create(api, "marker")
    await api.send("DELETE", f"{api.executions}/marker")
    await _create(api, "collected", marker)
    await api.eventually(f"{api.executions}/collected", 404)
    assert (await api.send("GET", f"{api.executions}/kept"))[0] == 200


async def test_foreground_deletion_waits_for_blocking_dependents(api: Any) -> None:
    """The owner stays, marked, until dependents that block it are gone."""
    owner = await _create(api, "owner")
    await _create(api, "child", owner, block=True, finalizers=["example.com/hold"])
    _, marked = await api.send("DELETE", f"{api.executions}/owner", {"propagationPolicy": "Foreground"})
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    child = f"{api.executions}/child"
    for _ in range(200):
        if "deletionTimestamp" in (await api.eventually(child, 200))["metadata"]:
            break
    assert (await api.send("GET", f"{api.executions}/owner"))[0] == 200
    await api.send("PATCH", child, {"metadata": {"finalizers": None}}, content_type=api.merge_patch)
    await api.eventually(f"{api.executions}/owner", 404)


async def test_orphans_outlive_their_owner(api: Any) -> None:
    """Orphan: the owner goes, its dependents stay without the reference."""
    owner = await _create(api, "owner")
    await _create(api, "child", owner)
    await api.send("DELETE", f"{api.executions}/owner?propagationPolicy=Orphan")
    await api.eventually(f"{api.executions}/owner", 404)
    _, child = await api.send("GET", f"{api.executions}/child")
    assert "ownerReferences" not in child["metadata"]


async def test_the_first_namespaces_cannot_be_deleted(api: Any) -> None:
    """403 in the words of a real server; nothing in them is touched."""
    await _create(api, "a")
    for name in ("default", "kube-system", "kube-public"):
        status, body = await api.send("DELETE", f"/api/v1/namespaces/{name}")
        message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        assert (status, body["reason"], body["message"]) == (403, "Forbidden", message)
    _, namespace = await api.send("GET", "/api/v1/namespaces/default")
    assert namespace["status"]["phase"] == "Active"
    assert (await api.send("GET", f"{api.executions}/a"))[0] == 200


async def test_a_deleted_namespace_takes_its_contents_with_it(api: Any) -> None:
    """Terminating refuses new objects with 403; then contents and namespace are gone, other namespaces untouched."""
    status, _ = await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    assert status == 201
    inside = api.executions.replace("default", "team")
    held = api.execution("held", metadata={"finalizers": ["example.com/hold"]})
    for body in (held, api.execution("free")):
        assert (await api.send("POST", inside, body))[0] == 201
    await _create(api, "outside")
    _, terminating = await api.send("DELETE", "/api/v1/namespaces/team")
    assert terminating["status"]["phase"] == "Terminating"
    await api.eventually(f"{inside}/free", 404)
    status, body = await api.send("POST", inside, api.execution("new"))
    assert (status, body["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    await api.send("PATCH", f"{inside}/held", {"metadata": {"finalizers": None}}, content_type=api.merge_patch)
    await api.eventually("/api/v1/namespaces/team", 404)
    assert (await api.send("GET", f"{api.executions}/outside"))[0] == 200
