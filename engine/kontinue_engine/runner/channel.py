"""Internal. The runner's ends of its pipes: commands in, events out.

Reading is blocking for sync runners and on readiness for async ones; both call ``receive``. ``send`` writes directly
from the thread that has something to say; ``collect`` and ``flush`` make one write of many events. The supervisor
always reads, so a full pipe only slows a runner down.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Final, NoReturn

from kontinue_engine.wire import frames, framing

_READ_BYTES: Final = 64 * 1024
"""What a pipe holds; from 128 KiB on, malloc maps and unmaps memory for every read, which halts the other threads."""


class Channel:
    """Both pipes of a runner."""

    def __init__(self, *, command_fd: int, event_fd: int) -> None:
        self._command_fd = command_fd
        self._event_fd = event_fd
        self._decoder: framing.FrameDecoder[frames.Command] = framing.FrameDecoder(frames.Command)
        self._pending = bytearray()
        self._is_writing = False
        # Reentrant: a finalizer that prints may run between two bytecodes of ``send`` in the same thread.
        self._lock = threading.RLock()

    @property
    def command_fd(self) -> int:
        """What to watch for commands."""
        return self._command_fd

    def send(self, event: frames.RunnerEvent) -> None:
        """Send an event, after those collected. Thread-safe and in order. Ends the process if nobody reads.

        Raises:
            FrameTooLargeError: it is not sent.
        """
        self.collect(event)
        self.flush()

    def collect(self, event: frames.RunnerEvent) -> None:
        """Have an event sent by the next ``flush`` or ``send``. Thread-safe.

        Raises:
            FrameTooLargeError: it is not sent.
        """
        data = framing.encode(event)
        with self._lock:
            self._pending += data

    def flush(self) -> None:
        """Send what was collected. Ends the process if nobody reads."""
        with self._lock:
            if self._is_writing:
                return  # a finalizer within the loop below, which takes along what it has collected
            self._is_writing = True
            try:
                while self._pending:
                    del self._pending[: os.write(self._event_fd, self._pending)]
            except BrokenPipeError:
                end_process()
            finally:
                self._is_writing = False

    def receive(self) -> Iterator[frames.Command]:
        """Read once and return the commands that are complete now. Ends the process at the end of the pipe.

        Raises:
            ProtocolError: while iterating; the supervisor is broken.
        """
        data = os.read(self._command_fd, _READ_BYTES)
        if not data:
            end_process()
        return self._decoder.feed(data)


def end_process() -> NoReturn:
    """End this process at once: no ``finally`` block, no exit handler and no other thread of the user runs on."""
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)
