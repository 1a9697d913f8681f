"""RWMutexes from Python, against an API server; nobody but clients takes part: no coordinator runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor import locking
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube.http import KubeTransport
from kontinue.sync import RWMutex, RWMutexPhase, SyncRWMutex
from polling import eventually

LONG = timedelta(seconds=60)
NOW = timedelta()


@pytest.fixture
async def transport(api_server: ApiServer) -> AsyncIterator[KubeTransport]:
    subject = api_server.transport()
    yield subject
    await subject.close()


@pytest.fixture
async def mutex(transport: KubeTransport, api_server: ApiServer) -> RWMutex:
    """One that exists."""
    subject = RWMutex("catalog", Client.from_kube(transport, api_server.namespace))
    await subject.create()
    return subject


async def waits(mutex: RWMutex, *holders: str) -> bool:
    """Tell whether exactly these wait, in this order."""
    return [one.holder for one in (await mutex.get()).status.waiters] == list(holders)


async def test_readers_share_it_and_a_writer_has_it_alone(mutex: RWMutex):
    """The status says who; each lock has a token and an end of its own."""
    readers = [await mutex.rlock(holder=f"r{number}", ttl=LONG) for number in range(2)]
    status = (await mutex.get()).status
    assert (status.read_holders, status.write_holder, status.phase) == (["r0", "r1"], "", RWMutexPhase.READ_LOCKED)
    assert [one.token for one in status.locks] == [1, 2]
    with pytest.raises(errors.Held, match="is held by r0, r1"):
        await mutex.lock(holder="w", timeout=NOW)
    for reader in readers:
        await mutex.unlock(reader)
    writer = await mutex.lock(holder="w", timeout=NOW)
    assert (await mutex.get()).status.phase is RWMutexPhase.WRITE_LOCKED
    with pytest.raises(errors.Held, match="is held by w"):
        await mutex.rlock(holder="r", timeout=NOW)
    with pytest.raises(errors.Held, match="is held by w, not by r0"):
        await mutex.unlock(readers[0])
    await mutex.unlock(holder="w", token=writer.token)
    assert (await mutex.get()).status.phase is RWMutexPhase.UNLOCKED


async def test_a_writer_is_not_starved_by_readers_that_come_later(mutex: RWMutex, monkeypatch: pytest.MonkeyPatch):
    """They wait behind him, and read together after him."""
    monkeypatch.setattr(locking, "TAKE_WITHIN", LONG)  # who is slower is passed over
    first = await mutex.rlock(holder="first")
    order: list[str] = []

    async def write() -> None:
        async with mutex.held(timeout=LONG, holder="w"):
            order.append("write")

    async def read(name: str) -> None:
        async with mutex.reading(timeout=LONG, holder=name):
            order.append("read")

    tasks = [asyncio.create_task(write())]
    await eventually(lambda: waits(mutex, "w"))
    for name in ("r1", "r2"):
        tasks.append(asyncio.create_task(read(name)))
        await eventually(lambda: waits(mutex, *("w", "r1", "r2")[: len(tasks)]))
    assert order == []
    await mutex.unlock(first)
    await asyncio.gather(*tasks)
    assert order == ["write", "read", "read"]


async def test_a_reader_that_is_not_renewed_ends_alone(mutex: RWMutex):
    """The others read on; a writer waits for them only."""
    await mutex.rlock(holder="dead", ttl=timedelta(milliseconds=100))
    async with mutex.reading(holder="alive", ttl=LONG) as alive:
        writing = asyncio.create_task(mutex.lock(holder="w", timeout=LONG))
        await eventually(lambda: reads_alone(mutex, "alive"))
        assert not writing.done()
        alive.check()
    assert (await writing).token == 3


async def reads_alone(mutex: RWMutex, holder: str) -> bool:
    """Tell whether nobody else reads."""
    return (await mutex.get()).status.read_holders == [holder]


async def test_a_writer_never_meets_anybody(api_server: ApiServer):
    """A ledger of several processes' clients: readers together, or one writer."""
    transports = [api_server.transport() for _ in range(4)]
    mutexes = [RWMutex("catalog", Client.from_kube(one, api_server.namespace)) for one in transports]
    await mutexes[0].create()
    readers = writers = 0

    async def read(mutex: RWMutex) -> None:
        nonlocal readers
        async with mutex.reading(timeout=LONG, ttl=LONG):
            readers += 1
            assert writers == 0
            await asyncio.sleep(0)
            readers -= 1

    async def write(mutex: RWMutex) -> None:
        nonlocal writers
        async with mutex.held(timeout=LONG, ttl=LONG):
            writers += 1
            assert (readers, writers) == (0, 1)
            await asyncio.sleep(0)
            writers -= 1

    await asyncio.gather(*(use(mutex) for mutex in mutexes for use in (read, write, read)))
    status = (await mutexes[0].get()).status
    assert (status.token, status.locks, status.waiters) == (12, [], [])
    for transport in transports:
        await transport.close()


async def test_threads_read_and_write_with_a_sync_client(api_server: ApiServer):
    """The same without an event loop."""

    def use() -> None:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            mutex = SyncRWMutex("catalog", client, namespace=api_server.namespace)
            mutex.create()
            with mutex.reading(holder="a"), mutex.reading(holder="b"):
                assert mutex.get().status.read_holders == ["a", "b"]
            with mutex.held(holder="w"):
                assert mutex.get().status.write_holder == "w"
            mutex.unlock(mutex.rlock(holder="a"))
            mutex.unlock(mutex.lock(holder="w"))
            assert mutex.get().phase is RWMutexPhase.UNLOCKED
            mutex.delete()

    await asyncio.to_thread(use)
