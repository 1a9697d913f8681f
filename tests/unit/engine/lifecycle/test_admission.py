"""What is decided about an Execution that others keep from being started, and what it is told."""

from datetime import UTC, datetime
from typing import Any

import pytest

from kontinue.api.v1alpha1 import ExecutionOwner, ExecutionSpec, ExecutionStatus, Phase, WaitingFor
from kontinue_engine.lifecycle import admission
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Observed, Obstacle, Worker
from kontinue_engine.lifecycle.starting import EPOCHS_PER_GRANT

NOW_MS = 1_800_000_000_000
WORKER = Worker(shard="w-0", incarnation="me", build="b1")
CLOSED = Obstacle(kind="Mutex", name="m", message=admission.held_message("other"), tell_from_ms=NOW_MS)
TOLD = WaitingFor(kind="Mutex", name="m", message="Execution other holds it")


def observe(**facts: Any) -> Observed:
    defaults: dict[str, Any] = {
        "spec": ExecutionSpec(function="f"),
        "status": ExecutionStatus(),
        "memo": MemoBytes(),
        "created_at_ms": NOW_MS - 1000,
        "obstacle": CLOSED,
    }
    return Observed(**{**defaults, **facts})


def owned(epoch: int, phase: Phase) -> ExecutionStatus:
    owner = ExecutionOwner(shard="w-0", incarnation="before", epoch=epoch)
    return ExecutionStatus(phase=phase, owner=owner, started_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_one_that_waits_is_told_once_and_nobody_owns_it() -> None:
    """The status says what it waits for; once that is written there is nothing to do."""
    plan = decide(observe(), WORKER, NOW_MS)
    assert plan.status == ExecutionStatus(phase=Phase.PENDING, waiting_for=[TOLD])
    assert plan.actions == ()
    assert decide(observe(status=plan.status), WORKER, NOW_MS) == plans.NOTHING


def test_a_short_wait_is_not_worth_a_write() -> None:
    """It is looked at again when it has become a long one."""
    assert decide(observe(), WORKER, NOW_MS - 400) == plans.Plan(requeue_after_ms=400)


def test_one_that_ran_before_keeps_its_phase_and_memo_and_is_not_claimed() -> None:
    """A claim would say that it runs."""
    memo = MemoBytes().extended(build="b1", records=(), started={}, forgotten=(), arguments=b"{}")
    found = observe(status=owned(3, Phase.SUSPENDED), memo=memo, inherited=True, is_admitted=False)
    plan = decide(found, WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.owner, plan.memo) == (Phase.SUSPENDED, found.status.owner, memo)


@pytest.mark.parametrize("phase", [Phase.CANCELED, Phase.BLOCKED])
def test_an_obstacle_keeps_nothing_else_from_happening(phase: Phase) -> None:
    """A canceled one is stopped, a blocked one is left alone."""
    plan = decide(observe(status=owned(3, phase), memo=MemoBytes().refused(by="b1")), WORKER, NOW_MS)
    if phase is Phase.CANCELED:
        assert plan.status is not None
        assert is_stopped(plan.status.conditions)
    else:
        assert plan == plans.NOTHING


@pytest.mark.parametrize(
    ("kind", "reason", "says"),
    [
        ("Mutex", "MutexHeldByAncestor", "mutex 'm' is held by Execution p, q, an ancestor"),
        ("Function", "ConcurrencyHeldByAncestor", "all slots of function m are taken by ancestors"),
    ],
)
def test_what_would_wait_for_ever_fails_with_a_reason(kind: str, reason: str, says: str) -> None:
    """And is stopped: its parent is told."""
    plan = decide(observe(obstacle=admission.refusal(kind, "m", {"2": "q", "1": "p"})), WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.reason) == (Phase.FAILED, reason)
    assert plan.status.message.startswith(says)
    assert is_stopped(plan.status.conditions)
    assert plans.Finish() in plan.actions


def test_tokens_grow_with_every_claim_and_from_grant_to_grant() -> None:
    """However many epochs the holder before has had."""
    first = decide(observe(obstacle=None, grant=41), WORKER, NOW_MS).actions[0]
    claimed = decide(observe(obstacle=None, grant=41, status=owned(900, Phase.EXECUTING)), WORKER, NOW_MS).actions[0]
    second = decide(observe(obstacle=None, grant=42), WORKER, NOW_MS).actions[0]
    assert isinstance(first, plans.Dispatch)
    assert isinstance(claimed, plans.Dispatch)
    assert isinstance(second, plans.Dispatch)
    assert (first.fencing_token, claimed.fencing_token) == (41 * EPOCHS_PER_GRANT + 1, 41 * EPOCHS_PER_GRANT + 901)
    assert first.fencing_token < claimed.fencing_token < second.fencing_token


def test_who_waits_for_a_slot_is_told_how_many_run() -> None:
    """And one of them, to look at."""
    assert admission.full_message({"1": "a", "2": "b"}, 2) == (
        "2 run already, and its limit is 2: for example Execution a"
    )
    assert admission.held_message("") == "it waits for its turn"
    assert admission.behind_message() == "others wait for it too, and come first"
