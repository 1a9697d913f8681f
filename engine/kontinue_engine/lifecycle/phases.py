"""Internal. Every transition between phases lives here: one table, and the function that fires it.

Fired by ``decide`` and its parts only. The CRD's CEL rules allow more (clients cancel and skip): this table is what the
*engine* does. An event that the table does not list for a phase is a bug of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.errors import IllegalTransitionError


class PhaseEvent(enum.StrEnum):
    """What can happen to an Execution."""

    STARTED = "Started"
    """User code runs, or is about to be run after a claim."""
    PARKED = "Parked"
    """It has waited for longer than the parking time."""
    WOKEN = "Woken"
    """What it waited for has happened."""
    MISMATCHED = "Mismatched"
    """The code does not match the records."""
    ATTEMPT_FAILED = "AttemptFailed"
    """There will be another attempt."""
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    RETRY_REQUESTED = "RetryRequested"
    """It has ended, and somebody wants another attempt."""


_ENDS: Final[Mapping[PhaseEvent, Phase]] = {
    PhaseEvent.COMPLETED: Phase.COMPLETED,
    PhaseEvent.FAILED: Phase.FAILED,
    PhaseEvent.CANCELED: Phase.CANCELED,
}

TRANSITIONS: Final[Mapping[Phase, Mapping[PhaseEvent, Phase]]] = {
    Phase.PENDING: {
        PhaseEvent.STARTED: Phase.EXECUTING,
        PhaseEvent.PARKED: Phase.SUSPENDED,
        PhaseEvent.MISMATCHED: Phase.BLOCKED,
        PhaseEvent.ATTEMPT_FAILED: Phase.BACKOFF,
        **_ENDS,
    },
    Phase.EXECUTING: {
        PhaseEvent.STARTED: Phase.EXECUTING,
        PhaseEvent.PARKED: Phase.SUSPENDED,
        PhaseEvent.MISMATCHED: Phase.BLOCKED,
        PhaseEvent.ATTEMPT_FAILED: Phase.BACKOFF,
        **_ENDS,
    },
    Phase.SUSPENDED: {
        PhaseEvent.STARTED: Phase.EXECUTING,
        PhaseEvent.PARKED: Phase.SUSPENDED,
        PhaseEvent.WOKEN: Phase.EXECUTING,
        PhaseEvent.MISMATCHED: Phase.BLOCKED,
        PhaseEvent.ATTEMPT_FAILED: Phase.BACKOFF,
        **_ENDS,
    },
    Phase.BACKOFF: {
        PhaseEvent.STARTED: Phase.EXECUTING,
        PhaseEvent.PARKED: Phase.SUSPENDED,
        PhaseEvent.MISMATCHED: Phase.BLOCKED,
        PhaseEvent.ATTEMPT_FAILED: Phase.BACKOFF,
        **_ENDS,
    },
    Phase.BLOCKED: {
        PhaseEvent.STARTED: Phase.EXECUTING,
        PhaseEvent.PARKED: Phase.SUSPENDED,
        PhaseEvent.MISMATCHED: Phase.BLOCKED,
        PhaseEvent.ATTEMPT_FAILED: Phase.BACKOFF,
        **_ENDS,
    },
    Phase.COMPLETED: {},
    Phase.FAILED: {PhaseEvent.RETRY_REQUESTED: Phase.PENDING},
    Phase.CANCELED: {PhaseEvent.RETRY_REQUESTED: Phase.PENDING},
    Phase.SKIPPED: {},
}


def next_phase(phase: Phase, event: PhaseEvent) -> Phase:
    """Return the phase after ``event``.

    Raises:
        IllegalTransitionError: the table does not allow ``event`` in ``phase``.
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise IllegalTransitionError(phase=phase, event=event) from None
