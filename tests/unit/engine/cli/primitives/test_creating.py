"""In what an object that exists is another one than was asked for."""

from __future__ import annotations

from kontinue.api.konductor.gates import GateSpec, parse_condition
from kontinue.api.konductor.mutexes import MutexSpec
from kontinue.api.konductor.semaphores import SemaphoreSpec
from kontinue_engine.cli.primitives.creating import differences


def test_the_same_spec_in_other_words_is_no_other() -> None:
    """Who has written 60s means 1m."""
    assert differences(MutexSpec(ttl="60s"), MutexSpec(ttl="1m")) == []
    condition = parse_condition("Job/migrate=Complete")
    assert differences(GateSpec(conditions=[condition]), GateSpec(conditions=[condition])) == []


def test_each_difference_is_named() -> None:
    """With what is, and what was to be."""
    found = SemaphoreSpec(permits=2, ttl="1h")
    assert differences(SemaphoreSpec(permits=5), found) == ["permits: 2, not 5", "ttl: 1h, not unset"]
