"""An API server stops answering, on a virtual clock: each call of ``kontinue.sync`` ends in its time, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from kontinue import errors, sync
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue.sync.granted.asking import WITHDRAW_S
from kontinue.sync.holding.locker import LEAVE_WITHIN_S
from kontinue.sync.objects.changes import SETTLE_S
from kontinue_engine.clock import SystemClock
from kontinue_engine.testing.server import InProcessTransport, start_server
from primitive_calls import CALLS, KINDS, POD, WAITS, enter, methods, subject
from silent_transport import SilentTransport
from virtual_time import elapsed_s, virtual_time

LIMIT_S = 3
LIMIT = timedelta(seconds=LIMIT_S)
MOST_AFTERWARDS_S = max(SETTLE_S + LEAVE_WITHIN_S, 2 * WITHDRAW_S)
"""As documented: what may have been asked for is waited for, and then withdrawn."""


class World:
    """A namespace in which somebody else has everything, and no coordinator works.

    Attributes:
        transport: to its server, which may fall silent.
        client: without a limit of its own.
        other: of somebody who is always answered.
    """

    def __init__(self, inner: InProcessTransport) -> None:
        self.transport = SilentTransport(inner)
        self.client = Client.from_kube(self.transport, "default")
        self.other = Client.from_kube(inner, "default")

    async def fill(self) -> None:
        """Create one of each kind, ``x``."""
        pod = {"metadata": {"name": POD.name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await self.other.kube.send(
            requests.create(requests.PODS, "default", {"apiVersion": "v1", "kind": "Pod", **pod})
        )
        await Barrier("x", self.other).create(2)
        await Gate("x", self.other).create(["Job/j=Complete"])
        await Lease("x", self.other).create()
        await Semaphore("x", self.other).create()
        await WaitGroup("x", self.other).create()
        await WaitGroup("x", self.other).add()
        for one in (mutex := Mutex("x", self.other), rw := RWMutex("x", self.other), once := Once("x", self.other)):
            await one.create()
        await mutex.lock(holder="other")
        await rw.lock(holder="other")
        await once.running(holder="other", lease=timedelta(hours=1)).take()

    async def left_behind(self) -> list[str]:
        """Return who waits, or holds something, and is not ``other``."""
        mutex, rw = await Mutex("x", self.other).status(), await RWMutex("x", self.other).status()
        once = await Once("x", self.other).status()
        left = [one.holder for one in (*mutex.waiters, *rw.waiters, *once.waiters)]
        holders = [mutex.holder, rw.write_holder, *rw.read_holders, once.executor]
        left += [holder for holder in holders if holder not in ("", "other")]
        left += [one.metadata.name for one in await Semaphore("x", self.other).permits()]
        return left + [one.metadata.name for one in await Lease("x", self.other).requests()]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Begin one, and end it."""
    server = await start_server(SystemClock())
    found = World(InProcessTransport(server))
    await found.fill()
    yield found
    found.transport.is_silent = lambda _number, _request: False
    await found.transport.close()
    await server.__aexit__(None, None, None)


def test_every_method_is_called_here() -> None:
    """A new one has a limit, too."""
    kinds = {name.removeprefix("Sync") for name in sync.__all__ if name.startswith("Sync")}
    assert kinds - {"HeldPermit"} == set(KINDS)
    assert {name.partition(" ")[0] for name in (*CALLS, *WAITS)} == methods()


@pytest.mark.parametrize("name", CALLS)
@virtual_time
async def test_a_call_ends_with_the_limit_of_its_client(name: str) -> None:
    """Whichever of its requests is not answered; nobody has answered in time."""
    for answered in range(8):
        async with world() as found:
            found.transport.answer(answered)
            began_s = elapsed_s()
            try:
                await CALLS[name](subject(name, found.client.with_timeout(LIMIT)))
            except errors.Unavailable:
                assert elapsed_s() - began_s == LIMIT_S
            except errors.KontinueError:
                assert answered > 0
                return
            else:
                assert answered > 0
                return
    raise AssertionError("so many requests for one call?")


@pytest.mark.parametrize("of_client", [False, True], ids=["of the call", "of the client"])
@pytest.mark.parametrize("name", WAITS)
@virtual_time
async def test_a_wait_for_a_server_that_says_nothing_is_unavailable_in_its_time(name: str, of_client: bool) -> None:
    """Nothing was seen, and nothing is to be withdrawn."""
    async with world() as found:
        found.transport.answer(0)
        client = found.client.with_timeout(LIMIT) if of_client else found.client
        began_s = elapsed_s()
        with pytest.raises(errors.Unavailable, match=f"{LIMIT_S} ?s"):
            await WAITS[name](subject(name, client), None if of_client else LIMIT)
        assert elapsed_s() - began_s == LIMIT_S
        assert {one.method for one in found.transport.asked} == {"GET"}


@pytest.mark.parametrize("name", WAITS)
@virtual_time
async def test_who_does_not_wait_has_the_limit_of_the_client(name: str) -> None:
    """A timeout of 0 is about others, not about the server's answer."""
    async with world() as found:
        found.transport.answer(0)
        began_s = elapsed_s()
        with pytest.raises(errors.Unavailable):
            await WAITS[name](subject(name, found.client.with_timeout(LIMIT)), timedelta())
        assert elapsed_s() - began_s == LIMIT_S


@pytest.mark.parametrize("name", WAITS)
@virtual_time
async def test_a_wait_whose_watch_is_silent_is_a_timeout(name: str) -> None:
    """What it waits for was shown, and was not so."""
    async with world() as found:
        found.transport.is_silent = lambda _, request: _watches(request)
        began_s = elapsed_s()
        with pytest.raises(errors.WaitTimeout):
            await WAITS[name](subject(name, found.client), LIMIT)
        assert elapsed_s() - began_s == LIMIT_S
        assert await found.left_behind() == []


@pytest.mark.parametrize("carries_out", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("name", WAITS)
@virtual_time
async def test_a_wait_ends_whenever_the_server_falls_silent(name: str, carries_out: bool) -> None:
    """From whichever request on: in its time, and the moment in which it is tried to withdraw."""
    async with world() as found:
        found.transport.carries_out = carries_out
        for answered in range(6):
            found.transport.answer(answered)
            began_s = elapsed_s()
            with pytest.raises((errors.Unavailable, errors.WaitTimeout)) as caught:
                await WAITS[name](subject(name, found.client), LIMIT)
            assert LIMIT_S <= elapsed_s() - began_s <= LIMIT_S + MOST_AFTERWARDS_S
            assert answered or isinstance(caught.value, errors.Unavailable)


@pytest.mark.parametrize("carries_out", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("name", WAITS)
@virtual_time
async def test_who_gives_up_leaves_nothing_behind(name: str, carries_out: bool) -> None:
    """Whichever of his requests was not answered, as soon as the server answers again."""
    async with world() as found:
        found.transport.carries_out = carries_out
        for unanswered in range(6):
            found.transport.answer_all_but(unanswered)
            with pytest.raises((errors.Unavailable, errors.WaitTimeout)):
                await WAITS[name](subject(name, found.client), LIMIT)
            assert await found.left_behind() == []


@pytest.mark.parametrize("kind", [Mutex, RWMutex, Once])
@pytest.mark.parametrize("carries_out", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("limit", [LIMIT, timedelta()], ids=["waits", "does not wait"])
@virtual_time
async def test_a_lock_that_was_free_is_given_back_if_that_is_not_answered(
    kind: Any, carries_out: bool, limit: timedelta
) -> None:
    """It was his turn: only the server has not said so, which is no timeout. Nobody has it afterwards."""
    async with world() as found:
        await kind("free", found.other).create()
        found.transport.carries_out = carries_out
        found.transport.is_silent = lambda _, request: request.method == "PUT" and len(found.transport.asked) == 2
        lock = kind("free", found.client.with_timeout(LIMIT))
        take = enter(lock.running(timeout=limit)) if kind is Once else lock.lock(timeout=limit)
        with pytest.raises(errors.Unavailable, match=r"the API server has not answered within 3s$"):
            await take
        assert [one.method for one in found.transport.asked][:3] == ["GET", "PUT", "GET"]
        assert (await kind("free", found.other).get()).status.token == carries_out
        async with asyncio.timeout(1):
            take = kind("free", found.other)
            await (enter(take.running()) if kind is Once else take.lock(timeout=timedelta()))


@virtual_time
async def test_who_cannot_give_back_a_lock_says_that_he_may_have_it() -> None:
    """The server has carried it out, and answers nothing any more."""
    async with world() as found:
        await Mutex("free", found.other).create()
        found.transport.carries_out = True
        found.transport.answer(1)
        with pytest.raises(errors.Unavailable, match="it may be held by me now"):
            await Mutex("free", found.client).lock(timeout=LIMIT, holder="me")
        assert (await Mutex("free", found.other).status()).holder == "me"


@virtual_time
async def test_who_cannot_leave_the_queue_says_that_he_is_passed_over() -> None:
    """He stands there, for all who look; nobody waits for him."""
    async with world() as found:
        waits = asyncio.create_task(Mutex("x", found.other).lock(holder="first"))
        await asyncio.sleep(0.5)
        ends_s = elapsed_s() + LIMIT_S
        found.transport.is_silent = lambda _, request: request.method == "PUT" and elapsed_s() >= ends_s
        with pytest.raises(errors.WaitTimeout, match="1 other waits before; me could not be withdrawn from the queue"):
            await Mutex("x", found.client).lock(timeout=LIMIT, holder="me")
        waits.cancel()
        await asyncio.wait([waits])
        assert "me" in await found.left_behind()


@pytest.mark.parametrize("kind", [Semaphore, Lease])
@virtual_time
async def test_who_cannot_withdraw_says_what_is_left(kind: Any) -> None:
    """By its name: somebody can delete it."""
    async with world() as found:
        found.transport.is_silent = lambda _, request: request.method == "DELETE"
        with pytest.raises(errors.WaitTimeout, match="could not be withdrawn") as caught:
            await kind("x", found.client).acquire(timeout=LIMIT)
        (left,) = await found.left_behind()
        assert left in str(caught.value)


@pytest.mark.parametrize("name", ["held", "reading", "running", "hold"])
@pytest.mark.parametrize("carries_out", [False, True], ids=["not carried out", "carried out"])
@virtual_time
async def test_the_end_of_what_is_held_has_the_limit_of_the_client(name: str, carries_out: bool) -> None:
    """Also when it is not answered that it was given back."""
    scopes: dict[str, Any] = {"held": Mutex, "reading": RWMutex, "running": Once, "hold": Semaphore}
    async with world() as found:
        await scopes[name]("free", found.other).create()
        granting = asyncio.create_task(grant(found)) if name == "hold" else None
        scope = getattr(scopes[name]("free", found.client.with_timeout(LIMIT)), name)()
        await scope.begin()
        if granting is not None:
            await granting
        found.transport.carries_out = carries_out
        found.transport.is_silent = lambda _, request: not _watches(request)
        began_s = elapsed_s()
        with pytest.raises(errors.Unavailable, match="may have been changed"):
            await scope.end()
        assert elapsed_s() - began_s == LIMIT_S


async def grant(found: World) -> None:
    """Grant the first permit of ``free``, as a coordinator does."""
    semaphore = Semaphore("free", found.other)
    while not (permits := await semaphore.permits()):
        await asyncio.sleep(0.01)
    patch = {"status": {"phase": "Granted"}}
    request = requests.merge_patch(requests.PERMITS, "default", permits[0].metadata.name, patch, subresource="status")
    await found.other.kube.send(request)


def _watches(request: Request) -> bool:
    return "watch" in request.query
