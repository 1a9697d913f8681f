"""Internal. An activation has ended: completed, failed, given back, or with its runner. Pure; a part of ``decide``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionError, Phase, WaitingFor
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.continuing import continue_as_new
from kontinue_engine.lifecycle.ending import end, fail
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import (
    EVICTED,
    HISTORY_INCOMPLETE,
    Activation,
    HistoryIncomplete,
    Observed,
    Outcome,
    Worker,
)
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.retrying import NON_RETRYABLE, RETRYABLE_REASONS, back_off, policy_of
from kontinue_engine.lifecycle.running import waiting_list
from kontinue_engine.lifecycle.starting import dispatch
from kontinue_engine.lifecycle.statuses import extended, next_attempt, written
from kontinue_engine.wire import frames

_NOT_DETERMINISTIC: Final = (
    "the arguments differ between two runs of the same code: is there uuid, random or the time in the function's "
    "body? Use ctx.uuid(), ctx.random, ctx.now() or a step"
)


def conclude(observed: Observed, worker: Worker, now_ms: int, outcome: Outcome) -> Plan:
    """Return what to do about an activation that has ended by itself."""
    match outcome:
        case frames.Completed() if outcome.arguments:
            return continue_as_new(observed, worker, now_ms, outcome.arguments)
        case frames.Completed():
            memo = extended(observed.memo, observed.news, worker, outcome.records)
            return end(observed, worker, now_ms, PhaseEvent.COMPLETED, memo, result=msgspec.Raw(outcome.result))
        case frames.Failed():
            return _fail_attempt(observed, worker, now_ms, outcome)
        case frames.Mismatched():
            return _block(observed, worker, now_ms, outcome)
        case HistoryIncomplete():
            message = f"{outcome.message}. It goes on when that is back, as from a backup; or cancel it"
            waiting = WaitingFor(kind="MemoPage", message="the missing part of its history")
            return _blocked(observed, worker, now_ms, reason=HISTORY_INCOMPLETE, message=message, waiting=waiting)
        case _:
            # Interrupted without a cancel: the runner gave it back.
            resumption = observed.activation.resumption + 1 if observed.activation else observed.status.resumptions
            return Plan(
                actions=(plans.ForgetActivation(), dispatch(observed, observed.status, worker, resumption=resumption))
            )


def _fail_attempt(observed: Observed, worker: Worker, now_ms: int, outcome: frames.Failed) -> Plan:
    """Say why it failed, and whether that is a reason to try again."""
    memo, blamed = extended(observed.memo, observed.news, worker, outcome.records), outcome.seqs
    error = outcome.error
    message = f"{error.type}: {error.message}" if error.type else error.message
    info = ExecutionError(type=error.type, message=error.message, traceback=error.traceback, types=list(error.types))
    policy = policy_of(observed.spec, observed.status, observed.defaults)
    reason = outcome.reason
    if reason in RETRYABLE_REASONS and not set(policy.non_retryable).isdisjoint(outcome.kinds):
        reason = NON_RETRYABLE
    return end_attempt(observed, worker, now_ms, memo, blamed=blamed, reason=reason, message=message, error=info)


def end_attempt(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    memo: MemoBytes,
    *,
    reason: str,
    message: str,
    error: ExecutionError,
    blamed: Sequence[int] = (),
) -> Plan:
    """Nothing of the attempt runs any more: try again later, or fail for good.

    Then the memo says where somebody who asks for a retry has it cut.
    """
    policy = policy_of(observed.spec, observed.status, observed.defaults)
    if reason in RETRYABLE_REASONS and next_attempt(observed.status) <= policy.retries:
        return back_off(
            observed,
            worker,
            now_ms,
            memo,
            policy=policy,
            blamed=blamed,
            reason=reason,
            message=message,
            error=error,
        )
    return fail(observed, worker, now_ms, memo.blaming(blamed), reason=reason, message=message, error=error)


def _block(observed: Observed, worker: Worker, now_ms: int, outcome: frames.Mismatched) -> Plan:
    what = f"the code does not match the records at step {outcome.step}"
    if outcome.only_arguments and observed.memo.build == worker.build:
        what += f": {_NOT_DETERMINISTIC}"
    message = (
        f"{what}: recorded {outcome.recorded}; "
        f"requested {outcome.requested} by build {worker.build}. Deploy a build that matches, or cancel it"
    )
    waiting = WaitingFor(kind="Build", message="a build whose code matches the records")
    return _blocked(observed, worker, now_ms, reason="CodeChanged", message=message, waiting=waiting)


def _blocked(
    observed: Observed, worker: Worker, now_ms: int, *, reason: str, message: str, waiting: WaitingFor
) -> Plan:
    memo = observed.memo.refused(by=worker.build)
    status = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.MISMATCHED),
        memo=memo,
        reason=reason,
        message=message,
        waiting_for=[waiting],
    )
    return Plan(
        status=status,
        memo=memo,
        actions=(
            plans.ForgetActivation(),
            plans.Report(type="Warning", reason="Blocked", message=message),
        ),
    )


def recover(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """The runner died, or was evicted: run it again from the memo."""
    lost = observed.news.lost
    activation = observed.activation
    if lost is None or activation is None:
        return Plan(actions=(plans.ForgetActivation(),))
    news = observed.news
    memo = extended(observed.memo, news, worker)
    # Among several that were active one is to blame: each runs again alone, and only then is charged.
    is_suspect = lost.was_active and not lost.was_alone
    is_charged = lost.was_active and lost.was_alone
    crashes = (0 if news.records else observed.status.crashes) + (1 if is_charged else 0)
    if crashes > worker.crash_budget:
        message = f"{lost.message} ({crashes} times without a new record in between)"
        return fail(observed, worker, now_ms, memo, reason=lost.reason, message=message)
    resumption = activation.resumption + 1
    has_more = activation.has_step or activation.told > activation.heard
    is_dormant = lost.reason == EVICTED and activation.parked_since_ms is not None and not has_more
    actions: list[plans.Action] = [plans.ForgetActivation(is_dormant=is_dormant)]
    if not is_dormant:
        actions.append(dispatch(observed, observed.status, worker, resumption=resumption, alone=is_suspect))
    if is_charged:
        actions.append(plans.Report(type="Warning", reason=lost.reason, message=f"{lost.message}; resuming"))
    if is_dormant and (news.needs_write or observed.phase is not Phase.SUSPENDED):
        # Nobody would write it later, and while it sleeps the time of its attempt must stand still.
        return _let_go(observed, worker, now_ms, activation, memo, tuple(actions))
    if not is_charged and not news.needs_write:
        return Plan(actions=tuple(actions))
    status = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.STARTED) if is_charged else observed.phase,
        memo=memo,
        crashes=crashes,
        resumptions=resumption,
    )
    return Plan(status=status, memo=memo, actions=tuple(actions))


def _let_go(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    activation: Activation,
    memo: MemoBytes,
    actions: tuple[plans.Action, ...],
) -> Plan:
    """It was evicted while it waited: from now on it is Suspended, however short the wait may be."""
    status = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.PARKED),
        memo=memo,
        crashes=0 if observed.news.records else observed.status.crashes,
        resumptions=activation.resumption,
        waiting_for=waiting_list(observed, activation, memo.timers),
        reason="",
        message="",
    )
    return Plan(status=status, memo=memo, actions=actions)
