"""The coordinator of ``konductor.io`` grants permits of Semaphores: never too many, in order, and takes them back."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from api_server import ApiServer
from kontinue import errors
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.sync import HeldPermit, PermitPhase, Semaphore, SemaphorePhase, SyncHeldPermit, SyncSemaphore
from looked_after import LosesAnswers, World, start_coordinator
from polling import eventually

LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=6)
"""Long enough for the server to answer."""


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


async def semaphore(world: World, permits: int, *, ttl: timedelta | None = None) -> Semaphore:
    """Create ``db``."""
    subject = Semaphore("db", world.client)
    await subject.create(permits, ttl=ttl)
    return subject


async def in_use(subject: Semaphore) -> int:
    """Return how many permits are held."""
    return (await subject.status()).in_use or 0


async def waiting(subject: Semaphore) -> int:
    """Return how many Permits wait."""
    return (await subject.status()).waiting


async def queued(subject: Semaphore, holder: str, *, behind: int) -> asyncio.Task[HeldPermit]:
    """Start to acquire; return once the coordinator has seen it."""
    task = asyncio.create_task(subject.acquire(holder=holder, timeout=LONG))
    await eventually(lambda: _waits(subject, behind + 1))
    return task


async def _waits(subject: Semaphore, number: int) -> bool:
    return await waiting(subject) == number


async def _in_use(subject: Semaphore, number: int) -> bool:
    return await in_use(subject) == number


async def test_a_fresh_semaphore_is_ready(world: World):
    """As kubectl is documented to show it."""
    subject = await semaphore(world, 3)
    async with world.looked_after():
        await eventually(lambda: _is_ready(subject))
    status = await subject.status()
    assert (status.in_use, status.available, status.granted) == (0, 3, [])


async def _is_ready(subject: Semaphore) -> bool:
    return (await subject.status()).phase is SemaphorePhase.READY


async def test_permits_are_granted_in_the_order_in_which_they_were_asked_for(world: World):
    """Within one second, too, and whatever the holders are called; what is given back goes to the next."""
    subject = await semaphore(world, 1)
    granted: list[str] = []
    async with world.looked_after():
        first = await subject.acquire(holder="first", timeout=LONG)
        assert (await subject.status()).phase is SemaphorePhase.FULL
        tasks = [await queued(subject, holder, behind=place) for place, holder in enumerate("zyxa")]

        async def use(task: asyncio.Task[HeldPermit]) -> None:
            async with await task as held:
                granted.append(held.holder)

        users = [asyncio.create_task(use(task)) for task in tasks]
        assert await first.release()
        await asyncio.gather(*users)
        await eventually(lambda: _in_use(subject, 0))
    assert granted == list("zyxa")


async def test_twenty_clients_never_hold_more_than_five_while_coordinators_die(world: World):
    """Two work at the same time, and each is killed in the middle and replaced; a ledger is the judge."""
    subject = await semaphore(world, 5)
    inside = most = done = 0
    stop, full = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        nonlocal inside, most, done
        async with subject.hold(holder=f"worker-{number}", timeout=LONG):
            inside += 1
            most = max(most, inside)
            if inside == 5:
                full.set()
            await full.wait()
            await asyncio.sleep(0.005)
            inside -= 1
        done += 1

    def has_done(target: int) -> bool:
        return stop.is_set() or done >= target

    async def coordinate(every: int) -> None:
        while not stop.is_set():
            async with world.looked_after():
                await eventually(functools.partial(has_done, done + every))

    coordinators = [asyncio.create_task(coordinate(every)) for every in (3, 4)]
    await asyncio.gather(*(work(number) for number in range(20)))
    stop.set()
    await asyncio.gather(*coordinators)
    assert (done, inside) == (20, 0)
    assert most == 5


@pytest.mark.slow
async def test_a_coordinator_that_is_killed_is_replaced_and_what_it_had_granted_counts(
    world: World, api_server: ApiServer
):
    """As processes, which know of each other by the Lease alone; one dies while all work and many wait."""
    subject = await semaphore(world, 5)
    inside = most = 0
    killed = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal inside, most
        async with subject.hold(holder=f"worker-{number}", timeout=2 * LONG):
            inside += 1
            most = max(most, inside)
            await killed.wait()
            await asyncio.sleep(0.005)
            inside -= 1

    coordinators = [await start_coordinator(api_server)]
    try:
        working = [asyncio.create_task(work(number)) for number in range(20)]
        await eventually(lambda: inside == 5)
        coordinators.append(await start_coordinator(api_server))
        coordinators[0].kill()
        killed.set()
        await asyncio.gather(*working)
    finally:
        for process in coordinators:
            if process.returncode is None:
                process.kill()
            await process.wait()
    assert (most, inside) == (5, 0)


async def test_fewer_permits_take_none_away_but_grant_none(world: World):
    """More are granted at once."""
    subject = await semaphore(world, 2)
    async with world.looked_after():
        held = [await subject.acquire(timeout=LONG) for _ in range(2)]
        await _set_permits(world, 1)
        third = await queued(subject, "third", behind=0)
        await held[0].release()
        await eventually(lambda: _in_use(subject, 1))
        assert not third.done()
        assert (await subject.status()).available == 0
        await _set_permits(world, 2)
        await third


async def _set_permits(world: World, permits: int) -> None:
    patch = {"spec": {"permits": permits}}
    await world.transport.send(requests.merge_patch(requests.SEMAPHORES, world.namespace, "db", patch))


async def test_a_permit_ends_with_its_ttl(world: World):
    """It goes to the next, its holder is told when it gives it back, and an Event tells the others."""
    subject = await semaphore(world, 1, ttl=timedelta(hours=1))
    async with world.looked_after():
        first = await subject.acquire(holder="first", ttl=timedelta(seconds=3), timeout=LONG)
        second = await subject.acquire(holder="second", timeout=LONG)
        assert second.permit.status.expires_at is not None, "the Semaphore's"
        await eventually(lambda: _is_expired(subject, "first", beside="second"))
        assert not await first.release()
        await eventually(lambda: world.events("PermitExpired"))
        with pytest.raises(errors.InvalidState, match="has ended before the work"):
            await _lose(world, second)


async def _is_expired(subject: Semaphore, holder: str, *, beside: str) -> bool:
    phases = {one.spec.holder: one.status.phase for one in await subject.permits()}
    assert phases[beside] is PermitPhase.GRANTED
    return phases[holder] is PermitPhase.EXPIRED


async def _lose(world: World, held: HeldPermit) -> None:
    async with held:
        await world.transport.send(requests.delete(requests.PERMITS, world.namespace, held.name))


async def test_a_permit_in_its_scope_is_renewed(world: World, monkeypatch: pytest.MonkeyPatch):
    """Its end is put off again and again, by the coordinator's clock."""
    monkeypatch.setattr("kontinue.sync.holding.renewing.RENEW_AFTER", 0.001)
    subject = await semaphore(world, 1)
    ends = set()
    async with world.looked_after(), subject.hold(ttl=LONG, timeout=LONG) as held:

        async def has_been_renewed() -> bool:
            (one,) = await subject.permits()
            ends.add(one.status.expires_at)
            return len(ends) > 2

        await eventually(has_been_renewed)
        held.check()
    assert await subject.permits() == []


async def test_a_lost_permit_cancels_its_body_and_is_told(world: World):
    """Somebody has deleted it: the holder stops at once, as others may have their turn."""
    subject = await semaphore(world, 1)
    is_inside = asyncio.Event()
    lost: list[HeldPermit] = []

    async def hold() -> None:
        async with subject.hold(holder="a", timeout=LONG, on_loss=lost.append):
            is_inside.set()
            await asyncio.Event().wait()

    async with world.looked_after():
        holding = asyncio.create_task(hold())
        await is_inside.wait()
        await subject.release("a")
        with pytest.raises(errors.LockLost, match="was deleted"):
            await holding
    assert [one.is_lost for one in lost] == [True]


async def test_a_permit_whose_release_was_answered_late_was_still_held(world: World):
    """That it is gone when it is deleted again is no loss, and nothing that was not found."""
    await semaphore(world, 1)
    subject = Semaphore("db", Client.from_kube(LosesAnswers(world.transport), world.namespace))
    async with world.looked_after():
        async with subject.hold(holder="a", timeout=LONG):
            pass
        held = await subject.acquire(holder="a", timeout=LONG)
        assert await held.release()
        await subject.acquire(holder="a", timeout=LONG)
        await subject.release("a")


async def test_a_permit_ends_with_its_pod_or_execution(world: World):
    """Those that wait, too; an Event tells."""
    subject = await semaphore(world, 2)
    pod, build = await world.pod("worker-0"), await world.execution("build")
    async with world.looked_after():
        held = [await subject.acquire(bound_to=one, timeout=LONG) for one in (pod, build)]
        assert [one.permit.status.expires_at for one in held] == [None, None]
        bound = asyncio.create_task(subject.acquire(bound_to=pod, timeout=LONG))
        await eventually(lambda: _waits(subject, 1))
        told = {
            f"{one.spec.bound_to} has ended: its Permit {one.metadata.name} is deleted"
            for one in await subject.permits()
        }
        assert len(told) == 3
        free = await queued(subject, "free", behind=1)
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        await free
        with pytest.raises(errors.InvalidState, match="was deleted while it waited"):
            await bound
        await world.set_phase(requests.EXECUTIONS, "build", "Failed")
        await eventually(lambda: _in_use(subject, 1))
        await eventually(lambda: _are_told(world, told))


async def _are_told(world: World, messages: set[str]) -> bool:
    return messages <= set(await world.events("HolderGone"))


async def test_who_only_tries_is_denied_at_once(world: World):
    """And leaves nothing behind."""
    subject = await semaphore(world, 1)
    async with world.looked_after():
        held = await subject.acquire(timeout=timedelta())
        with pytest.raises(errors.Held, match="no permit of Semaphore"):
            await subject.acquire(timeout=timedelta())
        assert [one.metadata.name for one in await subject.permits()] == [held.name]


async def test_who_stops_waiting_withdraws(world: World):
    """By the timeout, or by being cancelled; the next one is not held up."""
    subject = await semaphore(world, 1)
    async with world.looked_after():
        held = await subject.acquire(timeout=LONG)
        with pytest.raises(errors.WaitTimeout, match="was free within 6s"):
            await subject.acquire(timeout=SHORT)
        await eventually(lambda: _waits(subject, 0))
        task = await queued(subject, "cancelled", behind=0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hasty = asyncio.create_task(subject.acquire(timeout=LONG))
        await asyncio.sleep(0)
        hasty.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hasty
        assert [one.metadata.name for one in await subject.permits()] == [held.name]
        await held.release()
        await (await subject.acquire(timeout=LONG)).release()


async def test_an_edited_status_is_put_right(world: World):
    """Whoever has been told of a grant counts."""
    subject = await semaphore(world, 1)
    async with world.looked_after():
        held = await subject.acquire(timeout=LONG)
        patch = {"status": {"granted": [], "inUse": 0, "available": 1, "phase": "Ready"}}
        request = requests.merge_patch(requests.SEMAPHORES, world.namespace, "db", patch, subresource="status")
        await world.transport.send(request)
        with pytest.raises(errors.Held):
            await subject.acquire(timeout=timedelta())
        await eventually(lambda: _in_use(subject, 1))
        assert [one.name for one in (await subject.status()).granted] == [held.name]


async def test_a_semaphore_that_is_deleted_ends_the_waits_for_it(world: World):
    """Its Permits go with it; one that is made again begins empty."""
    subject = await semaphore(world, 1)
    async with world.looked_after():
        await subject.acquire(timeout=LONG)
        task = await queued(subject, "late", behind=0)
        await subject.delete()
        with pytest.raises((errors.NotFound, errors.InvalidState)):
            await task
        await subject.create(1)
        await subject.acquire(timeout=LONG)


async def test_the_program_of_the_documentation_runs(world: World, api_server: ApiServer, tmp_path: Path):
    """That of docs/semaphores.md, as it stands there; its manifest, too."""
    page = (Path(__file__).parents[3] / "docs" / "semaphores.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (manifest,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    await world.transport.send(requests.create(requests.SEMAPHORES, world.namespace, yaml.safe_load(manifest)))
    (tmp_path / "migrate.py").write_text(program)
    async with world.looked_after():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "migrate.py"),
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"all done\n")


async def test_the_synchronous_twin_does_the_same(world: World, api_server: ApiServer):
    """With the same methods and parameters."""

    def methods(of_: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of_, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if name[0] != "_"}

    assert methods(SyncSemaphore) == methods(Semaphore)
    assert methods(SyncHeldPermit) == methods(HeldPermit)

    def use() -> list[object]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            db = SyncSemaphore("db", client)
            db.create(2)
            with db.hold(holder="block", timeout=LONG) as held:
                seen: list[object] = [held.holder, len(db.permits())]
            seen += [db.acquire(timeout=LONG).release()]
            kept = db.acquire(holder="me", timeout=LONG)
            seen += [db.release("me") == kept.name, db.get().spec.permits, db.status().phase]
            db.delete()
            return seen

    async with world.looked_after():
        assert await asyncio.to_thread(use) == ["block", 1, True, True, 2, SemaphorePhase.READY]
