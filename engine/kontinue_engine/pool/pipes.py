"""Internal. The supervisor's pipe ends: written without ever blocking, many frames per system call.

``PipeWriter`` collects what is written within one turn of the event loop. Reading needs no class: ``read_available``.
Used by ``pool.runner_process``.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

READ_BYTES: Final = 256 * 1024
"""Per turn of the loop and pipe, so that one runner's flood of output delays the others by microseconds."""


def read_available(fd: int) -> bytes | None:
    """Return what can be read now from a non-blocking descriptor: None if nothing, empty at the end."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None


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
