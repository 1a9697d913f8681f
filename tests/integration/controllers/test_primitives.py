"""What Executions ask of objects of ``konductor.io``, against an API server, with runners played by the test."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from controller_world import World, eventually, replica
from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client
from kontinue.sync import Mutex, WaitGroup
from kontinue_engine.wire import frames

STEP = "1"
LOCK = "0123456789abcdef0123"
OTHER = "0123456789abcdef4567"


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def asking(activate: frames.Activate, kind: str, verb: str, id_: str = LOCK, **options: Any) -> frames.StepRequested:
    """Return what a runner asks for; the object is called x."""
    may_repeat, since_ms = options.pop("may_repeat", False), options.pop("since_ms", 1000 * round(time.time() + 1))
    command = frames.AskPrimitive(kind, "x", verb, id_, msgspec.json.encode(options), may_repeat, since_ms)
    return frames.StepRequested(activate.activation, STEP, command)


async def answer(world: World, count: int = 1) -> Any:
    """Return what an activation is told, the ``count``-th time."""
    await eventually(lambda: len(world.runners.sent_of(frames.StepArrived)) >= count)
    arrived = world.runners.sent_of(frames.StepArrived)[count - 1].outcome
    assert isinstance(arrived, frames.PrimitiveAnswered)
    return msgspec.json.decode(arrived.answer)


async def refused(world: World) -> str:
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    return str(world.runners.sent_of(frames.StepRejected)[-1].error.message)


async def test_a_lock_belongs_to_its_execution_and_to_no_attempt(world: World, api_server: ApiServer) -> None:
    """Who asks again with the same id, also in another replica, has the lock that there is."""
    mutex = Mutex("x", Client.from_kube(world.client, world.namespace))
    await mutex.create()
    activate = await world.start("a")
    world.on_frame(asking(activate, "Mutex", "lock"))
    assert await answer(world) == {"name": "x", "token": 1}
    status = (await mutex.get()).status
    assert (status.holder, status.lock_id) == ("execution/a", LOCK)
    assert status.bound_to is not None
    assert (status.bound_to.uid, status.expires_at) == (activate.uid, None)
    version = (await mutex.get()).metadata.resource_version
    async with replica(api_server, "two") as other:
        again = await other.run("a")
        other.on_frame(asking(again, "Mutex", "lock"))
        assert await answer(other) == {"name": "x", "token": 1}
    assert (await mutex.get()).metadata.resource_version == version


async def test_what_is_waited_for_is_said_and_given_up(world: World) -> None:
    """Past the parking time the status tells what for, and who has it; who gives up leaves the queue."""
    mutex = Mutex("x", Client.from_kube(world.client, world.namespace))
    await mutex.create()
    await mutex.lock(holder="somebody")
    activate = await world.start("a")
    world.on_frame(asking(activate, "Mutex", "lock"))
    world.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Mutex", "x", STEP)]))
    entry = world.entries.by_name("a")
    assert entry is not None
    await eventually(lambda: bool(world.controller._primitives.waits_of(entry)[STEP].message))
    world.let_pass(timedelta(seconds=5), "a")
    (waiting,) = (await world.phase("a", Phase.SUSPENDED)).status.waiting_for
    assert (waiting.kind, waiting.name, waiting.message) == ("Mutex", "x", "held by somebody")
    assert [one.id for one in (await mutex.get()).status.waiters] == [LOCK]
    world.on_frame(
        frames.StepRequested(activate.activation, STEP, frames.WithdrawPrimitive("Mutex", "x", "lock", LOCK))
    )
    await eventually(lambda: len(world.controller._primitives) == 0)
    assert (await mutex.get()).status.waiters == []


async def test_what_may_have_been_counted_is_not_counted_again(world: World, api_server: ApiServer) -> None:
    """An id that is remembered counts once; one that may have been forgotten is an error."""
    group = WaitGroup("x", Client.from_kube(world.client, world.namespace))
    await group.create()
    activate = await world.start("a")
    world.on_frame(asking(activate, "WaitGroup", "add", delta=2))
    assert await answer(world) == 2
    async with replica(api_server, "two") as other:
        again = await other.run("a")
        other.on_frame(asking(again, "WaitGroup", "add", delta=2, may_repeat=True))
        assert await answer(other) == 2
        for number in range(130):
            await group.add(operation_id=f"other-{number}")
    async with replica(api_server, "three") as third:
        again = await third.run("a")
        third.on_frame(asking(again, "WaitGroup", "add", delta=2, may_repeat=True))
        assert "whether this was counted" in await refused(third)
        third.on_frame(asking(again, "WaitGroup", "add", OTHER, delta=1))
        assert await answer(third) == 133
    async with replica(api_server, "four") as fourth:
        again = await fourth.run("a")
        fourth.on_frame(asking(again, "WaitGroup", "add", OTHER, delta=1, may_repeat=True))
        assert await answer(fourth) == 133
    assert (await group.status()).counter == 133


async def test_what_may_have_been_counted_on_an_earlier_group_is_not_counted_on_the_next_one(
    world: World, api_server: ApiServer
) -> None:
    """The batch was done, its WaitGroup was deleted and made again for the next one, while no worker ran."""
    group = WaitGroup("x", Client.from_kube(world.client, world.namespace))
    await group.create()
    await group.add()
    activate = await world.start("a")
    world.on_frame(asking(activate, "WaitGroup", "add", delta=-1))
    assert await answer(world) == 0
    await group.delete()
    await group.create()
    await group.add(5)
    async with replica(api_server, "two") as other:
        again = await other.run("a")
        other.on_frame(asking(again, "WaitGroup", "add", delta=-1, may_repeat=True, since_ms=1))
        assert "it was created later than it may have been asked" in await refused(other)
    assert (await group.status()).counter == 5


async def test_what_an_attempt_has_not_been_told_is_given_back_with_it(world: World) -> None:
    """Its records say nothing of the lock: nobody else would."""
    mutex = Mutex("x", Client.from_kube(world.client, world.namespace))
    await mutex.create()
    activate = await world.start("a")
    world.on_frame(asking(activate, "Mutex", "lock"))
    await answer(world)
    error = frames.ErrorInfo(type="ValueError", message="oh")
    world.on_frame(frames.Failed(activate.activation, "UserError", error))
    await world.phase("a", Phase.FAILED)

    async def is_free() -> bool:
        return not await mutex.is_locked()

    await eventually(is_free)
    await eventually(lambda: len(world.controller._primitives) == 0)


async def test_what_is_given_up_although_it_is_recorded_is_not_held(world: World) -> None:
    """It came, and its program had given it up by then: a later attempt need not begin before it."""
    await Mutex("x", Client.from_kube(world.client, world.namespace)).create()
    activate = await world.start("a")
    world.on_frame(asking(activate, "Mutex", "lock"))
    await answer(world)
    record = frames.EncodedRecord(STEP, b'{"id":"1","kind":"hold","name":"Mutex/x","digest":"","seq":1,"atMs":0}', True)
    world.on_frame(frames.RecordsProduced(activate.activation, 1, [record]))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRecorded)))
    entry = world.entries.by_name("a")
    assert entry is not None
    assert (entry.memo.held, entry.memo.held_since) == ((STEP,), 1)
    world.on_frame(
        frames.StepRequested(activate.activation, STEP, frames.WithdrawPrimitive("Mutex", "x", "lock", LOCK))
    )
    later = frames.EncodedRecord("2", b'{"id":"2","kind":"step","name":"s","digest":"","seq":2,"atMs":0}')
    world.on_frame(frames.RecordsProduced(activate.activation, 2, [later]))
    await eventually(lambda: len(world.runners.sent_of(frames.StepRecorded)) == 2)
    assert (entry.memo.held, entry.memo.held_since) == ((), 0)
    await eventually(lambda: len(world.controller._primitives) == 0)
