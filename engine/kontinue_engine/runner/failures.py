"""Internal. Turns exceptions of user code into what records and frames carry: names and texts, never objects."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final, NamedTuple

import kontinue
import kontinue_engine
from kontinue.api.v1alpha1 import MAX_TRACEBACK_BYTES
from kontinue.errors import (
    ContextError,
    NonRetryableError,
    RecordedFailure,
    StepFailed,
    SuspendTimeout,
    WaitTimeout,
)
from kontinue.replay.records import RecordedError
from kontinue_engine.wire import frames

_OUR_FOLDERS: Final = tuple(str(Path(folder)) for package in (kontinue, kontinue_engine) for folder in package.__path__)
_CUT: Final = "... (cut)\n"


def error_info(error: BaseException) -> frames.ErrorInfo:
    """Describe ``error``: class names, message, and its traceback without our own frames."""
    types = [qualified_name(kind) for kind in type(error).__mro__ if kind is not object]
    return frames.ErrorInfo(type=types[0], message=_message(error), traceback=_traceback(error), types=types)


def recorded_error(error: BaseException | frames.ErrorInfo) -> RecordedError:
    """Describe ``error`` for a memo record."""
    info = error_info(error) if isinstance(error, BaseException) else error
    return RecordedError(type=info.type, message=info.message, traceback=info.traceback, types=info.types)


class Continuation(bytes):
    """What an activation ends with instead of JSON of a result: of the arguments to start again with."""


class Failure(NamedTuple):
    """How an activation failed: ``reason`` as in frames.Failed."""

    error: BaseException
    reason: str


def user_failure(error: BaseException) -> Failure:
    """Return the failure of user code that raised ``error``."""
    return Failure(error, _reason_of(error))


def _reason_of(error: BaseException) -> str:
    if qualified_name(NonRetryableError) in kinds_of(error):
        return "NonRetryable"
    if isinstance(error, ContextError):
        return "ContextMisuse"
    return "UserError"


def kinds_of(error: BaseException) -> list[str]:
    """Return the names of all classes that ``error`` is of, or stands for: a step's exception, members of a group.

    Not those of a child's exception, with which its own policy has dealt; and not those of its cause and context:
    who raises something else from an error says that it is something else.
    """
    kinds: dict[str, None] = {}
    left = [error]
    while left:
        current = left.pop()
        kinds.update(dict.fromkeys(qualified_name(kind) for kind in type(current).__mro__ if kind is not object))
        if isinstance(current, StepFailed):
            kinds.update(dict.fromkeys(current.types))
        if isinstance(current, BaseExceptionGroup):
            left.extend(current.exceptions)
    return list(kinds)


def seqs_of(error: BaseException) -> list[int]:
    """Return the numbers of the records whose failures stand in the cause, context and group chain of ``error``."""
    seqs: set[int] = set()
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        current = left.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, (RecordedFailure, SuspendTimeout, WaitTimeout)) and current.seq > 0:
            seqs.add(current.seq)
        if isinstance(current, BaseExceptionGroup):
            left.extend(current.exceptions)
        left.extend((current.__cause__, current.__context__))
    return sorted(seqs)


def qualified_name(kind: type) -> str:
    """Return the name of a class as records carry it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        # Of a child's child: its class stands in its message, and whoever shows that puts this one in front.
        if isinstance(error, RecordedFailure) and error.type == qualified_name(type(error)):
            text = error.message
        else:
            text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may do anything
        text = f"<no message: {type(broken).__name__} in __str__>"
    return _clean(text)


def _clean(text: str) -> str:
    """Return ``text`` without lone surrogates, which no encoding carries, and not larger than a traceback may be."""
    data = text.encode("utf-8", "backslashreplace")
    return data[:MAX_TRACEBACK_BYTES].decode("utf-8", "ignore")


def _traceback(error: BaseException) -> str:
    try:
        described = traceback.TracebackException.from_exception(error, compact=True)
        _drop_our_frames(described)
        data = "".join(described.format()).encode("utf-8", "backslashreplace")
    except Exception as broken:  # noqa: BLE001 - __str__, __repr__ or __notes__ of a user's exception
        return f"<no traceback: {type(broken).__name__} while formatting it>"
    if len(data) <= MAX_TRACEBACK_BYTES:
        return data.decode()
    return _CUT + data[len(_CUT) - MAX_TRACEBACK_BYTES :].decode("utf-8", "ignore")


def _drop_our_frames(described: traceback.TracebackException | None) -> None:
    left = [described]
    while left:
        current = left.pop()
        if current is None:
            continue
        kept = [frame for frame in current.stack if not frame.filename.startswith(_OUR_FOLDERS)]
        current.stack = traceback.StackSummary.from_list(kept)
        left.extend((current.__cause__, current.__context__, *(current.exceptions or ())))
