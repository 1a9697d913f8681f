"""The coordinator of ``konductor.io`` looks after WaitGroups: holders, hand-edited counters, times to live."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api import labels
from kontinue.api.konductor.wait_groups import WaitGroupPhase
from kontinue.api.meta import Lease
from kontinue.kube import requests
from kontinue.sync import Holder, HolderKind, WaitGroup
from kontinue_engine.arbiter.process import LEASE
from looked_after import World, start_coordinator
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def test_a_fresh_group_gets_its_counter_and_phase(world: World):
    """As kubectl is documented to show them."""
    group = await world.group("jobs")
    async with world.looked_after():
        await eventually(lambda: _is_written(group))
    status = (await group.get()).status
    assert status.phase is WaitGroupPhase.DONE
    assert status.write_count == 1, "who looks for a write of its own would take it for one of a stranger"


async def _is_written(group: WaitGroup) -> bool:
    return (await group.get()).status.counter == 0


async def test_an_edited_counter_wakes_who_waits(world: World):
    """Somebody has written the counter alone; phase and holders follow."""
    group = await world.group("jobs")
    pod = await world.pod("worker-0")
    await group.add(2, holder=pod)
    async with world.looked_after():
        patch = {"status": {"counter": 0}}
        await world.transport.send(
            requests.merge_patch(requests.WAIT_GROUPS, world.namespace, "jobs", patch, subresource="status")
        )
        await group.wait(timeout=LONG)
        await eventually(lambda: _is_settled(group))


async def _is_settled(group: WaitGroup) -> bool:
    status = (await group.get()).status
    return status.phase is WaitGroupPhase.DONE and not status.holders


async def test_counts_of_a_pod_end_with_it(world: World):
    """Deleted or failed: who waits is woken, and an Event tells. What others hold stays."""
    group = await world.group("jobs")
    pods = [await world.pod(f"worker-{number}") for number in range(3)]
    for pod in pods:
        await group.add(2, holder=pod)
    async with world.looked_after():
        waiting = asyncio.create_task(group.wait(timeout=LONG))
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        await eventually(lambda: _counts(group, 4))
        await world.set_phase(requests.PODS, "worker-1", "Failed")
        await eventually(lambda: _counts(group, 2))
        assert [one.name for one in (await group.status()).holders] == ["worker-2"]
        assert not waiting.done()
        await world.set_phase(requests.PODS, "worker-2", "Succeeded")
        assert (await waiting).counter == 0
        await eventually(lambda: _are_told(world, 3))
    assert "Pod worker-0 has ended without being done: its 2 are released" in await world.events("HolderGone")


async def _counts(group: WaitGroup, counter: int) -> bool:
    return (await group.get()).counter == counter


async def _are_told(world: World, number: int) -> bool:
    return len(await world.events("HolderGone")) == number


async def test_counts_of_an_execution_end_with_it(world: World):
    """Whether it completes, or is deleted."""
    group = await world.group("jobs")
    for name in ("build", "test"):
        await group.add(holder=await world.execution(name))
    async with world.looked_after():
        await world.set_phase(requests.EXECUTIONS, "build", "Completed")
        await eventually(lambda: _counts(group, 1))
        await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "test"))
        await group.wait(timeout=LONG)


async def test_who_ended_while_nobody_looked_is_found(world: World):
    """A coordinator that starts knows nothing of what happened before, and finds what is left of it."""
    group = await world.group("jobs")
    await group.add(holder=await world.pod("gone"))
    await group.add(holder=Holder(kind=HolderKind.POD, name="worker-0", uid="of-an-earlier-pod"))
    alive = await world.pod("worker-0")
    await group.add(holder=alive)
    await world.transport.send(requests.delete(requests.PODS, world.namespace, "gone"))
    async with world.looked_after():
        await eventually(lambda: _counts(group, 1))
    assert [one.uid for one in (await group.status()).holders] == [alive.uid]


async def test_two_coordinators_release_once(world: World):
    """What one of them has written the other one sees, or is refused."""
    group = await world.group("jobs")
    await group.add(5)
    pods = [await world.pod(f"worker-{number}") for number in range(5)]
    for pod in pods:
        await group.add(holder=pod)
    async with world.looked_after(), world.looked_after():
        for pod in pods:
            await world.transport.send(requests.delete(requests.PODS, world.namespace, pod.name))
        await eventually(lambda: _counts(group, 5))
    assert (await group.status()).holders == []


async def test_a_group_is_deleted_when_it_was_done_for_its_ttl(world: World):
    """Not while somebody is still waited for, and not before it was ever used."""
    moment = timedelta(milliseconds=1)
    waiting, unused = await world.group("waiting", ttl=moment), await world.group("unused", ttl=moment)
    await waiting.add()
    async with world.looked_after():
        done = await world.group("done", ttl=moment)
        await done.add()
        await done.done()
        await eventually(lambda: _is_gone(done))
        assert (await waiting.get()).counter == 1
        assert (await unused.get()).counter == 0
        await waiting.done()
        await eventually(lambda: _is_gone(waiting))


async def _is_gone(group: WaitGroup) -> bool:
    try:
        await group.get()
    except errors.NotFound:
        return True
    return False


async def test_a_group_that_opens_again_is_not_deleted(world: World):
    """The time counts anew from its next end."""
    group = await world.group("jobs", ttl=timedelta(hours=1))
    await group.add()
    await group.done()
    async with world.looked_after():
        await eventually(lambda: _has_end(group))
        await group.add()
        await eventually(lambda: _has_no_end(group))
    assert (await group.get()).counter == 1


async def _has_end(group: WaitGroup) -> bool:
    return (await group.get()).status.done_at is not None


async def _has_no_end(group: WaitGroup) -> bool:
    return (await group.get()).status.done_at is None


@pytest.mark.slow
async def test_another_process_takes_over_from_a_dead_coordinator_and_gives_the_lease_back(
    world: World, api_server: ApiServer
):
    """One works, one stands by; what ended in between is found; a stop in order leaves the Lease free."""
    group = await world.group("jobs")
    await group.add(holder=await world.pod("worker-0"))
    await group.add(holder=await world.pod("worker-1"))
    first = await start_coordinator(api_server)
    second = None
    try:
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        await eventually(lambda: _counts(group, 1))
        second = await start_coordinator(api_server)
        first.kill()
        await first.wait()
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-1"))
        await group.wait(timeout=LONG)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    finally:
        for process in filter(None, (first, second)):
            if process.returncode is None:
                process.kill()
                await process.wait()
    body = await world.transport.send(requests.get(requests.LEASES, world.namespace, LEASE))
    lease = msgspec.json.decode(body, type=Lease)
    assert lease.spec.holder_identity == ""
    assert lease.metadata.labels == {labels.COORDINATOR: "konductor.io"}, "kontinue shards must not take it for a group"


@pytest.mark.parametrize(("options", "looks_after"), [((), None), (("--all-namespaces",), labels.ALL_NAMESPACES)])
async def test_the_lease_tells_which_namespaces_are_looked_after(
    world: World, api_server: ApiServer, options: tuple[str, ...], looks_after: str | None
):
    """Its own, or all: whoever looks at another namespace sees that nobody works there."""
    process = await start_coordinator(api_server, *options)
    try:
        await eventually(lambda: _looks_after(world, looks_after or world.namespace))
    finally:
        process.kill()
        await process.wait()


async def _looks_after(world: World, expected: str) -> bool:
    try:
        body = await world.transport.send(requests.get(requests.LEASES, world.namespace, LEASE))
    except errors.NotFound:
        return False
    return msgspec.json.decode(body, type=Lease).metadata.annotations.get(labels.LOOKS_AFTER) == expected
