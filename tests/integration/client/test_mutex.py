"""Mutexes from Python, against an API server; nobody but clients takes part: no coordinator runs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor import locking
from kontinue.api.konductor.locking import CLOCKS_DIFFER, Claim, left
from kontinue.api.konductor.mutexes import MUTEXES, MutexPhase
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.sync import Lock, Mutex, SyncMutex
from kontinue.sync.holding.locker import Locker
from kontinue.sync.objects.changes import Changes
from polling import eventually

LONG = timedelta(seconds=60)
NOW = timedelta()


@pytest.fixture
async def transport(api_server: ApiServer) -> AsyncIterator[KubeTransport]:
    subject = api_server.transport()
    yield subject
    await subject.close()


def of(transport: KubeTransport, api_server: ApiServer, name: str = "deploy") -> Mutex:
    """Return another client's view, as that of another process."""
    return Mutex(name, Client.from_kube(transport, api_server.namespace))


@pytest.fixture
async def mutex(transport: KubeTransport, api_server: ApiServer) -> Mutex:
    """One that exists."""
    subject = of(transport, api_server)
    await subject.create()
    return subject


def changes(transport: KubeTransport, api_server: ApiServer) -> Changes:
    """Return what writes as anybody may."""
    return Changes(transport, requests.MUTEXES, MUTEXES.object_type, api_server.namespace, "deploy", retry_for_s=30)


async def waits(mutex: Mutex, *holders: str) -> bool:
    """Tell whether exactly these wait, in this order."""
    return [one.holder for one in (await mutex.get()).status.waiters] == list(holders)


async def test_create_and_delete_may_be_repeated(mutex: Mutex):
    """As documented: one that exists is left as it is, one that is gone is gone."""
    assert (await mutex.create(ttl=LONG)).spec.ttl == ""
    await mutex.delete()
    await mutex.delete()
    with pytest.raises(errors.NotFound):
        await mutex.lock(timeout=NOW)


async def test_one_at_a_time_holds_it_and_each_lock_has_a_higher_token(mutex: Mutex):
    """The status says who, since when, and by which token."""
    first = await mutex.lock(holder="a")
    status = (await mutex.get()).status
    assert (status.holder, status.phase, status.token, status.expires_at) == ("a", MutexPhase.LOCKED, 1, None)
    assert status.locked_at is not None
    with pytest.raises(errors.Held, match=r"Mutex .*/deploy is held by a$"):
        await mutex.lock(holder="b", timeout=NOW)
    assert not (await mutex.get()).status.waiters, "who does not wait leaves no trace"
    await mutex.unlock(first)
    assert not await mutex.is_locked()
    assert (await mutex.lock(holder="b", timeout=NOW)).token == 2


async def test_a_lock_is_unlocked_by_its_holder_only(mutex: Mutex):
    """And not by an earlier lock of the same holder, as a container is that was started again under its name."""
    old = await mutex.lock(holder="host")
    with pytest.raises(errors.Held, match="is held by host, not by other"):
        await mutex.unlock(holder="other")
    await mutex.unlock(holder="host", token=1)
    with pytest.raises(errors.InvalidState, match="is not held by anybody"):
        await mutex.unlock(old)
    new = await mutex.lock(holder="host")
    for late in (mutex.unlock(old), mutex.unlock(holder="host", token=1)):
        with pytest.raises(errors.Held):
            await late
    assert (await mutex.get()).status.token == new.token == 2
    await mutex.unlock(holder="host")


async def test_who_waits_takes_it_in_the_order_of_asking(
    transport: KubeTransport, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    """However many processes they are."""
    monkeypatch.setattr(locking, "TAKE_WITHIN", LONG)  # who is slower is passed over
    mutexes = [of(transport, api_server) for _ in range(4)]
    await mutexes[0].create()
    held = await mutexes[0].lock(holder="first")
    order: list[str] = []

    async def work(number: int) -> None:
        async with mutexes[number].held(timeout=LONG, holder=f"w{number}"):
            order.append(f"w{number}")

    tasks = []
    for number in (2, 1, 3):
        tasks.append(asyncio.create_task(work(number)))
        await eventually(lambda: waits(mutexes[0], *("w2", "w1", "w3")[: len(tasks)]))
    assert order == []
    await mutexes[0].unlock(held)
    await asyncio.gather(*tasks)
    assert order == ["w2", "w1", "w3"]
    assert (await mutexes[0].get()).status.token == 4


async def test_two_clients_never_hold_it_at_once(api_server: ApiServer):
    """A ledger sees one holder at a time, and tokens that grow; everybody gets his turns."""
    transports = [api_server.transport() for _ in range(5)]
    await of(transports[0], api_server).create()
    inside = 0
    tokens: list[int] = []

    async def work(transport: KubeTransport, number: int) -> None:
        nonlocal inside
        mutex = of(transport, api_server)
        for _ in range(4):
            async with mutex.held(timeout=LONG, holder=f"w{number}", ttl=LONG) as lock:
                inside += 1
                assert inside == 1
                tokens.append(lock.token)
                await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*(work(transport, number) for number, transport in enumerate(transports)))
    assert tokens == list(range(1, 21))
    for transport in transports:
        await transport.close()


async def test_who_gives_up_leaves_the_queue(mutex: Mutex):
    """By a timeout, which names the holder, or by a cancel."""
    held = await mutex.lock(holder="a")
    with pytest.raises(errors.WaitTimeout, match="was not to be had within 6s: it is held by a"):
        await mutex.lock(holder="b", timeout=timedelta(seconds=6))  # long enough to hear who has it
    waiting = asyncio.create_task(mutex.lock(holder="c", timeout=LONG))
    await eventually(lambda: waits(mutex, "c"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await waits(mutex)
    await mutex.unlock(held)


class SlowWrites:
    """A transport whose writes reach the server late, whether or not somebody waits for their answers."""

    def __init__(self, inner: KubeTransport) -> None:
        self._inner = inner
        self.stream, self.chunks = inner.stream, inner.chunks
        self.are_let_through = asyncio.Event()
        self.written = asyncio.Event()
        self.tasks: list[asyncio.Task[bytes]] = []

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        """Send a read at once; a write once it is let through, by itself."""
        if request.method != "PUT" or self.are_let_through.is_set():
            return await self._inner.send(request, **options)
        self.tasks.append(asyncio.create_task(self._late(request, options)))
        self.written.set()
        return await asyncio.shield(self.tasks[-1])

    async def _late(self, request: requests.Request, options: dict[str, Any]) -> bytes:
        await self.are_let_through.wait()
        return await self._inner.send(request, **options)


@pytest.mark.parametrize("timeout", [LONG, NOW])
async def test_who_is_cancelled_while_he_takes_it_leaves_it_free(
    mutex: Mutex, transport: KubeTransport, api_server: ApiServer, timeout: timedelta
):
    """A write that is under way may be carried out later: it is waited for before it is undone."""
    slow = SlowWrites(transport)
    locking = asyncio.create_task(of(slow, api_server).lock(holder="a", timeout=timeout))
    await slow.written.wait()
    locking.cancel()
    asyncio.get_running_loop().call_later(0.05, slow.are_let_through.set)
    with pytest.raises(asyncio.CancelledError):
        await locking
    await asyncio.gather(*slow.tasks, return_exceptions=True)
    assert not await mutex.is_locked()


async def test_a_lock_that_ended_long_ago_is_free_for_who_does_not_wait(
    mutex: Mutex, transport: KubeTransport, api_server: ApiServer
):
    """Although nobody has watched it, and no coordinator runs."""
    await mutex.lock(holder="dead", ttl=LONG)
    with pytest.raises(errors.Held):
        await mutex.lock(holder="next", timeout=NOW)

    def aged(state):
        ended = state.status.expires_at - LONG - CLOCKS_DIFFER
        return msgspec.structs.replace(state, status=msgspec.structs.replace(state.status, expires_at=ended))

    await changes(transport, api_server).apply(aged)
    assert (await mutex.lock(holder="next", timeout=NOW)).token == 2


async def test_a_lock_that_is_lost_to_its_holder_alone_is_given_back(
    mutex: Mutex, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    """Who may not watch it cannot keep it, and nobody is to wait for what he has taken."""

    async def refuse(*_: object, **__: object) -> None:
        raise errors.Forbidden("watch is forbidden", status=403, reason="Forbidden")

    monkeypatch.setattr("kontinue.sync.objects.followed.Followed.newer", refuse)
    with pytest.raises(errors.LockLost, match="watch is forbidden"):
        async with mutex.held(holder="a"):
            await asyncio.Event().wait()
    assert not await mutex.is_locked()


async def test_a_wait_ends_when_its_client_is_closed(mutex: Mutex, transport: KubeTransport, api_server: ApiServer):
    """Nobody will answer it any more, however long it waits; it is not the server's fault."""
    other = api_server.transport()
    await mutex.lock(holder="a")
    waiting = asyncio.create_task(of(other, api_server).lock(holder="b"))
    await eventually(lambda: waits(mutex, "b"))
    await other.close()
    with pytest.raises(errors.Unavailable, match="this client is closed: make another one"):
        await waiting


async def test_a_holder_that_is_cancelled_while_he_unlocks_unlocks(
    mutex: Mutex, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    """A second Ctrl-C does not keep it locked: he leaves once it is not, before his client is closed."""
    may_go_on, is_leaving = asyncio.Event(), asyncio.Event()
    give_back = Locker.give_back

    async def hesitant(*arguments: Any) -> None:
        is_leaving.set()
        await may_go_on.wait()
        await give_back(*arguments)

    async def hold() -> None:
        async with mutex.held(holder="a"):
            pass

    monkeypatch.setattr(Locker, "give_back", hesitant)
    holding = asyncio.create_task(hold())
    await is_leaving.wait()
    holding.cancel()
    await asyncio.sleep(0.1)
    assert not holding.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert not await mutex.is_locked()


async def test_a_lock_that_is_not_renewed_ends_after_its_ttl(mutex: Mutex):
    """Who waits ends it himself; the lock's holder is told when he unlocks."""
    dead = await mutex.lock(holder="dead", ttl=timedelta(milliseconds=100))
    assert (await mutex.get()).status.ttl == "100ms"
    lock = await mutex.lock(holder="next", timeout=LONG)
    assert lock.token == dead.token + 1
    with pytest.raises(errors.Held, match="is held by next, not by dead"):
        await mutex.unlock(dead)


async def test_a_lock_in_its_scope_is_renewed(
    transport: KubeTransport, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    """Its end is put off again and again; the Mutex's own ttl counts where the lock has none."""
    monkeypatch.setattr("kontinue.sync.holding.renewing.RENEW_AFTER", 0.001)
    mutex = of(transport, api_server)
    await mutex.create(ttl=LONG)
    ends = set()
    async with mutex.held(holder="a") as lock:

        async def has_been_renewed() -> bool:
            ends.add((await mutex.get()).status.expires_at)
            return len(ends) > 2

        await eventually(has_been_renewed)
        assert not lock.is_lost
    assert not await mutex.is_locked()


async def test_a_dead_waiter_does_not_block_the_others(
    mutex: Mutex, transport: KubeTransport, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    """He does not take his turn: after a while the next one does."""
    monkeypatch.setattr("kontinue.api.konductor.locking.TAKE_WITHIN", timedelta(milliseconds=50))
    held = await mutex.lock(holder="a")

    def with_dead(state):
        locks = MUTEXES.locks_of(state)
        return MUTEXES.with_locks(state, msgspec.structs.replace(locks, waiters=(Claim(id="d", holder="dead"),)))

    await changes(transport, api_server).apply(with_dead)
    waiting = asyncio.create_task(mutex.lock(holder="b", timeout=LONG))
    await eventually(lambda: waits(mutex, "dead", "b"))
    await mutex.unlock(held)
    assert (await waiting).holder == "b"


async def test_a_lost_lock_cancels_its_body_and_is_told(mutex: Mutex, transport: KubeTransport, api_server: ApiServer):
    """Somebody has taken it away: the holder stops at once, and releases nothing that is not his."""
    lost: list[Lock] = []
    is_inside = asyncio.Event()

    async def hold() -> None:
        async with mutex.held(holder="a", on_loss=lost.append):
            is_inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await is_inside.wait()
    await changes(transport, api_server).apply(
        lambda state: MUTEXES.with_locks(state, left(MUTEXES.locks_of(state), state.status.lock_id))
    )
    with pytest.raises(errors.LockLost, match="is not held by a any more"):
        await holding
    assert [one.is_lost for one in lost] == [True]
    with pytest.raises(errors.LockLost):
        lost[0].check()
    assert holding.cancelling() == 0


async def test_who_holds_something_while_his_client_is_closed_hears_what_is_left_of_it(
    mutex: Mutex, api_server: ApiServer
):
    """It is nobody's fault but the program's, and without a ttl it stays so."""
    other = api_server.transport()

    async def hold() -> None:
        async with of(other, api_server).held(holder="a"):
            is_inside.set()
            await asyncio.Event().wait()

    is_inside = asyncio.Event()
    holding = asyncio.create_task(hold())
    await is_inside.wait()
    await other.close()
    with pytest.raises(errors.LockLost, match=r"this client is closed: .*; a could not give it back"):
        await holding
    assert (await mutex.status()).holder == "a"


async def test_a_callback_of_a_loss_that_exits_ends_the_program_of_a_thread_with_its_status(
    mutex: Mutex, api_server: ApiServer
):
    """At the end of its block; the thread that serves it, and perhaps others, goes on."""

    def use() -> None:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig))) as client:
            subject = SyncMutex("deploy", client, namespace=api_server.namespace)
            with pytest.raises(SystemExit) as exited, subject.held(holder="a", on_loss=leave):
                lose(subject)
            assert exited.value.code == 7
            subject.create()
            with subject.held(holder="b") as lock:
                assert lock.token == 1

    has_heard = threading.Event()

    def lose(subject: SyncMutex) -> None:
        subject.delete()
        assert has_heard.wait(60)

    def leave(lock: Lock) -> None:
        has_heard.set()
        sys.exit(7)

    await asyncio.to_thread(use)


class SilentWrites(KubeTransport):
    """Gets no answer to what it writes, once ``is_silent``."""

    is_silent = False

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        if self.is_silent and request.method == "PUT":
            await asyncio.Event().wait()
        return await super().send(request, **options)


async def test_a_holder_whose_renewals_are_not_answered_stops_before_others_begin(mutex: Mutex, api_server: ApiServer):
    """His ttl is over by his own clock, whatever he waits for: he is told before anybody else can have it."""
    transport = SilentWrites(api_server.config, user_agent="tests")
    happened: list[str] = []
    is_inside = asyncio.Event()

    def lose(lock: Lock) -> None:
        happened.append(f"{lock.holder} has lost it")
        transport.is_silent = False

    async def hold() -> None:
        scope = of(transport, api_server).held(holder="cut off", ttl=timedelta(milliseconds=300), on_loss=lose)
        async with scope:
            transport.is_silent = True
            is_inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await is_inside.wait()
    await mutex.lock(holder="next", timeout=LONG)
    happened.append("next has it")
    with pytest.raises(errors.LockLost):
        await holding
    assert happened == ["cut off has lost it", "next has it"]
    await transport.close()


class LateLoss(KubeTransport):
    """Tells late that the answer to its first write got lost, which was carried out."""

    is_first = True

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        body = await super().send(request, **options)
        if request.method == "PUT" and self.is_first:
            self.is_first = False
            await asyncio.sleep(6.1)
            raise errors.Unavailable("no answer")
        return body


async def test_who_hears_late_that_he_has_it_renews_it_before_he_begins(mutex: Mutex, api_server: ApiServer):
    """His ttl is over by then, by his own clock and by that of others: they may be about to take it."""
    transport = LateLoss(api_server.config, user_agent="tests")
    async with of(transport, api_server).held(ttl=timedelta(seconds=6), timeout=LONG) as lock:
        await asyncio.sleep(0.01)
        assert not lock.is_lost
    assert not await mutex.is_locked()
    await transport.close()


async def test_a_mutex_that_is_deleted_is_lost_to_holder_and_waiters(mutex: Mutex):
    """Nobody believes to hold what does not exist any more, and nobody waits for it."""
    is_inside = asyncio.Event()

    async def hold() -> None:
        async with mutex.held(holder="a"):
            is_inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await is_inside.wait()
    waiting = asyncio.create_task(mutex.lock(holder="b", timeout=LONG))
    await eventually(lambda: waits(mutex, "b"))
    await mutex.delete()
    with pytest.raises(errors.LockLost, match="was deleted"):
        await holding
    with pytest.raises(errors.NotFound):
        await waiting


async def test_what_the_body_raises_goes_first_and_the_mutex_is_free(mutex: Mutex):
    """An error, or a cancel from outside."""
    with pytest.raises(ZeroDivisionError):
        async with mutex.held(holder="a"):
            raise ZeroDivisionError
    assert not await mutex.is_locked()


async def test_threads_hold_it_with_a_sync_client(api_server: ApiServer):
    """The same without an event loop: one at a time, released at the end, a loss told."""
    await asyncio.to_thread(hold_in_threads, api_server)


def hold_in_threads(api_server: ApiServer) -> None:
    """Use all of ``SyncMutex``."""
    inside: list[int] = []
    with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
        mutex = SyncMutex("deploy", client, namespace=api_server.namespace)
        mutex.create()

        def work(number: int) -> None:
            with mutex.held(timeout=LONG, holder=f"t{number}", ttl=LONG) as lock:
                lock.check()
                inside.append(number)
                assert len(inside) == 1
                inside.clear()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not mutex.is_locked()
        assert mutex.get().status.token == 3
        lock = mutex.lock(holder="a")
        mutex.unlock(lock)
        with pytest.raises(ValueError, match="no"), mutex.held(holder="a"):
            raise ValueError("no")
        with pytest.raises(errors.LockLost), mutex.held(holder="a"):
            mutex.delete()


async def test_the_program_of_the_documentation_runs(api_server: ApiServer, tmp_path: Path):
    """That of docs/locks.md, as it stands there."""
    page = Path(__file__).parents[3] / "docs" / "locks.md"
    (program,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "deploy.py").write_text(program)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "deploy.py"),
        cwd=tmp_path,
        env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"migrated in try 1\nversion 1 with token 1\nversion 2 with token 2\n")
