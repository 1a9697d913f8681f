"""Exceptions of user code as texts: complete, cut to size, without our frames, whatever the exception does."""

from __future__ import annotations

from kontinue.api.v1alpha1 import MAX_TRACEBACK_BYTES
from kontinue.errors import ChildFailed, NonRetryableError, StepFailed
from kontinue_engine.runner.failures import error_info, kinds_of, seqs_of, user_failure


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_error_names_all_classes() -> None:
    """``is_a`` compares them by name in another process."""
    info = error_info(raised(FileNotFoundError("gone")))

    assert info.type == "builtins.FileNotFoundError"
    assert info.types[:2] == ["builtins.FileNotFoundError", "builtins.OSError"]
    assert info.message == "gone"
    assert "test_failures.py" in info.traceback


def test_long_tracebacks_keep_their_end() -> None:
    """The last lines say most; the limit is in bytes."""
    info = error_info(raised(ValueError("ä" * MAX_TRACEBACK_BYTES + "the end")))

    assert len(info.traceback.encode()) <= MAX_TRACEBACK_BYTES
    assert info.traceback.startswith("... (cut)")
    assert info.traceback.rstrip().endswith("the end")
    assert len(info.message.encode()) <= MAX_TRACEBACK_BYTES


def test_broken_exceptions_are_described_all_the_same() -> None:
    """A message that raises, and one that no encoding carries."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert "LookupError in __str__" in error_info(raised(BrokenError())).message
    assert error_info(raised(ValueError("\udcff"))).message == "\\udcff"


def test_a_failure_that_comes_up_through_several_children_names_its_class_once() -> None:
    """However deep it was raised."""
    error: BaseException = raised(ValueError("no luck"))
    shown = []
    for _ in range(4):
        info = error_info(error)
        error = raised(ChildFailed(info.message, type=info.type))
        shown.append(str(error))

    nested = "kontinue.errors.ChildFailed: builtins.ValueError: no luck"
    assert shown == ["builtins.ValueError: no luck", nested, nested, nested]


def test_records_are_found_in_the_whole_chain() -> None:
    """Cause, context and groups: the next attempt forgets the first of them and what follows."""
    group = ExceptionGroup("both", [StepFailed("a", seq=4), ChildFailed("b", seq=9), ValueError()])
    error = raised(KeyError(), group)
    error.__context__ = StepFailed("context", seq=2)
    group.__context__ = error  # a circle

    assert seqs_of(error) == [2, 4, 9]
    assert seqs_of(ValueError()) == []


def test_non_retryable_errors_are_recognised_through_a_step() -> None:
    """A step that says "never again" says it for its Execution."""
    types = [f"{kind.__module__}.{kind.__qualname__}" for kind in NonRetryableError.__mro__]

    assert user_failure(NonRetryableError()).reason == "NonRetryable"
    assert user_failure(StepFailed("x", types=types)).reason == "NonRetryable"
    assert user_failure(ChildFailed("x", types=types)).reason == "UserError"


def test_one_branch_that_says_never_again_is_enough() -> None:
    """A TaskGroup raises a group; what one of its tasks knows holds for all, but not what it was raised from."""
    group = ExceptionGroup("tasks", [ValueError(), ExceptionGroup("nested", [NonRetryableError()])])

    assert user_failure(group).reason == "NonRetryable"
    assert user_failure(raised(ValueError(), NonRetryableError())).reason == "UserError"
    assert {"builtins.ValueError", "kontinue.errors.NonRetryableError"} <= set(kinds_of(group))
