"""Internal. Conditions of an Execution: facts beside its phase. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.times import time_of

STOPPED: Final = "Stopped"
"""Condition: nothing of this Execution runs any more (design.md section 5)."""

REASSIGNED: Final = "Reassigned"
"""Condition: another replica had it before, and how that ended, or that it goes on."""


def is_stopped(conditions: Sequence[Condition]) -> bool:
    """Tell whether the condition Stopped is True."""
    return any(condition.type == STOPPED and condition.status == "True" for condition in conditions)


def with_stopped(conditions: Sequence[Condition], phase: Phase, now_ms: int) -> list[Condition]:
    """Return the conditions with Stopped being True."""
    stopped = Condition(type=STOPPED, status="True", reason=phase.value, last_transition_time=time_of(now_ms))
    return _with_condition(conditions, stopped)


def without_stopped(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions of one that is to run again."""
    return [condition for condition in conditions if condition.type != STOPPED]


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
