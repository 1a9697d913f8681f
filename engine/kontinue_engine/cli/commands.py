"""Internal. Runs a command for a verb that holds something meanwhile, and ends verbs that wait when a signal comes.

Called by ``kontinue_engine.cli.semaphore``: who is told to end gives back what it holds, and waits for nothing more.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import typer

NOT_STARTED: Final = 127
"""As a shell says it."""
_BY_SIGNAL: Final = 128
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Those that have been sent to this process, and who takes them."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._take: Callable[[int], object] = self._kept.append

    def receive(self, number: int) -> None:
        """Hand one on."""
        self._take(number)

    def hand_to(self, take: Callable[[int], object]) -> None:
        """Hand them on from now, those that were kept first."""
        self._take = take
        while self._kept:
            take(self._kept.pop(0))

    def keep(self) -> None:
        """Keep them until somebody takes them."""
        self._take = self._kept.append


async def ended_by_signals(work: Callable[[Signals], Coroutine[Any, Any, int]]) -> int:
    """Return what ``work`` returns; SIGTERM and SIGHUP cancel it, as Ctrl-C does, unless it takes them itself."""
    signals, received = Signals(), list[int]()
    task = asyncio.ensure_future(work(signals))

    def cancel(number: int) -> None:
        received.append(number)
        task.cancel()

    signals.hand_to(cancel)
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            loop.add_signal_handler(number, signals.receive, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return _BY_SIGNAL + received[0]


async def run_command(words: Sequence[str], signals: Signals) -> int:
    """Run a command to its end and return its exit status, 128 + the signal that ended it.

    What is held is given back only after the command has ended: SIGTERM and SIGHUP are passed on, SIGINT is left to
    it, as a terminal sends that to both.
    """
    signals.keep()
    loop = asyncio.get_running_loop()
    if is_main := threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        process = await asyncio.create_subprocess_exec(*words)
        signals.hand_to(partial(_pass_on, process))
        status = await process.wait()
    except OSError as error:
        typer.echo(f"error: {words[0]} cannot be started: {error.strerror}", err=True)
        return NOT_STARTED
    finally:
        signals.keep()
        if is_main:
            loop.remove_signal_handler(signal.SIGINT)
    return _BY_SIGNAL - status if status < 0 else status


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        process.send_signal(number)
