"""Executions of a sharded group that end before any shard has them: nobody but the leader can say that they stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.patches import cancel_operations, retry_operations, skip_operations
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Phase
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.retries import RetryDuty
from kontinue_engine.kube import executions
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.sharding.leases import LeaseTimes

OWNER = {"shard": "s", "incarnation": "x", "epoch": 1}
ATTEMPT = {"number": 1, "startedAt": "2026-01-01T00:00:00Z"}
ENDED = {**ATTEMPT, "finishedAt": "2026-01-01T00:00:01Z", "phase": "Failed"}
STOPPED = {"type": "Stopped", "status": "True", "reason": "Failed", "lastTransitionTime": "2026-01-01T00:00:01Z"}


class World:
    """A leader that carries out retries, and no replica that runs anything."""

    def __init__(self, server: ApiServer, transport: KubeTransport) -> None:
        self.transport = transport
        self.namespace = server.namespace

    async def create(self, name: str, *, shard: str = "", status: dict[str, Any] | None = None) -> None:
        found = {labels.WORKER_GROUP: "g", **({labels.SHARD: shard} if shard else {})}
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": found},
            "spec": {"function": "f", "arguments": {}},
        }
        await self.transport.send(requests.create(requests.EXECUTIONS, self.namespace, body))
        if status is not None:
            patch = {"status": status}
            await self.transport.send(
                requests.merge_patch(requests.EXECUTIONS, self.namespace, name, patch, subresource="status")
            )

    async def get(self, name: str) -> Execution:
        found = await executions.read_execution(self.transport, namespace=self.namespace, name=name)
        assert found is not None
        return found

    async def retry(self, name: str) -> None:
        operations = retry_operations(await self.get(name), child_policy=ChildPolicy.RETRY_FAILED)
        await self.transport.send(requests.json_patch(requests.EXECUTIONS, self.namespace, name, operations))

    async def cancel(self, name: str) -> None:
        operations = cancel_operations(await self.get(name), reason="CanceledByClient", message="no")
        await self.transport.send(
            requests.json_patch(requests.EXECUTIONS, self.namespace, name, operations, subresource="status")
        )

    async def edit(self, name: str, retries: int) -> None:
        patch = {"spec": {"retry": {"retries": retries}}}
        await self.transport.send(requests.merge_patch(requests.EXECUTIONS, self.namespace, name, patch))

    async def end_by_hand(self, name: str, phase: Phase) -> None:
        patch = {"status": {"phase": phase.value}}
        await self.transport.send(
            requests.merge_patch(requests.EXECUTIONS, self.namespace, name, patch, subresource="status")
        )

    async def until(self, name: str, phase: Phase, *, stopped: bool) -> Execution:
        """Wait until it is in that phase, and has stopped or not."""
        async with asyncio.timeout(60):
            while True:
                found = await self.get(name)
                if (found.phase, is_stopped(found.status.conditions)) == (phase, stopped):
                    return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    clock = SystemClock()
    duty = RetryDuty(
        transport,
        EventRecorder(transport, component="test", instance="test", clock=clock),
        namespace=api_server.namespace,
        group="g",
        is_sharded=True,
        defaults={},
        limits={"f": 1},  # so that what is retried is given a shard anew
        owns=lambda _: True,
        live_shards=lambda: ["s"],
        clock=clock,
        times=LeaseTimes(duration_s=600),  # nothing here may be decided by its end
    )
    running = asyncio.create_task(duty.run())
    try:
        yield World(api_server, transport)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await transport.close()


async def test_one_that_is_canceled_before_any_shard_has_it_has_stopped(world: World) -> None:
    """At once: whoever waits for that need not wait until the patience with a silent owner ends."""
    await world.create("fresh")
    await world.cancel("fresh")
    await world.until("fresh", Phase.CANCELED, stopped=True)


async def test_one_that_is_skipped_before_any_shard_has_it_has_stopped(world: World) -> None:
    """At once, too: its mutex is free, and it may be archived."""
    await world.create("fresh")
    operations = skip_operations(await world.get("fresh"), b'"by hand"', message="done")
    await world.transport.send(
        requests.json_patch(requests.EXECUTIONS, world.namespace, "fresh", operations, subresource="status")
    )
    await world.until("fresh", Phase.SKIPPED, stopped=True)


async def test_more_retries_are_no_wish_for_one_of_what_is_canceled_by_hand_afterwards(world: World) -> None:
    """Nobody saw which came first, so the cancel wins; a wish that comes later counts."""
    await world.create("e")
    await world.edit("e", 5)
    await world.end_by_hand("e", Phase.CANCELED)
    stopped = await world.until("e", Phase.CANCELED, stopped=True)
    assert not stopped.is_retry_requested
    await world.retry("e")
    await world.until("e", Phase.PENDING, stopped=False)


async def test_one_that_is_retried_and_canceled_before_any_shard_has_it_has_stopped(world: World) -> None:
    """Its owner is who had it before, and knows nothing of the end; another retry begins at once, too."""
    status = {"phase": "Failed", "owner": OWNER, "attempts": [ENDED], "attemptCount": 1, "conditions": [STOPPED]}
    await world.create("e", shard="s", status=status)
    await world.retry("e")
    pending = await world.until("e", Phase.PENDING, stopped=False)
    assert labels.SHARD not in pending.metadata.labels
    await world.cancel("e")
    await world.until("e", Phase.CANCELED, stopped=True)
    await world.retry("e")
    await world.until("e", Phase.PENDING, stopped=False)


async def test_what_a_shard_has_or_has_begun_is_left_to_its_owner(world: World) -> None:
    """Its code may still run, also if somebody has taken the label away."""
    running = {"phase": "Executing", "owner": OWNER, "attempts": [ATTEMPT], "attemptCount": 1}
    await world.create("had", shard="s", status=running)
    await world.create("begun", status=running)
    await world.create("later", status=None)
    for name in ("had", "begun", "later"):
        await world.cancel(name)
    await world.until("later", Phase.CANCELED, stopped=True)
    for name in ("had", "begun"):
        assert not is_stopped((await world.get(name)).status.conditions)
