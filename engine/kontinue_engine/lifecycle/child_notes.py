"""Internal. What is noted on a child Execution about the attempts of its parent. Pure.

Written by the parent's replica (``controllers.child_retries``), read there and by the leader (``coordinator.retries``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, Execution
from kontinue_engine.lifecycle.statuses import asked_for


class Stage(NamedTuple):
    """A run of a parent, and an attempt of it. Stages are in order of time."""

    run_epoch: int = 0
    attempt: int = 1


_ANY_ATTEMPT: Final = 2**63


def stages_before(run_epoch: int) -> Stage:
    """Return the last stage that can have been before a run."""
    return Stage(run_epoch - 1, _ANY_ATTEMPT)


class ParentNote(msgspec.Struct, frozen=True):
    """The attempt of its parent that a child last ran for, and the retries that this one asked of it; 0 if none."""

    attempt: int = 1
    retries: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.retries}"


def note_of(annotations: Mapping[str, str]) -> ParentNote:
    """Return the note of a child; one that somebody has edited into nonsense says nothing."""
    attempt, retries = map(labels.number_in, annotations.get(labels.PARENT_ATTEMPT, "").partition(".")[::2])
    return ParentNote(attempt, retries) if attempt is not None and retries is not None else ParentNote()


def run_epoch_of(annotations: Mapping[str, str]) -> int:
    """Return the run of its parent that a child belongs to."""
    return labels.number_in(annotations.get(labels.RUN_EPOCH)) or 0


def is_asked_by_parent(child: Execution) -> bool:
    """Tell whether a retry of the child is asked for, and it is its parent that asks."""
    return child.is_retry_requested and note_of(child.metadata.annotations).retries == asked_for(child.spec)


def stage_of(annotations: Mapping[str, str]) -> Stage:
    """Return the stage of its parent that a child last ran for."""
    return Stage(run_epoch_of(annotations), note_of(annotations).attempt)


def needs_retry(child: Execution, stage: Stage) -> bool:
    """Tell whether a child ended badly before this stage of its parent."""
    return child.phase in RETRYABLE_PHASES and stage_of(child.metadata.annotations) < stage
