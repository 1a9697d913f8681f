"""Internal. What is noted on a child Execution about the attempts of its parent. Pure.

Written by the parent's replica (``controllers.child_retries``), read there and by the leader (``coordinator.retries``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, Execution
from kontinue_engine.lifecycle.statuses import asked_for


class ParentNote(msgspec.Struct, frozen=True):
    """The attempt of its parent that a child last ran for, and the retries that this one asked of it; 0 if none."""

    attempt: int = 1
    retries: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.retries}"


def note_of(meta: ObjectMeta) -> ParentNote:
    """Return the note of a child; one that somebody has edited into nonsense says nothing."""
    attempt, retries = map(labels.number_in, meta.annotations.get(labels.PARENT_ATTEMPT, "").partition(".")[::2])
    return ParentNote(attempt, retries) if attempt is not None and retries is not None else ParentNote()


def run_epoch_of(annotations: Mapping[str, str]) -> int:
    """Return the run of its parent that a child belongs to."""
    return labels.number_in(annotations.get(labels.RUN_EPOCH)) or 0


def is_asked_by_parent(child: Execution) -> bool:
    """Tell whether a retry of the child is asked for, and it is its parent that asks."""
    return child.is_retry_requested and note_of(child.metadata).retries == asked_for(child.spec)


def needs_retry(child: Execution, *, attempt: int) -> bool:
    """Tell whether a child ended badly in an attempt of its parent before ``attempt``."""
    return child.phase in RETRYABLE_PHASES and note_of(child.metadata).attempt < attempt
