"""Deletes that a server had not finished when it stopped: the next one on the same file takes them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api import MERGE_PATCH, Api, execution
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
HOLD = "example.com/hold"


def _owned(name: str, owner: Any, **metadata: Any) -> dict[str, Any]:
    reference = {"apiVersion": owner["apiVersion"], "kind": "Execution", "name": owner["metadata"]["name"]}
    reference = {**reference, "uid": owner["metadata"]["uid"], "blockOwnerDeletion": True}
    return execution(name, metadata={**metadata, "ownerReferences": [reference]})


async def test_owners_and_namespaces_that_wait_go_after_a_restart(tmp_path: Path) -> None:
    """A foreground delete and a terminating namespace, both held by a finalizer across the restart."""
    file = tmp_path / "objects.db"
    async with LocalServer(SqliteStorage(file), token="token") as server:
        api = Api(server.url, "token", namespace="team")
        assert (await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}}))[0] == 201
        _, owner = await api.send("POST", api.path(EXECUTIONS, namespace="default"), execution("owner"))
        held = _owned("held", owner, finalizers=[HOLD])
        assert (await api.send("POST", api.path(EXECUTIONS, namespace="default"), held))[0] == 201
        inside = {"metadata": {"name": "inside", "finalizers": [HOLD]}}
        assert (await api.send("POST", api.path("configmaps"), inside))[0] == 201
        foreground = {"propagationPolicy": "Foreground"}
        await api.send("DELETE", api.path(EXECUTIONS, "owner", namespace="default"), foreground)
        await api.send("DELETE", "/api/v1/namespaces/team")
        await api.close()
    async with LocalServer(SqliteStorage(file), token="token") as server:
        api = Api(server.url, "token", namespace="team")
        for path in (api.path(EXECUTIONS, "held", namespace="default"), api.path("configmaps", "inside")):
            await api.eventually(path, lambda body: "deletionTimestamp" in body["metadata"])
            await api.send("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
        await api.eventually(api.path(EXECUTIONS, "owner", namespace="default"), 404)
        await api.eventually("/api/v1/namespaces/team", 404)
        await api.close()


async def test_what_lost_its_owner_with_the_last_write_is_collected_after_a_restart(tmp_path: Path) -> None:
    """The delete of the owner is durable; nobody tells the next server of it."""
    file = tmp_path / "objects.db"
    async with LocalServer(SqliteStorage(file), token="token") as server:
        api = Api(server.url, "token")
        _, owner = await api.send("POST", api.path(EXECUTIONS), execution("owner"))
        for number in range(50):
            assert (await api.send("POST", api.path(EXECUTIONS), _owned(f"below-{number}", owner)))[0] == 201
        await api.send("DELETE", api.path(EXECUTIONS, "owner"))
        await api.close()
    async with LocalServer(SqliteStorage(file), token="token") as server:
        api = Api(server.url, "token")
        await api.eventually(api.path(EXECUTIONS), lambda body: body["items"] == [])
        await api.close()
