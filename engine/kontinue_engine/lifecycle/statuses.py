"""Internal. What every status that the engine writes about an Execution carries. Pure; parts of ``decide``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from kontinue.api import durations
from kontinue.api.v1alpha1 import (
    MAX_ATTEMPTS_KEPT,
    ExecutionAttempt,
    ExecutionDefaults,
    ExecutionError,
    ExecutionOwner,
    ExecutionSpec,
    ExecutionStatus,
    ExecutionTimeout,
    Phase,
)
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import SHARDED_EPOCH, News, Observed, Worker
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire import frames

_PAUSES: Final = frozenset({Phase.SUSPENDED, Phase.BLOCKED})
"""While it is in one of these the time of its attempt stands still; it starts anew afterwards."""
_NO_TIMEOUT: Final = ExecutionTimeout()
_MILLISECOND: Final = timedelta(milliseconds=1)
_ENDLESS: Final = timedelta(days=365_000)
"""A thousand years: what is longer has no date."""


def extended(memo: MemoBytes, news: News, worker: Worker, more: Sequence[frames.EncodedRecord] = ()) -> MemoBytes:
    """Return the memo with what the activation has reported, and ``more`` records."""
    if not (news.records or more or news.timers_started or news.given_up or news.begun or news.arguments):
        return memo
    return memo.extended(
        build=worker.build,
        records=(*news.records, *more),
        started=news.timers_started,
        forgotten=news.given_up,
        begun=news.begun,
        arguments=news.arguments,
        is_last=news.outcome is not None,
    )


def written(
    observed: Observed,
    worker: Worker,
    now_ms: int,
    *,
    phase: Phase,
    memo: MemoBytes,
    begins: bool = False,
    **changes: object,
) -> ExecutionStatus:
    """Return the stored status with what every write of ours carries.

    Args:
        observed: what is known.
        worker: who writes.
        now_ms: when.
        phase: what it carries.
        memo: the records it carries.
        begins: an attempt begins with this write, although nothing runs yet.
        changes: further fields.
    """
    status = observed.status
    activation = observed.activation
    if not status.attempts or begins or activation is not None:
        status = with_attempt(observed, worker, now_ms)
    if phase is Phase.EXECUTING and observed.phase in _PAUSES and has_open_attempt(observed.status):
        status = msgspec.structs.replace(status, attempts=_resumed(status, since_of(observed, now_ms)))
    base = {
        "phase": phase,
        "owner": owned(observed, worker),
        "state": status.state if memo.is_empty else memo.encode(),
        "memo_pages": memo.pages,
        "resumptions": activation.resumption if activation else status.resumptions,
        "observed_retries": asked_for(observed.spec),
    }
    return msgspec.structs.replace(status, **{**base, **changes})


def with_attempt(observed: Observed, worker: Worker, now_ms: int) -> ExecutionStatus:
    """Return the stored status with the attempt that runs, if that has not been written yet."""
    status = observed.status
    started_ms = since_of(observed, now_ms)
    started_at = time_of(started_ms)
    deadline = deadline_of(observed.spec, status, observed.defaults, started_ms)
    if not has_open_attempt(status):
        number = next_attempt(status)
        attempt = ExecutionAttempt(number=number, started_at=started_at, worker=worker.shard)
        attempts = [*status.attempts, attempt][-MAX_ATTEMPTS_KEPT:]
        status = msgspec.structs.replace(status, attempts=attempts, attempt_count=number)
    defaults = defaults_of(observed.spec, observed.status, observed.defaults)
    return msgspec.structs.replace(
        status, defaults=defaults, started_at=status.started_at or started_at, deadline=deadline
    )


def since_of(observed: Observed, now_ms: int) -> int:
    """Return since when its code runs (ms); now, if none does."""
    since_ms = observed.activation.running_since_ms if observed.activation else None
    return now_ms if since_ms is None else since_ms


def _resumed(status: ExecutionStatus, at_ms: int) -> list[ExecutionAttempt]:
    return [*status.attempts[:-1], msgspec.structs.replace(status.attempts[-1], resumed_at=time_of(at_ms))]


def has_open_attempt(status: ExecutionStatus) -> bool:
    """Tell whether an attempt has begun and not ended."""
    return bool(status.attempts) and status.attempts[-1].finished_at is None


def next_attempt(status: ExecutionStatus) -> int:
    """Return the number of the attempt that runs, or else of the one that would begin now."""
    has_ended = bool(status.attempts) and status.attempts[-1].finished_at is not None
    return max(1, status.attempt_count + has_ended)


def finished(
    status: ExecutionStatus, now_ms: int, *, reason: str, message: str, error: ExecutionError | None = None
) -> list[ExecutionAttempt]:
    """Return the attempts, the last of which has ended; as they are, if none has begun since the last one ended."""
    if not has_open_attempt(status):
        return status.attempts
    phase = status.phase if status.phase is not Phase.BACKOFF else Phase.FAILED
    ended = msgspec.structs.replace(
        status.attempts[-1],
        finished_at=status.finished_at or time_of(now_ms),
        phase=phase,
        reason=reason,
        message=message,
        error=error,
    )
    return [*status.attempts[:-1], ended]


def defaults_of(
    spec: ExecutionSpec, status: ExecutionStatus, defaults: ExecutionDefaults | None
) -> ExecutionDefaults | None:
    """Return the function's defaults that count, where the spec is silent: those of when it first ran."""
    if status.attempt_count or defaults is None:
        return status.defaults
    silent = ExecutionDefaults(
        retry=None if spec.retry else defaults.retry,
        timeout=None if spec.timeout else defaults.timeout,
        ttl=None if spec.ttl else defaults.ttl,
    )
    return None if silent == ExecutionDefaults() else silent


def timeout_of(spec: ExecutionSpec, status: ExecutionStatus, defaults: ExecutionDefaults | None) -> ExecutionTimeout:
    """Return what counts: the spec, else the function's default as it was when the Execution first ran."""
    known = defaults_of(spec, status, defaults)
    return spec.timeout or (known and known.timeout) or _NO_TIMEOUT


def limit_ms(length: str) -> int | None:
    """Return a limit of time in milliseconds; None if it is unset, zero, or longer than anything runs."""
    if not length:
        return None
    try:
        limit = durations.parse(length)
    except ValueError:  # the schema lets in what is too long for Python
        return None
    return limit // _MILLISECOND if timedelta() < limit < _ENDLESS else None


def deadline_of(
    spec: ExecutionSpec, status: ExecutionStatus, defaults: ExecutionDefaults | None, started_ms: int | None
) -> datetime | None:
    """Return when the Execution must have ended: as written, else so long after its start. None if it need not."""
    if status.deadline is not None or started_ms is None:
        return status.deadline
    length_ms = limit_ms(timeout_of(spec, status, defaults).overall)
    return None if length_ms is None else time_of(started_ms + length_ms)


def asked_for(spec: ExecutionSpec) -> int:
    """Return the number of retries in the spec."""
    return spec.retry.retries if spec.retry is not None else 0


def owned(observed: Observed, worker: Worker) -> ExecutionOwner:
    """Return the owner that a write of ours names: an epoch more if it was somebody else's."""
    owner = observed.status.owner
    if owner is not None and owner.incarnation == worker.incarnation:
        return owner
    if owner is not None:
        epoch = owner.epoch + 1
    elif observed.inherited:
        epoch = SHARDED_EPOCH + 1  # higher than any that somebody may have started it with, unclaimed
    else:
        epoch = worker.first_epoch
    return ExecutionOwner(shard=worker.shard, incarnation=worker.incarnation, epoch=epoch)
