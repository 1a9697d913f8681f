"""An ended Execution gives its result or an error that describes its end."""

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionAttempt,
    ExecutionError,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
)
from kontinue.client.results import error_of, parse_result
from kontinue.errors import ExecutionBlocked, ExecutionCanceled, ExecutionFailed, InvalidState, ResultDecodeError


def execution(phase, **status):
    return Execution(
        metadata=ObjectMeta(name="x", namespace="ns"),
        spec=ExecutionSpec(function="f"),
        status=ExecutionStatus(phase=phase, **status),
    )


def test_the_result_is_decoded_as_its_type():
    """Of a skipped one as well; no result reads as None."""
    assert parse_result(execution(Phase.COMPLETED, result=msgspec.Raw(b"[1,2]")), list[int]) == [1, 2]
    assert parse_result(execution(Phase.SKIPPED), type(None)) is None


def test_a_result_of_another_type_names_execution_and_path():
    """The reader sees which value does not fit."""
    with pytest.raises(ResultDecodeError, match=r"ns/x .*int") as caught:
        parse_result(execution(Phase.COMPLETED, result=msgspec.Raw(b'[1,"b"]')), list[int])
    assert caught.value.path == "$[1]"


def test_a_failure_carries_type_and_traceback_of_the_last_attempt():
    """Earlier attempts do not count."""
    attempts = [
        ExecutionAttempt(number=1, error=ExecutionError(type="KeyError", message="old")),
        ExecutionAttempt(number=2, error=ExecutionError(type="app.Broken", message="boom", traceback="Traceback ...")),
    ]
    with pytest.raises(ExecutionFailed, match=r"ns/x of function 'f' failed: app\.Broken: boom") as caught:
        parse_result(execution(Phase.FAILED, reason="UserError", attempts=attempts), int)
    assert (caught.value.execution, caught.value.type, caught.value.traceback) == ("x", "app.Broken", "Traceback ...")


def test_a_failure_without_an_exception_tells_its_reason():
    """For example arguments that did not fit."""
    error = error_of(execution(Phase.FAILED, reason="InvalidArguments", message="$.name: expected str"))
    assert isinstance(error, ExecutionFailed)
    assert str(error).endswith("failed: InvalidArguments: $.name: expected str")
    assert error.type == "InvalidArguments"


@pytest.mark.parametrize(
    ("phase", "kind", "text"),
    [
        (Phase.CANCELED, ExecutionCanceled, "was canceled: why"),
        (Phase.BLOCKED, ExecutionBlocked, "Deploy code that matches its records, or cancel it"),
    ],
)
def test_other_ends_have_errors_of_their_own(phase, kind, text):
    """With the stored message, and for Blocked the way out."""
    with pytest.raises(kind, match=text):
        parse_result(execution(phase, message="why"), int)


def test_a_running_execution_has_no_result_yet():
    """It says so instead of decoding nothing."""
    with pytest.raises(InvalidState, match="has no result yet: its phase is Executing"):
        parse_result(execution(Phase.EXECUTING), int)
