"""What any tool has created need not say whose it is: it belongs to the object of the name that it first came to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.sync import Barrier, BarrierPhase, Lease, Semaphore
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def create(world: World, resource: Resource, name: str, spec: dict[str, Any]) -> None:
    """Create an object as kubectl does: with no owner."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    await world.transport.send(requests.create(resource, world.namespace, body))


async def is_gone(world: World, resource: Resource, name: str) -> bool:
    """Tell whether there is no such object."""
    try:
        await world.transport.send(requests.get(resource, world.namespace, name))
    except errors.NotFound:
        return True
    return False


async def test_a_barrier_that_is_made_again_begins_empty(world: World):
    """Who has arrived at the earlier one has not arrived at this one, and may do so."""
    start = Barrier("start", world.client)
    for holder in "ab":  # before there is one, too
        await create(world, requests.ARRIVALS, holder, {"barrier": "start", "holder": holder})
    await start.create(2)
    async with world.looked_after():
        await start.wait(timeout=LONG)
        await start.delete()
        await start.create(2)
        for holder in "ab":
            await eventually(lambda holder=holder: is_gone(world, requests.ARRIVALS, holder))
        await create(world, requests.ARRIVALS, "a", {"barrier": "start", "holder": "a"})
        await eventually(lambda: has_arrived(start, 1))
        assert (await start.status()).phase is BarrierPhase.WAITING
        await start.arrive("b")
        await start.wait(timeout=LONG)


async def has_arrived(start: Barrier, number: int) -> bool:
    """Tell whether so many have."""
    return (await start.status()).arrived == number


async def test_a_permit_of_an_earlier_semaphore_takes_no_place_in_the_next_one(world: World):
    """It is deleted, as one is that says whose it is."""
    db = Semaphore("db", world.client)
    await db.create(1)
    await create(world, requests.PERMITS, "mine", {"semaphore": "db", "holder": "me"})
    async with world.looked_after():
        await eventually(lambda: is_full(db))
        assert [one.is_granted for one in await db.permits()] == [True]
        await db.delete()
        await db.create(1)
        assert await db.permits() == []
        async with await db.acquire(timeout=LONG):
            pass
        await eventually(lambda: is_gone(world, requests.PERMITS, "mine"))


async def is_full(db: Semaphore) -> bool:
    """Tell whether its only permit is held, and its holder has been told."""
    return (await db.status()).in_use == 1 and any(one.is_granted for one in await db.permits())


async def test_a_request_of_an_earlier_lease_is_not_granted_the_next_one(world: World):
    """Nor one that waited for it."""
    leader = Lease("leader", world.client)
    await leader.create()
    for name in ("a", "b"):
        await create(world, requests.LEASE_REQUESTS, name, {"lease": "leader", "holder": name})
        async with world.looked_after():
            await eventually(lambda name=name: is_told(leader, name))
    await leader.delete()
    await leader.create()
    async with world.looked_after():
        held = await leader.acquire(holder="c", timeout=LONG)
        assert held.token == 1
        for name in ("a", "b"):
            await eventually(lambda name=name: is_gone(world, requests.LEASE_REQUESTS, name))


async def is_told(leader: Lease, name: str) -> bool:
    """Tell whether a request knows whether it holds the Lease."""
    return any(one.metadata.name == name and one.status.phase is not None for one in await leader.requests())
