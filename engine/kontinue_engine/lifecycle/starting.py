"""Internal. Nothing of an Execution runs: whether it may be started, and how. Pure; a part of ``decide``."""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionStatus, Phase, WaitingFor
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import with_reassigned
from kontinue_engine.lifecycle.ending import fail
from kontinue_engine.lifecycle.observed import HISTORY_INCOMPLETE, Observed, Obstacle, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import NOTHING, Plan
from kontinue_engine.lifecycle.retrying import wakes_at_ms
from kontinue_engine.lifecycle.statuses import next_attempt, written

WORKER: Final = "Worker"
NO_ROOM_MESSAGE: Final = "all its runners are busy, or it runs as many Executions as it may"
EPOCHS_PER_GRANT: Final = 2**16
"""A fencing token must grow with every claim, and from one holder of a mutex to the next: it is made of the version of
the grant, and the epoch below it. Both fit in 63 bits, because that is what databases compare."""


def start(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """Run it, claim it first, or say what keeps it from being started."""
    status = observed.status
    if observed.phase is Phase.BACKOFF and (left_ms := wakes_at_ms(status) - now_ms) > 0:
        return Plan(requeue_after_ms=left_ms)
    if not observed.function_known:
        waiting = [WaitingFor(kind="Function", name=observed.spec.function, message=_where_it_is(observed))]
        if status.waiting_for == waiting:
            return NOTHING
        return Plan(status=msgspec.structs.replace(status, phase=observed.phase, waiting_for=waiting))
    if observed.phase is Phase.BLOCKED and observed.memo.refused_by == worker.build:
        if status.reason != HISTORY_INCOMPLETE:
            return NOTHING
        if not observed.has_history:
            return Plan(actions=(plans.AwaitHistory(),))
    if observed.dormant and not observed.woken:
        return NOTHING
    if observed.obstacle is not None:
        return _wait_at(observed, worker, now_ms, observed.obstacle)
    if observed.inherited and not observed.is_admitted:
        return wait_for_room(observed, worker, plans.AwaitAdmission())
    if observed.inherited or (status.owner is not None and status.owner.incarnation != worker.incarnation):
        return _claim(observed, worker, now_ms)
    resumption = status.resumptions + (1 if observed.dormant else 0)
    return Plan(actions=(dispatch(observed, status, worker, resumption=resumption),))


def _where_it_is(observed: Observed) -> str:
    owner, group = observed.function_owner, observed.group
    if not owner:
        return "no worker group owns it"
    if owner == group:
        return f"group {group} owns it, but the code of its worker does not have it"
    return f"owned by group {owner}; this Execution is labelled {group}: relabel it"


def _wait_at(observed: Observed, worker: Worker, now_ms: int, obstacle: Obstacle) -> Plan:
    """Others have what it needs."""
    if obstacle.refusal:
        return fail(observed, worker, now_ms, observed.memo, reason=obstacle.refusal, message=obstacle.message)
    if now_ms < obstacle.tell_from_ms:
        return Plan(requeue_after_ms=obstacle.tell_from_ms - now_ms)
    waiting = [WaitingFor(kind=obstacle.kind, name=obstacle.name, message=obstacle.message)]
    if observed.status.waiting_for == waiting:
        return NOTHING
    status = msgspec.structs.replace(observed.status, phase=observed.phase, waiting_for=waiting)
    return Plan(status=status, memo=observed.memo)


def wait_for_room(observed: Observed, worker: Worker, *actions: plans.Action) -> Plan:
    """It could run, if only there were a runner: after some time it is told so. What else it was told stays."""
    told = observed.status.waiting_for
    waiting = [WaitingFor(kind=WORKER, name=worker.shard, message=NO_ROOM_MESSAGE)]
    waiting += [item for item in told if item.kind != WORKER]
    if not observed.is_held_up or told == waiting:
        return Plan(actions=actions)
    status = msgspec.structs.replace(observed.status, phase=observed.phase, waiting_for=waiting)
    return Plan(status=status, memo=observed.memo, actions=actions)


def _claim(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """Nothing that somebody else may have started runs before this write."""
    status = observed.status
    if status.owner is None:
        # It was moved from a dead replica before anything of it was written, so perhaps it killed it; since then it is
        # claimed before it runs, and what died with replicas after that was waiting.
        crashes = max(status.crashes, min(observed.deaths, 1))
    else:
        was_running = observed.phase is Phase.EXECUTING
        crashes = status.crashes + (1 if was_running and status.owner.incarnation == observed.lost_by else 0)
    if crashes > worker.crash_budget:
        message = f"the worker died {crashes} times while it ran this Execution, without a new record in between"
        return fail(observed, worker, now_ms, observed.memo, reason="RunnerCrashed", message=message)
    is_resumed = status.owner is not None and next_attempt(status) == max(1, status.attempt_count)
    claimed = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.STARTED),
        memo=observed.memo,
        begins=True,
        crashes=crashes,
        resumptions=status.resumptions + is_resumed,
        reason="",
        message="",
        waiting_for=[],
        conditions=with_reassigned(observed, worker, now_ms),
    )
    actions: list[plans.Action] = [dispatch(observed, claimed, worker, resumption=claimed.resumptions)]
    if status.owner is not None and is_resumed:
        by_hand, ended = f": somebody has moved it from {status.owner.shard}", f" after {status.owner.shard} ended"
        message = f"Resumed by {worker.shard}{by_hand if observed.owner_lives else ended}"
        actions.append(plans.Report(type="Normal", reason="Resumed", message=message))
    return Plan(status=claimed, memo=observed.memo, actions=tuple(actions))


def dispatch(
    observed: Observed, status: ExecutionStatus, worker: Worker, *, resumption: int, alone: bool = False
) -> plans.Dispatch:
    """Return the action that gives it to a runner."""
    epoch = status.owner.epoch if status.owner else worker.first_epoch
    return plans.Dispatch(
        alone=alone,
        attempt=next_attempt(status),
        resumption=resumption,
        fencing_token=observed.grant * EPOCHS_PER_GRANT + epoch,
    )
