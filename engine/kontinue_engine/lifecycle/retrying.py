"""Internal. Whether a failed attempt is followed by another one, when, and what it begins with. Pure.

A part of ``decide``; ``restarted`` is called by ``coordinator.retries``, which carries out what people ask for.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import msgspec

from kontinue import pauses
from kontinue.api import durations
from kontinue.api.patches import NOTING_REASONS
from kontinue.api.v1alpha1 import (
    ChildPolicy,
    Execution,
    ExecutionDefaults,
    ExecutionError,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
    WaitingFor,
)
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import is_stopped, without_stopped
from kontinue_engine.lifecycle.continuing import OLD_RUN_MESSAGE
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.statuses import asked_for, defaults_of, finished, written
from kontinue_engine.lifecycle.times import ms_of, time_of

RETRYABLE_REASONS: Final = frozenset({"UserError", "AttemptTimeout"})
"""How an attempt fails that is followed by another one, while retries are left. Anything else fails in every attempt
(arguments, results, misuse), or says itself that it is final. A runner that died is no failed attempt: the attempt goes
on, on a budget of its own."""

NON_RETRYABLE: Final = "NonRetryable"
RETRYING: Final = "Retrying"
RETRY_REQUESTED: Final = "RetryRequested"
TIMER: Final = "Timer"

TOLD_ATTEMPTS: Final = 5
"""So many retries of an Execution get an Event; an attempt each minute would cost as many writes again. Judgement."""

_NO_RETRY: Final = ExecutionRetry()


def policy_of(spec: ExecutionSpec, status: ExecutionStatus, defaults: ExecutionDefaults | None) -> ExecutionRetry:
    """Return what counts: the spec, else the function's default as it was when the Execution first ran."""
    known = defaults_of(spec, status, defaults)
    if known is None or known.retry is None:
        return spec.retry or _NO_RETRY
    if spec.retry is None:
        return known.retry
    # The spec was silent then: whoever has added to it since has asked for that many attempts more.
    return msgspec.structs.replace(
        known.retry,
        retries=known.retry.retries + spec.retry.retries,
        child_policy=spec.retry.child_policy or known.retry.child_policy,
    )


def child_policy_of(policy: ExecutionRetry) -> ChildPolicy:
    """Return what a new attempt does with children."""
    return policy.child_policy or ChildPolicy.RETRY_FAILED


def is_retry_doubtful(execution: Execution) -> bool:
    """Tell whether a retry of one that was canceled may have been asked for before that.

    Somebody has canceled it by hand while nobody who had it looked, so that nobody knows which came first.
    """
    status = execution.status
    was_noted = status.reason in NOTING_REASONS or is_stopped(status.conditions)
    return execution.is_retry_requested and status.phase is Phase.CANCELED and not was_noted


def noted_retries(execution: Execution) -> int:
    """Return the ``observedRetries`` of one that nobody has, when it is noted that it has stopped: a cancel wins."""
    return asked_for(execution.spec) if is_retry_doubtful(execution) else execution.status.observed_retries


def wakes_at_ms(status: ExecutionStatus) -> int:
    """Return when the next attempt of an Execution in Backoff begins; 0 if somebody has removed that."""
    return max((ms_of(item.until) for item in status.waiting_for if item.kind == TIMER and item.until), default=0)


def back_off(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    memo: MemoBytes,
    *,
    policy: ExecutionRetry,
    blamed: Collection[int],
    reason: str,
    message: str,
    error: ExecutionError | None = None,
) -> Plan:
    """Write that the attempt has failed and when the next one begins. Nothing of it runs any more."""
    is_anew = child_policy_of(policy) is ChildPolicy.RETRY_ALL
    kept = memo.emptied() if is_anew else memo.cut(blamed)
    status = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.ATTEMPT_FAILED),
        memo=kept,
        reason=reason,
        message=message,
        state=msgspec.UNSET if kept.is_empty else kept.encode(),
        crashes=0,
        resumptions=0,
        run_epoch=observed.status.run_epoch + is_anew,
    )
    failed = status.attempt_count
    pause_s = _pause_s(policy, failed, observed.uid)
    waiting = WaitingFor(kind=TIMER, name=f"attempt {failed + 1}", until=time_of(now_ms + round(pause_s * 1000)))
    status = msgspec.structs.replace(
        status, attempts=finished(status, now_ms, reason=reason, message=message, error=error), waiting_for=[waiting]
    )
    told = f"attempt {failed} of {policy.retries + 1} failed, the next one begins in {pause_s:.4g} s: {message}"
    report = plans.Report(type="Warning", reason=RETRYING, message=told, is_event=failed <= TOLD_ATTEMPTS)
    ended = (plans.CancelChildren(OLD_RUN_MESSAGE, is_anew=True),) if is_anew else ()
    return Plan(status=status, memo=kept, actions=(report, *ended, plans.ForgetActivation()))


def restarted(
    spec: ExecutionSpec, status: ExecutionStatus, memo: MemoBytes, defaults: ExecutionDefaults | None, now_ms: int
) -> ExecutionStatus:
    """Return the status of one that has failed or was canceled, has stopped, and is to be tried again."""
    is_anew = child_policy_of(policy_of(spec, status, defaults)) is ChildPolicy.RETRY_ALL
    kept = memo.emptied() if is_anew else memo.cut(memo.blamed)
    phase = status.phase
    assert phase is not None  # noqa: S101 - it has ended
    return msgspec.structs.replace(
        status,
        phase=next_phase(phase, PhaseEvent.RETRY_REQUESTED),
        reason=RETRY_REQUESTED,
        message="",
        result=msgspec.UNSET,
        state=msgspec.UNSET if kept.is_empty else kept.encode(),
        memo_pages=kept.pages,
        attempts=finished(status, now_ms, reason=status.reason, message=status.message),
        observed_retries=asked_for(spec),
        crashes=0,
        resumptions=0,
        run_epoch=status.run_epoch + is_anew,
        finished_at=None,
        deadline=None,
        waiting_for=[],
        conditions=without_stopped(status.conditions),
    )


def _pause_s(policy: ExecutionRetry, failed: int, uid: str) -> float:
    return pauses.pause_s(
        failed,
        backoff=_parsed(policy.backoff),
        multiplier=policy.multiplier,
        max_backoff=_parsed(policy.max_backoff) if policy.max_backoff else None,
        jitter=policy.jitter,
        share=pauses.share_of(uid, failed),
    )


def _parsed(length: str) -> timedelta:
    try:
        return durations.parse(length)
    except ValueError:  # the schema lets in what is too long for Python
        return timedelta(seconds=pauses.LONGEST_S)
