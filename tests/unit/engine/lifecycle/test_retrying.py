"""What follows a failed attempt, case by case, and what a retry that somebody asks for begins with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    MAX_ATTEMPTS_KEPT,
    ChildPolicy,
    Execution,
    ExecutionDefaults,
    ExecutionOwner,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionStatus,
    ExecutionTimeout,
    Phase,
)
from kontinue.pauses import LONGEST_S
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle import retrying
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import Activation, News, Observed, Obstacle, Worker
from kontinue_engine.wire import frames

NOW_MS = 1_700_000_000_000
WORKER = Worker(shard="w-0", incarnation="me", build="b1")
SUCCESSOR = Worker(shard="w-0", incarnation="successor", build="b1")
MINE = ExecutionOwner(shard="w-0", incarnation="me", epoch=3)
BOOM = frames.ErrorInfo(type="builtins.ValueError", message="boom", types=["builtins.ValueError", "builtins.Exception"])
TWICE = ExecutionRetry(retries=2, backoff="10s")


def observe(status: ExecutionStatus | None = None, **facts: Any) -> Observed:
    defaults: dict[str, Any] = {
        "uid": "uid",
        "spec": ExecutionSpec(function="f", retry=TWICE),
        "memo": MemoBytes(),
        "created_at_ms": NOW_MS - 1000,
    }
    return Observed(status=status or ExecutionStatus(), **{**defaults, **facts})


def failing(status: ExecutionStatus | None = None, *, reason: str = "UserError", **facts: Any) -> Observed:
    """Return an Execution whose attempt has just failed."""
    outcome = frames.Failed(1, reason, BOOM, facts.pop("records", []), facts.pop("seqs", []), list(BOOM.types))
    running = Activation(number=1, running_since_ms=NOW_MS - 10, resumption=2)
    return observe(status, activation=running, news=News(outcome=outcome), **facts)


def fail(status: ExecutionStatus | None = None, *, now_ms: int = NOW_MS, **facts: Any) -> ExecutionStatus:
    plan = decide(failing(status, **facts), WORKER, now_ms)
    assert plan.status is not None
    return plan.status


def until(status: ExecutionStatus) -> float:
    (timer,) = status.waiting_for
    assert timer.until is not None
    return timer.until.timestamp() - NOW_MS / 1000


def kinds(plan: plans.Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def records(*steps: str) -> list[frames.EncodedRecord]:
    return [frames.EncodedRecord(step, msgspec.json.encode({"id": step})) for step in steps]


# After a failure.


def test_a_failed_attempt_waits_for_the_next_one_without_a_runner() -> None:
    """One write says how it ended, when the next one begins, and lets the activation go."""
    plan = decide(failing(), WORKER, NOW_MS)
    status = plan.status
    assert status is not None
    assert (status.phase, status.reason, status.message) == (Phase.BACKOFF, "UserError", "builtins.ValueError: boom")
    (attempt,) = status.attempts
    assert (attempt.number, attempt.phase, attempt.error and attempt.error.type) == (1, Phase.FAILED, BOOM.type)
    assert (attempt.finished_at, status.finished_at) == (datetime.fromtimestamp(NOW_MS / 1000, UTC), None)
    assert (status.waiting_for[0].kind, status.waiting_for[0].name, until(status)) == ("Timer", "attempt 2", 10)
    assert kinds(plan) == ["Report", "ForgetActivation"]


def test_resumptions_and_crashes_are_those_of_an_attempt() -> None:
    """A new attempt has the whole budget of crashes."""
    status = fail(ExecutionStatus(phase=Phase.EXECUTING, owner=MINE, attempt_count=1, crashes=3, resumptions=2))
    assert (status.resumptions, status.crashes) == (0, 0)


def test_it_is_left_alone_until_its_time_has_come() -> None:
    """Nothing is written and nothing is dispatched while it waits, whoever looks."""
    waiting = fail()
    for worker in (WORKER, SUCCESSOR):
        plan = decide(observe(waiting, inherited=worker is SUCCESSOR), worker, NOW_MS + 4_000)
        assert plan == plans.Plan(requeue_after_ms=6_000)


def test_the_next_attempt_starts_without_a_write() -> None:
    """Its first status, whatever that is, tells of it: a retry costs one write."""
    plan = decide(observe(fail()), WORKER, NOW_MS + 10_000)
    assert plan.status is None
    (dispatch,) = plan.actions
    assert isinstance(dispatch, plans.Dispatch)
    assert (dispatch.attempt, dispatch.resumption) == (2, 0)


def test_a_successor_claims_it_first() -> None:
    """After a crash of everything the status is enough; a claim begins the attempt, and resumes nothing."""
    plan = decide(observe(fail(), inherited=True), SUCCESSOR, NOW_MS + 10_000)
    status = plan.status
    assert status is not None
    assert status.owner == ExecutionOwner(shard="w-0", incarnation="successor", epoch=2)
    assert (status.phase, status.attempt_count, status.resumptions) == (Phase.EXECUTING, 2, 0)
    assert [attempt.finished_at is None for attempt in status.attempts] == [False, True]
    assert kinds(plan) == ["Dispatch"]


def test_the_last_attempt_fails_for_good() -> None:
    """Retries are attempts after the first one."""
    status = fail(fail(fail()))
    assert (status.phase, status.attempt_count, is_stopped(status.conditions)) == (Phase.FAILED, 3, True)
    assert [attempt.phase for attempt in status.attempts] == [Phase.FAILED] * 3
    assert status.observed_retries == 2


@pytest.mark.parametrize(
    "reason", ["NonRetryable", "InvalidArguments", "InvalidResult", "ContextMisuse", "StatusRefused"]
)
def test_what_every_attempt_would_fail_with_is_final(reason: str) -> None:
    """Nobody waits for what cannot help."""
    assert fail(reason=reason).phase is Phase.FAILED


def test_exceptions_of_the_policy_fail_at_once() -> None:
    """By the name of the class or of one of its bases; others are tried again."""
    final = ExecutionRetry(retries=2, non_retryable=["builtins.Exception"])
    other = ExecutionRetry(retries=2, non_retryable=["builtins.KeyError"])
    status = fail(spec=ExecutionSpec(function="f", retry=final))
    assert (status.phase, status.reason) == (Phase.FAILED, "NonRetryable")
    assert fail(spec=ExecutionSpec(function="f", retry=other)).phase is Phase.BACKOFF


def test_pauses_grow_and_have_an_end() -> None:
    """Each one is the one before times the multiplier, up to the longest."""
    policy = ExecutionRetry(retries=9, backoff="1s", multiplier=3, max_backoff="5s")
    spec = ExecutionSpec(function="f", retry=policy)
    first = fail(spec=spec)
    second = fail(first, spec=spec)
    assert (until(first), until(second), until(fail(second, spec=spec))) == (1, 3, 5)


@pytest.mark.parametrize("length", ["99999999999h", "23999999999h"])
def test_a_pause_that_no_date_can_name_is_a_long_one(length: str) -> None:
    """The schema lets it in, and an Execution that nobody can decide about would never end."""
    for policy in (
        ExecutionRetry(retries=1, backoff=length),
        ExecutionRetry(retries=1, backoff=length, max_backoff=length),
        ExecutionRetry(retries=1, backoff="1s", max_backoff=length),
    ):
        assert until(fail(spec=ExecutionSpec(function="f", retry=policy))) <= LONGEST_S


def test_jitter_is_the_same_for_whoever_decides() -> None:
    """The same attempt of the same Execution waits equally long; others wait differently."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=2, backoff="100s", jitter=1))
    assert until(fail(spec=spec)) == until(fail(spec=spec)) < 100
    assert until(fail(spec=spec)) != until(fail(spec=spec, uid="other"))


def test_ten_attempts_are_kept_and_all_are_counted() -> None:
    """An Execution does not grow with its failures."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=99))
    status = None
    for _ in range(15):
        status = fail(status, spec=spec)
    assert status is not None
    assert (len(status.attempts), status.attempt_count) == (MAX_ATTEMPTS_KEPT, 15)
    assert [attempt.number for attempt in status.attempts] == list(range(6, 16))


def test_only_the_first_few_retries_become_events() -> None:
    """Events are writes too."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=99))
    status, told = None, []
    for _ in range(8):
        plan = decide(failing(status, spec=spec), WORKER, NOW_MS)
        told += [action.is_event for action in plan.actions if isinstance(action, plans.Report)]
        status = plan.status
    assert told == [True] * retrying.TOLD_ATTEMPTS + [False] * 3


def test_the_memo_is_cut_where_the_failure_was_recorded() -> None:
    """What came before stays, what came later is remembered, and the failure itself is tried again."""
    status = fail(records=records("a", "b", "c"), seqs=[2])
    memo = parse_memo(status.state)
    assert [msgspec.json.decode(record)["id"] for record in memo.records] == ["a"]
    assert list(memo.cache) == ["c"]


def test_run_everything_anew_forgets_everything() -> None:
    """Children are canceled, and those to come have other names."""
    retry = ExecutionRetry(retries=1, child_policy=ChildPolicy.RETRY_ALL)
    memo = MemoBytes().extended(build="b1", records=records("a"))
    plan = decide(failing(memo=memo, spec=ExecutionSpec(function="f", retry=retry)), WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.run_epoch, plan.status.state, plan.memo.is_empty) == (1, msgspec.UNSET, True)
    assert kinds(plan) == ["Report", "CancelChildren", "ForgetActivation"]


def test_a_cancel_while_it_waits_ends_it_and_leaves_the_failed_attempt_as_it_was() -> None:
    """No attempt begins, and none is said to have been canceled."""
    waiting = fail()
    plan = decide(observe(waiting, cancel_message="not wanted"), WORKER, NOW_MS + 10)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.attempts) == (Phase.CANCELED, waiting.attempts)
    assert is_stopped(plan.status.conditions)


def test_a_mutex_that_was_lost_while_it_waited_is_waited_for() -> None:
    """Somebody has deleted its Lease: the attempt does not begin before it has another one."""
    obstacle = Obstacle(kind="Mutex", name="m", message="x holds it", tell_from_ms=NOW_MS)
    plan = decide(observe(fail(), obstacle=obstacle), WORKER, NOW_MS + 10_000)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.waiting_for[0].kind) == (Phase.BACKOFF, "Mutex")
    again = decide(observe(plan.status), WORKER, NOW_MS + 10_000)
    assert kinds(again) == ["Dispatch"]


def test_the_fifth_phase_is_left_as_any_other() -> None:
    """The next attempt is written as Executing when it lasts, and ends as any other."""
    waiting = fail()
    lasting = observe(waiting, activation=Activation(number=2, running_since_ms=NOW_MS))
    plan = decide(lasting, WORKER, NOW_MS + 60)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.attempt_count, plan.status.waiting_for) == (Phase.EXECUTING, 2, [])
    done = News(outcome=frames.Completed(2, b"1"))
    ended = decide(msgspec.structs.replace(lasting, news=done), WORKER, NOW_MS + 60)
    assert ended.status is not None
    assert [attempt.phase for attempt in ended.status.attempts] == [Phase.FAILED, Phase.COMPLETED]


# Which policy.


def test_the_functions_default_counts_where_the_spec_is_silent() -> None:
    """It is recorded with the first status; what later builds say does not matter to what has begun."""
    silent = ExecutionSpec(function="f", timeout=ExecutionTimeout(attempt="1s"))
    defaults = ExecutionDefaults(retry=TWICE, timeout=ExecutionTimeout(overall="1h"))
    first = fail(spec=silent, defaults=defaults)
    assert first.defaults == ExecutionDefaults(retry=TWICE)
    other = ExecutionDefaults(retry=ExecutionRetry(retries=0))
    assert fail(first, spec=silent, defaults=other).phase is Phase.BACKOFF
    began = fail(spec=silent, defaults=None)
    assert retrying.policy_of(silent, began, defaults) == ExecutionRetry()


def test_the_spec_counts_before_the_default() -> None:
    """As a whole: what it leaves out is not filled in from elsewhere."""
    policy = retrying.policy_of(
        ExecutionSpec(function="f", retry=ExecutionRetry(retries=1)), ExecutionStatus(), ExecutionDefaults(retry=TWICE)
    )
    assert policy == ExecutionRetry(retries=1)


def test_who_asks_for_more_keeps_the_functions_pauses() -> None:
    """A spec that got its retries later adds to the default that was recorded."""
    began = fail(spec=ExecutionSpec(function="f"), defaults=ExecutionDefaults(retry=TWICE))
    asked = ExecutionSpec(function="f", retry=ExecutionRetry(retries=1, child_policy=ChildPolicy.NONE))
    policy = retrying.policy_of(asked, began, None)
    assert (policy.retries, policy.backoff, policy.child_policy) == (3, "10s", ChildPolicy.NONE)


# Asked for by people.


def ended(phase: Phase = Phase.FAILED, **facts: Any) -> ExecutionStatus:
    status = fail(spec=ExecutionSpec(function="f"), **facts)
    return msgspec.structs.replace(status, phase=phase)


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELED])
def test_a_retry_makes_it_pending_again(phase: Phase) -> None:
    """Nothing of its end is left, apart from the attempt; the deadline is a new one."""
    before = msgspec.structs.replace(ended(phase, records=records("a", "b"), seqs=[2]), deadline=datetime.now(UTC))
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=1))
    status = retrying.restarted(spec, before, parse_memo(before.state), None, NOW_MS + 5_000)
    assert (status.phase, status.reason, status.observed_retries) == (Phase.PENDING, "RetryRequested", 1)
    assert (status.finished_at, status.deadline, status.conditions) == (None, None, [])
    assert (status.attempts, status.owner) == (before.attempts, before.owner)
    assert len(parse_memo(status.state).records) == 1
    (dispatch,) = decide(observe(status, spec=spec), WORKER, NOW_MS + 5_000).actions
    assert isinstance(dispatch, plans.Dispatch)
    assert dispatch.attempt == 2


def test_a_retry_of_one_that_was_canceled_while_it_ran_ends_that_attempt() -> None:
    """A client's cancel changes the phase only."""
    running = fail(msgspec.structs.replace(fail(), attempt_count=1))
    canceled = msgspec.structs.replace(
        running,
        phase=Phase.CANCELED,
        attempts=[msgspec.structs.replace(running.attempts[-1], finished_at=None, phase=None)],
    )
    status = retrying.restarted(ExecutionSpec(function="f"), canceled, MemoBytes(), None, NOW_MS)
    assert (status.attempts[-1].phase, status.attempts[-1].finished_at is None) == (Phase.CANCELED, False)


def test_a_retry_that_runs_everything_anew_raises_the_run_epoch() -> None:
    """Its children have other names."""
    retry = ExecutionRetry(retries=1, child_policy=ChildPolicy.RETRY_ALL)
    before = ended(records=records("a"), seqs=[])
    status = retrying.restarted(
        ExecutionSpec(function="f", retry=retry), before, parse_memo(before.state), None, NOW_MS
    )
    assert (status.run_epoch, status.state) == (1, msgspec.UNSET)


def test_retries_that_were_added_while_it_lived_are_no_wish_after_a_cancel() -> None:
    """Whoever cancels it by hand need not say so; what is added after the cancel is one."""
    canceled = ExecutionStatus(phase=Phase.CANCELED, owner=MINE)
    edited = ExecutionSpec(function="f", retry=ExecutionRetry(retries=5))
    for seen, asked in ((5, False), (2, True)):
        status = decide(observe(canceled, spec=edited, seen_retries=seen), WORKER, NOW_MS).status
        assert status is not None
        ended = Execution(metadata=ObjectMeta(name="x", generation=2), spec=edited, status=status)
        assert (is_stopped(status.conditions), ended.is_retry_requested) == (True, asked)


def test_retries_that_it_was_created_with_are_no_wish_of_now() -> None:
    """Canceled by hand before anybody wrote it: only an edit of the spec asks for more."""
    canceled = Execution(
        metadata=ObjectMeta(name="x", generation=1),
        spec=ExecutionSpec(function="f", retry=TWICE),
        status=ExecutionStatus(phase=Phase.CANCELED),
    )
    assert not canceled.is_retry_requested
    edited = msgspec.structs.replace(canceled, metadata=ObjectMeta(name="x", generation=2))
    assert edited.is_retry_requested


@given(
    st.lists(st.sampled_from(["UserError", "NonRetryable"]), min_size=1, max_size=8),
    st.integers(0, 5),
    st.booleans(),
)
def test_attempts_never_exceed_what_is_allowed(reasons: list[str], retries: int, is_inherited: bool) -> None:
    """Whoever decides: each failure counts once, and after the last one it has failed."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=retries))
    status: ExecutionStatus | None = None
    for number, reason in enumerate(reasons, 1):
        if status is not None and is_inherited:
            status = decide(observe(status, spec=spec, inherited=True), WORKER, NOW_MS * 2).status
        status = fail(status, spec=spec, reason=reason)
        assert status.attempt_count == number <= retries + 1
        if status.phase is Phase.FAILED:
            assert reason == "NonRetryable" or number == retries + 1
            break
