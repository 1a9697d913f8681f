"""Limits of time against an API server, with runners played by the test: what they are told, and what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api_server import ApiServer
from controller_world import World, eventually, replica
from kontinue.api.v1alpha1 import Phase
from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.wire import frames

AT_ONCE = {"retries": 1, "backoff": "0s"}
SOON = {"attempt": "100ms"}
ENDLESS = {"attempt": "24h", "overall": "240h"}
CHILD = "p-0-abc"
HOUR = timedelta(hours=1)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server) as one:
        yield one


def entry_of(world: World, name: str = "e") -> Entry:
    entry = world.entries.by_name(name)
    assert entry is not None
    return entry


def running_since_ms(world: World) -> int:
    activation = entry_of(world).activation
    assert activation is not None
    assert activation.running_since_ms is not None
    return activation.running_since_ms


async def told_to_end(world: World, activation: int) -> str:
    """Wait until the code of an activation is told to end; return what it is told."""
    commands: list[frames.CancelActivation] = []

    def is_told() -> bool:
        commands[:] = [one for one in world.runners.sent_of(frames.CancelActivation) if one.activation == activation]
        return bool(commands)

    await eventually(is_told)
    return commands[0].message


def produce(world: World, activation: int, *seqs: int) -> None:
    made = [Record(id=str(seq), kind=RecordKind.STEP, name="s", digest="d", seq=seq, at_ms=1) for seq in seqs]
    encoded = [frames.EncodedRecord(record.id, encode_record(record)) for record in made]
    world.on_frame(frames.RecordsProduced(activation, max(seqs), encoded))


async def test_limits_that_do_not_strike_cost_no_write(api_server: ApiServer) -> None:
    """Create and end, and the deadline is told by the end."""
    async with replica(api_server, executing_after_ms=60_000) as world:
        before = await world.server.writes()
        first = await world.start("e", timeout=ENDLESS)
        world.on_frame(frames.Completed(first.activation, b"42"))
        done = await world.phase("e", Phase.COMPLETED)
        assert await world.server.writes() - before == 2
    assert done.status.deadline is not None
    assert done.status.started_at is not None
    assert (done.status.deadline - done.status.started_at).days == 10


async def test_an_attempt_that_strikes_costs_what_any_failed_attempt_costs(api_server: ApiServer) -> None:
    """One write, when its code has ended; the next attempt is dispatched like others."""
    async with replica(api_server, executing_after_ms=60_000) as world:
        before = await world.server.writes()
        first = await world.start("e", timeout=SOON, retry=AT_ONCE)
        world.controller.reconcile(first.uid)
        assert "attempt 1 took longer than 100ms" in await told_to_end(world, first.activation)
        world.on_frame(frames.Interrupted(first.activation))
        second = await world.run("e", attempt=2)
        world.on_frame(frames.Completed(second.activation, b"42"))
        done = await world.phase("e", Phase.COMPLETED)
        assert await world.server.writes() - before == 3
    assert [attempt.reason for attempt in done.status.attempts] == ["AttemptTimeout", ""]


async def test_what_code_does_while_it_is_unwound_is_not_recorded(world: World) -> None:
    """What the interruption has made of steps and children is nothing that the next attempt may find."""
    first = await world.start("e", timeout={"attempt": "1h"}, retry=AT_ONCE)
    produce(world, first.activation, 1)
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRecorded)))
    command = frames.CreateChild(CHILD, "child", b"{}", "digest")
    world.on_frame(frames.StepRequested(first.activation, "9", command))
    await world.run(CHILD)
    await world.phase(CHILD, Phase.EXECUTING)
    world.let_pass(HOUR, "e")
    await told_to_end(world, first.activation)
    produce(world, first.activation, 2)
    world.on_frame(frames.StepRequested(first.activation, "9", frames.CancelChild(CHILD)))
    world.on_frame(frames.StepRequested(first.activation, "8", frames.CreateChild("other", "child", b"{}", "digest")))
    world.on_frame(frames.Failed(first.activation, "UserError", frames.ErrorInfo("builtins.ValueError"), [], [2]))
    second = await world.run("e", attempt=2)
    memo = parse_memo((await world.get("e")).status.state)
    assert len(memo.records) == 1
    assert second.memo
    assert (await world.get(CHILD)).phase is Phase.EXECUTING
    assert world.entries.by_name("other") is None


async def test_code_that_does_not_end_is_killed_with_its_runner(api_server: ApiServer) -> None:
    """After the grace; and that is no crash."""
    async with replica(api_server, cancel_grace_ms=50) as world:
        first = await world.start("e", timeout=SOON)
        await eventually(lambda: world.runners.killed == [first.activation])
        world.controller.activations.on_lost(
            first.activation, was_active=False, was_alone=True, reason="Evicted", message="killed"
        )
        failed = await world.phase("e", Phase.FAILED)
    assert (failed.status.reason, failed.status.crashes) == ("AttemptTimeout", 0)
    assert is_stopped(failed.status.conditions)


async def test_a_deadline_is_final_at_once_and_stopped_when_nothing_runs(world: World) -> None:
    """Its children end with it, wherever they are in their lives."""
    first = await world.start("e", timeout={"overall": "1h"}, retry={"retries": 9})
    world.on_frame(frames.StepRequested(first.activation, "0", frames.CreateChild(CHILD, "child", b"{}", "digest")))
    child = await world.run(CHILD)
    world.let_pass(HOUR, "e")
    failed = await world.phase("e", Phase.FAILED)
    assert failed.status.reason == "OverallTimeout"
    assert failed.status.message == await told_to_end(world, first.activation)
    assert (await world.phase(CHILD, Phase.CANCELED)).status.message == "Canceled because its parent has ended"
    await told_to_end(world, child.activation)
    for activate in (first, child):
        world.on_frame(frames.Interrupted(activate.activation))
    await eventually(lambda: len(world.entries) == 0)
    for name in ("e", CHILD):
        assert is_stopped((await world.get(name)).status.conditions)


@pytest.mark.parametrize(
    ("timeout", "reason", "phase"),
    [({"attempt": "1h"}, "AttemptTimeout", Phase.BACKOFF), ({"overall": "1h"}, "OverallTimeout", Phase.FAILED)],
)
async def test_limits_strike_after_a_crash_of_everything(
    api_server: ApiServer, timeout: dict[str, str], reason: str, phase: Phase
) -> None:
    """The status is enough: what comes next runs nothing whose time is over."""
    async with replica(api_server, "one") as world:
        await world.start("e", timeout=timeout, retry={"retries": 1, "backoff": "1h"})
        await world.phase("e", Phase.EXECUTING)
    async with replica(api_server, "two", ahead=HOUR) as world:
        ended = await world.phase("e", phase)
        assert world.runners.submitted == []
    assert ended.status.reason == reason
    assert ended.status.owner is not None
    assert ended.status.owner.incarnation == "two"


async def test_a_parent_learns_that_it_was_the_time_of_its_child(world: World) -> None:
    """Also of one that had failed before, and was waiting for its next attempt."""
    first = await world.start("e")
    spec = b'{"timeout":{"overall":"1h"},"retry":{"retries":1,"backoff":"2h"}}'
    command = frames.CreateChild(CHILD, "child", b"{}", "digest", spec=spec)
    world.on_frame(frames.StepRequested(first.activation, "0", command))
    child = await world.run(CHILD)
    boom = frames.ErrorInfo("builtins.ValueError", "boom", "", ["builtins.ValueError"])
    world.on_frame(frames.Failed(child.activation, "UserError", boom))
    await world.phase(CHILD, Phase.BACKOFF)
    world.let_pass(HOUR, CHILD)
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert arrived.outcome.phase == "Failed"
    assert arrived.outcome.error.type == "kontinue.errors.ExecutionTimedOut"
    assert "builtins.TimeoutError" in arrived.outcome.error.types
    assert "it was Backoff" in arrived.outcome.error.message


async def test_what_holds_a_mutex_gives_it_back_once_it_has_stopped(world: World) -> None:
    """And not while its code still runs; who waits for it has all its own time."""
    first = await world.start("e", mutex="m", timeout={"overall": "1h"})
    await world.create("next", mutex="m", timeout={"overall": "10m"})
    world.let_pass(HOUR, "e")
    await world.phase("e", Phase.FAILED)
    assert all(one.execution == "e" for one in world.runners.submitted)
    await told_to_end(world, first.activation)
    world.on_frame(frames.Interrupted(first.activation))
    following = await world.run("next")
    world.on_frame(frames.Completed(following.activation, b"1"))
    await world.phase("next", Phase.COMPLETED)


async def test_what_wakes_while_it_is_written_suspended_has_all_its_time(world: World) -> None:
    """The time of its attempt counts from its waking, whichever of the two is known first."""
    first = await world.start("e", timeout={"attempt": "1h"})
    world.on_frame(frames.StepRequested(first.activation, "0", frames.StartTimer(3_600_000)))
    await eventually(lambda: bool(entry_of(world).memo.timers))
    began_ms = running_since_ms(world)
    await eventually(lambda: world.runtime.clock.now_ms() > began_ms)
    world.on_frame(frames.Waiting(first.activation, [frames.WaitingItem("Timer", "", "0")]))
    while entry_of(world).writing is None:
        await asyncio.sleep(0)
    world.on_frame(frames.Running(first.activation))
    assert running_since_ms(world) == began_ms
    await eventually(lambda: running_since_ms(world) > began_ms)  # that it was Suspended is written now
    resumed = await world.phase("e", Phase.EXECUTING)
    attempt = resumed.status.attempts[-1]
    assert attempt.resumed_at is not None
    assert attempt.started_at is not None
    assert attempt.resumed_at > attempt.started_at
