"""The duty over schedules against an API server, its Executions played by the test, at whatever time the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.meta import Event, ObjectList
from kontinue.api.v1alpha1 import Execution, ScheduledExecution
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.schedules import ScheduleDuty
from kontinue_engine.kube.events import EventRecorder

SOON_S = 60.0

pytestmark = pytest.mark.slow


class SetClock(SystemClock):
    """Tells the time that it was set to."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time


class World:
    """A leader that has nothing to do but schedules; it knows the function ``f``."""

    def __init__(self, server: ApiServer, transport: KubeTransport) -> None:
        self.transport = transport
        self.namespace = server.namespace
        self.clock = SetClock()
        self.events = EventRecorder(transport, component="test", instance="test", clock=self.clock)
        self._tasks: list[asyncio.Task[None]] = []

    def lead(self) -> None:
        """Begin to lead, or another leader does so beside the first."""
        duty = ScheduleDuty(
            self.transport,
            self.events,
            namespace=self.namespace,
            group="g",
            owns=lambda function: function == "f",
            clock=self.clock,
        )
        self._tasks.append(asyncio.create_task(duty.run()))
        if len(self._tasks) == 1:
            self._tasks.append(asyncio.create_task(self.events.run()))

    async def end(self) -> None:
        """End whatever leads."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def create(self, name: str, **spec: Any) -> ScheduledExecution:
        """Create a schedule for each full minute, and wait until the leader has seen it."""
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "ScheduledExecution",
            "metadata": {"name": name},
            "spec": {"schedule": "* * * * *", "function": "f", **spec},
        }
        await self.transport.send(requests.create(requests.SCHEDULED_EXECUTIONS, self.namespace, body))
        return await self.until(name, lambda one: one.status.next_schedule_time)

    async def next_minute(self, name: str) -> ScheduledExecution:
        """Set the clock to the schedule's next occurrence, tell the leader by an edit, and wait for what it does."""
        before = (await self.get(name)).status.next_schedule_time
        assert before is not None
        self.clock.time = before
        patch = {"metadata": {"annotations": {"told": before.isoformat()}}}
        await self.transport.send(requests.merge_patch(requests.SCHEDULED_EXECUTIONS, self.namespace, name, patch))
        return await self.until(name, lambda one: one.status.next_schedule_time != before)

    async def get(self, name: str) -> ScheduledExecution:
        body = await self.transport.send(requests.get(requests.SCHEDULED_EXECUTIONS, self.namespace, name))
        return msgspec.json.decode(body, type=ScheduledExecution)

    async def until(self, name: str, check: Callable[[ScheduledExecution], object]) -> ScheduledExecution:
        async with asyncio.timeout(SOON_S):
            while not check(found := await self.get(name)):
                await asyncio.sleep(0.01)
            return found

    async def executions(self) -> dict[str, Execution]:
        body = await self.transport.send(requests.list_objects(requests.EXECUTIONS, self.namespace))
        return {one.metadata.name: one for one in msgspec.json.decode(body, type=ObjectList[Execution]).items}

    async def finish(self, name: str) -> None:
        """An Execution ends, and has stopped."""
        stopped = {"type": "Stopped", "status": "True", "reason": "Completed", "message": ""}
        patch = {"status": {"phase": "Completed", "conditions": [stopped]}}
        await self.transport.send(
            requests.merge_patch(requests.EXECUTIONS, self.namespace, name, patch, subresource="status")
        )

    async def event(self, reason: str) -> Event:
        """Wait for an Event."""
        async with asyncio.timeout(SOON_S):
            while True:
                body = await self.transport.send(requests.list_objects(requests.EVENTS, self.namespace))
                for one in msgspec.json.decode(body, type=ObjectList[Event]).items:
                    if one.reason == reason:
                        return one
                await asyncio.sleep(0.02)


def posted_name(request: requests.Request) -> str:
    """Return the name of the Execution that a request creates, or nothing."""
    if request.method != "POST" or not request.path.endswith("/executions"):
        return ""
    return msgspec.json.decode(request.body, type=Execution).metadata.name


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    one = World(api_server, transport)
    one.lead()
    yield one
    await one.end()
    await transport.close()


async def test_history_keeps_as_many_as_it_says(world: World) -> None:
    """The oldest go first; what has not stopped stays."""
    await world.create("s", historyLimit=1)
    for _ in range(3):
        await world.next_minute("s")
    first, second, third = sorted(await world.executions())
    await world.finish(second)
    await world.finish(third)
    async with asyncio.timeout(SOON_S):
        while second in await world.executions():
            await asyncio.sleep(0.01)
    assert sorted(await world.executions()) == [first, third]
    assert (await world.until("s", lambda one: len(one.status.active) == 1)).status.active == [first]


async def test_something_else_of_the_same_name_costs_its_occurrence_and_no_other(world: World) -> None:
    """It is left alone, and an Event says so."""
    schedule = await world.create("s")
    due = schedule.status.next_schedule_time
    assert due is not None
    name = f"s-{int(due.timestamp()) // 60}"
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": name},
        "spec": {"function": "x"},
    }
    await world.transport.send(requests.create(requests.EXECUTIONS, world.namespace, body))
    await world.next_minute("s")
    event = await world.event("NotStarted")
    assert (event.type, event.message) == ("Warning", f"something else is called {name}: this occurrence is missed")
    await world.next_minute("s")
    found = await world.executions()
    assert len(found) == 2
    assert found[name].spec.function == "x"


async def test_two_leaders_that_overlap_start_each_occurrence_once(world: World) -> None:
    """The name is the occurrence's; whoever comes second finds it."""
    await world.create("s")
    world.lead()
    for _ in range(5):
        await world.next_minute("s")
    schedule = await world.until("s", lambda one: len(one.status.active) == 5)
    found = await world.executions()
    assert sorted(found) == schedule.status.active
    assert len({one.metadata.annotations[labels.OCCURRENCE] for one in found.values()}) == 5


async def test_many_that_are_due_at_once_are_started_beside_each_other(world: World) -> None:
    """Hourly ones are due in the same second: the last must not wait for the requests of all others."""
    names = [f"s-{number}" for number in range(12)]
    for name in names:
        before = (await world.create(name)).status.next_schedule_time
    assert before is not None
    send, gate, waiting = world.transport.send, asyncio.Event(), 0

    async def hold(request: requests.Request, **options: Any) -> bytes:
        nonlocal waiting
        if request.method == "POST" and request.path.endswith("/executions"):
            waiting += 1
            await gate.wait()
        return await send(request, **options)

    world.transport.send = hold  # type: ignore[method-assign]
    world.clock.time = before
    for name in names:
        patch = {"metadata": {"annotations": {"told": "now"}}}
        await send(requests.merge_patch(requests.SCHEDULED_EXECUTIONS, world.namespace, name, patch))
    async with asyncio.timeout(SOON_S):
        while waiting < 8:
            await asyncio.sleep(0.01)
    gate.set()
    for name in names:
        await world.until(
            name, lambda one: one.status.next_schedule_time is not None and one.status.next_schedule_time > before
        )
    assert len(await world.executions()) == len(names)


async def test_a_run_that_has_ended_before_its_start_is_answered_is_not_taken_for_one_that_goes_on(
    world: World,
) -> None:
    """The watch has shown its end by then, and shows it once: with ``Forbid`` nothing would ever be started again."""
    await world.create("other", historyLimit=0)
    await world.create("s", concurrencyPolicy="Forbid")
    await world.next_minute("other")
    (other,) = await world.executions()
    send = world.transport.send

    async def answer_late(request: requests.Request, **options: Any) -> bytes:
        answer = await send(request, **options)
        if (name := posted_name(request)).startswith("s-"):
            world.transport.send = send  # type: ignore[method-assign]
            await world.finish(name)
            await world.finish(other)
            while other in await world.executions():  # its schedule keeps none: its end was shown, and that came later
                await asyncio.sleep(0.01)
        return answer

    world.transport.send = answer_late  # type: ignore[method-assign]
    await world.next_minute("s")
    await world.until("s", lambda one: not one.status.active)
    await world.next_minute("s")
    assert len([name for name in await world.executions() if name.startswith("s-")]) == 2


async def test_a_schedule_that_was_deleted_before_its_status_is_answered_starts_nothing_more(world: World) -> None:
    """The watch has shown that by then, and shows it once."""
    due = (await world.create("s")).status.next_schedule_time
    assert due is not None
    send, is_deleted, started = world.transport.send, asyncio.Event(), set[str]()

    async def answer_late(request: requests.Request, **options: Any) -> bytes:
        started.add(posted_name(request))
        answer = await send(request, **options)
        if request.method == "PUT" and request.path.endswith("/s/status"):
            await send(requests.delete(requests.SCHEDULED_EXECUTIONS, world.namespace, "s"))
            await world.create("other")  # this is seen by the leader, so the deletion was, too
            world.clock.time += timedelta(minutes=2)
            is_deleted.set()
        return answer

    world.transport.send = answer_late  # type: ignore[method-assign]
    world.clock.time = due
    patch = {"metadata": {"annotations": {"told": "now"}}}
    await send(requests.merge_patch(requests.SCHEDULED_EXECUTIONS, world.namespace, "s", patch))
    async with asyncio.timeout(SOON_S):
        await is_deleted.wait()
    for _ in range(2):
        await world.next_minute("other")
    assert len({name for name in started if name.startswith("s-")}) == 1
