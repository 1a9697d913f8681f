"""The coordinator of ``konductor.io`` looks after locks: holders that end, locks not renewed, edited statuses."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor.mutexes import MutexPhase
from kontinue.api.konductor.onces import OncePhase
from kontinue.kube import requests
from kontinue.sync import Lock, Mutex, Once, RWMutex
from looked_after import World, start_coordinator
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def is_free(mutex: Mutex) -> bool:
    """Tell whether nobody holds it, and its status says so."""
    return (await mutex.get()).status.phase is MutexPhase.UNLOCKED


async def test_a_fresh_mutex_gets_its_phase(world: World):
    """As kubectl is documented to show it."""
    mutex = await world.mutex("deploy")
    async with world.looked_after():
        await eventually(lambda: is_free(mutex))


async def test_a_lock_ends_after_its_ttl_although_nobody_waits_for_it(world: World):
    """An Event tells whose it was; locks without a ttl stay."""
    short, long = await world.mutex("short", ttl=timedelta(milliseconds=1)), await world.mutex("long")
    await short.lock(holder="dead")
    await long.lock(holder="alive")
    async with world.looked_after():
        await eventually(lambda: is_free(short))
        await eventually(lambda: world.events("Expired"))
    assert await world.events("Expired") == ["the lock of dead, token 1, is released: it was not renewed in time"]
    assert (await long.get()).status.holder == "alive"


async def test_a_lock_of_a_pod_or_an_execution_ends_with_it(world: World):
    """Deleted or ended: who waits gets it; a waiter that has ended is not waited for."""
    mutex = await world.mutex("deploy")
    pod, execution = await world.pod("worker-0"), await world.execution("build")
    await mutex.lock(holder=pod)
    assert (await mutex.get()).status.holder == "pod/worker-0"
    async with world.looked_after():
        bound = asyncio.create_task(mutex.lock(holder=execution, timeout=LONG))
        await eventually(lambda: waits(mutex, "execution/build"))
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        assert (await bound).token == 2
        await world.set_phase(requests.EXECUTIONS, "build", "Completed")
        await eventually(lambda: is_free(mutex))
        await eventually(lambda: are_told(world, 2))
    assert "the lock of pod/worker-0, token 1, is released: its holder has ended" in await world.events("HolderGone")


async def waits(mutex: Mutex, holder: str) -> bool:
    """Tell whether this one waits."""
    return [one.holder for one in (await mutex.get()).status.waiters] == [holder]


async def are_told(world: World, number: int) -> bool:
    """Tell whether so many Events are there."""
    return len(await world.events("HolderGone")) == number


async def test_who_is_edited_away_does_not_hold_it_any_more(world: World):
    """Somebody has emptied the holder alone, to unlock by hand: phase and all else follow, and the next one has it."""
    mutex = await world.mutex("deploy")
    await mutex.lock(holder="a", ttl=LONG)
    waiting = asyncio.create_task(mutex.lock(holder="b", timeout=LONG))
    await eventually(lambda: waits(mutex, "b"))
    async with world.looked_after():
        patch = {"status": {"holder": ""}}
        await world.transport.send(
            requests.merge_patch(requests.MUTEXES, world.namespace, "deploy", patch, subresource="status")
        )
        assert (await waiting).token == 2
        await mutex.unlock(holder="b")
        await eventually(lambda: is_free(mutex))
    status = (await mutex.get()).status
    assert (status.expires_at, status.lock_id, status.token) == (None, "", 2)


async def test_a_reader_that_ends_does_not_end_the_others(world: World):
    """One has expired, one was a Pod; the third reads on, and the writer waits for him alone."""
    mutex = await world.rw_mutex("catalog")
    pod = await world.pod("worker-0")
    await mutex.rlock(holder="dead", ttl=timedelta(milliseconds=1))
    await mutex.rlock(holder=pod)
    alive = await mutex.rlock(holder="alive")
    async with world.looked_after():
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        await eventually(lambda: reads_alone(mutex, "alive"))
    await mutex.unlock(alive)
    assert (await mutex.lock(timeout=timedelta())).token == 4


async def reads_alone(mutex: RWMutex, holder: str) -> bool:
    """Tell whether nobody else reads."""
    return (await mutex.get()).status.read_holders == [holder]


async def test_a_once_is_deleted_when_it_was_executed_for_its_ttl(world: World):
    """Not before it was executed, and not one that is to be kept; a try whose holder has ended is free."""
    moment = timedelta(milliseconds=1)
    short, pending, kept = [
        await world.once(name, ttl=ttl) for name, ttl in (("a", moment), ("b", moment), ("c", None))
    ]
    pod = await world.pod("worker-0")
    is_inside = asyncio.Event()

    async def nothing(_: Lock) -> None:
        pass

    async def work(_: Lock) -> None:
        is_inside.set()
        await asyncio.Event().wait()

    async with world.looked_after():
        for once in (short, kept):
            assert await once.do(nothing)
        await eventually(lambda: is_gone(short))
        doing = asyncio.create_task(pending.do(work, holder=pod))
        await is_inside.wait()
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        with pytest.raises(errors.LockLost):
            await doing
    assert (await pending.get()).status.phase is OncePhase.PENDING
    assert await kept.is_executed()


async def test_a_once_is_kept_for_its_ttl_although_the_clock_of_who_has_done_it_is_behind(world: World):
    """Else the next one would do it again."""
    once = await world.once("migrate", ttl=timedelta(hours=1))
    long_ago = {"executed": True, "executor": "w0", "executedAt": "2020-01-01T00:00:00Z"}
    await world.patch_status(requests.ONCES, "migrate", long_ago)
    async with world.looked_after():
        await eventually(lambda: is_noted(once))
    assert await once.is_executed()


async def test_the_phase_of_an_executed_once_is_derived_also_with_a_ttl(world: World):
    """Whatever somebody has written there."""
    once = await world.once("migrate", ttl=timedelta(hours=1))
    await world.patch_status(requests.ONCES, "migrate", {"executed": True, "executor": "w0"})
    async with world.looked_after():
        await eventually(lambda: is_noted(once))
        await world.patch_status(requests.ONCES, "migrate", {"phase": "Pending", "failure": "no"})
        await eventually(lambda: is_noted(once))
    assert (await once.get()).status.failure == ""


async def test_a_once_that_somebody_has_noted_as_done_by_hand_ends_with_its_ttl(world: World):
    """As docs/locks.md says how; nobody has said when."""
    once = await world.once("migrate", ttl=timedelta(milliseconds=1))
    await world.patch_status(requests.ONCES, "migrate", {"executed": True})
    async with world.looked_after():
        await eventually(lambda: is_gone(once))


async def is_noted(once: Once) -> bool:
    """Tell whether its phase says that it was done, and the coordinator has noted since when."""
    status = (await once.get()).status
    return status.phase is OncePhase.EXECUTED and status.done_at is not None


async def is_gone(once: Once) -> bool:
    """Tell whether it does not exist any more."""
    try:
        await once.get()
    except errors.NotFound:
        return True
    return False


HOLD = """
import asyncio, sys
from datetime import timedelta
from kontinue.client import Client, ClientOptions
from kontinue.sync import Mutex
from kontinue.sync.holding import locker

locker.RENEW_AFTER = 0.05  # so that it may be late

async def main():
    async with Client(ClientOptions(kubeconfig=sys.argv[1])) as client:
        async with Mutex("deploy", client).held(holder="victim", ttl=timedelta(seconds=10)):
            print("held", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_lock_is_passed_on_although_holder_and_coordinator_are_killed(world: World, api_server: ApiServer):
    """The holder has renewed it until then; the next coordinator, and who waits, find that nobody does any more."""
    mutex = await world.mutex("deploy")
    first = await start_coordinator(api_server)
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD, str(api_server.kubeconfig)), stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    second = None
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        first.kill()
        await first.wait()
        ends = (await mutex.get()).status.expires_at
        await eventually(lambda: has_other_end(mutex, ends))
        holder.kill()
        await holder.wait()
        assert (await mutex.lock(holder="next", ttl=timedelta(seconds=1), timeout=LONG)).token == 2
        second = await start_coordinator(api_server)
        await eventually(lambda: is_free(mutex))
    finally:
        for process in filter(None, (first, holder, second)):
            if process.returncode is None:
                process.kill()
                await process.wait()


async def has_other_end(mutex: Mutex, end: object) -> bool:
    """Tell whether the lock was renewed."""
    return (await mutex.get()).status.expires_at != end
