"""CustomResourceDefinitions over restarts of the local server, and what it does to kontinue's own at start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crds
from crds import definition, version
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage

GROUP = "kept.example.com"
THINGS = f"/apis/{GROUP}/v1/namespaces/default/things"
TEXT = {"type": "string"}


def thing(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Thing", "metadata": {"name": name}, **fields}


async def test_a_definition_and_its_objects_are_served_again_after_a_restart(tmp_path: Path, connect: Any) -> None:
    """With its schema, its versions and its selectable fields; resourceVersions are what they were."""
    path = tmp_path / "data.db"
    first = version(spec={"a": TEXT, "d": {**TEXT, "default": "x"}}, selectableFields=[{"jsonPath": ".spec.a"}])
    second = version("v2", storage=False, spec={"d": TEXT})
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        assert (await api.send("POST", crds.CRDS, definition(GROUP, first, second)))[0] == 201
        _, created = await api.send("POST", THINGS, thing("one", spec={"a": "b"}))
        _, stored = await api.send("GET", f"{crds.CRDS}/things.{GROUP}")
        await api.close()
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        assert await api.send("GET", f"{crds.CRDS}/things.{GROUP}") == (200, stored)
        assert await api.send("GET", f"{THINGS}/one") == (200, created)
        _, other = await api.send("GET", f"{THINGS.replace('/v1/', '/v2/')}/one")
        assert (other["apiVersion"], other["spec"]) == (f"{GROUP}/v2", {"d": "x"})
        for selector, names in (("spec.a=b", ["one"]), ("spec.a=c", [])):
            _, listed = await api.send("GET", f"{THINGS}?fieldSelector={selector}")
            assert [item["metadata"]["name"] for item in listed["items"]] == names
        assert (await api.send("POST", THINGS, thing("two", spec={"a": 1})))[0] == 422
        await api.close()


async def test_objects_from_before_a_change_are_read_by_the_new_schema_after_a_restart(
    tmp_path: Path, connect: Any
) -> None:
    """What is on disk stays as it was written; reading prunes and defaults."""
    path = tmp_path / "data.db"
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        crd = definition(GROUP, version(spec={"old": TEXT}))
        assert (await api.send("POST", crds.CRDS, crd))[0] == 201
        assert (await api.send("POST", THINGS, thing("one", spec={"old": "x"})))[0] == 201
        patch = {"spec": {"versions": [version(spec={"new": {**TEXT, "default": "d"}})]}}
        assert (await api.send("PATCH", crds.path(crd), patch, content_type=api.merge_patch))[0] == 200
        await api.close()
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        _, read = await api.send("GET", f"{THINGS}/one")
        assert read["spec"] == {"new": "d"}
        await api.close()


async def test_a_delete_that_was_under_way_is_finished_after_a_restart(tmp_path: Path, connect: Any) -> None:
    """The definition goes with its last object; nobody has to ask for it again."""
    path = tmp_path / "data.db"
    crd = definition(GROUP, version(spec={}))
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        assert (await api.send("POST", crds.CRDS, crd))[0] == 201
        held = thing("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        assert (await api.send("POST", THINGS, held))[0] == 201
        assert (await api.send("DELETE", crds.path(crd)))[0] == 200
        await api.close()
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        assert (await api.send("POST", THINGS, thing("late")))[0] == 403
        patch = {"metadata": {"finalizers": None}}
        assert (await api.send("PATCH", f"{THINGS}/held", patch, content_type=api.merge_patch))[0] == 200
        await api.eventually(crds.path(crd), 404)
        assert (await api.send("GET", THINGS))[0] == 404
        await api.close()


async def test_a_start_brings_kontinues_definitions_up_to_date_and_keeps_what_users_added(
    tmp_path: Path, connect: Any
) -> None:
    """A changed spec is put right, labels stay; a start that changes nothing writes nothing."""
    path = tmp_path / "data.db"
    executions = f"{crds.CRDS}/executions.kontinue.cloud"
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        _, shipped = await api.send("GET", executions)
        patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"names": {"shortNames": ["mine"]}}}
        status, changed = await api.send("PATCH", executions, patch, content_type=api.merge_patch)
        assert (status, changed["status"]["acceptedNames"]["shortNames"]) == (200, ["mine"])
        await api.close()
    revisions = []
    for _ in range(2):
        async with LocalServer(SqliteStorage(path), token="t") as server:
            api = connect(server.url, "t")
            _, read = await api.send("GET", executions)
            assert read["spec"] == shipped["spec"]
            assert read["metadata"]["labels"] == {"a": "b"}
            revisions.append(read["metadata"]["resourceVersion"])
            await api.close()
    assert revisions[0] == revisions[1]


async def test_a_rule_that_the_server_cannot_evaluate_is_refused_with_its_text(tmp_path: Path, connect: Any) -> None:
    """Rather than stored and never asked."""
    async with LocalServer(SqliteStorage(tmp_path / "data.db"), token="t") as server:
        api = connect(server.url, "t")
        rule = {"rule": "self.size() > 3"}
        crd = definition(GROUP, version(spec={"a": {**TEXT, "x-kubernetes-validations": [rule]}}))
        status, body = await api.send("POST", crds.CRDS, crd)
        assert status == 422
        (cause,) = body["details"]["causes"]
        assert cause["field"].endswith("properties[a].x-kubernetes-validations[0].rule")
        assert "self.size() > 3" in cause["message"]
        await api.close()
