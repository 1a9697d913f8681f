"""A run that ends with another one: what is written, what stays, and what becomes of the old run's children."""

from __future__ import annotations

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import (
    ExecutionAttempt,
    ExecutionOwner,
    ExecutionSpec,
    ExecutionStatus,
    MemoPagesStatus,
    Phase,
)
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.child_notes import run_epoch_of
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import Activation, News, Observed, Worker
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire import frames

NOW_MS = 1_700_000_000_000
WORKER = Worker(shard="w-0", incarnation="me", build="b1")


def observe(phase: Phase = Phase.EXECUTING) -> Observed:
    pages = MemoPagesStatus(count=1, last="d", records=32, bytes=9)
    status = ExecutionStatus(
        phase=phase,
        owner=ExecutionOwner(shard="w-0", incarnation="me", epoch=3),
        memo_pages=pages,
        attempts=[ExecutionAttempt(number=4, started_at=time_of(NOW_MS - 9_000), worker="w-0")],
        attempt_count=4,
        crashes=2,
        resumptions=7,
        run_epoch=1,
        started_at=time_of(NOW_MS - 90_000),
        deadline=time_of(NOW_MS + 90_000),
    )
    return Observed(
        spec=ExecutionSpec(function="f"),
        status=status,
        memo=MemoBytes(records=(b'{"id":"33"}',), pages=pages, timers={"9": NOW_MS + 5}, size_bytes=12),
        created_at_ms=NOW_MS - 99_000,
        uid="u",
        activation=Activation(number=1, running_since_ms=NOW_MS - 10),
        news=News(outcome=frames.Completed(1, b"", arguments=b'{"n":2}')),
    )


def test_one_write_ends_the_old_run_and_begins_the_new_one() -> None:
    """An empty memo, attempt 1, no crashes; owner, start and deadline stay."""
    plan = decide(observe(), WORKER, NOW_MS)
    status = plan.status
    assert status is not None
    assert (status.phase, status.run_epoch, status.attempt_count, status.crashes) == (Phase.EXECUTING, 2, 1, 0)
    assert [(one.number, one.finished_at) for one in status.attempts] == [(1, None)]
    assert (status.resumptions, status.memo_pages, status.waiting_for) == (0, None, [])
    before = observe().status
    assert (status.owner, status.started_at, status.deadline) == (before.owner, before.started_at, before.deadline)
    assert parse_memo(status.state) == MemoBytes(build="b1", arguments=b'{"n":2}', since_ms=NOW_MS) == plan.memo


def test_children_of_the_old_run_are_canceled_and_nothing_finishes() -> None:
    """The parent is told nothing, and the mutex is kept."""
    cancel, forget = decide(observe(), WORKER, NOW_MS).actions
    assert isinstance(cancel, plans.CancelChildren)
    assert cancel.is_anew
    assert forget == plans.ForgetActivation()


def test_the_new_run_is_dispatched_from_what_was_written() -> None:
    """By whoever reads it: this replica, or the next one after a claim."""
    plan = decide(observe(), WORKER, NOW_MS)
    assert plan.status is not None
    after = msgspec.structs.replace(observe(), status=plan.status, memo=plan.memo, activation=None, news=News())
    (dispatch,) = decide(after, WORKER, NOW_MS).actions
    assert isinstance(dispatch, plans.Dispatch)
    assert (dispatch.attempt, dispatch.resumption) == (1, 0)


def test_what_ended_meanwhile_does_not_start_again() -> None:
    """A cancel that came first counts."""
    plan = decide(observe(Phase.CANCELED), WORKER, NOW_MS)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.run_epoch) == (Phase.CANCELED, 1)


def test_a_child_knows_its_run() -> None:
    """Without a note it is of the first one; so is one whose note somebody has edited into nonsense."""
    assert [run_epoch_of(notes) for notes in ({}, {labels.RUN_EPOCH: "3"}, {labels.RUN_EPOCH: "x"})] == [0, 3, 0]
