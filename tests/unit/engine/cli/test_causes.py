"""Which step or child stands behind a failure."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, ExecutionError, Phase
from kontinue.replay.records import ChildOutcome, Memo, Record, RecordedError, RecordKind
from kontinue_engine.cli.causes import blocked_report, explain_cause, split_mismatch, ways_out
from kontinue_engine.cli.description import describe_execution
from kontinue_engine.cli.following import explain_end

Make = Callable[..., Execution]


def record(
    seq: int, kind: RecordKind, message: str, *, child: ChildOutcome | None = None, traceback: str = ""
) -> Record:
    error = RecordedError(type="builtins.ValueError", message=message, traceback=traceback)
    return Record(
        id=str(seq), kind=kind, name="charge", digest="", seq=seq, at_ms=0, error=error, child=child, line="app.py:7"
    )


def failed(make: Make, error: ExecutionError, *records: Record) -> Execution:
    return make(
        "x",
        phase=Phase.FAILED,
        attempts=[ExecutionAttempt(number=1, phase=Phase.FAILED, error=error)],
        state=msgspec.Raw(msgspec.json.encode(Memo(records=list(records)))),
    )


STEP_FAILED = ExecutionError(type="kontinue.errors.StepFailed", message="builtins.ValueError: no luck")
CHILD_FAILED = ExecutionError(type="kontinue.errors.ChildFailed", message="builtins.ValueError: no luck")


def test_the_traceback_of_the_failed_step_is_shown_everywhere(make_execution: Make, now: datetime) -> None:
    """Of the newest record with that failure; a step that failed otherwise and was caught is not it."""
    execution = failed(
        make_execution,
        STEP_FAILED,
        record(1, RecordKind.STEP, "no luck", traceback="the first\n"),
        record(2, RecordKind.STEP, "no luck", traceback="Traceback\n  in charge\n"),
        record(3, RecordKind.STEP, "another", traceback="not this\n"),
    )
    expected = "Step charge (called at app.py:7) raised:\n    Traceback\n      in charge"
    assert explain_cause(execution, STEP_FAILED, flags="") == expected
    assert expected in explain_end(execution, flags="")
    assert "         Traceback\n           in charge" in describe_execution(execution, [], now, whole=False)


def test_a_failed_child_is_named_with_the_way_to_look_at_it(make_execution: Make) -> None:
    """In the namespace in use."""
    child = record(1, RecordKind.CHILD, "no luck", child=ChildOutcome(name="x-charge-1"))
    text = explain_cause(failed(make_execution, CHILD_FAILED, child), CHILD_FAILED, flags=" -n demo")
    assert text == (
        "Child x-charge-1 of function charge (called at app.py:7) failed. "
        "Look at it: kontinue describe x-charge-1 -n demo"
    )


def test_a_child_that_was_deleted_is_not_to_be_looked_at(make_execution: Make) -> None:
    """There is nothing left to describe; a new attempt starts another one."""
    gone = RecordedError(type="kontinue.errors.NotFound", message="Execution x-charge-1 was deleted")
    child = record(1, RecordKind.CHILD, "", child=ChildOutcome(name="x-charge-1", phase="Canceled"))
    error = ExecutionError(type="kontinue.errors.ChildFailed", message=f"{gone.type}: {gone.message}")
    execution = failed(make_execution, error, msgspec.structs.replace(child, error=gone))
    assert explain_cause(execution, error, flags=" -n demo") == (
        "Child x-charge-1 of function charge (called at app.py:7) was deleted. "
        "A new attempt starts it anew: kontinue retry x -n demo"
    )
    raised = msgspec.structs.replace(child, error=gone, child=ChildOutcome(name="x-charge-1", phase="Failed"))
    assert "failed. Look at it" in explain_cause(failed(make_execution, error, raised), error, flags="")


def test_an_error_of_the_function_itself_has_no_other_cause(make_execution: Make) -> None:
    """Even if a step failed with the same words before."""
    own = ExecutionError(type="builtins.ValueError", message="builtins.ValueError: no luck")
    assert explain_cause(failed(make_execution, own, record(1, RecordKind.STEP, "no luck")), own, flags="") == ""
    assert explain_cause(make_execution("x"), STEP_FAILED, flags="") == ""


def test_the_two_sides_of_a_mismatch_stand_below_each_other() -> None:
    """Each with its build; a message of other words stays as it is."""
    message = (
        "the code does not match the records at step 2: recorded step a(9c) at app.py:1, recorded by build 111; "
        "requested child b(7f) at app.py:2, requested by the code now by build 222. Deploy a build that matches, "
        "or cancel it"
    )
    assert split_mismatch(message).split("\n") == [
        "the code does not match the records at step 2:",
        "  recorded:  step a(9c) at app.py:1, by build 111",
        "  requested: child b(7f) at app.py:2, by build 222",
    ]
    assert split_mismatch("canceled") == "canceled"


def test_a_report_of_what_is_blocked_ends_with_commands_to_paste() -> None:
    """In the namespace that it is in; a message of another form stands as it is."""
    lines = blocked_report("x", "step 1: recorded a; requested b by build c. Do it", " -n shop").splitlines()
    assert lines[:3] == ["x is Blocked: step 1:", "  recorded:  a", "  requested: b, by build c"]
    assert lines[4].startswith("    kontinue retry x --children all -n shop ")
    assert lines[5] == "    kontinue cancel x -n shop"
    assert [line.removeprefix("  ") for line in lines[3:]] == ways_out("x", " -n shop").splitlines()
    assert blocked_report("x", "gone", "").startswith("x is Blocked: gone\n")
