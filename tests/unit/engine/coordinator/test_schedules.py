"""Runs of schedules: what is archived is no business of their history."""

from __future__ import annotations

import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import ExecutionDefaults, ExecutionTTL
from kontinue_engine.coordinator.schedules import RunSpec, RunStatus, ScheduledRun, run_of

KEPT = ExecutionTTL(archive_after="1h")
DELETED = ExecutionTTL(delete_after="1h")


@pytest.mark.parametrize(
    ("spec", "recorded", "function", "worker", "is_archived"),
    [
        (None, None, None, None, False),
        (KEPT, None, None, None, True),
        (DELETED, KEPT, KEPT, KEPT, False),
        (None, KEPT, None, None, True),
        (None, None, KEPT, None, False),
        (None, None, None, KEPT, True),
        (None, DELETED, None, KEPT, False),
    ],
)
def test_a_run_that_is_to_be_archived_is_left_alone(
    spec: ExecutionTTL | None,
    recorded: ExecutionTTL | None,
    function: ExecutionTTL | None,
    worker: ExecutionTTL | None,
    is_archived: bool,
) -> None:
    """Wherever its ttl comes from; that of its function counts as it was when it first ran."""
    run = ScheduledRun(
        metadata=ObjectMeta(name="run"),
        spec=RunSpec(function="f", ttl=spec),
        status=RunStatus(attempt_count=1, defaults=ExecutionDefaults(ttl=recorded) if recorded else None),
    )
    defaults = {"f": ExecutionDefaults(ttl=function)} if function else {}
    assert run_of(run, defaults, worker).is_archived_first is is_archived
