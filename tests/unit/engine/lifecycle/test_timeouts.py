"""When an Execution or its attempt has taken too long, and what follows, for everything that it can be doing then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.v1alpha1 import (
    ExecutionAttempt,
    ExecutionDefaults,
    ExecutionOwner,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionStatus,
    ExecutionTimeout,
    Phase,
    WaitingFor,
)
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import EVICTED, Activation, Lost, News, Observed, Obstacle, Worker
from kontinue_engine.lifecycle.retrying import restarted
from kontinue_engine.lifecycle.timeouts import next_limit
from kontinue_engine.wire import frames

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
WORKER = Worker(shard="w-0", incarnation="me", build="b1")
SUCCESSOR = Worker(shard="w-1", incarnation="successor", build="b1")
MINE = ExecutionOwner(shard="w-0", incarnation="me", epoch=3)
BOOM = frames.ErrorInfo(type="builtins.ValueError", message="boom", types=["builtins.ValueError"])
ATTEMPT = ExecutionTimeout(attempt="1m")
OVERALL = ExecutionTimeout(overall="1h")
RUNNING = Activation(number=1, running_since_ms=START_MS)
PARKED = Activation(number=1, running_since_ms=START_MS, parked_since_ms=START_MS + 10)


def time_of(after_ms: int) -> datetime:
    return datetime.fromtimestamp((START_MS + after_ms) / 1000, tz=UTC)


def observe(timeout: ExecutionTimeout, *, retries: int = 0, **facts: Any) -> Observed:
    retry = ExecutionRetry(retries=retries, backoff="10s") if retries else None
    defaults: dict[str, Any] = {
        "uid": "uid",
        "spec": ExecutionSpec(function="f", retry=retry, timeout=timeout),
        "status": ExecutionStatus(),
        "memo": MemoBytes(),
        "created_at_ms": START_MS - HOUR_MS,
    }
    return Observed(**{**defaults, **facts})


def begun(phase: Phase, **fields: Any) -> ExecutionStatus:
    """Return the status of one whose first attempt began at the start."""
    attempts = [ExecutionAttempt(number=1, started_at=time_of(0), worker="w-0")]
    first: dict[str, Any] = {"owner": MINE, "attempts": attempts, "attempt_count": 1, "started_at": time_of(0)}
    return ExecutionStatus(phase=phase, **{**first, **fields})


def limited(phase: Phase, **fields: Any) -> ExecutionStatus:
    return begun(phase, deadline=time_of(HOUR_MS), **fields)


def written(plan: plans.Plan) -> ExecutionStatus:
    assert plan.status is not None
    return plan.status


def kinds(plan: plans.Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


# Before a limit strikes.


def test_a_limit_costs_no_write_until_it_strikes() -> None:
    """It is looked for when it strikes, and nothing is written for it before."""
    young = observe(ExecutionTimeout(attempt="1m", overall="1h"), activation=RUNNING)
    plan = decide(young, WORKER, START_MS)
    assert (plan.status, plan.requeue_after_ms) == (None, 50)  # when Executing is due
    waiting = observe(OVERALL, status=limited(Phase.SUSPENDED), dormant=True)
    assert decide(waiting, WORKER, START_MS) == plans.Plan(requeue_after_ms=HOUR_MS)


def test_the_deadline_rides_on_the_first_status() -> None:
    """Whatever that is: it counts from when the code first ran."""
    status = written(decide(observe(OVERALL, activation=RUNNING), WORKER, START_MS + 50))
    assert (status.phase, status.deadline) == (Phase.EXECUTING, time_of(HOUR_MS))
    ended = observe(OVERALL, activation=RUNNING, news=News(outcome=frames.Completed(1, b"1")))
    assert written(decide(ended, WORKER, START_MS + 10)).deadline == time_of(HOUR_MS)


def test_the_time_in_which_it_waits_for_its_turn_does_not_count() -> None:
    """Without a runner, at a gate, or without a function nothing has started: created long ago means nothing."""
    both = ExecutionTimeout(attempt="1s", overall="1s")
    obstacle = Obstacle(kind="Mutex", name="m", message="others", tell_from_ms=START_MS + 9 * HOUR_MS)
    assert next_limit(observe(both)) is None
    assert next_limit(observe(both, activation=Activation(number=1))) is None
    assert next_limit(observe(both, obstacle=obstacle)) is None


def test_the_function_s_limits_count_where_the_execution_has_none() -> None:
    """Those of when it first ran; an Execution that has any of its own has only those."""
    default = ExecutionDefaults(timeout=ExecutionTimeout(attempt="2m", overall="1h"))
    silent = observe(ATTEMPT, spec=ExecutionSpec(function="f"), defaults=default, activation=RUNNING)
    limit = next_limit(silent)
    assert limit is not None
    assert (limit.at_ms, limit.length) == (START_MS + 2 * MINUTE_MS, "2m")
    started = written(decide(silent, WORKER, START_MS + 50))
    later = observe(ATTEMPT, spec=ExecutionSpec(function="f"), status=started, activation=RUNNING)
    assert next_limit(later) == limit
    own = next_limit(observe(ATTEMPT, defaults=default, activation=RUNNING))
    assert own is not None
    assert own.at_ms == START_MS + MINUTE_MS


@pytest.mark.parametrize("length", ["", "0", "0s", "9999999h", "99999999999999999999999h"])
def test_unset_zero_and_endless_are_no_limit(length: str) -> None:
    """As in Go, where nothing and zero are the same; and what has no date is never reached."""
    timeout = ExecutionTimeout(attempt=length, overall=length)
    assert next_limit(observe(timeout, activation=RUNNING)) is None


def test_a_deadline_that_somebody_has_moved_counts() -> None:
    """The status says when it strikes; who may write it may give it more time, or an end."""
    moved = observe(OVERALL, status=begun(Phase.EXECUTING, deadline=time_of(9 * HOUR_MS)), activation=RUNNING)
    assert decide(moved, WORKER, START_MS + 2 * HOUR_MS).status is None
    given = observe(ExecutionTimeout(), status=begun(Phase.EXECUTING, deadline=time_of(1)), activation=RUNNING)
    status = written(decide(given, WORKER, START_MS + 2))
    assert (status.phase, status.reason) == (Phase.FAILED, "OverallTimeout")
    assert "(status.deadline)" in status.message
    removed = observe(OVERALL, status=begun(Phase.EXECUTING), activation=RUNNING)
    limit = next_limit(removed)
    assert limit is not None
    assert limit.at_ms == START_MS + HOUR_MS


# An attempt.


def test_code_that_runs_is_told_to_end_before_anything_is_written() -> None:
    """The attempt has ended when nothing of it runs any more; it has some seconds to clean up."""
    late = observe(ATTEMPT, status=begun(Phase.EXECUTING), activation=RUNNING)
    plan = decide(late, WORKER, START_MS + MINUTE_MS)
    assert plan.status is None
    (stop,) = plan.actions
    assert isinstance(stop, plans.StopActivation)
    assert "attempt 1 took longer than 1m (timeout.attempt in spec.timeout)" in stop.message
    assert plan.requeue_after_ms == WORKER.cancel_grace_ms


def test_code_that_does_not_end_is_killed_after_the_grace() -> None:
    """And not before."""
    stopping = Activation(number=1, running_since_ms=START_MS, stopping_since_ms=START_MS + MINUTE_MS)
    late = observe(ATTEMPT, status=begun(Phase.EXECUTING), activation=stopping)
    assert decide(late, WORKER, START_MS + MINUTE_MS + 4_000) == plans.Plan(requeue_after_ms=1_000)
    assert kinds(decide(late, WORKER, START_MS + MINUTE_MS + 5_000)) == ["KillActivation"]


def test_code_that_cannot_notice_is_killed_at_once() -> None:
    """A sync function without a context has no call in which it could be told."""
    late = observe(ATTEMPT, status=begun(Phase.EXECUTING), activation=RUNNING, is_deaf=True)
    assert kinds(decide(late, WORKER, START_MS + MINUTE_MS)) == ["StopActivation", "KillActivation"]


@pytest.mark.parametrize(
    "end",
    [
        News(outcome=frames.Interrupted(1)),
        News(outcome=frames.Completed(1, b"1")),
        News(outcome=frames.Failed(1, "UserError", BOOM)),
        News(lost=Lost(was_active=False, reason=EVICTED, message="killed")),
    ],
)
@pytest.mark.parametrize("retries", [0, 1])
def test_whatever_the_code_says_after_it_was_told_to_end_it_was_too_late(end: News, retries: int) -> None:
    """One write: the next attempt if there is one, else the end; a crash it is not."""
    stopping = Activation(number=1, running_since_ms=START_MS, stopping_since_ms=START_MS + MINUTE_MS)
    late = observe(ATTEMPT, retries=retries, status=begun(Phase.EXECUTING), activation=stopping, news=end)
    plan = decide(late, WORKER, START_MS + MINUTE_MS + 1_000)
    status = written(plan)
    assert status.phase is (Phase.BACKOFF if retries else Phase.FAILED)
    assert (status.reason, status.crashes) == ("AttemptTimeout", 0)
    (attempt,) = status.attempts
    assert (attempt.phase, attempt.reason) == (Phase.FAILED, "AttemptTimeout")
    assert attempt.error is not None
    assert attempt.error.type == "kontinue.errors.ExecutionTimedOut"
    assert "builtins.TimeoutError" in attempt.error.types
    assert "ForgetActivation" in kinds(plan)
    assert is_stopped(status.conditions) is not bool(retries)


def test_code_that_has_ended_by_itself_was_in_time() -> None:
    """Nobody had told it to end: what it has done, it has done."""
    ended = observe(ATTEMPT, activation=RUNNING, news=News(outcome=frames.Completed(1, b"1")))
    assert written(decide(ended, WORKER, START_MS + HOUR_MS)).phase is Phase.COMPLETED


def test_the_next_attempt_begins_with_all_records() -> None:
    """A timeout blames no step: what was recorded is not done again."""
    made = [frames.EncodedRecord("1", b'{"id":"1"}')]
    stopping = Activation(number=1, running_since_ms=START_MS, stopping_since_ms=START_MS + MINUTE_MS)
    news = News(records=(frames.EncodedRecord("2", b'{"id":"2"}'),), outcome=frames.Completed(1, b"1", made))
    memo = MemoBytes().extended(build="b1", records=made)
    late = observe(ATTEMPT, retries=1, status=begun(Phase.EXECUTING), activation=stopping, memo=memo, news=news)
    plan = decide(late, WORKER, START_MS + MINUTE_MS)
    assert [bytes(record) for record in parse_memo(written(plan).state).records] == [b'{"id":"1"}', b'{"id":"2"}']


def test_an_attempt_s_time_stands_still_while_it_is_suspended() -> None:
    """And counts while it is parked and not yet Suspended."""
    parked = observe(ATTEMPT, status=begun(Phase.EXECUTING), activation=PARKED)
    assert next_limit(parked) is not None
    assert next_limit(observe(ATTEMPT, status=begun(Phase.SUSPENDED), activation=PARKED)) is None
    assert next_limit(observe(ATTEMPT, status=begun(Phase.SUSPENDED), dormant=True)) is None
    assert next_limit(observe(ATTEMPT, status=begun(Phase.BLOCKED))) is None


def test_an_attempt_s_time_starts_anew_when_it_goes_on() -> None:
    """Before that is written it counts from what the runner says, afterwards from the status, whoever looks."""
    awake = Activation(number=1, running_since_ms=START_MS + HOUR_MS)
    woken = observe(ATTEMPT, status=begun(Phase.SUSPENDED), activation=awake)
    limit = next_limit(woken)
    assert limit is not None
    assert limit.at_ms == START_MS + HOUR_MS + MINUTE_MS
    resumed = written(decide(woken, WORKER, START_MS + HOUR_MS + 50))
    assert (resumed.phase, resumed.attempts[0].resumed_at) == (Phase.EXECUTING, time_of(HOUR_MS))
    assert next_limit(observe(ATTEMPT, status=resumed, inherited=True)) == limit


def test_a_blocked_attempt_has_all_its_time_when_a_build_matches() -> None:
    """Nobody can be blamed for the time that a new build took."""
    awake = Activation(number=2, running_since_ms=START_MS + HOUR_MS)
    resumed = written(
        decide(observe(ATTEMPT, status=begun(Phase.BLOCKED), activation=awake), WORKER, START_MS + HOUR_MS + 50)
    )
    assert resumed.attempts[0].resumed_at == time_of(HOUR_MS)


def test_an_attempt_s_time_goes_on_over_crashes() -> None:
    """A crash of a runner is no new attempt: else one that crashes again and again never had to end."""
    crashed = observe(
        ATTEMPT, status=begun(Phase.EXECUTING), activation=Activation(number=2, running_since_ms=START_MS + 59_000)
    )
    limit = next_limit(crashed)
    assert limit is not None
    assert limit.at_ms == START_MS + MINUTE_MS
    queued = observe(ATTEMPT, status=begun(Phase.EXECUTING), activation=Activation(number=2))
    assert kinds(decide(queued, WORKER, START_MS + MINUTE_MS)) == ["StopActivation"]


def test_a_successor_ends_an_attempt_whose_time_is_over_instead_of_running_it() -> None:
    """After a crash of everything the status is enough; it is no crash of its own."""
    late = observe(ATTEMPT, retries=1, status=begun(Phase.EXECUTING), inherited=True, lost_by="me", is_admitted=False)
    status = written(decide(late, SUCCESSOR, START_MS + HOUR_MS))
    assert (status.phase, status.reason, status.crashes) == (Phase.BACKOFF, "AttemptTimeout", 0)
    assert status.owner == ExecutionOwner(shard="w-1", incarnation="successor", epoch=4)


def test_a_new_attempt_has_all_its_time() -> None:
    """Its predecessor's does not count, neither while it waits for its start nor afterwards."""
    stopping = Activation(number=1, running_since_ms=START_MS, stopping_since_ms=START_MS + MINUTE_MS)
    end = News(outcome=frames.Interrupted(1))
    late = observe(ATTEMPT, retries=1, status=begun(Phase.EXECUTING), activation=stopping, news=end)
    failed = written(decide(late, WORKER, START_MS + MINUTE_MS))
    assert next_limit(observe(ATTEMPT, retries=1, status=failed)) is None
    again = observe(
        ATTEMPT, retries=1, status=failed, activation=Activation(number=2, running_since_ms=START_MS + HOUR_MS)
    )
    limit = next_limit(again)
    assert limit is not None
    assert limit.at_ms == START_MS + HOUR_MS + MINUTE_MS


def test_what_was_edited_into_nonsense_has_no_limit() -> None:
    """An attempt without a start has no time that could be over."""
    attempts = [ExecutionAttempt(number=1)]
    odd = observe(ExecutionTimeout(attempt="1m", overall="1h"), status=begun(Phase.EXECUTING, attempts=attempts))
    assert next_limit(odd) is None


# A whole Execution.


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.EXECUTING, Phase.SUSPENDED, Phase.BACKOFF, Phase.BLOCKED])
def test_a_deadline_ends_whatever_it_does(phase: Phase) -> None:
    """Final, whatever retries are left; nothing of it runs, so it has stopped."""
    waiting = [WaitingFor(kind="Execution", name="child"), WaitingFor(kind="Function")]
    late = observe(OVERALL, retries=9, status=limited(phase, waiting_for=waiting), dormant=phase is Phase.SUSPENDED)
    plan = decide(late, WORKER, START_MS + HOUR_MS)
    status = written(plan)
    assert (status.phase, status.reason, status.waiting_for) == (Phase.FAILED, "OverallTimeout", [])
    assert status.message == (
        "it has not ended within its time of 1h (timeout.overall in spec.timeout), pauses and waits included; "
        f"it was {phase.value}, waiting for Execution child, Function. Raise that limit; a retry starts with a new "
        "deadline"
    )
    assert is_stopped(status.conditions)
    assert kinds(plan) == ["Report", "CancelChildren", "ForgetActivation", "Finish"]


def test_code_that_runs_at_the_deadline_is_stopped_after_it_has_failed() -> None:
    """As after a cancel: the end is final at once, and Stopped when nothing runs any more."""
    plan = decide(observe(OVERALL, activation=RUNNING), WORKER, START_MS + HOUR_MS)
    failed = written(plan)
    assert (failed.phase, is_stopped(failed.conditions), kinds(plan)) == (
        Phase.FAILED,
        False,
        ["Report", "CancelChildren"],
    )
    then = decide(observe(OVERALL, status=failed, activation=RUNNING), WORKER, START_MS + HOUR_MS)
    assert then.actions[0] == plans.StopActivation(failed.message)


def test_a_deadline_strikes_while_an_attempt_is_being_stopped() -> None:
    """The end of everything does not wait for the end of the attempt; the code has the grace that it has."""
    stopping = Activation(number=1, running_since_ms=START_MS, stopping_since_ms=START_MS + HOUR_MS - 1_000)
    timeout = ExecutionTimeout(attempt="59m59s", overall="1h")
    late = observe(timeout, retries=1, status=limited(Phase.EXECUTING), activation=stopping)
    assert decide(late, WORKER, START_MS + HOUR_MS - 1).requeue_after_ms == 4_001
    # The attempt's limit struck first and goes on being the one that decides: its end comes within the grace.
    ended = observe(
        timeout,
        retries=1,
        status=limited(Phase.EXECUTING),
        activation=stopping,
        news=News(outcome=frames.Interrupted(1)),
    )
    backoff = written(decide(ended, WORKER, START_MS + HOUR_MS + 1))
    assert backoff.phase is Phase.BACKOFF
    status = written(decide(observe(timeout, retries=1, status=backoff), WORKER, START_MS + HOUR_MS + 1))
    assert (status.phase, status.reason) == (Phase.FAILED, "OverallTimeout")
    assert status.attempts[0].reason == "AttemptTimeout"


def test_a_cancel_by_the_parent_comes_before_a_timeout() -> None:
    """Whoever asks is told what the parent wanted."""
    late = observe(OVERALL, status=limited(Phase.SUSPENDED), dormant=True, cancel_message="Canceled by its parent")
    assert written(decide(late, WORKER, START_MS + HOUR_MS)).phase is Phase.CANCELED


def test_a_retry_that_somebody_asks_for_starts_with_a_new_deadline() -> None:
    """Its time counts from when it runs again."""
    failed = written(decide(observe(OVERALL, status=limited(Phase.BACKOFF)), WORKER, START_MS + HOUR_MS))
    spec = ExecutionSpec(function="f", timeout=OVERALL)
    again = restarted(spec, failed, MemoBytes(), None, START_MS + 2 * HOUR_MS)
    assert next_limit(observe(OVERALL, status=again)) is None
    running = Activation(number=2, running_since_ms=START_MS + 3 * HOUR_MS)
    limit = next_limit(observe(OVERALL, status=again, activation=running))
    assert limit is not None
    assert limit.at_ms == START_MS + 4 * HOUR_MS
    begins = written(decide(observe(OVERALL, status=again, activation=running), WORKER, START_MS + 3 * HOUR_MS + 50))
    assert begins.deadline == time_of(4 * HOUR_MS)


@given(
    attempt_ms=st.integers(1, 10_000),
    overall_ms=st.integers(1, 10_000),
    retries=st.integers(0, 2),
    phase=st.sampled_from([Phase.PENDING, Phase.EXECUTING, Phase.SUSPENDED, Phase.BLOCKED]),
    after_ms=st.integers(0, 20_000),
    is_deaf=st.booleans(),
)
def test_deciding_again_after_the_plan_changes_nothing(
    attempt_ms: int, overall_ms: int, retries: int, phase: Phase, after_ms: int, is_deaf: bool
) -> None:
    """What was written is not written again, and what has not struck is looked for when it does."""
    timeout = ExecutionTimeout(attempt=f"{attempt_ms}ms", overall=f"{overall_ms}ms")
    status = ExecutionStatus() if phase is Phase.PENDING else begun(phase)
    activation = RUNNING if phase is not Phase.BLOCKED else None
    observed = observe(timeout, retries=retries, status=status, activation=activation, is_deaf=is_deaf)
    now_ms = START_MS + after_ms
    plan = decide(observed, WORKER, now_ms)
    limit = next_limit(observed)
    if limit is not None and limit.at_ms > now_ms:
        assert plan.requeue_after_ms is not None
        assert plan.requeue_after_ms <= limit.at_ms - now_ms
    if plan.status is not None:
        again = observe(timeout, retries=retries, status=plan.status, activation=activation, is_deaf=is_deaf)
        assert decide(again, WORKER, now_ms).status is None
