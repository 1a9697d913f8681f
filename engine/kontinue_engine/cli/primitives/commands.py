"""Internal. Runs a command for a verb that holds something meanwhile, and ends verbs that wait when a signal comes.

Called by ``semaphore`` and ``locks``: who is told to end gives back what it holds, and waits for nothing more.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final

import typer

from kontinue_engine.cli.guarding import go_under_guard
from kontinue_engine.processes import guard

GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL to a command whose lock is lost. Judgement: somebody else may hold it already."""
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
        if not received:  # what is given back then is not cancelled
            task.cancel()
        received.append(number)

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


async def run_command(
    words: Sequence[str], signals: Signals, *, environment: Mapping[str, str] | None = None, own_group: bool = False
) -> int:
    """Run a command to its end and return its exit status; below 0: the signal that has ended it.

    What is held is given back only after the command has ended: signals are passed on to it. Whoever is cancelled has
    the command ended, and whoever is killed takes it along, as nobody would renew then what it works under.

    Args:
        words: the command.
        signals: those of this process.
        environment: of the command; None: ours.
        own_group: have it, and all that it starts, in a process group of its own, which is signalled and ended as a
            whole but cannot read from the terminal. Else SIGINT is left to it, as a terminal sends that to both.
    """
    signals.keep()
    loop = asyncio.get_running_loop()
    if is_main := threading.current_thread() is threading.main_thread():
        usual = signal.getsignal(signal.SIGINT)
        loop.add_signal_handler(signal.SIGINT, signals.receive if own_group else _ignore, signal.SIGINT)
    try:
        with ExitStack() as used:
            in_child = None
            with suppress(FileNotFoundError):  # an image without a shell
                in_child = partial(go_under_guard, used.enter_context(guard()), own_group)
            process = await asyncio.create_subprocess_exec(
                *words, env=environment, process_group=0 if own_group else None, preexec_fn=in_child
            )
            send = partial(_send, process, own_group)
            signals.hand_to(send)
            return await _ended(process, send)
    except OSError as error:
        why = f": {error.strerror}" if words[0] else " is no command"
        typer.echo(f"error: {shlex.quote(words[0])}{why}", err=True)
        return NOT_STARTED
    finally:
        signals.keep()
        if is_main:
            loop.remove_signal_handler(signal.SIGINT)
            if usual is not None:  # Python's; asyncio.run's has what is held given back before Ctrl-C ends us
                signal.signal(signal.SIGINT, usual)


def exit_code(status: int) -> int:
    """Return how a shell says the exit status of a command."""
    return status if status >= 0 else _BY_SIGNAL - status


async def _ended(process: asyncio.subprocess.Process, send: Callable[[int], None]) -> int:
    try:
        return await process.wait()
    except asyncio.CancelledError:
        send(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        send(signal.SIGKILL)
        await process.wait()
        raise


def _send(process: asyncio.subprocess.Process, own_group: bool, number: int) -> None:  # noqa: FBT001
    if own_group:  # others of the group may live on
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    elif process.returncode is None:
        process.send_signal(number)


def _ignore(_: int) -> None:
    pass
