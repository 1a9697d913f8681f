"""A cancel, and a wish for a retry, change only what is still as it was seen."""

import msgspec

from kontinue.api.meta import ObjectMeta
from kontinue.api.patches import cancel_operations, retry_operations, skip_operations, withdraw_operations
from kontinue.api.v1alpha1 import ChildPolicy, Execution, ExecutionRetry, ExecutionSpec, ExecutionStatus, Phase


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


def test_a_skip_carries_the_result():
    """As it was given; null is what an Execution without one has returned, and stays unwritten."""
    operations = skip_operations(execution(Phase.SUSPENDED), b'{"a": 1}', message="why")
    assert operations[0] == {"op": "test", "path": "/status/phase", "value": "Suspended"}
    assert {"op": "add", "path": "/status/phase", "value": "Skipped"} in operations
    assert {"op": "add", "path": "/status/result", "value": msgspec.Raw(b'{"a": 1}')} in operations
    without = skip_operations(execution(Phase.SUSPENDED), b"null", message="why")
    assert "/status/result" not in {operation["path"] for operation in without}
    _, add = skip_operations(execution(None), b"1", message="why")
    assert (add["value"]["phase"], add["value"]["reason"]) == ("Skipped", "SkippedByClient")


def test_a_retry_is_one_more_than_was_seen():
    """Whichever is larger, what the spec says or what a worker has seen; the rest of the policy stays as it is."""
    failed = msgspec.structs.replace(execution(Phase.FAILED), metadata=ObjectMeta(name="x", uid="u", generation=3))
    *tests, add = retry_operations(failed, child_policy=ChildPolicy.NONE)
    assert add == {"op": "add", "path": "/spec/retry", "value": {"retries": 1, "childPolicy": "None"}}
    assert {(test["op"], test["path"], test["value"]) for test in tests} == {
        ("test", "/metadata/uid", "u"),
        ("test", "/status/phase", "Failed"),
        ("test", "/metadata/generation", 3),
    }
    lowered = msgspec.structs.replace(
        failed,
        spec=ExecutionSpec(function="f", retry=ExecutionRetry(retries=1, backoff="1h")),
        status=ExecutionStatus(phase=Phase.FAILED, observed_retries=4),
    )
    changes = retry_operations(lowered, child_policy=ChildPolicy.NONE)[len(tests) :]
    assert {change["path"]: change["value"] for change in changes} == {
        "/spec/retry/retries": 5,
        "/spec/retry/childPolicy": "None",
    }


def test_a_wish_is_withdrawn_by_having_been_seen():
    """If it has not been carried out meanwhile."""
    spec = ExecutionSpec(function="f", retry=ExecutionRetry(retries=3))
    failed = Execution(metadata=ObjectMeta(name="x"), spec=spec, status=ExecutionStatus(phase=Phase.FAILED))
    test, add = withdraw_operations(failed)
    assert test == {"op": "test", "path": "/status/phase", "value": "Failed"}
    assert add == {"op": "add", "path": "/status/observedRetries", "value": 3}
