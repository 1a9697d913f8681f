"""Internal. Limits of time: when an attempt or a whole Execution has taken too long, and what follows. Pure.

A part of ``decide``. Nothing is written for a limit that does not strike: the overall deadline rides on the first
status, and an attempt's time counts from what the status says of its start. So whoever looks, at whatever time and
after whatever crash, finds the same.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionError, Phase
from kontinue.errors import ExecutionTimedOut
from kontinue_engine.lifecycle.ending import fail, interrupt, is_running
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.outcomes import end_attempt
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.statuses import (
    deadline_of,
    extended,
    has_open_attempt,
    limit_ms,
    next_attempt,
    timeout_of,
)
from kontinue_engine.lifecycle.times import ms_of

ATTEMPT_TIMEOUT: Final = "AttemptTimeout"
OVERALL_TIMEOUT: Final = "OverallTimeout"
_TYPES: Final = [f"{kind.__module__}.{kind.__qualname__}" for kind in ExecutionTimedOut.__mro__ if kind is not object]


class Limit(msgspec.Struct, frozen=True):
    """A limit of time that runs.

    Attributes:
        at_ms: when it strikes.
        reason: ``ATTEMPT_TIMEOUT`` or ``OVERALL_TIMEOUT``.
        length: as it was given, a Go duration.
    """

    at_ms: int
    reason: str
    length: str


def next_limit(observed: Observed) -> Limit | None:
    """Return the limit that strikes first, whether or not it has done so; None if none runs."""
    timeout = timeout_of(observed.spec, observed.status, observed.defaults)
    deadline_ms = _deadline_ms(observed)
    length_ms = limit_ms(timeout.attempt)
    since_ms = _attempt_since_ms(observed) if length_ms is not None else None
    limits = []
    if deadline_ms is not None:
        limits.append(Limit(deadline_ms, OVERALL_TIMEOUT, timeout.overall))
    if length_ms is not None and since_ms is not None:
        limits.append(Limit(since_ms + length_ms, ATTEMPT_TIMEOUT, timeout.attempt))
    return min(limits, key=lambda limit: limit.at_ms, default=None)


def has_struck(observed: Observed, limit: Limit, now_ms: int) -> bool:
    """Tell whether the limit decides about the Execution.

    Not if the code has ended by itself before anybody told it to; what it says after that does not count.
    """
    activation = observed.activation
    was_told = activation is not None and activation.stopping_since_ms is not None
    return limit.at_ms <= now_ms and (observed.news.outcome is None or was_told)


def expire(observed: Observed, worker: Worker, now_ms: int, limit: Limit) -> Plan:
    """The limit has struck: end the Execution, or its attempt as soon as nothing of that runs any more."""
    message = _message(observed, limit)
    error = timeout_error(message)
    if limit.reason == OVERALL_TIMEOUT:
        memo = extended(observed.memo, observed.news, worker)
        return fail(observed, worker, now_ms, memo, reason=OVERALL_TIMEOUT, message=message, error=error)
    activation = observed.activation
    if activation is not None and is_running(observed):
        return interrupt(observed, worker, now_ms, activation, message)
    memo = extended(observed.memo, observed.news, worker)
    return end_attempt(observed, worker, now_ms, memo, reason=ATTEMPT_TIMEOUT, message=message, error=error)


def looking_again(plan: Plan, limit: Limit, now_ms: int) -> Plan:
    """Return the plan with a look at the time when the limit strikes."""
    left_ms = max(0, limit.at_ms - now_ms)
    if plan.requeue_after_ms is not None:
        left_ms = min(left_ms, plan.requeue_after_ms)
    return msgspec.structs.replace(plan, requeue_after_ms=left_ms)


def timeout_error(message: str) -> ExecutionError:
    """Return what the end of something that took too long is recorded as."""
    return ExecutionError(type=_TYPES[0], message=message, types=list(_TYPES))


def _deadline_ms(observed: Observed) -> int | None:
    """Return when the whole Execution must have ended; None before it has started, and without a limit."""
    status, activation = observed.status, observed.activation
    since_ms = activation.running_since_ms if activation is not None else None
    if has_open_attempt(status) and status.attempts[-1].started_at is not None:
        since_ms = ms_of(status.attempts[-1].started_at)
    deadline = deadline_of(observed.spec, status, observed.defaults, since_ms)
    return None if deadline is None else ms_of(deadline)


def _attempt_since_ms(observed: Observed) -> int | None:
    """Return since when the time of the attempt runs: from its start, and anew from each end of a suspension."""
    status, activation = observed.status, observed.activation
    if observed.phase is Phase.EXECUTING and has_open_attempt(status):
        attempt = status.attempts[-1]
        began = attempt.resumed_at or attempt.started_at
        return None if began is None else ms_of(began)
    if activation is None or (observed.phase is Phase.SUSPENDED and activation.parked_since_ms is not None):
        return None
    return activation.running_since_ms


def _message(observed: Observed, limit: Limit) -> str:
    source = "spec.timeout" if observed.spec.timeout is not None else f"defaults of function {observed.spec.function}"
    if limit.reason == ATTEMPT_TIMEOUT:
        return (
            f"attempt {next_attempt(observed.status)} took longer than {limit.length} (timeout.attempt in {source}): "
            "raise that limit, or record more of the work in steps, which a further attempt does not repeat"
        )
    doing = observed.phase.value
    names = [" ".join(part for part in (item.kind, item.name) if part) for item in observed.status.waiting_for]
    waiting = f", waiting for {', '.join(names)}" if names else ""
    length = f" of {limit.length} (timeout.overall in {source})" if limit.length else " (status.deadline)"
    return (
        f"it has not ended within its time{length}, pauses and waits included; it was {doing}{waiting}. "
        "Raise that limit; a retry starts with a new deadline"
    )
