"""What has been archived is read like what lives, with a mark; on either API server, the archive made by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from colours import COLOURS, client_of
from kontinue import archives
from kontinue.api import labels
from kontinue.api.v1alpha1 import ArchivedExecution, Execution
from kontinue.client import Client, ClientOptions, parse_result
from kontinue.errors import ExecutionFailed, Forbidden, InvalidState, NotFound
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.naming import child_name

ENDED = datetime(2026, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.slow


class Shelf:
    """A namespace with archives of trees that are gone.

    Attributes:
        client: of it.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    async def put(
        self, name: str, *, phase: str = "Completed", children: int = 0, uid: str = "", version: int = 1, **more: Any
    ) -> Sequence[ArchivedExecution]:
        """Archive a tree that has ended: a root with children, each with one child."""
        uid = uid or f"uid-{name}"
        documents = [document(name, uid, phase=phase, version=version, **more)]
        for number in range(children):
            child = document(child_name(name, f"{number}", uid, 0, 0), f"{uid}-{number}", parent=documents[0])
            below = child_name(child["metadata"]["name"], "1", "u", 0, 0)
            documents += [child, document(below, f"{uid}-{number}-1", parent=child, function="below")]
        packer = archives.Packer()
        for one in documents:
            one["metadata"]["namespace"] = self.client.namespace
            packer.add(msgspec.json.encode(one))
        root = msgspec.json.decode(msgspec.json.encode(documents[0]), type=Execution)
        parts = archives.build_parts(
            root, packer.finish(), below=[str(version)] * (len(documents) - 1), group="g", delete_at=None
        )
        for part in parts:
            await self.client.kube.send(requests.create(requests.ARCHIVED_EXECUTIONS, self.client.namespace, part))
        return parts


def document(
    name: str,
    uid: str,
    *,
    phase: str = "Completed",
    parent: dict[str, Any] | None = None,
    function: str = "f",
    version: int = 1,
    team: str = "blue",
) -> dict[str, Any]:
    found, owners = {labels.WORKER_GROUP: "g", "team": team}, []
    if parent is not None:
        meta = parent["metadata"]
        found |= {labels.ROOT: meta["labels"].get(labels.ROOT, meta["name"]), labels.PARENT: meta["name"]}
        owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "controller": True}
        owners = [{**owner, "name": meta["name"], "uid": meta["uid"]}]
    return {
        "kind": "Execution",
        "apiVersion": labels.API_VERSION,
        "metadata": {
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": found,
            "ownerReferences": owners,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"function": function, "arguments": {}},
        "status": {"phase": phase, "result": {"from": name}, "message": "because", "finishedAt": ENDED.isoformat()},
    }


@pytest.fixture(params=COLOURS)
async def shelf(request: pytest.FixtureRequest, api_server: ApiServer) -> AsyncIterator[Shelf]:
    async with client_of(request.param, ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
        yield Shelf(client)


async def test_an_archived_execution_is_read_by_name(shelf: Shelf) -> None:
    """With its content, and a mark; what waits for it has its result at once."""
    await shelf.put("done", children=1)
    client = shelf.client
    found = await client.get("done")
    assert found.is_archived
    assert msgspec.json.decode(found.status.result) == {"from": "done"}  # type: ignore[arg-type]
    assert (await client.wait_for_execution("done")).is_archived
    assert (await client.wait_for_execution(found, until=["Completed"])).is_archived
    with pytest.raises(InvalidState, match="is Completed and will not become Failed"):
        await client.wait_for_execution("done", until=["Failed"])
    with pytest.raises(NotFound, match="no Execution 'absent'"):
        await client.get("absent")


async def test_the_tree_of_an_archived_execution_is_whole(shelf: Shelf) -> None:
    """Of the root, of a child whose name kontinue has made, and of an object at hand."""
    await shelf.put("root", children=12)
    client = shelf.client
    tree = await client.get_tree("root")
    assert tree.is_archived
    assert [depth for depth, _ in tree.walk()] == [0, *([1, 2] * 12)]
    children = await client.get_child_executions("root")
    assert len(children) == 12
    child = await client.get(children[3].metadata.name)
    assert (child.is_archived, child.metadata.uid) == (True, children[3].metadata.uid)
    for ref in (child, child.metadata.name):
        assert [one.spec.function for one in await client.get_child_executions(ref)] == ["below"]
        assert len(list((await client.get_tree(ref)).walk())) == 2
    async with client.watch_tree("root") as watcher:
        assert [one.is_archived async for one in watcher] == [True]
    archive = await client.get_archive(child)
    assert (archive.root.metadata.name, len(archive.executions)) == ("root", 25)


async def test_lists_include_what_is_archived(shelf: Shelf) -> None:
    """By the same filters, children too."""
    await shelf.put("tree", children=2)
    await shelf.put("failed", phase="Failed", team="red")
    await shelf.put("other", function="g")
    client = shelf.client
    body = {"kind": "Execution", "metadata": {"name": "alive"}, "spec": {"function": "f"}}
    await client.kube.send(
        requests.create(requests.EXECUTIONS, client.namespace, {"apiVersion": labels.API_VERSION, **body})
    )

    async def names(**filters: Any) -> set[str]:
        return {one.metadata.name[:6].rstrip("-") for one in await client.list(**filters)}

    assert len(await client.list()) == 8
    assert await names(only_root=True) == {"alive", "tree", "failed", "other"}
    assert await names(only_root=True, function="f") == {"alive", "tree", "failed"}
    assert await names(only_root=True, phases=["Failed", "Pending"]) == {"alive", "failed"}
    assert await names(labels={"team": "red"}) == {"failed"}
    assert await names(worker_group="g", function="g") == {"other"}
    assert len(await client.list(function="below")) == 2
    assert len(await client.list(root="tree")) == 4
    assert await names(include_archived=False) == {"alive"}
    assert all(one.is_archived for one in await client.list(root="tree"))


async def test_what_runs_again_is_listed_once(shelf: Shelf) -> None:
    """Its archive is about to be dropped; phases leave out what lives, not that it does."""
    client = shelf.client
    body = {"kind": "Execution", "metadata": {"name": "again"}, "spec": {"function": "f"}}
    alive = await client.kube.send(
        requests.create(requests.EXECUTIONS, client.namespace, {"apiVersion": labels.API_VERSION, **body})
    )
    await shelf.put("again", uid=msgspec.json.decode(alive, type=Execution).metadata.uid, phase="Failed")
    await shelf.put("gone", phase="Failed")
    assert [one.metadata.name for one in await client.list(phases=["Failed"])] == ["gone"]
    assert {one.metadata.name: one.is_archived for one in await client.list()} == {"again": False, "gone": True}


async def test_of_several_archives_of_a_name_the_newest_counts(shelf: Shelf) -> None:
    """One whose last part is missing does not count; by its uid each is found."""
    await shelf.put("again", uid="first", version=5)
    await shelf.put("again", uid="second", version=9)
    client = shelf.client
    assert (await client.get("again")).metadata.uid == "second"
    first = msgspec.json.decode(msgspec.json.encode(document("again", "first")), type=Execution)
    first = msgspec.structs.replace(first, metadata=msgspec.structs.replace(first.metadata, namespace=client.namespace))
    assert (await client.wait_for_execution(first)).metadata.uid == "first"
    assert len(await client.list()) == 2


async def test_an_archive_in_parts_is_read_from_all_of_them(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its last part it is none."""
    monkeypatch.setattr(archives, "MAX_DATA_BYTES", 150)
    parts = await shelf.put("big", children=3)
    client = shelf.client
    assert len(parts) > 2
    assert len(await client.list(root="big")) == 6
    assert len(list((await client.get_tree("big")).walk())) == 7
    name = parts[-1].metadata.name
    await client.kube.send(requests.delete(requests.ARCHIVED_EXECUTIONS, client.namespace, name))
    assert await client.list() == []
    with pytest.raises(NotFound):
        await client.get("big")


async def test_a_result_is_read_from_the_archive(shelf: Shelf) -> None:
    """By a handle whose Execution was archived meanwhile; how it failed, too."""
    await shelf.put("failed", phase="Failed")
    with pytest.raises(ExecutionFailed, match="because"):
        parse_result(await shelf.client.wait_for_execution("failed"), dict)


async def test_what_is_archived_is_no_longer_changed(shelf: Shelf) -> None:
    """It is told from what never was."""
    await shelf.put("done")
    client = shelf.client
    for change in (client.cancel, client.skip, client.retry_execution, client.resume_execution):
        with pytest.raises(InvalidState, match=r"Execution .*/done has ended and was archived"):
            await change("done")
        with pytest.raises(NotFound, match="no Execution 'absent'"):
            await change("absent")


@pytest.mark.parametrize("shelf", ["async"], indirect=True)
async def test_who_may_not_read_archives_is_told_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not found may be there; a list without archives is another question."""
    client = shelf.client
    send = client.kube.send

    async def refuse(request: Request, **options: Any) -> bytes:
        if "archivedexecutions" in request.path:
            raise Forbidden("archivedexecutions is forbidden", status=403, reason="Forbidden")
        return await send(request, **options)

    monkeypatch.setattr(client.kube, "send", refuse)
    with pytest.raises(NotFound, match="archives may not be read"):
        await client.get("absent")
    with pytest.raises(Forbidden):
        await client.list()
    assert await client.list(include_archived=False) == []
