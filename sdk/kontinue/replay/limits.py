"""How much one run of a function may record, and what a call gets that does not fit.

Pure. Called by ``kontinue.replay.journal``. A refusal is recorded like any outcome, so a replay meets it again.
"""

from __future__ import annotations

from typing import Final

from kontinue.api.v1alpha1 import MAX_CALLS, MAX_HISTORY_BYTES, MAX_RECORD_BYTES
from kontinue.errors import KontinueError, LimitExceeded
from kontinue.replay.records import RecordedError

MAX_REFUSALS: Final = 100
"""Refusals that a run may be told before one more ends it. Judgement: code that cleans up afterwards tries a few calls,
code in a loop would fill its history with refusals for ever."""

_REMEDY = "start again by ctx.continue_as_new(), or split the function into children"
_NAMES: Final = [f"{kind.__module__}.{kind.__qualname__}" for kind in (LimitExceeded, KontinueError, Exception)]


def refusal(calls: int, history_bytes: int) -> RecordedError | None:
    """Return what a new call is answered with instead of being started; None if there is room.

    Args:
        calls: how many have been started.
        history_bytes: size of all records.
    """
    if calls >= MAX_CALLS:
        return _error(f"this run has made {calls:,} durable calls, the limit is {MAX_CALLS:,}: {_REMEDY}")
    if history_bytes >= MAX_HISTORY_BYTES:
        return _history_error(history_bytes)
    return None


def is_refusal(error: RecordedError | None) -> bool:
    """Tell whether an outcome is one of those that are made here."""
    return error is not None and error.type == _NAMES[0]


def outcome_refusal(record_bytes: int, history_bytes: int) -> RecordedError | None:
    """Return what is recorded instead of an outcome that is too large; None if it is not.

    Args:
        record_bytes: size of its record.
        history_bytes: size of all other records.
    """
    if record_bytes > MAX_RECORD_BYTES:
        return _error(
            f"the outcome is {record_bytes:,} bytes, the limit is {MAX_RECORD_BYTES:,}: store it elsewhere and return "
            "where it is"
        )
    if history_bytes + record_bytes > MAX_HISTORY_BYTES + MAX_RECORD_BYTES:
        return _history_error(history_bytes + record_bytes)
    return None


def _history_error(size: int) -> RecordedError:
    return _error(
        f"the records of this run are {size:,} bytes, the limit is {MAX_HISTORY_BYTES:,}: return less from steps and "
        f"children (for example a reference to an object store), or {_REMEDY}"
    )


def _error(message: str) -> RecordedError:
    return RecordedError(type=_NAMES[0], message=message, types=_NAMES)
