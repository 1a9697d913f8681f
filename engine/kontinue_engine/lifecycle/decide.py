"""Internal. The one place where phases change: ``decide(observed, worker, now_ms) -> Plan``.

Pure and idempotent: called again with the same facts it gives the same plan; once the plan is applied and observed,
nothing is left to do. It knows no API, no runner and no clock. ``controllers.execution`` calls it and applies plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import (
    MAX_MEMO_BYTES,
    ExecutionAttempt,
    ExecutionError,
    ExecutionOwner,
    ExecutionStatus,
    Phase,
    WaitingFor,
)
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.memo import MemoBytes, too_large_message
from kontinue_engine.lifecycle.observed import EVICTED, Activation, Gate, News, Observed, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import NOTHING, Plan
from kontinue_engine.wire import frames

MAX_WAITING_FOR: Final = 10
"""Entries of ``status.waitingFor``: enough to explain, few enough to stay small (judgement)."""

STOPPED: Final = "Stopped"
"""Condition: nothing of this Execution runs any more (design.md section 5)."""

REASSIGNED: Final = "Reassigned"
"""Condition: another replica had it before, and how that ended."""

EPOCHS_PER_GRANT: Final = 2**16
"""A fencing token must grow with every claim, and from one holder of a mutex to the next: it is made of the version of
the grant, and the epoch below it. Both fit in 63 bits, because that is what databases compare."""

PARENT_ENDED_MESSAGE: Final = "Canceled because its parent has ended"
"""Message of children that outlive their parent."""

_NOT_DETERMINISTIC: Final = (
    "the arguments differ between two runs of the same code: is there uuid, random or the time in the function's "
    "body? Use ctx.uuid(), ctx.random, ctx.now() or a step"
)


def decide(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """Return what to do about one Execution now."""
    if observed.phase.is_terminal:
        return _stop(observed, now_ms, worker)
    if observed.cancel_message:
        return _cancel(observed, worker, now_ms)
    if observed.news.outcome is not None:
        return _conclude(observed, worker, now_ms, observed.news.outcome)
    if observed.news.lost is not None:
        return _recover(observed, worker, now_ms)
    if observed.activation is None:
        return _start(observed, worker, now_ms)
    return _progress(observed, worker, now_ms, observed.activation)


# Nothing runs: start it.


def _start(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    status = observed.status
    if not observed.function_known:
        waiting = [WaitingFor(kind="Function", name=observed.spec.function, message="no worker group owns it")]
        if status.waiting_for == waiting:
            return NOTHING
        return Plan(status=msgspec.structs.replace(status, phase=observed.phase, waiting_for=waiting))
    if observed.phase is Phase.BLOCKED and observed.memo.build == worker.build:
        return NOTHING
    if observed.dormant and not observed.woken:
        return NOTHING
    if observed.gate is not None:
        return _wait_at(observed, worker, now_ms, observed.gate)
    if observed.inherited and not observed.is_admitted:
        return Plan(actions=(plans.AwaitAdmission(),))
    if observed.inherited or (status.owner is not None and status.owner.incarnation != worker.incarnation):
        return _claim(observed, worker, now_ms)
    resumption = status.resumptions + (1 if observed.dormant else 0)
    return Plan(actions=(_dispatch(observed, status, resumption=resumption),))


def _wait_at(observed: Observed, worker: Worker, now_ms: int, gate: Gate) -> Plan:
    """Others have what it needs."""
    if gate.refusal:
        return _fail(observed, worker, now_ms, observed.memo, reason=gate.refusal, message=gate.message)
    if now_ms < gate.tell_from_ms:
        return Plan(requeue_after_ms=gate.tell_from_ms - now_ms)
    waiting = [WaitingFor(kind=gate.kind, name=gate.name, message=gate.message)]
    if observed.status.waiting_for == waiting:
        return NOTHING
    status = msgspec.structs.replace(observed.status, phase=observed.phase, waiting_for=waiting)
    return Plan(status=status, memo=observed.memo)


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
        return _fail(observed, worker, now_ms, observed.memo, reason="RunnerCrashed", message=message)
    claimed = _written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.STARTED),
        memo=observed.memo,
        crashes=crashes,
        resumptions=status.resumptions + (1 if status.owner is not None else 0),
        reason="",
        message="",
        waiting_for=[],
        conditions=_with_reassigned(observed, worker, now_ms),
    )
    actions: list[plans.Action] = [_dispatch(observed, claimed, resumption=claimed.resumptions)]
    if status.owner is not None:
        message = f"Resumed by {worker.shard} after {status.owner.shard} ended"
        actions.append(plans.Report(type="Normal", reason="Resumed", message=message))
    return Plan(status=claimed, memo=observed.memo, actions=tuple(actions))


def _dispatch(observed: Observed, status: ExecutionStatus, *, resumption: int, alone: bool = False) -> plans.Dispatch:
    epoch = status.owner.epoch if status.owner else 1
    return plans.Dispatch(
        alone=alone,
        attempt=max(1, status.attempt_count),
        resumption=resumption,
        fencing_token=observed.grant * EPOCHS_PER_GRANT + epoch,
    )


# It runs: persist what it reported, and say what it waits for.


def _progress(observed: Observed, worker: Worker, now_ms: int, activation: Activation) -> Plan:
    if activation.running_since_ms is None:
        return NOTHING
    news = observed.news
    memo = _extended(observed.memo, news, worker)
    if memo.size_bytes > MAX_MEMO_BYTES:
        return _fail_memo_too_large(observed, worker, now_ms, memo)
    phase, is_due, again_ms = _wanted_phase(observed, worker, now_ms, activation, memo)
    if not news.needs_write and not is_due:
        return Plan(requeue_after_ms=again_ms)
    status = _written(
        observed,
        worker,
        now_ms,
        phase=phase,
        memo=memo,
        crashes=0 if news.records else observed.status.crashes,
        waiting_for=_waiting_for(activation, memo.timers) if phase is Phase.SUSPENDED else [],
        reason="",
        message="",
    )
    actions: tuple[plans.Action, ...] = (plans.Acknowledge(news.flush),) if news.flush else ()
    return Plan(status=status, memo=memo, actions=actions, requeue_after_ms=again_ms)


def _wanted_phase(
    observed: Observed, worker: Worker, now_ms: int, activation: Activation, memo: MemoBytes
) -> tuple[Phase, bool, int | None]:
    """Return the phase that a write carries now, whether it alone is worth a write, and when to look again (ms)."""
    parked_for_ms: int | None = None
    if activation.parked_since_ms is not None:
        parked_for_ms = now_ms - activation.parked_since_ms
        wakes = [memo.timers.get(item.step, 0) for item in activation.waiting_for if item.kind == "Timer"]
        is_long = (
            bool(wakes)
            and len(wakes) == len(activation.waiting_for) + activation.more
            and min(wakes) - now_ms > worker.parking_ms
        )
        if is_long or parked_for_ms >= worker.parking_ms:
            return next_phase(observed.phase, PhaseEvent.PARKED), observed.phase is not Phase.SUSPENDED, None
    phase = next_phase(observed.phase, PhaseEvent.WOKEN if observed.phase is Phase.SUSPENDED else PhaseEvent.STARTED)
    waits_ms = [] if parked_for_ms is None else [worker.parking_ms - parked_for_ms]
    is_due = False
    if phase is not observed.phase:
        since_ms = activation.running_since_ms if activation.running_since_ms is not None else now_ms
        left_ms = since_ms + worker.executing_after_ms - now_ms
        is_due = left_ms <= 0
        if not is_due:
            waits_ms.append(left_ms)
    return phase, is_due, min(waits_ms, default=None)


def _waiting_for(activation: Activation, timers: Mapping[str, int]) -> list[WaitingFor]:
    listed = [
        WaitingFor(
            kind=item.kind,
            name=item.name,
            until=_time(timers[item.step]) if item.step in timers else None,
        )
        for item in activation.waiting_for[:MAX_WAITING_FOR]
    ]
    hidden = activation.more + len(activation.waiting_for) - len(listed)
    if hidden:
        listed[-1] = msgspec.structs.replace(listed[-1], message=f"and {hidden} more")
    return listed


# It ended.


def _conclude(observed: Observed, worker: Worker, now_ms: int, outcome: frames.Frame) -> Plan:
    match outcome:
        case frames.Completed():
            memo = _extended(observed.memo, observed.news, worker, outcome.records)
            if memo.size_bytes > MAX_MEMO_BYTES:
                return _fail_memo_too_large(observed, worker, now_ms, memo)
            return _end(observed, worker, now_ms, PhaseEvent.COMPLETED, memo, result=msgspec.Raw(outcome.result))
        case frames.Failed():
            memo = _extended(observed.memo, observed.news, worker, outcome.records)
            error = outcome.error
            return _fail(
                observed,
                worker,
                now_ms,
                memo if memo.size_bytes <= MAX_MEMO_BYTES else observed.memo,
                reason=outcome.reason,
                message=f"{error.type}: {error.message}" if error.type else error.message,
                error=ExecutionError(
                    type=error.type, message=error.message, traceback=error.traceback, types=list(error.types)
                ),
            )
        case frames.Mismatched():
            return _block(observed, worker, now_ms, outcome)
        case _:
            # Interrupted without a cancel: the runner gave it back.
            resumption = observed.activation.resumption + 1 if observed.activation else observed.status.resumptions
            return Plan(actions=(plans.ForgetActivation(), _dispatch(observed, observed.status, resumption=resumption)))


def _fail_memo_too_large(observed: Observed, worker: Worker, now_ms: int, memo: MemoBytes) -> Plan:
    message = too_large_message(memo.size_bytes)
    return _fail(observed, worker, now_ms, observed.memo, reason="MemoTooLarge", message=message)


def _fail(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    memo: MemoBytes,
    *,
    reason: str,
    message: str,
    error: ExecutionError | None = None,
) -> Plan:
    return _end(observed, worker, now_ms, PhaseEvent.FAILED, memo, reason=reason, message=message, error=error)


def _cancel(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    return _end(
        observed,
        worker,
        now_ms,
        PhaseEvent.CANCELED,
        _extended(observed.memo, observed.news, worker),
        reason="CanceledByParent",
        message=observed.cancel_message,
    )


def _end(
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
    """Write a terminal phase. User code that still runs is stopped afterwards (``_stop``)."""
    news = observed.news
    has_stopped = observed.activation is None or news.outcome is not None or news.lost is not None
    phase = next_phase(observed.phase, event)
    status = _written(
        observed,
        worker,
        now_ms,
        phase=phase,
        memo=memo,
        result=result,
        reason=reason,
        message=message,
        waiting_for=[],
        finished_at=_time(now_ms),
        conditions=with_stopped(observed.status.conditions, phase, now_ms)
        if has_stopped
        else observed.status.conditions,
    )
    attempt = msgspec.structs.replace(
        status.attempts[-1],
        finished_at=_time(now_ms),
        phase=phase,
        reason=reason,
        message=message,
        error=error,
    )
    status = msgspec.structs.replace(status, attempts=[*status.attempts[:-1], attempt])
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


def _block(observed: Observed, worker: Worker, now_ms: int, outcome: frames.Mismatched) -> Plan:
    what = f"the code does not match the records at step {outcome.step}"
    if outcome.only_arguments and observed.memo.build == worker.build:
        what += f": {_NOT_DETERMINISTIC}"
    message = (
        f"{what}: recorded {outcome.recorded}; "
        f"requested {outcome.requested} by build {worker.build}. Deploy a build that matches, or cancel it"
    )
    memo = observed.memo.extended(build=worker.build)
    status = _written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.MISMATCHED),
        memo=memo,
        reason="CodeChanged",
        message=message,
        waiting_for=[WaitingFor(kind="Build", message="a build whose code matches the records")],
    )
    return Plan(
        status=status,
        memo=memo,
        actions=(
            plans.ForgetActivation(),
            plans.Report(type="Warning", reason="Blocked", message=message),
        ),
    )


def _recover(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """The runner died, or was evicted: run it again from the memo."""
    lost = observed.news.lost
    activation = observed.activation
    if lost is None or activation is None:
        return Plan(actions=(plans.ForgetActivation(),))
    news = observed.news
    memo = _extended(observed.memo, news, worker)
    # Among several that were active one is to blame: each runs again alone, and only then is charged.
    is_suspect = lost.was_active and not lost.was_alone
    is_charged = lost.was_active and lost.was_alone
    crashes = (0 if news.records else observed.status.crashes) + (1 if is_charged else 0)
    if crashes > worker.crash_budget:
        message = f"{lost.message} ({crashes} times without a new record in between)"
        return _fail(observed, worker, now_ms, memo, reason=lost.reason, message=message)
    resumption = activation.resumption + 1
    is_dormant = lost.reason == EVICTED and activation.parked_since_ms is not None and not activation.has_step
    actions: list[plans.Action] = [plans.ForgetActivation(is_dormant=is_dormant)]
    if not is_dormant:
        actions.append(_dispatch(observed, observed.status, resumption=resumption, alone=is_suspect))
    if is_charged:
        actions.append(plans.Report(type="Warning", reason=lost.reason, message=f"{lost.message}; resuming"))
    if not is_charged and not news.needs_write:
        return Plan(actions=tuple(actions))
    status = _written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.STARTED) if is_charged else observed.phase,
        memo=memo,
        crashes=crashes,
        resumptions=resumption,
    )
    return Plan(status=status, memo=memo, actions=tuple(actions))


def _stop(observed: Observed, now_ms: int, worker: Worker) -> Plan:
    """It is terminal; make sure that nothing of it runs any more, then say so."""
    activation = observed.activation
    news = observed.news
    if activation is not None and news.outcome is None and news.lost is None:
        if activation.stopping_since_ms is None:
            stop = plans.StopActivation(observed.status.message or "Canceled")
            if observed.is_deaf and activation.running_since_ms is not None:
                return Plan(actions=(stop, plans.KillActivation()))
            return Plan(
                actions=(stop, plans.CancelChildren(PARENT_ENDED_MESSAGE)),
                requeue_after_ms=worker.cancel_grace_ms,
            )
        left_ms = activation.stopping_since_ms + worker.cancel_grace_ms - now_ms
        return Plan(requeue_after_ms=left_ms) if left_ms > 0 else Plan(actions=(plans.KillActivation(),))
    actions = (plans.CancelChildren(PARENT_ENDED_MESSAGE), plans.ForgetActivation(), plans.Finish())
    if is_stopped(observed.status.conditions):
        return Plan(actions=actions)
    status = msgspec.structs.replace(
        observed.status,
        finished_at=observed.status.finished_at or _time(now_ms),
        waiting_for=[],
        conditions=with_stopped(observed.status.conditions, observed.phase, now_ms),
    )
    return Plan(status=status, memo=observed.memo, actions=actions)


# Parts.


def is_stopped(conditions: Sequence[Condition]) -> bool:
    """Tell whether the condition Stopped is True."""
    return any(condition.type == STOPPED and condition.status == "True" for condition in conditions)


def with_stopped(conditions: Sequence[Condition], phase: Phase, now_ms: int) -> list[Condition]:
    """Return the conditions with Stopped being True."""
    stopped = Condition(type=STOPPED, status="True", reason=phase.value, last_transition_time=_time(now_ms))
    return _with_condition(conditions, stopped)


def _with_reassigned(observed: Observed, worker: Worker, now_ms: int) -> list[Condition]:
    owner, conditions = observed.status.owner, observed.status.conditions
    if owner is None or owner.shard == worker.shard:
        return conditions
    reassigned = Condition(
        type=REASSIGNED,
        status="True",
        reason="ReplicaDied" if owner.incarnation == observed.lost_by else "ReplicaEnded",
        message=f"from {owner.shard} to {worker.shard}",
        last_transition_time=_time(now_ms),
    )
    return _with_condition(conditions, reassigned)


def _with_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    return [*(condition for condition in conditions if condition.type != new.type), new]


def _extended(memo: MemoBytes, news: News, worker: Worker, more: Sequence[frames.EncodedRecord] = ()) -> MemoBytes:
    if not (news.records or more or news.timers_started or news.timers_canceled or news.arguments):
        return memo
    return memo.extended(
        build=worker.build,
        records=(*news.records, *more),
        started=news.timers_started,
        forgotten=news.timers_canceled,
        arguments=news.arguments,
    )


def _written(
    observed: Observed, worker: Worker, now_ms: int, *, phase: Phase, memo: MemoBytes, **changes: object
) -> ExecutionStatus:
    """Return the stored status with what every write of ours carries."""
    status = observed.status
    activation = observed.activation
    since = activation.running_since_ms if activation else None
    started_at = status.started_at or _time(since if since is not None else now_ms)
    base = {
        "phase": phase,
        "owner": _owned(observed, worker),
        "state": status.state if memo.is_empty else memo.encode(),
        "attempts": status.attempts or [ExecutionAttempt(number=1, started_at=started_at, worker=worker.shard)],
        "attempt_count": max(1, status.attempt_count),
        "resumptions": activation.resumption if activation else status.resumptions,
        "started_at": started_at,
    }
    return msgspec.structs.replace(status, **{**base, **changes})


def _owned(observed: Observed, worker: Worker) -> ExecutionOwner:
    """Return the owner that a write of ours names: an epoch more if it was somebody else's."""
    owner = observed.status.owner
    if owner is not None and owner.incarnation == worker.incarnation:
        return owner
    # What somebody else may have started, unclaimed, had the token 1 in its hands.
    last_epoch = owner.epoch if owner is not None else int(observed.inherited)
    return ExecutionOwner(shard=worker.shard, incarnation=worker.incarnation, epoch=last_epoch + 1)


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)
