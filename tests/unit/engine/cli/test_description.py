"""``kontinue describe``: everything that an object says, for people."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.meta import Condition, Event, ObjectMeta, ObjectReference
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionAttempt,
    ExecutionDefaults,
    ExecutionError,
    ExecutionOwner,
    ExecutionRetry,
    Phase,
    Suspension,
    SuspensionKind,
    SuspensionSpec,
    WaitingFor,
)
from kontinue.client.tree import build_node
from kontinue.replay.records import ChildOutcome, Memo, Record, RecordedError, RecordKind
from kontinue_engine.cli.description import describe_execution

Make = Callable[..., Execution]


def describe(execution: Execution, now: datetime, *, events: list[Event] | None = None, whole: bool = False) -> str:
    return describe_execution(execution, events or [], now, whole=whole)


def test_a_fresh_execution_has_no_empty_sections(make_execution: Make, now: datetime) -> None:
    """What is unknown is left out."""
    text = describe(make_execution("x"), now)
    assert "Name:       x" in text
    assert "Phase:      Pending" in text
    assert "Attempts" not in text
    assert "Steps" not in text
    assert "\n\n\n" not in text


def test_times_are_told_to_the_second(make_execution: Make, now: datetime) -> None:
    """Nobody reads microseconds."""
    at = now.replace(microsecond=123_456)
    waiting = [WaitingFor(kind="Timer", name="bake", until=at)]
    memo = msgspec.Raw(msgspec.json.encode(Memo(records=[], timers={"5": 1_234})))
    told = {"started_at": at, "finished_at": at, "deadline": at, "waiting_for": waiting, "state": memo}
    text = describe(make_execution("x", phase=Phase.SUSPENDED, **told), now)
    assert f"Started:    {now.isoformat()}\n" in text
    assert f"Timer bake until {now.isoformat()} (in" in text
    assert "wakes at 1970-01-01T00:00:01+00:00" in text
    assert ".123" not in text


def test_attempts_show_their_traceback(make_execution: Make, now: datetime) -> None:
    """Which attempt failed where, with what."""
    attempt = ExecutionAttempt(
        number=2,
        started_at=now,
        finished_at=now + timedelta(seconds=3),
        phase=Phase.FAILED,
        reason="Error",
        message="ValueError: no luck",
        error=ExecutionError(type="ValueError", message="no luck", traceback="Traceback:\n  line 1\n"),
        worker="host-1",
    )
    execution = make_execution("x", phase=Phase.FAILED, reason="Error", attempts=[attempt], attempt_count=2)
    text = describe(execution, now)
    assert "Phase:      Failed (Error)" in text
    assert "Attempts (2):\n  2  Failed  Error  3.0s  on host-1\n     ValueError: no luck\n" in text
    assert "     Traceback:\n       line 1" in text


def test_steps_show_what_was_recorded(make_execution: Make, now: datetime) -> None:
    """Values, errors and running timers, with the line of the call."""
    records = [
        Record(id="1", kind=RecordKind.STEP, name="fetch", digest="", seq=1, at_ms=0, value=msgspec.Raw(b'{"a":1}'),
               line="app.py:7"),
        Record(id="2", kind=RecordKind.CHILD, name="build", digest="", seq=2, at_ms=0,
               error=RecordedError(type="ValueError", message="no"), child=ChildOutcome(name="x-build-1")),
        Record(id="3", kind=RecordKind.TIMER, name="bake", digest="", seq=3, at_ms=0),
    ]  # fmt: skip
    memo = Memo(records=records, timers={"5": 0})
    execution = make_execution("x", phase=Phase.SUSPENDED, state=msgspec.Raw(msgspec.json.encode(memo)))
    lines = [" ".join(line.split()) for line in describe(execution, now).split("\n")]
    assert "Steps (3 recorded):" in lines
    assert '1 1 step fetch {"a":1} app.py:7' in lines
    assert "2 2 child x-build-1 ValueError: no" in lines
    assert "3 3 timer bake done" in lines
    assert "5 timer wakes at 1970-01-01T00:00:00+00:00" in lines


def test_a_blocked_execution_shows_both_sides_and_the_way_out(make_execution: Make, now: datetime) -> None:
    """The message of the mismatch stands whole, line by line, and once."""
    execution = make_execution("x", phase=Phase.BLOCKED, message="recorded: step fetch\nrequested: child build")
    about = ObjectReference(kind="Execution", name="x")
    event = Event(
        metadata=ObjectMeta(name="a"), involved_object=about, reason="Blocked", message=execution.status.message
    )
    text = describe(execution, now, events=[event])
    assert "  recorded: step fetch\n  requested: child build\n" in text
    assert text.count("step fetch") == 1
    assert "see above" in text
    assert "kontinue replay x MODULE:APP" in text
    assert "kontinue retry x --children all" in text
    assert "kontinue cancel x" in text


def test_what_is_blocked_for_its_history_has_another_way_out(make_execution: Make, now: datetime) -> None:
    """No build helps there."""
    execution = make_execution("x", phase=Phase.BLOCKED, reason="HistoryIncomplete", message="MemoPage y is missing")
    text = describe(execution, now)
    assert "MemoPage y is missing" in text
    assert "Way out: restore what is missing" in text
    assert "new build" not in text


def test_waits_conditions_owner_and_events_are_listed(make_execution: Make, now: datetime) -> None:
    """Everything else that helps."""
    execution = make_execution(
        "x",
        phase=Phase.SUSPENDED,
        owner=ExecutionOwner(shard="host", incarnation="i", epoch=4),
        waiting_for=[WaitingFor(kind="Timer", name="bake", until=now + timedelta(seconds=5))],
        conditions=[Condition(type="Stopped", status="True", reason="Done", last_transition_time=now)],
        crashes=2,
        resumptions=1,
    )
    about = ObjectReference(kind="Execution", name="x")
    events = [
        Event(metadata=ObjectMeta(name="b"), involved_object=about, reason="Second", last_timestamp=now, count=3),
        Event(metadata=ObjectMeta(name="a"), involved_object=about, reason="First", message="m"),
    ]
    text = describe(execution, now, events=events)
    assert "Worker:     host, epoch 4" in text
    assert "Timer bake until" in text
    assert "Stopped" in text
    assert text.index("First") < text.index("Second")
    assert "(x3)" in text


def test_long_values_are_cut_unless_asked_for(make_execution: Make, now: datetime) -> None:
    """The text says how much is missing and how to see it."""
    execution = make_execution("x", phase=Phase.COMPLETED, result=msgspec.Raw(b'"' + b"a" * 5000 + b'"'))
    assert "characters more: -o wide" in describe(execution, now)
    assert "a" * 5000 in describe(execution, now, whole=True)


def test_the_shard_and_what_was_lost_with_replicas_are_shown(make_execution: Make, now: datetime) -> None:
    """Beside the owner: the label is where it goes, the owner is who had it last."""
    execution = make_execution("x", phase=Phase.EXECUTING, owner=ExecutionOwner(shard="w-0", incarnation="i", epoch=2))
    metadata = msgspec.structs.replace(
        execution.metadata, labels={labels.SHARD: "w-1"}, annotations={labels.DEATHS: "1"}
    )
    text = describe(msgspec.structs.replace(execution, metadata=metadata), now)
    assert "Shard:      w-1\n" in text
    assert "Worker:     w-0, epoch 2\n" in text
    assert "Lost:       1 replica died that had it\n" in text


def test_the_policy_that_counts_and_the_next_attempt_are_shown(make_execution: Make, now: datetime) -> None:
    """Whose policy it is, and how many attempts there can be with those that somebody has asked for."""
    policy = ExecutionRetry(retries=2, backoff="30s")
    execution = make_execution(
        "x",
        phase=Phase.BACKOFF,
        attempt_count=1,
        attempts=[ExecutionAttempt(number=1, phase=Phase.FAILED, finished_at=now)],
        defaults=ExecutionDefaults(retry=policy),
        waiting_for=[WaitingFor(kind="Timer", name="attempt 2", until=now + timedelta(seconds=30))],
    )
    text = describe(execution, now)
    assert "2 retries, back-off 30s (the function's default)" in text
    assert "Timer attempt 2 until" in text
    assert "(in 30s)" in text
    asked = msgspec.structs.replace(execution.spec, retry=ExecutionRetry(retries=1))
    assert "3 retries, back-off 30s (the function's default)" in describe(
        msgspec.structs.replace(execution, spec=asked), now
    )


def test_a_retry_that_is_asked_for_is_shown(make_execution: Make, now: datetime) -> None:
    """It has failed, but will not stay so."""
    failed = make_execution("x", phase=Phase.FAILED, observed_retries=0)
    asked = msgspec.structs.replace(
        failed,
        metadata=msgspec.structs.replace(failed.metadata, generation=2),
        spec=msgspec.structs.replace(failed.spec, retry=ExecutionRetry(retries=1)),
    )
    assert "Failed, a retry is asked for" in describe(asked, now)
    assert "a retry is asked for" not in describe(failed, now)


def test_suspensions_and_jobs_are_told(make_execution: Make, now: datetime) -> None:
    """What it is called, where it is, and when it ends by itself."""
    meta = ObjectMeta(name="s", uid="s", creation_timestamp=now - timedelta(minutes=1))
    spec = SuspensionSpec(
        execution="x", kind=SuspensionKind.MANUAL, display_name="Ship it?", resume_at=now + timedelta(days=2)
    )
    waits = [build_node(Suspension(metadata=meta, spec=spec), ()), build_node(Job(metadata=meta), ())]
    text = describe_execution(make_execution("x"), [], now, whole=False, waits=waits)
    assert (
        "Suspensions and Jobs:\n"
        "  KIND         NAME   PHASE       DURATION   MESSAGE\n"
        "  Suspension   s      Suspended   1m00s      Ship it? (due in 48h00m)\n"
        "  Job          s      Pending" in text
    )
