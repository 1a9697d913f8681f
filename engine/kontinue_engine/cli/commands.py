"""Internal. Runs a command for a verb that holds something meanwhile, as ``semaphore with NAME -- CMD`` does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Final

import typer

NOT_STARTED: Final = 127
"""As a shell says it."""


async def run_command(words: Sequence[str]) -> int:
    """Run a command to its end and return its exit status, 128 + the signal that ended it.

    What is held is given back only after the command has ended: SIGTERM and SIGHUP are passed on, SIGINT is left to
    it, as a terminal sends that to both.
    """
    loop = asyncio.get_running_loop()
    try:
        process = await asyncio.create_subprocess_exec(*words)
    except OSError as error:
        typer.echo(f"error: {words[0]} cannot be started: {error.strerror}", err=True)
        return NOT_STARTED
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, _pass_on, process, number)
    try:
        status = await process.wait()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    return 128 - status if status < 0 else status


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None and number != signal.SIGINT:
        process.send_signal(number)
