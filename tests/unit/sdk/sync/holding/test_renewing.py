"""What lasts for a ttl: it is trusted no longer than it lasts, and renewed as long as there is time."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kontinue import errors
from kontinue.client import Client
from kontinue.kube.backoff import CAP_S
from kontinue.kube.requests import Request
from kontinue.sync import Lease, Mutex, RWMutex, Semaphore
from kontinue.sync.holding.held import Holding
from kontinue.sync.holding.renewing import Term
from virtual_time import elapsed_s, virtual_time

TTL = timedelta(seconds=12)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """Implements ``kontinue.kube.transport.Transport``: one object of each kind, which a coordinator grants at once.

    It cannot be reached from ``away_from`` to ``away_until``; as over HTTP, what may be repeated is, with pauses.

    Attributes:
        heard_after_s: a list is answered so late.
        ttl: of what a coordinator grants.
        ends: how many grants have ended before their holder hears of them.
        renewed_at: when renewals were stored.
        asked: how many Permits were created, the last at ``asked_at``.
    """

    def __init__(self) -> None:
        self.heard_after_s = self.away_from = self.away_until = self.asked_at = 0.0
        self.ends = self.asked = self._version = 0
        self.ttl: timedelta | None = TTL
        self.renewed_at: list[float] = []
        self._stored: dict[str, dict[str, Any]] = {
            "semaphores": {"metadata": {"name": "x", "uid": "s"}, "spec": {"permits": 1}},
            "mutexes": {"metadata": {"name": "x", "uid": "m", "resourceVersion": "0"}, "spec": {}},
            "rwmutexes": {"metadata": {"name": "x", "uid": "r", "resourceVersion": "0"}, "spec": {}},
            "leases": {"metadata": {"name": "x", "uid": "l", "resourceVersion": "0"}, "spec": {}},
        }

    async def send(self, request: Request, *, retries: bool = True, timeout_s: float | None = None, **_: Any) -> bytes:
        while self.away_from <= elapsed_s() < self.away_until:
            if not retries:
                raise errors.Unavailable("no answer")
            await asyncio.sleep(CAP_S)
        await asyncio.sleep(0.001)
        if request.query:
            await asyncio.sleep(self.heard_after_s)
        kind = next(one for one in request.path.split("/") if one in {*self._stored, "permits", "leaserequests"})
        return json.dumps(getattr(self, f"_{request.method.lower()}")(kind, request)).encode()

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Show nothing: whoever looks has seen it."""
        await asyncio.Event().wait()
        yield b""

    def _get(self, kind: str, request: Request) -> Any:
        one = self._stored[kind]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": [one]} if request.query else one

    def _post(self, kind: str, request: Request) -> Any:
        self.asked += 1
        self.asked_at = elapsed_s()
        ends = None if self.ttl is None else (NOW + self.ttl).isoformat()
        phase = "Expired" if self.asked <= self.ends else "Granted"
        status = {"phase": phase, "acquiredAt": NOW.isoformat(), "expiresAt": ends}
        if kind == "leaserequests":
            status["token"] = 1
            lease = {"holder": "me", "token": 1, "ttl": "12s", "requestUid": "q", "expiresAt": ends}
            self._store("leases", {**self._stored["leases"], "status": lease})
        one = {**json.loads(request.body), "status": status}
        one["metadata"]["uid"] = "q"
        return self._store(kind, one)

    def _patch(self, kind: str, request: Request) -> Any:
        self.renewed_at.append(elapsed_s())
        one = self._stored[kind]
        return self._store(kind, {**one, "spec": {**one["spec"], **json.loads(request.body)["spec"]}})

    def _put(self, kind: str, request: Request) -> Any:
        self.renewed_at.append(elapsed_s())
        return self._store(kind, json.loads(request.body))

    def _delete(self, kind: str, request: Request) -> Any:
        return {}

    def _store(self, kind: str, one: dict[str, Any]) -> Any:
        self._version += 1
        one["metadata"] |= {"resourceVersion": str(self._version), "namespace": "default"}
        self._stored[kind] = one
        return one


TAKES: dict[str, Callable[[Client], Any]] = {
    "Mutex": lambda client: Mutex("x", client).lock(ttl=TTL, holder="me"),
    "RWMutex to write": lambda client: RWMutex("x", client).lock(ttl=TTL, holder="me"),
    "RWMutex to read": lambda client: RWMutex("x", client).rlock(ttl=TTL, holder="me"),
    "Lease": lambda client: Lease("x", client).acquire(ttl=TTL, holder="me"),
    "Semaphore": lambda client: Semaphore("x", client).acquire(ttl=TTL, holder="me"),
}


def scope_of(kind: str, server: Server) -> Any:
    """Return what holds one of a kind in an ``async with``."""
    client = Client.from_kube(server, "default")
    return Semaphore("x", client).hold(ttl=TTL) if kind == "Semaphore" else Mutex("x", client).held(ttl=TTL)


@pytest.mark.parametrize("kind", ["Semaphore", "Mutex"])
@virtual_time
async def test_a_server_that_is_back_before_the_end_is_asked_before_the_end(kind: str):
    """Tries of a renewal follow each other closely where the ttl is short: nothing is lost that need not be."""
    server = Server()
    server.away_from, server.away_until = 2.0, 11.3
    async with scope_of(kind, server) as held:
        await asyncio.sleep(30)
        held.check()
    assert any(11.3 <= at < 12 for at in server.renewed_at)


@virtual_time
async def test_what_is_not_renewed_in_time_is_lost_when_its_ttl_is_over():
    """Counted from before it was asked for, however late its holder has heard of it: others count no sooner."""
    server = Server()
    server.heard_after_s = 3.0
    server.away_from, server.away_until = 3.5, 1e6
    what = r"Permit default/x-\S+ of Semaphore default/x"
    with pytest.raises(errors.LockLost, match=f"{what} could not be renewed within its ttl"):
        await held_for_ever(scope_of("Semaphore", server), server)
    assert server.renewed_at == []


async def held_for_ever(scope: Any, server: Server) -> None:
    """Hold it until it is lost, which is within its ttl."""
    async with scope:
        try:
            await asyncio.Event().wait()
        finally:
            assert elapsed_s() <= server.asked_at + TTL.total_seconds()


def acquire(server: Server) -> Any:
    """Return an acquired permit."""
    return Semaphore("x", Client.from_kube(server, "default")).acquire(ttl=TTL)


@pytest.mark.parametrize(("late", "is_late"), [(lambda ttl: ttl / 4, False), (lambda ttl: ttl, True)])
@virtual_time
async def test_who_hears_late_of_his_permit_renews_it_before_he_trusts_it(
    late: Callable[[float], float],
    is_late: bool,
):
    """Its ttl may be over meanwhile: then the coordinator has given it to somebody else."""
    server = Server()
    server.heard_after_s = late(TTL.total_seconds())
    held = await acquire(server)
    assert bool(server.renewed_at) is is_late
    assert held.permit.spec.renewals == is_late


@virtual_time
async def test_who_hears_of_his_permit_after_its_end_asks_again():
    """He has never held it; who is always too late is told."""
    server = Server()
    server.ends = 3
    assert (await acquire(server)).permit.is_granted
    assert server.asked == 4
    server.ends = 1_000
    with pytest.raises(errors.InvalidState, match="has expired already"):
        await acquire(server)


@pytest.mark.parametrize("kind", TAKES)
@virtual_time
async def test_what_nobody_renews_is_not_trusted_after_its_ttl(kind: str):
    """Others may have it from then on; counted from before it was asked for, so no later than anybody else does."""
    held = await TAKES[kind](Client.from_kube(Server(), "default"))
    await asyncio.sleep(11.5)
    held.check()
    assert not held.is_lost
    await asyncio.sleep(0.5)
    assert held.is_lost
    with pytest.raises(errors.LockLost, match=rf"{kind.split()[0]} default/x may be .* its ttl of 12s is over"):
        held.check()


@pytest.mark.parametrize("kind", ["Mutex", "Semaphore"])
@virtual_time
async def test_what_has_no_ttl_lasts(kind: str):
    """Until it is given back: by the clock alone it never ends."""
    server = Server()
    server.ttl = None
    client = Client.from_kube(server, "default")
    held = await (Mutex("x", client).lock() if kind == "Mutex" else Semaphore("x", client).acquire())
    await asyncio.sleep(3600)
    held.check()


@virtual_time
async def test_a_lease_that_is_renewed_by_hand_is_trusted_for_its_ttl_again():
    """Counted from before the renewal was asked for."""
    lease = Lease("x", Client.from_kube(Server(), "default"))
    lock = await lease.acquire(ttl=TTL, holder="me")
    await asyncio.sleep(10)
    await lease.renew(lock)
    await asyncio.sleep(11.5)
    lock.check()
    await asyncio.sleep(0.5)
    with pytest.raises(errors.LockLost):
        lock.check()


def test_a_copy_in_a_process_that_was_forked_off_is_not_renewed_there():
    """The parent's goes on, as that renews it; the child's is over after the ttl."""
    now_s = 0.0
    held = Holding("me", Term("Mutex default/x", TTL, 0.0, lambda: now_s))
    child = os.fork()
    now_s = 13.0
    if not child:
        os._exit(held.is_lost)
    held._term.renewed(6.0)
    held.check()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_lock_goes_to_another_process_of_the_host_with_its_time():
    """As arguments of ``multiprocessing`` do: whoever releases it there may check it, too."""
    for since_s, is_over in ((time.monotonic(), False), (time.monotonic() - 3600, True)):
        term = Term("Mutex default/x", timedelta(hours=1), since_s, time.monotonic)
        assert bool(pickle.loads(pickle.dumps(term)).ended) is is_over
