"""Internal. What the verbs of all kinds of locks share: options, and a command that runs while a lock is held."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, Self

import typer

from kontinue.api.konductor_v1 import Holder
from kontinue.sync import Lock, Scope
from kontinue_engine.cli.primitives import bound_holder

GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL to a command whose lock is lost. Judgement: somebody else may hold it already."""
NOT_STARTED: Final = 127
"""As a shell says it."""
_KINDS: Final = frozenset({"pod", "pods", "execution", "executions"})
_BY_SIGNAL: Final = 128
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

HolderOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who holds it: any name, or pod/NAME or execution/NAME, whose end releases it. Default: "
        "$KONDUCTOR_HOLDER_ID, else the host's name.",
    ),
]
TimeoutOption = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        envvar="KONDUCTOR_TIMEOUT",
        help="Give up after e.g. 30m; 0 does not wait. Default: never.",
    ),
]
TtlOption = Annotated[
    str, typer.Option(metavar="DURATION", help="How long the lock lasts without renewal. Default: its object's ttl.")
]
CommandArgument = Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What is run.")]


def holder_of(text: str) -> str | Holder:
    """Return what ``--holder`` says: a bound holder where it names a kind, else a name like any other."""
    return bound_holder(text) if text.partition("/")[0].lower() in _KINDS and "/" in text else text


class CommandFailedError(Exception):
    """The command that a lock is held for has ended with another exit status than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}" if status >= 0 else f"ended by signal {-status}")
        self.status = status


async def run_held(scope: Scope, command: Sequence[str], *, must_succeed: bool = False) -> int:
    """Run a command while a lock is held; return its exit status. Once the lock is lost the command is ended.

    Args:
        scope: of the lock.
        command: what to run.
        must_succeed: any exit status but 0 is a failure of what the lock is held for.

    Raises:
        LockLost: the lock was lost, and the command was ended, or had just ended.
        KontinueError: the lock could not be taken.
    """
    with _Signals() as signals:
        try:
            async with scope as lock:
                status = await _run(command, lock, signals)
                if must_succeed and status:
                    raise CommandFailedError(status)
        except CommandFailedError as failure:
            status = failure.status
        except asyncio.CancelledError:
            if signals.ended_by is None:
                raise
            status = -signals.ended_by
    return status if status >= 0 else _BY_SIGNAL - status


async def _run(command: Sequence[str], lock: Lock, signals: _Signals) -> int:
    try:
        process = await asyncio.create_subprocess_exec(*command, env=_environment(lock), process_group=0)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_STARTED
    signals.process = process
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise


def _environment(lock: Lock) -> dict[str, str]:
    return {**os.environ, "KONDUCTOR_HOLDER_ID": lock.holder, "KONDUCTOR_TOKEN": str(lock.token)}


class _Signals:
    """Hands signals on to the command, which is in a group of its own so that it can be ended as a whole.

    Before there is a command, they end the wait for the lock: it leaves the queue.
    """

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.ended_by: int | None = None
        self._task: asyncio.Task[object] | None = None
        # No other thread hears of signals.
        self._numbers = _PASSED_ON if threading.current_thread() is threading.main_thread() else ()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for number in self._numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._take, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._numbers:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _take(self, number: int) -> None:
        if self.process is not None:
            _signal(self.process, number)
        elif self.ended_by is None and self._task is not None:
            self.ended_by = number
            self._task.cancel()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command, and what it has started: another one may hold the lock by now."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        pass
    _signal(process, signal.SIGKILL)
    await process.wait()
