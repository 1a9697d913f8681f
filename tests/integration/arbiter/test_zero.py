"""``0s`` is what Go clients write for what nobody has set: of all kinds it means the same, nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.sync import Barrier, BarrierPhase, Gate, GatePhase, Lease, Mutex, Once, Semaphore, WaitGroup
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def create(world: World, resource: Resource, spec: dict[str, Any], name: str = "zero") -> None:
    """Create an object as a Go client does."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    await world.transport.send(requests.create(resource, world.namespace, body))


async def test_a_timeout_of_zero_fails_nothing(world: World):
    """Neither a Barrier nor a Gate."""
    start, go = Barrier("zero", world.client), Gate("zero", world.client)
    mutex = await world.mutex("deploy")
    lock = await mutex.lock(holder="me")
    await create(world, requests.BARRIERS, {"expected": 1, "timeout": "0s"})
    condition = {"type": "Mutex", "name": "deploy", "state": "Unlocked"}
    await create(world, requests.GATES, {"conditions": [condition], "timeout": "0s"})
    async with world.looked_after():
        await eventually(lambda: has_phase(start, BarrierPhase.WAITING))
        await eventually(lambda: has_phase(go, GatePhase.WAITING))
        await start.arrive("me")
        await mutex.unlock(lock)
        await start.wait(timeout=LONG)
        await go.wait(timeout=LONG)


async def has_phase(opening: Barrier | Gate, phase: object) -> bool:
    """Tell whether it stands in its status."""
    return (await opening.status()).phase is phase


async def test_a_ttl_of_zero_ends_nothing(world: World):
    """Neither what is held, nor what is done."""
    for resource, spec in (
        (requests.MUTEXES, {}),
        (requests.KONDUCTOR_LEASES, {}),
        (requests.SEMAPHORES, {"permits": 2}),
        (requests.ONCES, {}),
        (requests.WAIT_GROUPS, {}),
    ):
        await create(world, resource, {**spec, "ttl": "0s"})
    group, once, mutex = WaitGroup("zero", world.client), Once("zero", world.client), Mutex("zero", world.client)
    semaphore, leader = Semaphore("zero", world.client), Lease("zero", world.client)
    async with world.looked_after():
        await group.add()
        await group.done()
        await once.do(lambda _: asyncio.sleep(0))
        lock = await mutex.lock(holder="me")
        held = await leader.acquire(holder="me", timeout=LONG)
        await create(world, requests.PERMITS, {"semaphore": "zero", "holder": "me", "ttl": "0s"}, "mine")
        permit = await semaphore.acquire(timeout=LONG)
        marker = Gate("marker", world.client)
        await marker.create(["Semaphore/zero=Acquired:2", "WaitGroup/zero=Done", "Once/zero=Done"])
        await marker.wait(timeout=LONG)
        ends = {one.metadata.name: one.status.expires_at for one in await semaphore.permits()}
        assert ends.pop("mine") is None
        assert ends != {permit.name: None}, "who says nothing, and is not bound, has it for ten minutes"
        assert await permit.release()
        await mutex.unlock(lock)
        await leader.release(held)
    assert (await group.status()).done_at is None
    assert (await once.status()).done_at is None


async def test_a_permit_of_zero_lasts_as_its_semaphore_says(world: World):
    """As one that says nothing; a LeaseRequest, too."""
    await Semaphore("db", world.client).create(ttl=timedelta(hours=1))
    leader = Lease("leader", world.client)
    await leader.create(ttl=timedelta(hours=1))
    await create(world, requests.PERMITS, {"semaphore": "db", "holder": "me", "ttl": "0s"})
    await create(world, requests.LEASE_REQUESTS, {"lease": "leader", "holder": "me", "ttl": "0s"})
    async with world.looked_after():
        await eventually(lambda: is_held(leader))
        await eventually(lambda: is_granted(world))
    (permit,) = await Semaphore("db", world.client).permits()
    assert permit.status.ttl == (await leader.status()).ttl == "1h"


async def is_held(leader: Lease) -> bool:
    """Tell whether somebody holds it."""
    return bool((await leader.status()).holder)


async def is_granted(world: World) -> bool:
    """Tell whether the Permit is told so."""
    return all(one.is_granted for one in await Semaphore("db", world.client).permits())
