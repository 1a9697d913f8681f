"""Internal. An Execution, or its activation, has ended: what is written about it. Pure; a part of ``decide``."""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionError, Phase
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import is_stopped, with_stopped
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, Observed, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.statuses import extended, finished, owned, with_attempt, written
from kontinue_engine.lifecycle.times import time_of

PARENT_ENDED_MESSAGE: Final = "Canceled because its parent has ended"
"""Message of children that outlive their parent."""


def fail(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    memo: MemoBytes,
    *,
    reason: str,
    message: str,
    error: ExecutionError | None = None,
) -> Plan:
    """End it as Failed."""
    return end(observed, worker, now_ms, PhaseEvent.FAILED, memo, reason=reason, message=message, error=error)


def cancel(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """End it because its parent no longer wants it."""
    return end(
        observed,
        worker,
        now_ms,
        PhaseEvent.CANCELED,
        extended(observed.memo, observed.news, worker),
        reason="CanceledByParent",
        message=observed.cancel_message,
    )


def end(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    event: PhaseEvent,
    memo: MemoBytes,
    *,
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
    reason: str = "",
    message: str = "",
    error: ExecutionError | None = None,
) -> Plan:
    """Write a terminal phase. User code that still runs is stopped afterwards (``stop``)."""
    has_stopped = not is_running(observed)
    phase = next_phase(observed.phase, event)
    if phase is Phase.COMPLETED:
        memo = memo.without_cache()
    status = written(
        observed,
        worker,
        now_ms,
        phase=phase,
        memo=memo,
        result=result,
        reason=reason,
        message=message,
        waiting_for=[],
        finished_at=time_of(now_ms),
        conditions=with_stopped(observed.status.conditions, phase, now_ms)
        if has_stopped
        else observed.status.conditions,
    )
    attempts = finished(status, now_ms, reason=reason, message=message, error=error)
    status = msgspec.structs.replace(status, attempts=attempts)
    actions: list[plans.Action] = []
    if phase is not Phase.COMPLETED:
        actions.append(
            plans.Report(
                type="Warning" if phase is Phase.FAILED else "Normal", reason=reason or phase.value, message=message
            )
        )
    actions.append(plans.CancelChildren(PARENT_ENDED_MESSAGE))
    if has_stopped:
        actions += [plans.ForgetActivation(), plans.Finish()]
    return Plan(status=status, memo=memo, actions=tuple(actions))


def is_running(observed: Observed) -> bool:
    """Tell whether it has an activation that has not ended."""
    return observed.activation is not None and observed.news.outcome is None and observed.news.lost is None


def interrupt(
    observed: Observed, worker: Worker, now_ms: int, activation: Activation, message: str, *more: plans.Action
) -> Plan:
    """Have the code end: it is told, with ``more`` at the same time, and killed if it does not end soon."""
    if activation.stopping_since_ms is None:
        stop = plans.StopActivation(message)
        if observed.is_deaf and activation.running_since_ms is not None:
            return Plan(actions=(stop, plans.KillActivation()))
        return Plan(actions=(stop, *more), requeue_after_ms=worker.cancel_grace_ms)
    left_ms = activation.stopping_since_ms + worker.cancel_grace_ms - now_ms
    return Plan(requeue_after_ms=left_ms) if left_ms > 0 else Plan(actions=(plans.KillActivation(),))


def stop(observed: Observed, now_ms: int, worker: Worker) -> Plan:
    """It is terminal; make sure that nothing of it runs any more, then say so."""
    activation = observed.activation
    if activation is not None and is_running(observed):
        message = observed.status.message or "Canceled"
        return interrupt(observed, worker, now_ms, activation, message, plans.CancelChildren(PARENT_ENDED_MESSAGE))
    actions = (plans.CancelChildren(PARENT_ENDED_MESSAGE), plans.ForgetActivation(), plans.Finish())
    if is_stopped(observed.status.conditions):
        return Plan(actions=actions)
    status = observed.status
    if activation is not None and activation.running_since_ms is not None:
        if status.attempt_count < activation.attempt:  # nothing of it was written before
            status = with_attempt(observed, worker, now_ms)
        # A retry must not begin with the same fencing token.
        status = msgspec.structs.replace(status, owner=owned(observed, worker))
    status = msgspec.structs.replace(
        status,
        attempts=finished(status, now_ms, reason=status.reason, message=status.message),
        # Retries that were added while it lived were for attempts that would have followed, not a wish for another one.
        observed_retries=max(status.observed_retries, observed.seen_retries),
        finished_at=status.finished_at or time_of(now_ms),
        waiting_for=[],
        conditions=with_stopped(status.conditions, observed.phase, now_ms),
    )
    return Plan(status=status, memo=observed.memo, actions=actions)
