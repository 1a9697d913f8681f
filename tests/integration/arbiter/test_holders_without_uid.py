"""What any tool has bound need not say the uid of its holder: whoever has that name is meant, and his end counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Resource
from kontinue.sync import Lease, Mutex, RWMutex, Semaphore, WaitGroup
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)
PARENTS = {requests.PERMITS: "semaphore", requests.LEASE_REQUESTS: "lease"}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


def named(pod: str) -> dict[str, Any]:
    """Return a holder of whom only the name is said."""
    return {"kind": "Pod", "name": pod}


async def ask(
    world: World, resource: Resource, name: str, bound_to: dict[str, Any] | None = None, *, of: str = "db"
) -> None:
    """Create a Permit or a LeaseRequest, as kubectl does."""
    spec = {PARENTS[resource]: of, "holder": name} | ({"boundTo": bound_to} if bound_to else {})
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    await world.transport.send(requests.create(resource, world.namespace, body))


async def is_granted(world: World, resource: Resource, name: str) -> bool:
    """Tell whether somebody who asked was told that it is his."""
    found = json.loads(await world.transport.send(requests.get(resource, world.namespace, name)))
    return bool(found.get("status", {}).get("phase") == "Granted")


async def is_deleted(world: World, resource: Resource, name: str) -> bool:
    """Tell whether there is no such object."""
    try:
        await world.transport.send(requests.get(resource, world.namespace, name))
    except errors.NotFound:
        return True
    return False


async def end(world: World, pod: str, phase: str) -> None:
    """End a Pod; without a phase it is deleted."""
    if phase:
        await world.set_phase(requests.PODS, pod, phase)
    else:
        await world.transport.send(requests.delete(requests.PODS, world.namespace, pod))


@pytest.mark.parametrize("phase", ["", "Succeeded"])
@pytest.mark.parametrize("resource", PARENTS, ids=lambda one: one.kind)
async def test_what_was_asked_for_is_given_back_with_the_pod(world: World, resource: Resource, phase: str):
    """And not before, whoever else ends; the next one's turn comes, and an Event tells."""
    parent = await parent_of(world, resource, "db")
    await parent_of(world, resource, "other")
    for pod in ("worker-0", "other"):
        await world.pod(pod)
    async with world.looked_after():
        await ask(world, resource, "watched", named("other") | {"uid": "of-an-earlier-pod"}, of="other")
        await eventually(lambda: is_deleted(world, resource, "watched"))  # from here on watches alone tell of ends
        await ask(world, resource, "mine", named("worker-0"))
        await eventually(lambda: is_granted(world, resource, "mine"))
        await ask(world, resource, "next")
        await eventually(lambda: has_waiting(parent))
        await ask(world, resource, "theirs", named("other"), of="other")
        await eventually(lambda: is_granted(world, resource, "theirs"))
        await end(world, "other", phase)
        await eventually(lambda: is_deleted(world, resource, "theirs"))
        assert await is_granted(world, resource, "mine")
        await end(world, "worker-0", phase)
        await eventually(lambda: is_granted(world, resource, "next"))
        assert await is_deleted(world, resource, "mine")
        told = f"Pod worker-0 has ended: its {resource.kind} mine is deleted"
        await eventually(lambda: is_told(world, told))


class CountsGets:
    """A transport that counts who is asked for by name."""

    def __init__(self, inner: KubeTransport) -> None:
        self._inner = inner
        self.stream, self.chunks = inner.stream, inner.chunks
        self.asked: Counter[str] = Counter()

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        """Send it."""
        if request.method == "GET":
            self.asked[request.path.rpartition("/pods/")[2]] += 1
        return await self._inner.send(request, **options)


async def test_who_is_seen_to_live_is_not_asked_for(world: World):
    """However many hold something by his name, and whatever becomes of it; before he is believed to be gone he is."""
    counting = CountsGets(world.transport)
    watched = World(counting, world.namespace)  # type: ignore[arg-type]
    semaphore = Semaphore("db", world.client)
    await semaphore.create(8)
    names = [f"p{number}" for number in range(16)]
    for pod in ("worker-0", "worker-1"):
        await world.pod(pod)
    for number, name in enumerate(names):
        await ask(world, requests.PERMITS, name, named(f"worker-{number % 2}"))
    async with watched.looked_after():
        for name in names:
            await eventually(lambda name=name: is_granted(world, requests.PERMITS, name))
            assert counting.asked["worker-0"] == counting.asked["worker-1"] == 0
            await world.transport.send(requests.delete(requests.PERMITS, world.namespace, name))
        await ask(world, requests.PERMITS, "mine", named("worker-0"))
        await eventually(lambda: is_granted(world, requests.PERMITS, "mine"))
        await end(world, "worker-0", "")
        await eventually(lambda: is_deleted(world, requests.PERMITS, "mine"))
    assert counting.asked["worker-0"] > 0


async def parent_of(world: World, resource: Resource, name: str) -> Semaphore | Lease:
    """Create what is asked for by these objects: one at a time may hold it."""
    if resource is requests.PERMITS:
        semaphore = Semaphore(name, world.client)
        await semaphore.create(1)
        return semaphore
    lease = Lease(name, world.client)
    await lease.create(ttl=None)
    return lease


async def has_waiting(parent: Semaphore | Lease) -> bool:
    """Tell whether the coordinator has seen one who waits."""
    return (await parent.status()).waiting == 1


async def is_told(world: World, message: str) -> bool:
    """Tell whether there is such an Event."""
    return message in await world.events("HolderGone")


@pytest.mark.parametrize("phase", ["", "Succeeded"])
async def test_a_lock_is_released_with_the_pod(world: World, phase: str):
    """Somebody has written who holds it."""
    await world.pod("worker-0")
    mutexes = [await world.mutex(name) for name in ("watching", "mine")]
    held = {"locked": True, "phase": "Locked", "holder": "me", "lockId": "x", "token": 1}
    gone = named("worker-0") | {"uid": "of-an-earlier-pod"}
    await world.patch_status(requests.MUTEXES, "watching", held | {"boundTo": gone})
    await world.patch_status(requests.MUTEXES, "mine", held | {"boundTo": named("worker-0")})
    async with world.looked_after():
        await eventually(lambda: is_free(mutexes[0]))
        assert not await is_free(mutexes[1])
        await end(world, "worker-0", phase)
        await eventually(lambda: is_free(mutexes[1]))


async def is_free(mutex: Mutex) -> bool:
    """Tell whether nobody holds it."""
    return not (await mutex.status()).holder


async def test_who_has_ended_is_released_from_a_wait_group_while_another_one_lives(world: World):
    """And who lives is not; he is when he has ended, too."""
    await world.pod("alive")
    group = await world.group("jobs")
    holders = [named(pod) | {"count": 1} for pod in ("alive", "gone")]
    await world.patch_status(requests.WAIT_GROUPS, "jobs", {"counter": 2, "added": 2, "holders": holders})
    async with world.looked_after():
        await eventually(lambda: is_held_by(group, ["alive"]))
        assert (await group.status()).counter == 1
        await end(world, "alive", "")
        await group.wait(timeout=LONG)


async def is_held_by(group: WaitGroup, names: list[str]) -> bool:
    """Tell whether these hold a part of its counter."""
    return [one.name for one in (await group.status()).holders] == names


async def test_who_has_ended_reads_no_more_while_another_one_does(world: World):
    """As of WaitGroups; who waits to write has his turn once both have ended."""
    for pod in ("alive", "ends"):
        await world.pod(pod)
    mutex = await world.rw_mutex("table")
    lock = {"shared": True, "token": 1}
    locks = [lock | {"id": f"id-{pod}", "holder": pod, "boundTo": named(pod)} for pod in ("alive", "ends")]
    await world.patch_status(requests.RW_MUTEXES, "table", {"readHolders": ["alive", "ends"], "locks": locks})
    async with world.looked_after():
        await eventually(lambda: is_seen(mutex))
        await end(world, "ends", "Failed")
        await eventually(lambda: is_read_by(mutex, ["alive"]))
        await end(world, "alive", "Failed")
        async with mutex.held(timeout=LONG):
            pass


async def is_seen(mutex: RWMutex) -> bool:
    """Tell whether the coordinator has written what follows from its locks."""
    return (await mutex.status()).phase is not None


async def is_read_by(mutex: RWMutex, holders: list[str]) -> bool:
    """Tell who reads."""
    return (await mutex.status()).read_holders == holders
