"""Internal. What every status that the engine writes about an Execution carries. Pure; parts of ``decide``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kontinue.api.v1alpha1 import ExecutionAttempt, ExecutionOwner, ExecutionStatus, Phase
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import News, Observed, Worker
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire import frames


def extended(memo: MemoBytes, news: News, worker: Worker, more: Sequence[frames.EncodedRecord] = ()) -> MemoBytes:
    """Return the memo with what the activation has reported, and ``more`` records."""
    if not (news.records or more or news.timers_started or news.timers_canceled or news.arguments):
        return memo
    return memo.extended(
        build=worker.build,
        records=(*news.records, *more),
        started=news.timers_started,
        forgotten=news.timers_canceled,
        arguments=news.arguments,
    )


def written(
    observed: Observed, worker: Worker, now_ms: int, *, phase: Phase, memo: MemoBytes, **changes: object
) -> ExecutionStatus:
    """Return the stored status with what every write of ours carries."""
    status = observed.status
    activation = observed.activation
    since = activation.running_since_ms if activation else None
    started_at = status.started_at or time_of(since if since is not None else now_ms)
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
