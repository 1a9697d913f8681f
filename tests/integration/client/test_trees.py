"""Trees with nodes of all kinds, read and followed; the test plays the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api import PATIENCE_S
from api_server import ApiServer
from colours import COLOURS, client_of
from kontinue import archives, errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions, ExecutionTree, NodeKind
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request, Resource
from played_worker import PlayedWorker, build
from startable import StartableServer

POD = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
pytestmark = pytest.mark.slow


class Trees:
    """Creates what a worker creates below an Execution.

    Attributes:
        client: of the namespace.
        worker: writes statuses.
    """

    def __init__(self, client: Client, transport: KubeTransport) -> None:
        self.client = client
        self.worker = PlayedWorker(transport, client.namespace)
        self._transport = transport

    async def top(self) -> Execution:
        await self.worker.register()
        handle = await self.client.spawn(build, "top")
        return await self.client.get(handle.name)

    async def create(self, resource: Resource, parent: Execution, name: str, step: str, spec: dict[str, Any]) -> None:
        meta = parent.metadata
        owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": meta.name, "uid": meta.uid}
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "labels": {labels.ROOT: meta.labels.get(labels.ROOT, meta.name), labels.PARENT: meta.name},
                "annotations": {labels.STEP: step, labels.DISPLAY_NAME: "migrate"},
                "ownerReferences": [owner],
            },
            "spec": spec,
        }
        await self._transport.send(requests.create(resource, self.client.namespace, body))

    async def suspend(self, parent: Execution, name: str, step: str) -> None:
        spec = {"execution": parent.metadata.name, "kind": "Manual", "displayName": "Ship it?"}
        await self.create(requests.SUSPENSIONS, parent, name, step, spec)

    async def run_job(self, parent: Execution, name: str, step: str) -> None:
        spec = {"suspend": True, "template": {"spec": POD}}
        await self.create(requests.JOBS, parent, name, step, spec)

    async def whole(self) -> str:
        """Create a tree with nodes of all kinds; return the name of its root."""
        top = await self.top()
        name = top.metadata.name
        await self.worker.create_child(top, f"{name}-a", "1")
        child = await self.client.get(f"{name}-a")
        await self.suspend(child, f"{name}-s", "1")
        await self.run_job(top, f"{name}-j", "2")
        attempts = [{"number": 1, "phase": "Failed", "message": "boom"}, {"number": 2}]
        found = msgspec.convert(attempts, type=list[Any])
        body = {"status": {"phase": "Executing", "attempts": found, "attemptCount": 2}}
        await self._transport.send(
            requests.merge_patch(requests.EXECUTIONS, self.client.namespace, name, body, subresource="status")
        )
        return name


@pytest.fixture(params=COLOURS)
async def trees(request: pytest.FixtureRequest, api_server: ApiServer) -> AsyncIterator[Trees]:
    transport = api_server.transport()
    async with client_of(request.param, ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
        yield Trees(client, transport)
    await transport.close()


def outline(tree: ExecutionTree) -> list[tuple[int, str, str]]:
    return [(depth, node.kind.value, node.phase) for depth, node in tree.walk()]


WHOLE = [
    (0, "Execution", "Executing"),
    (1, "Attempt", "Failed"),
    (1, "Execution", "Pending"),
    (2, "Suspension", "Suspended"),
    (1, "Job", "Suspended"),
]


async def test_a_tree_has_nodes_of_all_kinds(trees: Trees) -> None:
    """Each with its own object; a subtree has what is below it."""
    name = await trees.whole()
    tree = await trees.client.get_tree(name)
    assert outline(tree) == WHOLE
    by_kind = {node.kind: node for _, node in tree.walk()}
    suspension, job = by_kind[NodeKind.SUSPENSION], by_kind[NodeKind.JOB]
    assert suspension.suspension is not None
    assert suspension.suspension.metadata.name == suspension.name == f"{name}-s"
    assert job.job is not None
    assert job.job.metadata.name == job.name == f"{name}-j"
    assert (suspension.message, job.message) == ("Ship it?", "migrate")
    assert outline(await trees.client.get_tree(f"{name}-a")) == [
        (0, "Execution", "Pending"),
        (1, "Suspension", "Suspended"),
    ]


async def test_a_watched_tree_follows_each_kind(trees: Trees) -> None:
    """What is resumed, admitted, created and deleted shows; the end of the watch is the end of its root."""
    name = await trees.whole()
    client, namespace = trees.client, trees.client.namespace

    async def change(resource: Resource, object_name: str, patch: dict[str, Any]) -> None:
        await client.kube.send(requests.merge_patch(resource, namespace, object_name, patch))

    steps = [
        client.resume_suspension(f"{name}-s"),
        change(requests.JOBS, f"{name}-j", {"spec": {"suspend": False}}),
        trees.suspend(await client.get(name), f"{name}-t", "3"),
        client.kube.send(requests.delete(requests.JOBS, namespace, f"{name}-j")),
        trees.worker.write(name, Phase.COMPLETED, result=[]),
    ]
    wanted = [
        lambda seen: seen[3] == (2, "Suspension", "Completed"),
        lambda seen: seen[4][1] == "Job" and seen[4][2] in {"Pending", "Executing"},
        lambda seen: (1, "Suspension", "Suspended") in seen,
        lambda seen: all(kind != "Job" for _, kind, _ in seen),
        lambda seen: seen[0] == (0, "Execution", "Completed"),
    ]
    async with asyncio.timeout(PATIENCE_S), client.watch_tree(name) as watcher:
        async for tree in watcher:
            assert outline(tree) == WHOLE
            break
        for step, has_come in zip(steps, wanted, strict=True):
            await step
            async for tree in watcher:
                if has_come(outline(tree)):
                    break
        await client.kube.send(requests.delete(requests.EXECUTIONS, namespace, name))
        async for _ in watcher:
            pass


@pytest.mark.parametrize("trees", ["async"], indirect=True)  # the test takes the place of its requests
async def test_what_may_not_be_read_is_left_out_and_said(
    trees: Trees, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a tree that is read and of one that is followed; Executions are none of the extras."""
    name = await trees.whole()
    client = trees.client
    send = client.kube.send
    hidden = "/jobs"

    async def refuse(request: Request, **options: Any) -> bytes:
        if request.path.endswith(hidden):
            raise errors.Forbidden("jobs is forbidden", status=403, reason="Forbidden")
        return await send(request, **options)

    monkeypatch.setattr(client.kube, "send", refuse)
    without = [one for one in WHOLE if one[1] != "Job"]
    assert outline(await client.get_tree(name)) == without
    async with asyncio.timeout(PATIENCE_S), client.watch_tree(name) as watcher:
        async for tree in watcher:
            assert outline(tree) == without
            break
    assert caplog.text.count("the tree is shown without Jobs: jobs is forbidden") == 2
    hidden = "/executions"
    with pytest.raises(errors.Forbidden):
        await client.get_tree(name)
    async with asyncio.timeout(PATIENCE_S), client.watch_tree(name) as watcher:
        with pytest.raises(errors.Forbidden):
            await anext(aiter(watcher))


async def test_the_tree_of_an_archive_has_its_suspensions(trees: Trees) -> None:
    """Jobs are Kubernetes' own, and gone with their Execution."""
    name = await trees.whole()
    client, namespace = trees.client, trees.client.namespace
    await trees.worker.write(name, Phase.COMPLETED, result=[])
    packer = archives.Packer()
    names = [(requests.EXECUTIONS, name), (requests.EXECUTIONS, f"{name}-a"), (requests.SUSPENSIONS, f"{name}-s")]
    for resource, one in names:
        packer.add(await client.kube.send(requests.get(resource, namespace, one)))
    root = await client.get(name)
    below = [(await client.get(f"{name}-a")).metadata.resource_version]
    for part in archives.build_parts(root, packer.finish(), below=below, group="g", delete_at=None):
        await client.kube.send(requests.create(requests.ARCHIVED_EXECUTIONS, namespace, part))
    await client.kube.send(requests.delete(requests.EXECUTIONS, namespace, name))
    async with asyncio.timeout(PATIENCE_S):
        while not (await client.get(name)).is_archived:
            await asyncio.sleep(0.02)
    tree = await client.get_tree(name)
    assert tree.is_archived
    assert outline(tree) == [
        (0, "Execution", "Completed"),
        (1, "Attempt", "Failed"),
        (1, "Execution", "Pending"),
        (2, "Suspension", "Suspended"),
    ]


async def test_a_watched_tree_survives_the_death_of_the_server(restartable_server: StartableServer) -> None:
    """Why it is not up to date shows meanwhile; what has changed since shows afterwards."""
    await asyncio.to_thread(restartable_server.start)
    options = ClientOptions(kubeconfig=str(restartable_server.kubeconfig), qps=None)
    async with asyncio.timeout(3 * PATIENCE_S), Client(options) as client:
        worker = PlayedWorker(client.kube, client.namespace)
        await worker.register()
        name = (await client.spawn(build, "x")).name
        async with client.watch_tree(name) as watcher:
            async for tree in watcher:
                assert tree.root.phase == "Pending"
                break
            await asyncio.to_thread(restartable_server.kill)
            while watcher.last_error is None:
                await asyncio.sleep(0.02)
            assert isinstance(watcher.last_error, errors.Unavailable)
            await asyncio.to_thread(restartable_server.start)
            await worker.write(name, Phase.COMPLETED, result=[])
            async for tree in watcher:
                if tree.root.phase == "Completed":
                    break
