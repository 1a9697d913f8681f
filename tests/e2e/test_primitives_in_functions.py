"""Locks that Executions hold and wait for, while workers and API servers die; and when they end themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kontinue.api.konductor.gates import GatePhase
from kontinue.api.konductor.mutexes import Mutex as StoredMutex
from kontinue.client import Client
from kontinue.errors import Unavailable
from kontinue.kube.http import KubeTransport
from kontinue.sync import Gate, Mutex, Semaphore, WaitGroup
from looked_after import World, start_coordinator
from polling import eventually
from replica import Replica, replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def worker(own_server: StartableServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The one replica, which leads."""
    folder = tmp_path_factory.mktemp("replica")
    with replicas(folder, own_server.kubeconfig, "coordinating_app:app", HERE, "w-0") as [only]:
        only.wait_for("leading")
        yield only


@pytest.fixture
async def group(client: Client) -> AsyncIterator[WaitGroup]:
    """What holders wait for within the lock: it is there, and not done."""
    mutex, group = Mutex("e2e", client), WaitGroup("go", client)
    await mutex.create()
    await group.create()
    await group.add()
    yield group
    await mutex.delete()
    await group.delete()


async def seen(mutex: Mutex, check: Callable[[StoredMutex], bool]) -> StoredMutex:
    """Wait until the Mutex is as wanted; a server that has just been started may not answer yet."""
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            try:
                if check(found := await mutex.get()):
                    return found
            except Unavailable:
                pass
            await asyncio.sleep(0.05)


async def test_who_holds_and_who_waits_outlive_the_worker_and_the_api_server(
    client: Client, worker: Replica, group: WaitGroup, own_server: StartableServer, tmp_path: Path
) -> None:
    """The lock is the same one afterwards, the next one gets it in turn, and nothing is done twice."""
    mutex, file = Mutex("e2e", client), tmp_path / "ledger"
    first = await client.spawn("guarded", {"name": "a", "file": str(file)}, result=int)
    await seen(mutex, lambda one: one.status.holder == f"execution/{first.name}")
    second = await client.spawn("guarded_sync", {"name": "b", "file": str(file)}, result=int)
    before = await seen(mutex, lambda one: len(one.status.waiters) == 1)
    await asyncio.to_thread(worker.kill)
    own_server.kill()
    own_server.start()  # in this thread: a real one ends with the thread that has started it
    await asyncio.to_thread(worker.start)
    after = await seen(mutex, lambda one: len(one.status.waiters) == 1)
    assert (after.status.holder, after.status.token) == (before.status.holder, before.status.token)
    await group.done()
    assert [await one.result(timeout=SOON) for one in (first, second)] == [1, 2]
    assert file.read_text().split("\n") == ["a in", "a out", "b in", "b out", ""]
    assert not await mutex.is_locked()


async def test_a_canceled_execution_holds_nothing_and_waits_for_nothing(
    client: Client, transport: KubeTransport, group: WaitGroup, tmp_path: Path
) -> None:
    """The coordinator gives back what it held, and the next one gets it."""
    mutex, file = Mutex("e2e", client), str(tmp_path / "ledger")
    async with World(transport, "default").looked_after():
        first = await client.spawn("guarded", {"name": "a", "file": file}, result=int)
        await seen(mutex, lambda one: one.status.holder == f"execution/{first.name}")
        second = await client.spawn("guarded", {"name": "b", "file": file}, result=int)
        third = await client.spawn("guarded_sync", {"name": "c", "file": file}, result=int)
        await seen(mutex, lambda one: len(one.status.waiters) == 2)
        await client.cancel(second.name)
        await seen(mutex, lambda one: len(one.status.waiters) == 1)
        await client.cancel(first.name)
        await seen(mutex, lambda one: one.status.holder == f"execution/{third.name}")
        await group.done()
        assert await third.result(timeout=SOON) == 2


async def test_who_waits_for_a_gate_and_a_permit_outlives_the_coordinator(
    client: Client, group: WaitGroup, own_server: StartableServer, tmp_path: Path
) -> None:
    """What comes to be so while none runs is seen by the next one; a seat is still one Execution's at a time."""
    gate, seats, file = Gate("opened", client), Semaphore("seats", client), tmp_path / "ledger"
    await gate.create(["WaitGroup/go=Done"])
    await seats.create(1)
    inputs = [{"name": name, "file": str(file)} for name in "ab"]
    coordinator = await start_coordinator(own_server)
    try:
        first = await client.spawn("seated", inputs[0])
        await eventually(lambda: file.exists())
        third, second = await client.spawn("gated", result=str), await client.spawn("seated", inputs[1])
        await eventually(lambda: is_waiting(seats, gate))
    finally:
        coordinator.kill()
        await coordinator.wait()
    await group.done()
    await first.result(timeout=SOON)
    coordinator = await start_coordinator(own_server)
    try:
        assert await third.result(timeout=SOON) == "passed"
        await second.result(timeout=SOON)
        assert file.read_text().split("\n") == ["a in", "a out", "b in", "b out", ""]
        await eventually(lambda: is_free(seats))
    finally:
        coordinator.kill()
        await coordinator.wait()


async def is_waiting(seats: Semaphore, gate: Gate) -> bool:
    permits, found = (await seats.get()).status, await gate.get()
    return (permits.in_use, permits.waiting, found.status.phase) == (1, 1, GatePhase.WAITING)


async def is_free(seats: Semaphore) -> bool:
    return (await seats.get()).status.in_use == 0
