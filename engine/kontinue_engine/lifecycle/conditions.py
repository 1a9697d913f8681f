"""Internal. Conditions of an Execution: facts beside its phase. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire.frames import EncodedRecord

STOPPED: Final = "Stopped"
"""Condition: nothing of this Execution runs any more (design.md section 5)."""

PROGRESSING: Final = "Progressing"
"""Condition of what has not ended: after which step its code is, and since when."""

REASSIGNED: Final = "Reassigned"
"""Condition: another replica had it before, and how that ended, or that it goes on."""


class _Name(msgspec.Struct, frozen=True):
    """What people are told of a record."""

    id: str = ""
    kind: str = ""
    name: str = ""


_decode_name = msgspec.json.Decoder(_Name).decode


def is_stopped(conditions: Sequence[Condition]) -> bool:
    """Tell whether the condition Stopped is True."""
    return any(condition.type == STOPPED and condition.status == "True" for condition in conditions)


def with_stopped(conditions: Sequence[Condition], phase: Phase, now_ms: int) -> list[Condition]:
    """Return the conditions with Stopped being True."""
    stopped = Condition(type=STOPPED, status="True", reason=phase.value, last_transition_time=time_of(now_ms))
    return _with_condition([condition for condition in conditions if condition.type != PROGRESSING], stopped)


def without_stopped(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions of one that is to run again."""
    return [condition for condition in conditions if condition.type != STOPPED]


def with_progress(conditions: Sequence[Condition], records: Sequence[EncodedRecord], now_ms: int) -> list[Condition]:
    """Return the conditions with Progressing, if there are new records. It costs no write: they are written anyway."""
    if not records:
        return list(conditions)
    last = _decode_name(records[-1].json)
    progress = Condition(
        type=PROGRESSING,
        status="True",
        reason="StepRecorded",
        message=f"after {last.kind} {last.name or last.id}".replace("  ", " "),
        last_transition_time=time_of(now_ms),
    )
    return _with_condition(conditions, progress)


def with_reassigned(observed: Observed, worker: Worker, now_ms: int) -> list[Condition]:
    """Return the conditions; one that another shard had before says so."""
    owner, conditions = observed.status.owner, observed.status.conditions
    if owner is None or owner.shard == worker.shard:
        return conditions
    if owner.incarnation == observed.lost_by:
        reason = "ReplicaDied"
    else:
        reason = "MovedByHand" if observed.owner_lives else "ReplicaEnded"
    reassigned = Condition(
        type=REASSIGNED,
        status="True",
        reason=reason,
        message=f"from {owner.shard} to {worker.shard}",
        last_transition_time=time_of(now_ms),
    )
    return _with_condition(conditions, reassigned)


def _with_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    return [*(condition for condition in conditions if condition.type != new.type), new]
