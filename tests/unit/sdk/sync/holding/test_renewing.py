"""What lasts for a ttl: it is trusted no longer than it lasts, and renewed as long as there is time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kontinue import errors
from kontinue.client import Client
from kontinue.kube.backoff import CAP_S
from kontinue.kube.requests import Request
from kontinue.sync import Mutex, Semaphore
from virtual_time import elapsed_s, virtual_time

TTL = timedelta(seconds=12)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """Implements ``kontinue.kube.transport.Transport``: one object of each kind, which a coordinator grants at once.

    It cannot be reached from ``away_from`` to ``away_until``; as over HTTP, what may be repeated is, with pauses.

    Attributes:
        heard_after_s: a list is answered so late.
        ends: how many grants have ended before their holder hears of them.
        renewed_at: when renewals were stored.
        asked: how many Permits were created, the last at ``asked_at``.
    """

    def __init__(self) -> None:
        self.heard_after_s = self.away_from = self.away_until = self.asked_at = 0.0
        self.ends = self.asked = self._version = 0
        self.renewed_at: list[float] = []
        self._stored: dict[str, dict[str, Any]] = {
            "semaphores": {"metadata": {"name": "x", "uid": "s"}, "spec": {"permits": 1}},
            "mutexes": {"metadata": {"name": "x", "uid": "m", "resourceVersion": "0"}, "spec": {}},
        }

    async def send(self, request: Request, *, retries: bool = True, timeout_s: float | None = None, **_: Any) -> bytes:
        while self.away_from <= elapsed_s() < self.away_until:
            if not retries:
                raise errors.Unavailable("no answer")
            await asyncio.sleep(CAP_S)
        await asyncio.sleep(0.001)
        if request.query:
            await asyncio.sleep(self.heard_after_s)
        kind = next(one for one in request.path.split("/") if one in {"semaphores", "mutexes", "permits"})
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
        ends = (NOW + TTL).isoformat()
        phase = "Expired" if self.asked <= self.ends else "Granted"
        status = {"phase": phase, "acquiredAt": NOW.isoformat(), "expiresAt": ends}
        return self._store(kind, {**json.loads(request.body), "status": status})

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
        one["metadata"]["resourceVersion"] = str(self._version)
        self._stored[kind] = one
        return one


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
    with pytest.raises(errors.LockLost, match="could not be renewed within its ttl"):
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
