"""Any tool may bind something to a name that no object can have: nobody is there, so it is given back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.sync import Lease, Mutex, Semaphore, WaitGroup
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)
NAMES = ("", ".", "..", "a/b", "a%b", "a?b", "With Spaces", "ünï", "n" * 253)
"""The API server takes all of them, as it does not know that they are names."""
BOUND: dict[str, dict[str, Any]] = {"": {}, "with a uid": {"uid": "of-nobody"}}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


@pytest.fixture(params=BOUND.values(), ids=[key or "without a uid" for key in BOUND])
def bound(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """Return how something is bound to a name."""
    more: dict[str, Any] = request.param
    return lambda name: {"kind": "Pod", "name": name} | more


async def ask(world: World, resource: Resource, name: str, spec: dict[str, Any]) -> None:
    """Create an object, as kubectl does."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    await world.transport.send(requests.create(resource, world.namespace, body))


async def are_all(world: World, resource: Resource, names: set[str]) -> bool:
    """Tell whether these are all objects of a kind."""
    found = json.loads(await world.transport.send(requests.list_objects(resource, world.namespace)))
    return {one["metadata"]["name"] for one in found["items"]} == names


async def test_permits_of_nobody_are_given_back(world: World, bound: Callable[[str], dict[str, Any]]):
    """An Event tells of each, and who asks after them has his."""
    semaphore = Semaphore("db", world.client)
    await semaphore.create(1)
    for number, name in enumerate(NAMES):
        spec = {"semaphore": "db", "holder": f"h{number}", "boundTo": bound(name)}
        await ask(world, requests.PERMITS, f"p{number}", spec)
    async with world.looked_after():
        async with semaphore.hold(timeout=LONG) as permit:
            await eventually(lambda: are_all(world, requests.PERMITS, {permit.name}))
        told = {f"Pod {name} has ended: its Permit p{number} is deleted" for number, name in enumerate(NAMES)}
        await eventually(lambda: are_told(world, told))
    assert await world.events("NotLookedAfter") == []


async def are_told(world: World, messages: set[str]) -> bool:
    """Tell whether there are such Events."""
    return messages <= set(await world.events("HolderGone"))


async def test_a_lease_that_nobody_asks_for_is_free(world: World, bound: Callable[[str], dict[str, Any]]):
    """Although those who are nobody have asked first."""
    lease = Lease("db", world.client)
    await lease.create(ttl=None)
    for number, name in enumerate(NAMES):
        spec = {"lease": "db", "holder": f"h{number}", "boundTo": bound(name)}
        await ask(world, requests.LEASE_REQUESTS, f"r{number}", spec)
    async with world.looked_after(), lease.held(timeout=LONG):
        ours = (await lease.status()).request
        await eventually(lambda: are_all(world, requests.LEASE_REQUESTS, {ours}))


async def test_a_mutex_is_free_that_nobody_holds_and_waits_for(world: World, bound: Callable[[str], dict[str, Any]]):
    """The dead holder of a lock that others wait for, who are nobody, is released too."""
    mutex = await world.mutex("deploy")
    held = {"locked": True, "phase": "Locked", "holder": "me", "lockId": "x", "token": 1, "boundTo": bound("gone")}
    waiters = [{"id": f"w{number}", "holder": "h", "boundTo": bound(name)} for number, name in enumerate(NAMES)]
    await world.patch_status(requests.MUTEXES, "deploy", held | {"waiters": waiters})
    async with world.looked_after(), mutex.held(timeout=LONG):
        assert (await mutex.status()).waiters == []


async def test_a_mutex_that_nobody_holds_is_free(world: World, bound: Callable[[str], dict[str, Any]]):
    """One for each name."""
    mutexes = [await world.mutex(f"m{number}") for number in range(len(NAMES))]
    for mutex, name in zip(mutexes, NAMES, strict=True):
        held = {"locked": True, "phase": "Locked", "holder": "me", "lockId": "x", "token": 1, "boundTo": bound(name)}
        await world.patch_status(requests.MUTEXES, mutex.name, held)
    async with world.looked_after():
        for mutex in mutexes:
            await eventually(lambda mutex=mutex: is_free(mutex))


async def is_free(mutex: Mutex) -> bool:
    """Tell whether nobody holds it."""
    return not (await mutex.status()).holder


async def test_what_nobody_reads_can_be_written(world: World, bound: Callable[[str], dict[str, Any]]):
    """Readers that are nobody, and one that has ended."""
    mutex = await world.rw_mutex("table")
    lock = {"shared": True, "token": 1}
    readers = ["gone", *NAMES]
    locks = [lock | {"id": f"id{n}", "holder": f"h{n}", "boundTo": bound(name)} for n, name in enumerate(readers)]
    status = {"readHolders": [one["holder"] for one in locks], "locks": locks}
    await world.patch_status(requests.RW_MUTEXES, "table", status)
    async with world.looked_after(), mutex.held(timeout=LONG):
        assert (await mutex.status()).read_holders == []


async def test_nobody_is_waited_for(world: World):
    """Parts of a counter that are bound to nobody are released, and so are those of who has ended."""
    group = WaitGroup("jobs", world.client)
    await group.create()
    holders = [
        {"kind": "Pod", "name": name, "count": 1} | uid
        for name in ("gone", *NAMES)
        for uid in ({}, {"uid": f"u-{name[:9]}"})
    ]
    status = {"counter": len(holders), "added": len(holders), "holders": holders}
    await world.patch_status(requests.WAIT_GROUPS, "jobs", status)
    async with world.looked_after():
        await group.wait(timeout=LONG)
        assert (await group.status()).holders == []


async def test_a_grant_of_what_can_be_no_permit_holds_none(world: World):
    """Somebody has edited the status."""
    semaphore = Semaphore("db", world.client)
    await semaphore.create(1)
    granted = [{"name": name, "uid": f"u{number}", "holder": "h"} for number, name in enumerate(NAMES)]
    await world.patch_status(requests.SEMAPHORES, "db", {"granted": granted})
    async with world.looked_after(), semaphore.hold(timeout=LONG) as permit:
        assert [one.name for one in (await semaphore.status()).granted] == [permit.name]


async def test_a_lease_is_free_whose_holder_names_what_can_be_no_request(world: World):
    """As of permits: one for each name."""
    leases = [Lease(f"l{number}", world.client) for number in range(len(NAMES))]
    for lease, name in zip(leases, NAMES, strict=True):
        await lease.create(ttl=None)
        status = {"holder": "x", "token": 3, "request": name, "requestUid": "of-none"}
        await world.patch_status(requests.KONDUCTOR_LEASES, lease.name, status)
    async with world.looked_after():
        for lease in leases:
            async with lease.held(timeout=LONG):
                assert (await lease.status()).token == 4
