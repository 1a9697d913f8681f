"""What an Execution is told that it waits for, by the one place where statuses are decided: a row of the table each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import ExecutionOwner, ExecutionSpec, ExecutionStatus, Phase, WaitingFor
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import PROGRESSING
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, News, Observed, Obstacle, Wait, Worker
from kontinue_engine.lifecycle.running import MAX_WAITING_FOR
from kontinue_engine.lifecycle.starting import NO_ROOM_MESSAGE
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire import frames

NOW_MS = 1_700_000_000_000
WORKER = Worker(shard="w-0", incarnation="me", build="b1")
MINE = ExecutionOwner(shard="w-0", incarnation="me", epoch=3)
THEIRS = ExecutionOwner(shard="w-9", incarnation="before", epoch=3)
QUEUED = Activation(number=1)
NO_ROOM = WaitingFor(kind="Worker", name="w-0", message=NO_ROOM_MESSAGE)
APPROVAL = WaitingFor(kind="Suspension", name="e-1", until=datetime(2030, 1, 1, tzinfo=UTC))


def observe(**facts: Any) -> Observed:
    defaults: dict[str, Any] = {
        "spec": ExecutionSpec(function="f"),
        "status": ExecutionStatus(),
        "memo": MemoBytes(),
        "created_at_ms": NOW_MS - 60_000,
    }
    return Observed(**{**defaults, **facts})


def status(phase: Phase, **fields: Any) -> ExecutionStatus:
    return ExecutionStatus(phase=phase, started_at=datetime(2026, 1, 1, tzinfo=UTC), **{"owner": MINE, **fields})


def told(observed: Observed) -> list[WaitingFor]:
    plan = decide(observed, WORKER, NOW_MS)
    assert plan.status is not None
    again = msgspec.structs.replace(observed, status=plan.status)
    assert decide(again, WORKER, NOW_MS).status is None, "it is told once"
    return plan.status.waiting_for


def parked(*items: frames.WaitingItem, more: int = 0) -> Activation:
    since_ms = NOW_MS - WORKER.parking_ms
    return Activation(
        number=1, running_since_ms=since_ms, parked_since_ms=since_ms, waiting_for=tuple(items), more=more
    )


def test_a_function_that_nobody_has_is_named() -> None:
    """And who has it, if that is another group than the label says."""
    missing = observe(function_known=False)
    assert told(missing) == [WaitingFor(kind="Function", name="f", message="no worker group owns it")]
    elsewhere = observe(function_known=False, function_owner="other", group="mine")
    (waiting,) = told(elsewhere)
    assert waiting.message == "owned by group other; this Execution is labelled mine: relabel it"


@pytest.mark.parametrize("kind", ["Mutex", "Function"])
def test_what_others_hold_is_named_with_a_holder(kind: str) -> None:
    """A mutex, or the slots of a function with a limit."""
    obstacle = Obstacle(kind=kind, name="m", message="Execution a holds it", tell_from_ms=NOW_MS)
    assert told(observe(obstacle=obstacle)) == [WaitingFor(kind=kind, name="m", message="Execution a holds it")]


def test_one_that_waits_for_a_runner_is_told_of_its_worker() -> None:
    """Nothing is written before it is to be told; the phase stays, and nobody's claim on it changes."""
    assert decide(observe(activation=QUEUED), WORKER, NOW_MS) == plans.NOTHING
    assert told(observe(activation=QUEUED, is_held_up=True)) == [NO_ROOM]
    plan = decide(observe(activation=QUEUED, is_held_up=True), WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.owner) == (Phase.PENDING, None)


def test_one_that_waits_to_be_claimed_is_told_and_keeps_what_it_was_told_before() -> None:
    """Its Suspension, should somebody delete it meanwhile, is made again with the end that stands there."""
    waiting = status(Phase.SUSPENDED, owner=THEIRS, waiting_for=[APPROVAL])
    inherited = observe(status=waiting, inherited=True, is_admitted=False)
    plan = decide(inherited, WORKER, NOW_MS)
    assert (plan.status, plan.actions) == (None, (plans.AwaitAdmission(),))
    held_up = msgspec.structs.replace(inherited, is_held_up=True)
    plan = decide(held_up, WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.waiting_for, plan.status.owner) == ([NO_ROOM, APPROVAL], THEIRS)
    assert plan.actions == (plans.AwaitAdmission(),)
    assert told(held_up) == [NO_ROOM, APPROVAL]


def test_a_worker_that_is_gone_is_replaced_by_the_one_that_has_it_now() -> None:
    """It waits for one worker at a time."""
    old = WaitingFor(kind="Worker", name="w-9", message=NO_ROOM_MESSAGE)
    assert told(observe(activation=QUEUED, is_held_up=True, status=status(Phase.EXECUTING, waiting_for=[old]))) == [
        NO_ROOM
    ]


def test_what_runs_waits_for_no_worker_any_more() -> None:
    """The next write says so."""
    running = Activation(number=1, running_since_ms=NOW_MS - WORKER.executing_after_ms)
    plan = decide(observe(activation=running, status=ExecutionStatus(waiting_for=[NO_ROOM])), WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.waiting_for) == (Phase.EXECUTING, [])


def test_one_that_backs_off_says_until_when() -> None:
    """And which attempt begins then."""
    spec = msgspec.convert({"function": "f", "retry": {"retries": 1, "backoff": "30s"}}, ExecutionSpec)
    failed = frames.Failed(1, "UserError", frames.ErrorInfo(type="builtins.ValueError", message="no"))
    running = Activation(number=1, running_since_ms=NOW_MS - 10)
    plan = decide(observe(spec=spec, activation=running, news=News(outcome=failed)), WORKER, NOW_MS)
    assert plan.status is not None
    assert plan.status.phase is Phase.BACKOFF
    assert plan.status.waiting_for == [WaitingFor(kind="Timer", name="attempt 2", until=time_of(NOW_MS + 30_000))]


def test_one_that_is_parked_names_what_it_waits_for_and_until_when() -> None:
    """Children, sleeps, Suspensions and Jobs by their objects' names; the rest is counted."""
    items = [
        frames.WaitingItem(kind="Execution", name="e-0", step="0"),
        frames.WaitingItem(kind="Suspension", name="approval", step="1"),
        frames.WaitingItem(kind="Job", name="e-2", step="2"),
        frames.WaitingItem(kind="Step", name="charge", step="3"),
    ]
    waits = {
        "1": Wait(name="e-1", until_ms=NOW_MS + 5, is_sleep=False),
        "2": Wait(name="e-2", until_ms=None, is_sleep=False, kind="Job", message="suspended by Kueue"),
    }
    suspended = observe(activation=parked(*items), waits=waits)
    assert told(suspended) == [
        WaitingFor(kind="Execution", name="e-0"),
        WaitingFor(kind="Suspension", name="e-1", until=time_of(NOW_MS + 5)),
        WaitingFor(kind="Job", name="e-2", message="suspended by Kueue"),
        WaitingFor(kind="Step", name="charge"),
    ]
    many = [frames.WaitingItem(kind="Execution", name=f"e-{n}", step=str(n)) for n in range(MAX_WAITING_FOR)]
    listed = told(observe(activation=parked(*many, more=990)))
    assert len(listed) == MAX_WAITING_FOR
    assert listed[-1].message == "and 990 more"


def test_what_is_waited_for_is_named_before_the_timer_that_ends_the_wait() -> None:
    """A timeout begins before the wait that it limits, and tells less; the first few columns show the first alone."""
    items = [
        frames.WaitingItem(kind="Timer", name="", step="0"),
        frames.WaitingItem(kind="Gate", name="deploy", step="1"),
        frames.WaitingItem(kind="Timer", name="", step="2"),
        frames.WaitingItem(kind="Execution", name="e-3", step="3"),
    ]
    assert [(one.kind, one.name) for one in told(observe(activation=parked(*items)))] == [
        ("Gate", "deploy"),
        ("Execution", "e-3"),
        ("Timer", ""),
        ("Timer", ""),
    ]
    listed = told(observe(activation=parked(*items[:2], more=5)))
    assert (listed[0].kind, listed[-1].message) == ("Gate", "and 5 more")


def test_a_long_sleep_is_told_once_its_suspension_is_there() -> None:
    """Whoever reads Suspended may resume it at once; after the parking time it is Suspended all the same."""
    since = NOW_MS - 1
    asleep = msgspec.structs.replace(
        parked(frames.WaitingItem("Suspension", "nap", "0")), running_since_ms=since, parked_since_ms=since
    )
    nap = Wait(name="e-0", until_ms=NOW_MS + 3_600_000, is_sleep=True, exists=False)
    early = observe(activation=asleep, waits={"0": nap})
    assert decide(early, WORKER, NOW_MS).status is None
    assert told(observe(activation=asleep, waits={"0": msgspec.structs.replace(nap, exists=True)}))
    late = decide(early, WORKER, since + WORKER.parking_ms).status
    assert late is not None
    assert late.phase is Phase.SUSPENDED


def test_one_that_is_blocked_waits_for_a_build() -> None:
    """What differs stands in its message."""
    mismatch = frames.Mismatched(1, step="0", recorded="a", requested="b")
    running = Activation(number=1, running_since_ms=NOW_MS - 10)
    plan = decide(observe(activation=running, news=News(outcome=mismatch)), WORKER, NOW_MS)
    assert plan.status is not None
    assert plan.status.phase is Phase.BLOCKED
    assert [item.kind for item in plan.status.waiting_for] == ["Build"]


def record(step: str, **fields: str) -> frames.EncodedRecord:
    return frames.EncodedRecord(step, msgspec.json.encode({"id": step, "seq": 1, "digest": "", "atMs": 0, **fields}))


def progress(*records: frames.EncodedRecord, conditions: list[Condition] | None = None) -> list[Condition]:
    running = Activation(number=1, running_since_ms=NOW_MS - 10)
    stored = status(Phase.EXECUTING, conditions=conditions or [])
    plan = decide(observe(activation=running, status=stored, news=News(records=records, flush=1)), WORKER, NOW_MS)
    assert plan.status is not None
    return plan.status.conditions


def test_one_that_runs_says_after_which_step_and_since_when() -> None:
    """In a write that is made anyway: what is recorded now is what the code went on after."""
    (condition,) = progress(record("0", kind="step", name="draft"), record("1", kind="step", name="charge"))
    assert (condition.type, condition.status, condition.message) == (PROGRESSING, "True", "after step charge")
    assert condition.last_transition_time == time_of(NOW_MS)
    (later,) = progress(record("2", kind="timer", name=""), conditions=[condition])
    assert later.message == "after timer 2"


def test_what_has_ended_makes_no_progress() -> None:
    """Its conditions say that it has stopped, and nothing of how far it was."""
    going_on = progress(record("0", kind="step", name="draft"))
    running = Activation(number=1, running_since_ms=NOW_MS - 10)
    stored = status(Phase.EXECUTING, conditions=going_on)
    done = observe(activation=running, status=stored, news=News(outcome=frames.Completed(1, b"1")))
    plan = decide(done, WORKER, NOW_MS)
    assert plan.status is not None
    assert [condition.type for condition in plan.status.conditions] == ["Stopped"]
