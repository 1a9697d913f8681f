"""Internal. The zygote as the supervisor sees it: exec it, ask it for runners, hear how they ended, notice its end.

Created and replaced by ``pool.pool``. The other side is ``kontinue_engine.runner.zygote``, reached by name only: the
supervisor never imports the user's code or the code that runs it.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Final, Protocol

import msgspec

from kontinue_engine.errors import ProtocolError
from kontinue_engine.pool import pipes
from kontinue_engine.pool.lines import OutputLines
from kontinue_engine.pool.options import PoolOptions
from kontinue_engine.pool.runner_process import RunnerProcess
from kontinue_engine.processes import describe_exit
from kontinue_engine.wire import frames, framing

HASH_SEED: Final = "0"
"""Pinned, so that sets of strings iterate alike in every process that replays a memo."""

_TAIL_LINES: Final = 50


class ZygoteOwner(Protocol):
    """Who is told: the pool."""

    def on_zygote_event(self, event: frames.ZygoteEvent) -> None:
        """What the zygote says."""
        ...

    def on_log(self, pid: int, line: frames.LogLine) -> None:
        """A line that the user's module wrote when it was imported."""
        ...

    def on_zygote_ended(self) -> None:
        """The process is gone, and reaped."""
        ...


class ZygoteProcess:
    """A running zygote.

    Attributes:
        pid: its process.
        end: how it ended, in words; empty while it lives.
    """

    def __init__(self, options: PoolOptions, *, loop: asyncio.AbstractEventLoop, owner: ZygoteOwner) -> None:
        """Exec it.

        Raises:
            RuntimeError: not called from the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel kills the zygote when the thread that started it ends; only the main thread lives as long.
            raise RuntimeError("the pool must be started from the main thread of its process")
        self._loop = loop
        self._owner = owner
        self._decoder: framing.FrameDecoder[frames.ZygoteEvent] = framing.FrameDecoder(frames.ZygoteEvent)
        self._lines = OutputLines()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.end = ""
        self._is_closing = False
        self._control, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._output_fd, output_write = os.pipe()
        with remote:
            self._process = _exec(options, remote, output_write)
        os.close(output_write)
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        self._control.setblocking(False)  # noqa: FBT003 - no keyword exists
        os.set_blocking(self._output_fd, False)
        loop.add_reader(self._control, self._on_control)
        loop.add_reader(self._output_fd, self._on_output)
        if self._pidfd >= 0:
            loop.add_reader(self._pidfd, self._ended)

    @property
    def tail(self) -> str:
        """The last lines that it wrote: what is known if it dies."""
        return "\n".join(self._tail)

    def fork(self, runner: RunnerProcess) -> None:
        """Ask for a runner; ``RunnerForked`` or ``RunnerExited`` follows."""
        request = framing.encode(frames.ForkRunner(runner.number, runner.colour))
        try:
            socket.send_fds(self._control, [request], runner.remote_fds)
        except OSError:
            # Dead, or it has not read hundreds of requests: in both cases it and its runners are replaced.
            self.kill()
        finally:
            runner.close_remote_fds()

    def kill(self) -> None:
        """SIGKILL it, and with it its runners."""
        self._process.kill()

    def _on_control(self) -> None:
        if not self._receive():
            self._ended()

    def _receive(self) -> bool:
        """Handle what can be read; False at the end."""
        try:
            data = self._control.recv(pipes.READ_BYTES)
            for event in self._decoder.feed(data):
                self._owner.on_zygote_event(event)
        except BlockingIOError:
            return True
        except (ConnectionError, ProtocolError):
            return False
        return bool(data)

    def _on_output(self) -> None:
        data = pipes.read_available(self._output_fd, pipes.OUTPUT_BYTES)
        if data == b"":
            self._loop.remove_reader(self._output_fd)
        elif data:
            self._report_output(self._lines.feed(data))

    def _report_output(self, lines: list[str]) -> None:
        for text in lines:
            self._tail.append(text)
            self._owner.on_log(self.pid, frames.LogLine(0, "stdout", text, at_ms=time.time_ns() // 1_000_000))

    def _ended(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        for fd in (self._control.fileno(), self._output_fd, self._pidfd):
            if fd >= 0:
                self._loop.remove_reader(fd)
        self._process.kill()
        self.end = describe_exit(self._process.wait())
        self._drain()
        self._control.close()
        for fd in (self._output_fd, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._owner.on_zygote_ended()

    def _drain(self) -> None:
        """Handle what it has left in its pipe and its socket."""
        for data in pipes.read_rest(self._output_fd):
            self._report_output(self._lines.feed(data))
        self._report_output(self._lines.finish())
        self._receive()


def _exec(options: PoolOptions, control: socket.socket, output_fd: int) -> subprocess.Popen[bytes]:
    launch = frames.LaunchZygote(
        parent_pid=os.getpid(),
        control_fd=control.fileno(),
        app=options.app,
        app_dir=str(pathlib.Path(options.app_dir).resolve()),
        nice=options.nice,
    )
    # -P: the current directory must not shadow modules before the user's folder is meant to.
    arguments = [sys.executable, *interpreter_flags(), "-P", "-m", "kontinue_engine.runner"]
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [*arguments, msgspec.json.encode(launch).decode()],
        env={**os.environ, **options.env, "PYTHONHASHSEED": HASH_SEED},
        stdin=subprocess.DEVNULL,
        stdout=output_fd,
        stderr=output_fd,
        pass_fds=[control.fileno()],
        # Ctrl-C in the terminal is for the supervisor, which then decides what happens to runners.
        start_new_session=True,
    )


def interpreter_flags() -> list[str]:
    """Return this interpreter's flags, without those that would ignore PYTHONHASHSEED."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [flag for flag in flags if flag not in ("-E", "-I")]
