"""Internal. What stands behind a failure: the step whose exception it repeats, or the child that failed. Pure.

The exception of a step is recorded in the memo; the attempt that it ended carries only StepFailed and where that was
raised. Used by ``description``, ``following``, ``dev`` and ``doctor``.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.v1alpha1 import Execution, ExecutionError
from kontinue.replay.records import Memo, Record, RecordKind, decode_memo
from kontinue_engine.cli.text import indent

_KINDS: Final = {
    f"{type_.__module__}.{type_.__qualname__}": kind
    for type_, kind in ((errors.StepFailed, RecordKind.STEP), (errors.ChildFailed, RecordKind.CHILD))
}
_DELETED: Final = f"{errors.NotFound.__module__}.{errors.NotFound.__qualname__}"
"""What a child has ended by that somebody has deleted (``kontinue_engine.controllers.offspring``)."""

_MISMATCH: Final = re.compile(
    r"(?P<where>.*): recorded (?P<recorded>.*?)(?:, recorded (?P<old>by build .*))?"
    r"; requested (?P<requested>.*?)(?:, requested by the code now)? (?P<new>by build .*?)\. .*",
    re.DOTALL,
)
"""The message of a Blocked Execution as ``kontinue_engine.lifecycle.decide`` words it."""


def memo_of(execution: Execution) -> Memo | None:
    """Return what the Execution has recorded; None if nothing, or nothing that this version can read."""
    state = execution.status.state
    if isinstance(state, msgspec.UnsetType):
        return None
    try:
        return decode_memo(state)
    except msgspec.MsgspecError:
        return None


def failed_record(execution: Execution, error: ExecutionError) -> Record | None:
    """Return the newest record whose failure ``error`` repeats; None if it is an error of the function's own."""
    kind = _KINDS.get(error.type)
    memo = memo_of(execution) if kind is not None else None
    for record in reversed(memo.records if memo is not None else []):
        failure = record.error
        if record.kind is kind and failure is not None:
            shown = f"{failure.type}: {failure.message}" if failure.type else failure.message
            if shown == error.message:
                return record
    return None


def explain_cause(execution: Execution, error: ExecutionError, *, flags: str) -> str:
    """Return which step or child failed, with its traceback; empty if there is nothing to say beyond ``error``.

    Args:
        execution: whose attempt failed.
        error: of that attempt.
        flags: global options to repeat in the command that is suggested.
    """
    record = failed_record(execution, error)
    if record is None or record.error is None:
        return ""
    where = f" (called at {record.line})" if record.line else ""
    lines = [f"Step {record.name}{where} raised:"]
    if record.child is not None:
        is_canceled = record.child.phase == "Canceled"
        outcome = "was canceled" if is_canceled else "failed"
        remedy = f"Look at it: kontinue describe {record.child.name}{flags}"
        if is_canceled and record.error.type == _DELETED:
            outcome = "was deleted"
            remedy = f"A new attempt starts it anew: kontinue retry {execution.metadata.name}{flags}"
        lines = [f"Child {record.child.name} of function {record.name}{where} {outcome}. {remedy}"]
    elif not record.error.traceback:
        lines.append(f"    {record.error.type}: {record.error.message}")
    if record.error.traceback:
        lines.append(indent(record.error.traceback, "    "))
    return "\n".join(lines)


def split_mismatch(message: str) -> str:
    """Return the message of a Blocked Execution with its two sides below each other; any other message as it is."""
    found = _MISMATCH.fullmatch(message)
    if found is None:
        return message
    old, new = (f", {build}" if build else "" for build in (found["old"], found["new"]))
    return f"{found['where']}:\n  recorded:  {found['recorded']}{old}\n  requested: {found['requested']}{new}"


def blocked_report(name: str, message: str, flags: str) -> str:
    """Return what somebody sees who has just edited the code of a running Execution: both sides, and the ways out.

    Args:
        name: of the Execution.
        message: of its status, when it was blocked.
        flags: global options to repeat in the commands.
    """
    return f"{name} is Blocked: {split_mismatch(message)}\n{indent(ways_out(name, flags), '  ')}"


def ways_out(name: str, flags: str) -> str:
    """Return what can be done about a Blocked Execution, with commands to paste. Same arguments as above."""
    return (
        "It goes on when the code matches its records again: undo the edit, or run a build that does. Or:\n"
        f"  kontinue retry {name} --children all{flags}    # anew, with the code as it is now\n"
        f"  kontinue cancel {name}{flags}"
    )
