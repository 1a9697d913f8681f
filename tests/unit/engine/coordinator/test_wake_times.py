"""Waits end in time, whoever leads, and by what the Suspension says then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from kontinue import errors
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Suspension, SuspensionKind, SuspensionSpec
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.wake_times import LOOK_AGAIN_MS, RETRY_S, WakeTimeDuty
from kontinue_engine.kube.open_suspensions import OpenSuspensions, SuspensionView
from suspension_api import SuspensionApi
from virtual_time import LoopClock, elapsed_s, virtual_time

START = datetime(2026, 1, 1, tzinfo=UTC)
SLEEP, MANUAL = SuspensionKind.SLEEP, SuspensionKind.MANUAL
view_of = msgspec.json.Decoder(SuspensionView).decode


class VirtualClock(LoopClock):
    """Wall time passes with the loop's; ``ahead`` is what somebody has set it forward by."""

    ahead = timedelta()

    def now_ms(self) -> int:
        return round((START + self.ahead).timestamp() * 1000 + elapsed_s() * 1000)


class Server(SuspensionApi):
    """Ends are shown to the leader at once, unless it is not to see them."""

    def __init__(self) -> None:
        super().__init__()
        self.store = OpenSuspensions()
        self.ended: dict[str, float] = {}
        self.refusals: list[errors.ApiError] = []
        self.tries: list[float] = []

    async def send(self, request: Request, **options: Any) -> bytes:
        if request.method == "PUT":
            self.tries.append(elapsed_s())
            if self.refusals:
                raise self.refusals.pop(0)
        answer = await super().send(request, **options)
        name = request.path.split("/")[-2]
        self.ended[name] = elapsed_s()
        self.store.on_event("DELETED", view_of(msgspec.json.encode(self.objects[name])))
        return answer

    def show(self, name: str, kind: SuspensionKind, after_s: float | None) -> None:
        """Create it, or change when it ends, and let the leader see it."""
        owner = OwnerReference(api_version="v", kind="Execution", name="e", uid="uid-e")
        until = None if after_s is None else START + timedelta(seconds=after_s)
        spec = SuspensionSpec(execution="e", kind=kind, resume_at=until)
        meta = ObjectMeta(name=name, uid=f"u-{name}", owner_references=[owner])
        self._put(Suspension(metadata=meta, spec=spec))
        self.store.on_event("MODIFIED", view_of(msgspec.json.encode(self.objects[name])))


@asynccontextmanager
async def leading(server: Server, clock: VirtualClock | None = None) -> AsyncIterator[None]:
    duty = WakeTimeDuty(server, namespace="ns", store=server.store, clock=clock or VirtualClock())
    running = asyncio.ensure_future(duty.run())
    yield
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


@virtual_time
async def test_a_sleep_ends_and_a_wait_for_somebody_times_out() -> None:
    """When their time has come; what has none waits on."""
    server = Server()
    server.show("sleep", SLEEP, 10)
    async with leading(server):
        server.show("ask", MANUAL, 20)
        server.show("for-ever", MANUAL, None)
        await asyncio.sleep(100)
    assert server.ended == {"sleep": 10, "ask": 20}
    assert [server.objects[name].status.timed_out for name in ("sleep", "ask")] == [False, True]
    assert server.objects["sleep"].status.resumed_by == "Timer"


@virtual_time
async def test_an_end_that_is_moved_counts_as_it_stands() -> None:
    """Earlier or later."""
    server = Server()
    server.show("earlier", SLEEP, 1000)
    server.show("later", SLEEP, 10)
    async with leading(server):
        await asyncio.sleep(5)
        server.show("earlier", SLEEP, 6)
        server.show("later", SLEEP, 2000)
        await asyncio.sleep(3000)
    assert server.ended == {"earlier": 6, "later": 2000}


@virtual_time
async def test_nothing_is_planned_any_more_for_what_was_ended_early() -> None:
    """Somebody resumes it; a sleep of a year leaves nothing behind for half of one."""
    server = Server()
    duty = WakeTimeDuty(server, namespace="ns", store=server.store, clock=VirtualClock())
    running = asyncio.ensure_future(duty.run())
    await asyncio.sleep(1)
    server.show("sleep", SLEEP, 365 * 86_400)
    assert duty.planned == 1
    server.store.on_event("DELETED", view_of(msgspec.json.encode(server.objects["sleep"])))
    assert duty.planned == 0
    running.cancel()
    await asyncio.wait([running])


@virtual_time
async def test_a_new_leader_ends_what_was_due_before() -> None:
    """At once."""
    server = Server()
    async with leading(server):
        server.show("sleep", SLEEP, 10)
        await asyncio.sleep(1)
    await asyncio.sleep(50)
    async with leading(server):
        await asyncio.sleep(1)
    assert server.ended == {"sleep": 51}


@virtual_time
async def test_a_refusal_is_tried_again_and_what_is_gone_is_not() -> None:
    """Nothing that one of them meets holds the others up."""
    server = Server()
    server.refusals = [errors.Conflict("changed", status=409), errors.Forbidden("no", status=403)]
    server.show("sleep", SLEEP, 10)
    async with leading(server):
        await asyncio.sleep(100)
        server.refusals = [errors.NotFound("gone", status=404)]
        server.show("gone", SLEEP, 10)
        await asyncio.sleep(100)
    assert server.ended == {"sleep": 10 + 2 * RETRY_S}
    assert server.tries[-1] == 100


@virtual_time
async def test_a_clock_that_was_set_is_noticed_on_the_way() -> None:
    """Half of the time that is left later, or a minute."""
    server, clock = Server(), VirtualClock()
    server.show("sleep", SLEEP, 1000)
    async with leading(server, clock):
        await asyncio.sleep(1)
        clock.ahead = timedelta(seconds=900)
        await asyncio.sleep(1000)
    assert 100 <= server.ended["sleep"] <= 500 + LOOK_AGAIN_MS / 1000
