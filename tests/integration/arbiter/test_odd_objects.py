"""One odd object, or a fault of ours with one, does not stop the coordinator for all others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.api.konductor.mutexes import Mutex as StoredMutex
from kontinue.api.konductor.wait_groups import WaitGroup as StoredWaitGroup
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.sync import Holder, Semaphore, WaitGroup, WaitGroupPhase
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.arbiter.process import USER_AGENT
from kontinue_engine.arbiter.wait_groups import WaitGroupController
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.events import EventRecorder
from looked_after import World
from polling import eventually

LAST = "9999-12-31T23:59:59Z"
FIRST = "0001-01-01T00:00:00Z"
CONDITION = {"type": "Job", "name": "build", "state": "Complete"}

ODD: dict[str, tuple[Resource, dict[str, Any], dict[str, Any]]] = {
    "Mutex": (requests.MUTEXES, {}, {"holder": "x", "lockId": "q", "ttl": "1h", "expiresAt": LAST}),
    "RWMutex": (requests.RW_MUTEXES, {}, {"writeHolder": "x", "expiresAt": LAST}),
    "running Once": (requests.ONCES, {}, {"executor": "x", "expiresAt": LAST}),
    "Once": (requests.ONCES, {"ttl": "1h"}, {"executed": True, "executor": "x", "executedAt": LAST}),
    "Barrier": (requests.BARRIERS, {"expected": 2, "timeout": "1h"}, {"startedAt": LAST}),
    "Gate": (requests.GATES, {"conditions": [CONDITION], "timeout": "1h"}, {"startedAt": LAST}),
    "Lease": (requests.KONDUCTOR_LEASES, {}, {"holder": "x", "expiresAt": LAST}),
    "Permit": (requests.PERMITS, {"semaphore": "s", "holder": "h"}, {"phase": "Expired", "expiresAt": LAST}),
    "WaitGroup": (requests.WAIT_GROUPS, {"ttl": "1h"}, {"added": 1, "doneAt": LAST}),
}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def store(world: World, resource: Resource, spec: dict[str, Any], status: dict[str, Any]) -> None:
    """Create an object with a status, as anybody may who has the rights."""
    meta = {"name": "odd"}
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}
    await world.transport.send(requests.create(resource, world.namespace, body))
    await world.patch_status(resource, "odd", status)


@pytest.mark.parametrize("date", [LAST, FIRST])
@pytest.mark.parametrize("kind", ODD)
async def test_whatever_date_stands_in_a_status_others_are_looked_after(world: World, kind: str, date: str):
    """Near the end of time, or at its beginning: the API server takes both."""
    resource, spec, status = ODD[kind]
    semaphore = Semaphore("db", world.client)
    await semaphore.create()
    if kind == "Permit":
        await Semaphore("s", world.client).create()
    await store(world, resource, spec, json.loads(json.dumps(status).replace(LAST, date)))
    async with world.looked_after():
        async with await semaphore.acquire():
            pass
        group = await world.group("jobs")  # made when the odd one has been seen
        await eventually(lambda: is_looked_after(group))
        async with await semaphore.acquire():
            pass
    assert await world.events("NotLookedAfter") == []


async def test_who_waits_for_a_lock_that_lasts_until_the_end_of_time_waits(world: World):
    """As for any that is held, also once it has changed."""
    mutex = await world.mutex("odd")
    await mutex.delete()
    await store(world, *ODD["Mutex"])
    seen: list[StoredMutex] = []
    waiting = asyncio.create_task(mutex.lock(holder="next", on_progress=seen.append))
    await eventually(lambda: waiting.done() or any(one.status.waiters for one in seen))
    await world.patch_status(requests.MUTEXES, "odd", {"holder": "y", "lockId": "r"})
    await eventually(lambda: waiting.done() or seen[-1].status.holder == "y")
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await mutex.status()).holder == "y"


class FaultyLooks(WaitGroupController):
    """Has a bug, for one object."""

    async def look_at(self, key: Key, found: StoredWaitGroup) -> float | None:
        if key[1] == "odd":
            raise ZeroDivisionError("a bug")
        return await super().look_at(key, found)


class FaultyHandler(WaitGroupController):
    """Has a bug where it is told of one object."""

    def holders_of(self, found: StoredWaitGroup) -> Iterable[Holder]:
        if found.metadata.name == "odd":
            raise ZeroDivisionError("a bug")
        return super().holders_of(found)


@pytest.mark.parametrize("faulty", [FaultyLooks, FaultyHandler])
async def test_a_fault_of_ours_with_one_object_is_told_and_others_are_looked_after(
    world: World, faulty: type[WaitGroupController], caplog: pytest.LogCaptureFixture
):
    """A coordinator that ended would be started again, and end again, for all namespaces."""
    clock = SystemClock()
    events = EventRecorder(world.transport, component=USER_AGENT, instance="test", clock=clock)
    controller = faulty(world.transport, namespace=world.namespace, events=events, clock=clock)
    await world.group("odd")
    fine = await world.group("fine")
    tasks = [asyncio.create_task(one) for one in (events.run(), controller.run())]
    await eventually(lambda: is_looked_after(fine))
    await eventually(lambda: world.events("NotLookedAfter"))
    assert await world.events("NotLookedAfter") == ["a fault of the coordinator: ZeroDivisionError: a bug"]
    assert "fault of the coordinator" in caplog.text
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def is_looked_after(group: WaitGroup) -> bool:
    """Tell whether a coordinator has written what follows from its counter."""
    return (await group.get()).status.phase is WaitGroupPhase.DONE
