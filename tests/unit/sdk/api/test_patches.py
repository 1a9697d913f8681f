"""A cancel changes the phase only if it is still the one seen."""

from kontinue.api.meta import ObjectMeta
from kontinue.api.patches import cancel_operations
from kontinue.api.v1alpha1 import Execution, ExecutionRetry, ExecutionSpec, ExecutionStatus, Phase


def execution(phase):
    return Execution(
        metadata=ObjectMeta(name="x"), spec=ExecutionSpec(function="f"), status=ExecutionStatus(phase=phase)
    )


def test_a_phase_is_tested_before_it_is_changed():
    """The test comes first: all operations fail with it."""
    operations = cancel_operations(execution(Phase.EXECUTING), reason="Why", message="why")
    assert operations[0] == {"op": "test", "path": "/status/phase", "value": "Executing"}
    assert {"op": "add", "path": "/status/phase", "value": "Canceled"} in operations
    assert {"op": "add", "path": "/status/message", "value": "why"} in operations


def test_without_a_status_its_absence_is_tested():
    """A new object has no phase that could be tested."""
    test, add = cancel_operations(execution(None), reason="Why", message="why")
    assert test == {"op": "test", "path": "/status", "value": None}
    assert add["value"] == {"phase": "Canceled", "reason": "Why", "message": "why", "observedRetries": 0}


def test_what_was_asked_for_before_a_cancel_does_not_start_it_again():
    """Retries that it had left count as seen: only a number above asks for another attempt."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=3))
    live = Execution(metadata=ObjectMeta(name="x"), spec=spec, status=ExecutionStatus(phase=Phase.EXECUTING))
    operations = cancel_operations(live, reason="Why", message="why")
    assert {"op": "add", "path": "/status/observedRetries", "value": 3} in operations
