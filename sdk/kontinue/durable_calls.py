"""Builds durable calls from what users pass to a context: checked, encoded and digested at the call.

What is wrong with a call is said where the call stands, before anything is recorded. The contexts use the builders;
runners read the requests to perform them. Order and replay are ``kontinue.replay``'s business.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from kontinue import codec, steps
from kontinue.definition import FunctionDefinition
from kontinue.durable_timeout import require_timedelta
from kontinue.errors import ChildFailed, ContextError, DefinitionError, StepFailed, SuspendTimeout
from kontinue.options import StepOptions
from kontinue.replay.call import Call, Parallelism
from kontinue.replay.records import Record, RecordKind

SUSPEND_TIMEOUT: Final = "kontinue.errors.SuspendTimeout"
"""Recorded type of a Suspension's end that nobody brought about."""

_SHOWN_PATH_PARTS: Final = 2
"""Of a file's path in ``file:line``; judgement: enough to recognise it, and the memo stays small."""


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """Run ``function`` as a child Execution; ``arguments`` is its JSON object."""

    function: FunctionDefinition[Any, Any]
    arguments: bytes

    def decode(self, data: bytes) -> Any:
        """Return the child's result."""
        return self.function.codec.decode_result(data)

    def failure(self, record: Record) -> Exception:
        """Return ChildFailed."""
        child = record.child
        return ChildFailed(
            child=child.name if child else "", phase=child.phase if child else "Failed", **_recorded(record)
        )


@dataclass(frozen=True, slots=True)
class StepRequest:
    """Call ``fn``, a coroutine function if ``is_async``, in the runner."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: StepOptions
    codec: steps.StepCodec
    is_async: bool

    def decode(self, data: bytes) -> Any:
        """Return the step's result."""
        return self.codec.decode_result(data)

    def failure(self, record: Record) -> Exception:
        """Return StepFailed."""
        return StepFailed(**_recorded(record))


@dataclass(frozen=True, slots=True)
class TimerRequest:
    """Wake up after ``duration_ms``; ``is_sleep``: somebody may wake it earlier."""

    duration_ms: int
    is_sleep: bool = False

    def decode(self, data: bytes) -> None:
        """Return nothing: a timer has no result."""

    def failure(self, record: Record) -> Exception:
        """Return ContextError: the supervisor refused the timer."""
        error = record.error
        return ContextError(f"timer refused: {error.message if error else ''}")


@dataclass(frozen=True, slots=True)
class SuspendRequest:
    """Wait until somebody resumes the Execution, for ``timeout_ms`` at most.

    Attributes:
        payload: codec of what they say; None where they say nothing.
        timeout_ms: None means for ever.
    """

    display_name: str
    description: str
    payload: codec.TypeCodec | None
    timeout_ms: int | None

    def decode(self, data: bytes) -> Any:
        """Return the payload.

        Raises:
            CodecError: it is not of the type asked for; ``path`` says where.
        """
        return None if self.payload is None else self.payload.decode(data)

    def schema(self) -> bytes:
        """Return the JSON Schema of the payload, or nothing where none is read."""
        return b"" if self.payload is None else msgspec.json.encode(codec.json_schema(self.payload.type))

    def failure(self, record: Record) -> Exception:
        """Return SuspendTimeout, or ContextError where the Suspension could not be created."""
        error = record.error
        message = error.message if error else ""
        if error is not None and error.type != SUSPEND_TIMEOUT:
            return ContextError(f"cannot be suspended: {message}")
        return SuspendTimeout(f"{self.display_name}: {message}" if self.display_name else message, seq=record.seq)


def child_call(
    function: object,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    parallelism: Parallelism | None = None,
) -> Call:
    """Return the call of a child Execution.

    Raises:
        DefinitionError: not a kontinue function.
        InvalidArguments: they do not fit the signature, or JSON, or the limit.
    """
    definition = _checked(function)
    arguments = definition.codec.encode_arguments(args, kwargs)
    request = ChildRequest(definition, arguments)
    return Call(
        RecordKind.CHILD,
        definition.name,
        request,
        digest=codec.digest(arguments),
        line=line_of_caller(),
        parallelism=parallelism,
    )


def map_calls(function: object, items: Iterable[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Call]:
    """Return one call per item; they share the function's ``parallelism``. Raises like ``child_call``."""
    limit = _checked(function).call_options.parallelism
    shared = None if limit is None else Parallelism(limit)
    return [child_call(function, (item, *args), kwargs, parallelism=shared) for item in items]


def step_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, may_be_async: bool) -> Call:
    """Return the call of a step.

    Raises:
        DefinitionError: a kontinue function, something without a name, or an async step in a sync function.
    """
    options = steps.step_options(fn)
    step_codec = steps.step_codec(fn)
    is_async = inspect.iscoroutinefunction(fn)
    request = StepRequest(fn, args, kwargs, options, step_codec, is_async)
    if is_async and not may_be_async:
        raise DefinitionError(f"step {options.name!r} is async: a sync function needs a sync step")
    digest = step_codec.digest_arguments(args, kwargs)
    return Call(RecordKind.STEP, options.name, request, digest=digest, line=line_of_caller())


def timer_call(duration: timedelta, name: str = "", *, what: str = "ctx.sleep", is_sleep: bool = False) -> Call:
    """Return the call of a timer. Its length is not compared on replay: it may be changed while it runs.

    Raises:
        ContextError: not a timedelta; ``what`` is who takes it.
    """
    require_timedelta(duration, what)
    return Call(RecordKind.TIMER, name, TimerRequest(_whole_ms(duration), is_sleep), line=line_of_caller())


def suspend_call(payload: Any, *, display_name: str, description: str, timeout: timedelta | None) -> Call:
    """Return the call of a wait for somebody. Only its display name is compared on replay.

    Args:
        payload: type of what they say; None where they say nothing.
        display_name: for people; also the call's name in the memo.
        description: for people.
        timeout: how long to wait at most.

    Raises:
        DefinitionError: JSON cannot carry the type.
        ContextError: the timeout is no timedelta.
    """
    if timeout is not None:
        require_timedelta(timeout, "ctx.suspend(timeout=...)")
    try:
        payload_codec = None if payload is None else codec.codec_for(payload)
    except TypeError as error:
        raise DefinitionError(f"ctx.suspend: a payload of this type cannot come as JSON: {error}") from error
    request = SuspendRequest(display_name, description, payload_codec, None if timeout is None else _whole_ms(timeout))
    return Call(RecordKind.SUSPENSION, display_name, request, line=line_of_caller())


def _whole_ms(duration: timedelta) -> int:
    return max(0, round(duration / timedelta(milliseconds=1)))


def _checked(function: object) -> FunctionDefinition[Any, Any]:
    if isinstance(function, str):
        raise DefinitionError(
            f"{function!r} is a name: pass the function itself, or, if another worker group runs it, a signature of "
            f"it declared with remote({function!r})"
        )
    if not isinstance(function, FunctionDefinition):
        name = getattr(function, "__name__", repr(function))
        raise DefinitionError(
            f"{name!r} is not a kontinue function: use ctx.step({name}, ...) to run it as a step, "
            "or decorate it with @app.function"
        )
    return function  # pyright: ignore[reportUnknownVariableType] - narrowed from object


def _recorded(record: Record) -> dict[str, Any]:
    error = record.error
    assert error is not None  # noqa: S101
    return {
        "message": error.message,
        "type": error.type,
        "types": error.types,
        "traceback": error.traceback,
        "seq": record.seq,
    }


def line_of_caller() -> str:
    """Return ``file:line`` of the user's call: the nearest frame that is not kontinue's or the standard library's."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame = frame.f_back
    parts = frame.f_code.co_filename.replace("\\", "/").split("/")
    return f"{'/'.join(parts[-_SHOWN_PATH_PARTS:])}:{frame.f_lineno}"


_OURS: Final = frozenset({"kontinue", "kontinue_engine", "asyncio", "contextlib"})
