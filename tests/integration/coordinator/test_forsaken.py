"""Children elsewhere of parents whose replica died between their end and the cancel of what they had started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.closing import Closer
from kontinue_engine.coordinator.forsaken import cancel_forsaken
from kontinue_engine.kube import executions
from kontinue_engine.sharding.leases import LeaseTimes


class World:
    """Executions, as replicas that are gone have left them."""

    def __init__(self, server: ApiServer, transport: KubeTransport) -> None:
        self.transport = transport
        self.namespace = server.namespace

    async def create(self, name: str, phase: str, *, parent: Execution | None = None, **metadata: Any) -> Execution:
        """Create an Execution of group ``g``, or one that ``h`` runs for its parent there."""
        found = {labels.WORKER_GROUP: "h", labels.PARENT_GROUP: "g"} if parent else {labels.WORKER_GROUP: "g"}
        owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "controller": True}
        owners = [{**owner, "name": parent.metadata.name, "uid": parent.metadata.uid}] if parent else []
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": found, "ownerReferences": owners, **metadata},
            "spec": {"function": "f", "arguments": {}},
        }
        await self.transport.send(requests.create(requests.EXECUTIONS, self.namespace, body))
        # All of them have run; what has ended carries Stopped, so nobody looks at it for its own sake.
        stopped = {"type": "Stopped", "status": "True", "reason": phase, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        changes: list[dict[str, Any]] = [
            {"phase": "Executing", "owner": {"shard": "s", "incarnation": "x", "epoch": 1}}
        ]
        if phase != "Executing":
            changes.append({"phase": phase, "conditions": [stopped]})
        for status in changes:
            await self.transport.send(
                requests.merge_patch(
                    requests.EXECUTIONS, self.namespace, name, {"status": status}, subresource="status"
                )
            )
        return await self.get(name)

    async def get(self, name: str) -> Execution:
        found = await executions.read_execution(self.transport, namespace=self.namespace, name=name)
        assert found is not None
        return found

    async def phases(self, *names: str) -> list[str]:
        return [(await self.get(name)).phase.value for name in names]


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    try:
        yield World(api_server, transport)
    finally:
        await transport.close()


async def test_running_children_of_an_ended_parent_are_canceled(world: World) -> None:
    """Those of living parents run on, and those that somebody has retried after their parent had ended."""
    ended = await world.create("ended", "Failed")
    living = await world.create("living", "Executing")
    await world.create("left", "Executing", parent=ended)
    await world.create("wanted", "Executing", parent=living)
    await world.create("alone", "Executing", parent=ended, annotations={labels.RETRIED_ALONE: "true"})
    await cancel_forsaken(world.transport, namespace=world.namespace, group="g")
    assert await world.phases("left", "wanted", "alone") == ["Canceled", "Executing", "Executing"]


async def test_a_living_parent_costs_no_read_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands may have children elsewhere."""
    for number in range(3):
        parent = await world.create(f"p{number}", "Executing")
        await world.create(f"c{number}", "Executing", parent=parent)
    sent: list[requests.Request] = []
    send = world.transport.send

    async def note(request: requests.Request, **options: Any) -> bytes:
        sent.append(request)
        return await send(request, **options)

    monkeypatch.setattr(world.transport, "send", note)
    await cancel_forsaken(world.transport, namespace=world.namespace, group="g")
    assert len(sent) == 2


async def test_whoever_takes_a_shard_looks_for_them(world: World) -> None:
    """Their parent has said that it has stopped: nothing else leads to them."""
    await world.create("left", "Executing", parent=await world.create("ended", "Failed"))
    closer = Closer(
        world.transport,
        namespace=world.namespace,
        group="g",
        is_sharded=False,
        clock=SystemClock(),
        times=LeaseTimes(),
    )
    closer.look_into("")
    closing = asyncio.create_task(closer.run())
    try:
        async with asyncio.timeout(60):
            while (await world.get("left")).phase is not Phase.CANCELED:
                await asyncio.sleep(0.02)
    finally:
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
