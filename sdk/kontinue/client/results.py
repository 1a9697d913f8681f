"""How an ended Execution is read: its result as a value, or its end as an error. Pure.

Called by handles, by ``kontinue.client.waiting`` and by users who hold an Execution (``parse_result``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from kontinue import codec
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.errors import (
    CodecError,
    ExecutionBlocked,
    ExecutionCanceled,
    ExecutionEnded,
    ExecutionFailed,
    InvalidState,
    ResultDecodeError,
)

T = TypeVar("T")


def parse_result(execution: Execution, result: type[T]) -> T:
    """Return the result of a completed or skipped Execution as a ``result``.

    Raises:
        ExecutionFailed, ExecutionCanceled, ExecutionBlocked: it ended otherwise.
        InvalidState: it has not ended yet.
        ResultDecodeError: its result is no ``result``.
    """

    def decode(data: bytes) -> T:
        return cast("T", codec.decode(data, result))

    return read_result(execution, decode)


def read_result(execution: Execution, decode: Callable[[bytes], T]) -> T:
    """Return the result as ``decode`` reads it; raises like ``parse_result``."""
    if execution.phase not in (Phase.COMPLETED, Phase.SKIPPED):
        raise error_of(execution) or InvalidState(
            f"Execution {_where(execution)} has no result yet: its phase is {execution.phase}. Wait for it first."
        )
    raw = execution.status.result
    try:
        return decode(b"null" if isinstance(raw, msgspec.UnsetType) else bytes(raw))
    except ResultDecodeError as error:
        raise ResultDecodeError(f"Execution {_where(execution)}: {error}", path=error.path) from error
    except CodecError as error:
        raise ResultDecodeError(
            f"the result of Execution {_where(execution)} does not decode as asked for: {error}", path=error.path
        ) from error


def error_of(execution: Execution) -> ExecutionEnded | None:
    """Return the error that describes how the Execution ended; None while it runs or when it has a result."""
    status = execution.status
    attempt = status.attempts[-1] if status.attempts else None
    is_of_this_end = attempt is not None and attempt.reason in {"", status.reason}  # else it waited for the next one
    recorded = attempt.error if attempt is not None and is_of_this_end else None
    message = status.message or (recorded.message if recorded else "") or "no message"
    where = f"Execution {_where(execution)} of function {execution.spec.function!r}"
    match execution.phase:
        case Phase.FAILED:
            type_ = recorded.type if recorded and recorded.type else status.reason
            about = f"{type_}: {recorded.message}" if recorded and recorded.type else f"{type_}: {message}".lstrip(": ")
            return ExecutionFailed(
                f"{where} failed: {about}",
                execution=execution.metadata.name,
                type=type_,
                traceback=recorded.traceback if recorded else "",
            )
        case Phase.CANCELED:
            return ExecutionCanceled(
                f"{where} was canceled: {message}", execution=execution.metadata.name, type=status.reason or "Canceled"
            )
        case Phase.BLOCKED:
            return ExecutionBlocked(
                f"{where} is blocked: {message}\nDeploy code that matches its records, or cancel it.",
                execution=execution.metadata.name,
                type=status.reason or "Blocked",
            )
        case _:
            return None


def _where(execution: Execution) -> str:
    return f"{execution.metadata.namespace}/{execution.metadata.name}"
