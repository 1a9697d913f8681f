"""Internal. Starts a child process of ``kontinue dev`` and reads its two streams line by line. All process I/O is here.

A child gets a session of its own, so that Ctrl-C in the terminal reaches ``dev`` alone, which stops its children in
order; and on Linux the kernel kills it when ``dev`` dies, however that happens. What a child has started itself is not
tied to anything: where that must end with ``dev``, too, a guard sees to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kontinue_engine.cli.guarding import go_under_guard
from kontinue_engine.processes import die_with_parent

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Longest line read whole: the largest log line is one line of user output. Longer ones are passed on in pieces."""

LineHandler = Callable[[bytes], None]


class ChildProcess:
    """One running process; ``on_stdout`` and ``on_stderr`` get its lines without the newline."""

    def __init__(self, process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]]) -> None:
        self._process = process
        self._readers = readers

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, signal_number: int) -> None:
        """Send a signal; a process that has ended already is fine."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal_number)

    async def wait(self) -> int:
        """Wait for the end and for all of its output; return the exit code, negative for a signal."""
        code = await self._process.wait()
        # Runners may hold the pipe for a moment longer than the worker that they die with.
        await asyncio.wait(self._readers, timeout=2)
        for reader in self._readers:
            reader.cancel()
        return code


async def start_process(
    command: Sequence[str],
    *,
    directory: Path,
    on_stdout: LineHandler,
    on_stderr: LineHandler,
    environment: Mapping[str, str] | None = None,
    guard_fd: int | None = None,
) -> ChildProcess:
    """Start ``command`` in ``directory``. Must be called from the main thread: the kernel ties the child to it.

    Without an ``environment`` it has ours. With the ``guard_fd`` of a ``guard`` its process group dies with us.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=functools.partial(_tie, os.getpid(), guard_fd),
            limit=MAX_LINE_BYTES,
        ),
        name=f"start {command[0]}",
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end_what_starts(starting)
        raise
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("a child process without pipes")
    readers = [
        asyncio.create_task(_read_lines(process.stdout, on_stdout), name=f"stdout of {process.pid}"),
        asyncio.create_task(_read_lines(process.stderr, on_stderr), name=f"stderr of {process.pid}"),
    ]
    return ChildProcess(process, readers)


async def _end_what_starts(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """Kill a process whose start was cancelled, with its group; asyncio alone would leave its pipes open."""
    while not starting.done():
        with contextlib.suppress(asyncio.CancelledError):  # of the caller, who passes on the first one
            await asyncio.wait([starting])
    if starting.exception() is None:
        process = starting.result()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


def _tie(parent_pid: int, guard_fd: int | None) -> None:
    """In the child, before its program: tie it to us, and its process group to the guard."""
    die_with_parent(parent_pid)
    if guard_fd is not None:
        go_under_guard(guard_fd, is_group=True)  # it leads a session, so this is its group, too


async def _read_lines(stream: asyncio.StreamReader, handle: LineHandler) -> None:
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                handle(end.partial)
            return
        except asyncio.LimitOverrunError as overrun:
            line = await stream.readexactly(overrun.consumed)
        handle(line.removesuffix(b"\n"))
