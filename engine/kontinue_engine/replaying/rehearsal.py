"""Internal. Replays one history after the other against the functions of an app, in the runner's own hosts.

They are told to start nothing: no step runs, no child, timer or Suspension is asked for, and a function without a
context is never called. What has been replayed is left where it waits, so that no ``finally`` block of it runs; the
process, ``kontinue_engine.replaying.__main__``, ends without unwinding.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kontinue.definition import FunctionDefinition
from kontinue.replay.call import Mismatch
from kontinue.replay.records import EMPTY_MEMO, Memo, decode_memo
from kontinue_engine import clock
from kontinue_engine.replaying.verdicts import Finding, Verdict
from kontinue_engine.runner.activation import BY_THE_CODE_NOW, check_nothing_recorded
from kontinue_engine.runner.async_host import AsyncHost
from kontinue_engine.runner.sync_host import SyncHost
from kontinue_engine.wire import frames

_End = frames.Waiting | frames.Completed | frames.Failed | frames.Mismatched
_NOT_A_STEP: Final = "-"
_OTHER_ARGUMENTS: Final = (
    "the same call with other arguments: if the code has not changed there, is there uuid, random or the time in the "
    "function's body?"
)

Functions = Mapping[str, FunctionDefinition[..., Any]]


class Rehearsal:
    """Replays what it is given.

    Args:
        functions: by registered name.
        loop: nothing else runs on it.
    """

    def __init__(self, functions: Functions, loop: asyncio.AbstractEventLoop) -> None:
        self._functions = functions
        self._loop = loop
        self._said: queue.SimpleQueue[frames.RunnerEvent] = queue.SimpleQueue()
        now_ms = clock.SystemClock().now_ms
        self._sync = SyncHost(functions, send=self._said.put, now_ms=now_ms, only_replays=True)
        self._async = AsyncHost(functions, send=self._hear, now_ms=now_ms, loop=loop, only_replays=True)

    def check(self, activate: frames.Activate) -> Verdict:
        """Return whether the function asks for what is recorded."""
        try:
            memo = decode_memo(activate.memo) if activate.memo else EMPTY_MEMO
        except msgspec.MsgspecError as error:
            return _differs("", f"a memo that cannot be read: {error}", "a memo")
        function = self._functions.get(activate.function)
        if function is None:
            recorded = f"function {activate.function}"
            return _differs("", recorded, "the app has no function of that name", records=len(memo.records))
        if not memo.records:
            return _check_arguments(function, activate, memo)
        if not function.takes_context:
            return _check_without_context(function, activate, records=len(memo.records))
        return _verdict(self._replay(function, activate), records=len(memo.records))

    def _replay(self, function: FunctionDefinition[..., Any], activate: frames.Activate) -> _End:
        if function.is_async:
            self._loop.call_soon(self._async.receive, activate)
            self._loop.run_forever()
        else:
            self._sync.receive(activate)
        while True:
            frame = self._said.get()
            if isinstance(frame, _End) and frame.activation == activate.activation:
                return frame

    def _hear(self, frame: frames.RunnerEvent) -> None:
        self._said.put(frame)
        if isinstance(frame, _End):
            self._loop.stop()


def _check_arguments(function: FunctionDefinition[..., Any], activate: frames.Activate, memo: Memo) -> Verdict:
    """Nothing is recorded but what it was called with; nothing of the function is run."""
    arguments = activate.arguments if memo.arguments is msgspec.UNSET else bytes(memo.arguments)
    try:
        function.codec.decode_arguments(arguments)
    except Exception as error:  # noqa: BLE001 - InvalidArguments, or anything from a user's validator
        return _differs("", f"arguments {arguments.decode(errors='replace')}", str(error))
    runs = "it begins from the start" if function.takes_context else "it has no context and runs as a whole"
    return Verdict(finding=Finding.REPLAYS, message=f"nothing is recorded: {runs}")


def _check_without_context(
    function: FunctionDefinition[..., Any], activate: frames.Activate, *, records: int
) -> Verdict:
    try:
        check_nothing_recorded(activate, function)
    except Mismatch as mismatch:
        return _differs(mismatch.step, mismatch.recorded, mismatch.requested, records=records)
    raise AssertionError("it has records")


def _verdict(end: _End, *, records: int) -> Verdict:
    match end:
        case frames.Mismatched():
            hint = _OTHER_ARGUMENTS if end.only_arguments else ""
            requested = end.requested.removesuffix(BY_THE_CODE_NOW)
            return _differs(end.step, end.recorded, requested, records=records, message=hint)
        case frames.Completed():
            then = "then starts again by ctx.continue_as_new" if end.arguments else "then returns"
        case frames.Failed():
            then = f"then raises {end.error.type}: {end.error.message}"
        case frames.Waiting():
            asked = [f"{item.kind} {item.name}".rstrip() for item in end.waiting_for]
            more = f" and {end.more} more" if end.more else ""
            then = f"then waits for {', '.join(asked)}{more}"
    return Verdict(finding=Finding.REPLAYS, records=records, message=then)


def _differs(step: str, recorded: str, requested: str, *, records: int = 0, message: str = "") -> Verdict:
    return Verdict(
        finding=Finding.DIFFERS,
        records=records,
        step=step or _NOT_A_STEP,
        recorded=recorded,
        requested=requested,
        message=message,
    )
