"""Coordinators come and go while somebody waits: what happened meanwhile is found, and the wait ends as it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from api_server import ApiServer
from kontinue.kube import requests
from kontinue.sync import Barrier, Gate, GatePhase, Lease, Lock, Mutex, Once, RWMutex, Semaphore, WaitGroup
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)


class Waiting(NamedTuple):
    """A wait that only a coordinator can end.

    Attributes:
        wait: for what must come.
        has_begun: whether the server knows that somebody waits.
        happen: what ends it, once a coordinator sees it.
    """

    wait: Coroutine[Any, Any, object]
    has_begun: Callable[[], Awaitable[bool]]
    happen: Callable[[], Awaitable[object]]


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def for_a_wait_group(world: World) -> Waiting:
    """A Pod that has added ends without being done."""
    group = await world.group("jobs")
    await group.add(holder=await world.pod("worker"))

    async def has_begun() -> bool:
        return seen.is_set()

    seen = asyncio.Event()
    wait = WaitGroup("jobs", world.client).wait(timeout=LONG, on_progress=lambda _: seen.set())
    return Waiting(wait, has_begun, lambda: gone(world, "worker"))


async def for_a_permit(world: World) -> Waiting:
    """The only one is given back."""
    semaphore = Semaphore("db", world.client)
    await semaphore.create()
    held = await semaphore.acquire(holder="first", timeout=LONG)

    async def has_begun() -> bool:
        return (await semaphore.status()).waiting == 1

    return Waiting(semaphore.acquire(holder="second", timeout=LONG), has_begun, held.release)


async def for_a_barrier(world: World) -> Waiting:
    """The last one arrives."""
    barrier = Barrier("start", world.client)
    await barrier.create(2)
    await barrier.arrive("first")

    async def has_begun() -> bool:
        return (await barrier.status()).arrived == 1

    return Waiting(barrier.wait(timeout=LONG), has_begun, lambda: barrier.arrive("last"))


async def for_a_gate(world: World) -> Waiting:
    """What it waits for is done."""
    group = await world.group("jobs")
    await group.add()
    gate = Gate("go", world.client)
    await gate.create(["WaitGroup/jobs=Done"])

    async def has_begun() -> bool:
        return (await gate.status()).phase is GatePhase.WAITING

    return Waiting(gate.wait(timeout=LONG), has_begun, group.done)


async def for_a_mutex(world: World) -> Waiting:
    """The Pod that holds it ends."""
    mutex = await world.mutex("deploy")
    await mutex.lock(holder=await world.pod("worker"))

    async def has_begun() -> bool:
        return bool((await mutex.get()).status.waiters)

    return Waiting(Mutex("deploy", world.client).lock(timeout=LONG), has_begun, lambda: gone(world, "worker"))


async def for_readers(world: World) -> Waiting:
    """The Pod that reads ends, and somebody may write."""
    mutex = await world.rw_mutex("catalog")
    await mutex.rlock(holder=await world.pod("worker"))

    async def has_begun() -> bool:
        return bool((await mutex.get()).status.waiters)

    return Waiting(RWMutex("catalog", world.client).lock(timeout=LONG), has_begun, lambda: gone(world, "worker"))


async def for_a_lease(world: World) -> Waiting:
    """The Pod that holds it ends."""
    lease = Lease("leader", world.client)
    await lease.create(ttl=None)
    await lease.acquire(holder=await world.pod("worker"), timeout=LONG)

    async def has_begun() -> bool:
        return (await lease.get()).status.waiting == 1

    return Waiting(Lease("leader", world.client).acquire(timeout=LONG), has_begun, lambda: gone(world, "worker"))


async def for_a_once(world: World) -> Waiting:
    """The Pod that does it ends in the middle, and another one does it."""
    once = await world.once("migrate")
    await once.running(lease=timedelta(hours=1), holder=await world.pod("worker")).begin()

    async def has_begun() -> bool:
        return bool((await once.get()).status.waiters)

    async def work(lock: Lock) -> None:
        assert lock.token == 2

    return Waiting(Once("migrate", world.client).do(work, timeout=LONG), has_begun, lambda: gone(world, "worker"))


async def gone(world: World, pod: str) -> None:
    """Delete a Pod."""
    await world.transport.send(requests.delete(requests.PODS, world.namespace, pod))


@pytest.mark.parametrize(
    "waiting",
    [for_a_wait_group, for_a_permit, for_a_barrier, for_a_gate, for_a_mutex, for_readers, for_a_once, for_a_lease],
)
async def test_a_wait_ends_although_its_coordinator_was_replaced(
    world: World, waiting: Callable[[World], Awaitable[Waiting]]
):
    """What ends it happens while there is none: nobody goes on before one has seen it, and nobody waits for ever."""
    async with world.looked_after():
        wait, has_begun, happen = await waiting(world)
        waiter = asyncio.create_task(wait)
        await eventually(has_begun)
    await happen()
    assert not waiter.done()
    async with world.looked_after():
        await waiter
