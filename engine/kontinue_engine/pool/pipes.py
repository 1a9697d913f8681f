"""Internal. The supervisor's pipe ends: written without ever blocking, many frames per system call.

``PipeWriter`` collects what is written within one turn of the event loop. Reading needs no class.
Used by ``pool.runner_process``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Final

READ_BYTES: Final = 256 * 1024
"""Per turn of the loop and pipe of frames. A pipe holds 64 KiB, a socket some more."""

OUTPUT_BYTES: Final = 16 * 1024
"""Per turn of the loop and pipe of output: 200 lines of 80 characters, 2-3 ms with their way to the log. The rest stays
in the pipe, which slows its writer down and not the other runners."""

_LAST_READS: Final = 16


def read_available(fd: int, max_bytes: int = READ_BYTES) -> bytes | None:
    """Return what can be read now from a non-blocking descriptor: None if nothing, empty at the end."""
    try:
        return os.read(fd, max_bytes)
    except BlockingIOError:
        return None


def read_rest(fd: int) -> Iterator[bytes]:
    """Read what a process has left in its pipe; not for ever, if a process that it has started goes on writing."""
    for _ in range(_LAST_READS):
        data = read_available(fd)
        if not data:
            return
        yield data


class PipeWriter:
    """Writes to one non-blocking pipe, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._pending = bytearray()
        self._scheduled: asyncio.Handle | None = None
        self._is_full = False
        self._closed = False

    def write(self, data: bytes | bytearray) -> None:
        """Send ``data`` at the end of this turn of the loop, or when the reader has made room."""
        self._pending += data
        if self._scheduled is None and not self._is_full and not self._closed:
            self._scheduled = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write now what can be written."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if not self._pending or self._closed:
            return
        try:
            del self._pending[: os.write(self._fd, self._pending)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            # The reader is gone; whoever watches the process says so.
            self._pending.clear()
        if bool(self._pending) != self._is_full:
            self._is_full = not self._is_full
            if self._is_full:
                self._loop.add_writer(self._fd, self.flush)
            else:
                self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Drop what is not written and close the descriptor."""
        if self._closed:
            return
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
        if self._is_full:
            self._loop.remove_writer(self._fd)
        os.close(self._fd)
