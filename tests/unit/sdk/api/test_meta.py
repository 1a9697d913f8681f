"""What is read from objects' metadata."""

from __future__ import annotations

from kontinue.api.meta import OwnerReference, parent_of


def test_only_executions_are_parents() -> None:
    """A schedule may own one, too."""
    schedule = OwnerReference("v", "ScheduledExecution", "s", "1")
    parent = OwnerReference("v", "Execution", "p", "2")
    assert parent_of([schedule, parent]) == parent
    assert parent_of([schedule]) is None
