"""The one exception tree of the SDK: what users raise, catch and read.

KontinueError
├── DefinitionError              a function, step or App is declared wrongly (user; at import)
├── CodecError                   a value does not fit JSON or a type (user)
│   ├── InvalidArguments         .path
│   ├── InvalidPayload           .path
│   ├── InvalidResult
│   └── ResultDecodeError
├── NonRetryableError            raised by users: fail now, whatever the retry policy says
├── ContextError                 a context is used wrongly: outside its function, inside a step, I/O in the body (user)
├── StepFailed, ChildFailed      a recorded failure of a step or child: .type .message .traceback, is_a()
├── JobFailed                    a Job or Pod was refused or deleted, or has not succeeded: .job .type, is_a()
├── PrimitiveFailed              what was asked of a WaitGroup, a Mutex ... cannot be had: .primitive .type, is_a()
├── LimitExceeded                a run has recorded as much as it may; never raised, but recorded: ``is_a()`` tells
├── WaitTimeout                  a durable wait or a client's wait took too long (is a TimeoutError)
├── ExecutionTimedOut            an attempt or an Execution took too long; never raised, but recorded: ``is_a()`` tells
├── SuspendTimeout               nobody resumed in time (is a TimeoutError)
├── ExecutionFailed, ExecutionCanceled, ExecutionBlocked   how an Execution ended, seen by a client
├── UnknownFunction              no such Function; with a suggestion
├── InvalidState                 the object's phase does not allow this
├── Held                         a lock belongs to somebody else; the message names him
├── AlreadyExecuted              what is to be done once has been done
├── LockLost                     a lock that was held has ended before it was released
├── ConfigError                  no server found, or a kubeconfig that cannot be used
└── ApiError                     the API server's answer: .status .reason .message
    ├── NotFound, AlreadyExists, Conflict, Forbidden, Unauthorized, Invalid, Gone, TooLarge
    └── Unavailable              no answer, 429, 5xx: worth retrying

ExecutionInterrupted (BaseException) is raised into user code by a cancel only, and ContinueAsNew by
``ctx.continue_as_new``; catch ``Exception`` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AlreadyExecuted",
    "AlreadyExists",
    "ApiError",
    "ChildFailed",
    "CodecError",
    "ConfigError",
    "Conflict",
    "ContextError",
    "ContinueAsNew",
    "DefinitionError",
    "ExecutionBlocked",
    "ExecutionCanceled",
    "ExecutionFailed",
    "ExecutionInterrupted",
    "ExecutionTimedOut",
    "Forbidden",
    "Gone",
    "Held",
    "Invalid",
    "InvalidArguments",
    "InvalidPayload",
    "InvalidResult",
    "InvalidState",
    "JobFailed",
    "KontinueError",
    "LimitExceeded",
    "LockLost",
    "NonRetryableError",
    "NotFound",
    "PrimitiveFailed",
    "RecordedFailure",
    "ResultDecodeError",
    "StepFailed",
    "SuspendTimeout",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnknownFunction",
    "WaitTimeout",
]


class KontinueError(Exception):
    """Base of every error that kontinue raises on purpose."""


class DefinitionError(KontinueError):
    """A function, step or App is declared in a way that cannot work; raised when the module is imported."""


class ContextError(KontinueError):
    """A context method was used where it cannot work: in a step, from another thread, after the function ended."""


class NonRetryableError(KontinueError):
    """Raise it to fail the Execution at once, whatever its retry policy says."""


class CodecError(KontinueError):
    """A value does not fit JSON or the declared type.

    Attributes:
        path: where in the value, as a JSON path such as ``$.targets[2]``; ``$`` is the value itself.
    """

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class InvalidArguments(CodecError):
    """Arguments do not fit the function's signature. Nothing was created."""


class InvalidPayload(CodecError):
    """A payload does not fit the schema of the Suspension that it should resume."""


class InvalidResult(CodecError):
    """A function or step returned something that JSON cannot carry, that has the wrong type or is too large."""


class ResultDecodeError(CodecError):
    """A stored result does not decode as the type asked for."""


class RecordedFailure(KontinueError):
    """A failure read from a record: the same on the first run as on every replay.

    Attributes:
        type: qualified class name of the original exception, for example ``requests.exceptions.Timeout``.
        message: ``str()`` of the original exception.
        traceback: its traceback as text, cut to 8 KiB; may be empty.
        types: qualified names of all its classes, most derived first.
        seq: number of the record in the memo.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "",  # noqa: A002
        types: Sequence[str] = (),
        traceback: str = "",
        seq: int = -1,
    ) -> None:
        super().__init__(f"{type}: {message}" if type else message)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.types = tuple(types)
        self.seq = seq

    def is_a(self, *types: type[BaseException]) -> bool:
        """Tell whether the original exception was an instance of one of ``types``, by qualified name."""
        return any(f"{t.__module__}.{t.__qualname__}" in self.types for t in types)


class StepFailed(RecordedFailure):
    """A step raised. The original exception is described, not carried: it may not exist in this process."""


class ChildFailed(RecordedFailure):
    """A child Execution failed or was canceled, or cannot be started.

    ``is_a(ExecutionCanceled)``: somebody has canceled it; ``is_a(NotFound)``: somebody has deleted it;
    ``is_a(UnknownFunction)``: no worker group has its function; ``is_a(AlreadyExists)``: its name is taken.

    Attributes:
        child: name of the child Execution.
        phase: ``Failed`` or ``Canceled``.
    """

    def __init__(self, message: str, *, child: str = "", phase: str = "Failed", **recorded: Any) -> None:
        super().__init__(message, **recorded)
        self.child = child
        self.phase = phase


class JobFailed(RecordedFailure):
    """A Job or Pod could not be created, was deleted, or has not succeeded (``JobResult.check``).

    ``is_a(Invalid)``: the server refuses the manifest; ``is_a(NotFound)``: somebody has deleted the object.

    Attributes:
        job: name of the object, or, if there is none, the name that the call has given it.
    """

    def __init__(self, message: str, *, job: str = "", **recorded: Any) -> None:
        super().__init__(message, **recorded)
        self.job = job


class PrimitiveFailed(RecordedFailure):
    """What a function has asked of a WaitGroup, a Mutex or another primitive cannot be had.

    ``is_a(NotFound)``: there is none; ``is_a(InvalidState)``: it does not allow that; ``is_a(Forbidden)``: the worker
    may not use it.

    Attributes:
        primitive: which one, as ``Mutex/deploys``.
    """

    def __init__(self, message: str, *, primitive: str = "", **recorded: Any) -> None:
        super().__init__(message, **recorded)
        self.primitive = primitive


class LimitExceeded(KontinueError):
    """A run of a function has made as many durable calls, or recorded as much, as it may.

    Never raised itself: the call that does not fit raises StepFailed or ChildFailed, whose ``is_a()`` tells.
    """


class WaitTimeout(KontinueError, TimeoutError):
    """A wait took longer than its ``timeout``. What was waited for goes on, unless the wait was a durable one.

    Attributes:
        seq: of a durable wait, number of its timer's record in the memo.
    """

    def __init__(self, message: str = "", *, seq: int = -1) -> None:
        super().__init__(message)
        self.seq = seq


class ExecutionTimedOut(KontinueError, TimeoutError):
    """An Execution, or its last attempt, took longer than its timeout. Nobody raises it: it is what such an end is
    recorded as, so that ``except ChildFailed as error: if error.is_a(TimeoutError)`` tells it from others.
    """


class SuspendTimeout(KontinueError, TimeoutError):
    """Nobody resumed the Suspension within its ``timeout``.

    Attributes:
        seq: number of the record in the memo.
    """

    def __init__(self, message: str = "", *, seq: int = -1) -> None:
        super().__init__(message)
        self.seq = seq


class ExecutionEnded(KontinueError):
    """An Execution did not complete.

    Attributes:
        execution: name of the Execution.
        type: qualified class name of the exception that ended it, or the reason.
        traceback: text of its traceback; may be empty.
    """

    def __init__(self, message: str, *, execution: str, type: str = "", traceback: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.execution = execution
        self.type = type
        self.traceback = traceback


class ExecutionFailed(ExecutionEnded):
    """The Execution failed for good."""


class ExecutionCanceled(ExecutionEnded):
    """The Execution was canceled."""


class ExecutionBlocked(ExecutionEnded):
    """The code no longer matches the Execution's records; it waits for a matching build, a cancel or a retry."""


class UnknownFunction(KontinueError):
    """No Function of that name is registered in the namespace.

    Attributes:
        function: the name asked for.
        suggestion: the nearest registered name, or an empty string.
    """

    def __init__(self, message: str, *, function: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.function = function
        self.suggestion = suggestion


class InvalidState(KontinueError):
    """The object's phase does not allow the operation, for example a cancel of a completed Execution."""


class Held(KontinueError):
    """A lock belongs to somebody else: it cannot be had now, or it is not yours to release. The message names him.

    Also: no permit of a Semaphore is free, and it was not to be waited for.
    """


class AlreadyExecuted(KontinueError):
    """A Once has been executed: nothing is to be done."""


class LockLost(KontinueError):
    """What was held, a lock or a permit, has ended before it was released: expired, or taken away by somebody."""


class ConfigError(KontinueError):
    """No API server was found, or the kubeconfig cannot be used. The message says what was tried."""


class ApiError(KontinueError):
    """The API server refused a request.

    Attributes:
        status: HTTP status code; 0 when no answer came.
        reason: machine-readable reason, as in Kubernetes' Status (``NotFound``, ``Conflict``, ``Invalid`` ...).
        message: the server's message.
        retry_after_s: seconds that the server asked to wait, or None.
    """

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", retry_after_s: float | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message + remedy)
        self.message = message
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    """404: the object, namespace or resource does not exist."""


class AlreadyExists(ApiError):
    """409, reason AlreadyExists: an object of that name exists."""


class Conflict(ApiError):
    """409: the object changed since it was read, or a precondition failed."""


class Forbidden(ApiError):
    """403: the credentials do not allow this."""


class Unauthorized(ApiError):
    """401: no or wrong credentials."""


class Invalid(ApiError):
    """400 or 422: the server cannot accept this object or request; retrying is useless."""


class Gone(ApiError):
    """410: the resourceVersion is too old; list again."""


class TooLarge(ApiError):
    """413, or 500 for an object past the storage limit: permanent, never retried."""


class Unavailable(ApiError):
    """No answer, 429 or 5xx: the request may be sent again later."""


class ContinueAsNew(BaseException):
    """Raised by ``ctx.continue_as_new()``: ends this run of the function. Let it pass.

    It derives from BaseException so that ``except Exception`` does not swallow it.

    Attributes:
        arguments: JSON object that the next run gets.
    """

    def __init__(self, arguments: bytes) -> None:
        super().__init__("the function starts again with new arguments: let this exception pass")
        self.arguments = arguments


class ExecutionInterrupted(BaseException):
    """Raised inside user code when its Execution is canceled.

    It derives from BaseException so that ``except Exception`` does not swallow it. Clean up in ``finally`` and let
    it pass: every later context call raises it again and a return value is discarded.
    """
