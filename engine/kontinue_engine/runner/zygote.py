"""Internal. The zygote: imports the user's module once and forks runners on request.

Exec'd by ``pool.zygote_process`` from the supervisor's main thread. ``ForkRunner`` comes in, ``ZygoteEvent`` goes out,
over one socket; pipe ends of runners arrive beside the frames. It runs no activation, and it forks only while it has
one thread: if the user's import left others, runners are started by exec and import the module themselves. Between it
and a forked runner stands a guard, so that code which kills its parent ends its own runner and nobody else's.
"""

from __future__ import annotations

import array
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from typing import Final, NoReturn

import msgspec

from kontinue.app import App
from kontinue_engine.processes import die_with_parent
from kontinue_engine.runner import breakdown, channel, loader, output, process
from kontinue_engine.wire import frames, framing

_READ_BYTES: Final = 64 * 1024
_FDS_PER_FORK: Final = 3
_MAX_FDS: Final = 60 * _FDS_PER_FORK  # SCM_MAX_FD is 253
_CLOEXEC: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux: pipe ends must not leak into subprocesses
_EXIT_CANNOT_FORK: Final = 71  # EX_OSERR


class Control:
    """The zygote's end of its socket to the supervisor."""

    def __init__(self, control_fd: int) -> None:
        self._socket = socket.socket(fileno=control_fd)
        self._socket.set_inheritable(False)
        self._decoder: framing.FrameDecoder[frames.ForkRunner] = framing.FrameDecoder(frames.ForkRunner)
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def send(self, event: frames.ZygoteEvent) -> None:
        """Tell the supervisor."""
        self._socket.sendall(framing.encode(event))

    def receive(self) -> Iterator[tuple[frames.ForkRunner, tuple[int, int, int]]]:
        """Read once: requests with their command, event and output pipe. Ends the process at the end of the socket."""
        fds = array.array("i")
        space = socket.CMSG_SPACE(_MAX_FDS * fds.itemsize)
        data, ancillary, _, _ = self._socket.recvmsg(_READ_BYTES, space, _CLOEXEC)
        if not data:
            os._exit(0)
        for _, _, payload in ancillary:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        self._fds.extend(fds)
        for request in self._decoder.feed(data):
            yield request, (self._fds.popleft(), self._fds.popleft(), self._fds.popleft())

    def close(self) -> None:
        """Close the socket, in a child."""
        self._socket.close()


class Zygote:
    """Forks, reaps, reports."""

    def __init__(self, launch: frames.LaunchZygote, control: Control, app: App, streams: output.Output) -> None:
        self._launch = launch
        self._control = control
        self._app = app
        self._streams = streams
        self._may_fork = _thread_count() == 1
        self._runners: dict[int, int] = {}
        self._child_read_fd, self._child_write_fd = os.pipe()

    def describe(self) -> frames.AppLoaded:
        """Return what the supervisor wants to know of the user's module."""
        return frames.AppLoaded(
            pid=os.getpid(),
            group=self._app.group,
            build=loader.build_digest(self._launch.app_dir, override=os.environ.get("KONTINUE_BUILD", "")),
            functions=loader.describe_functions(self._app.functions),
            warnings=[] if self._may_fork else [_thread_warning(self._launch.app)],
        )

    def serve(self) -> NoReturn:
        """Serve the socket until the supervisor is gone."""
        # Objects of the import stay where they are: a runner's first collection would copy every page of them.
        gc.collect()
        gc.freeze()
        os.set_blocking(self._child_write_fd, False)
        signal.set_wakeup_fd(self._child_write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        while True:
            readable, _, _ = select.select([self._control.fileno(), self._child_read_fd], [], [])
            if self._child_read_fd in readable:
                os.read(self._child_read_fd, _READ_BYTES)
                self._reap()
            if self._control.fileno() in readable:
                for request, fds in self._control.receive():
                    self._start(request, fds)

    def _start(self, request: frames.ForkRunner, fds: tuple[int, int, int]) -> None:
        try:
            if self._may_fork:
                pid = self._fork(request, fds)
            else:
                pid = self._spawn(request, fds)
                self._control.send(frames.RunnerForked(request.runner, pid))
            self._runners[pid] = request.runner
        except OSError:
            traceback.print_exc()
            self._control.send(frames.RunnerExited(request.runner, 0, _EXIT_CANNOT_FORK))
        finally:
            for fd in fds:
                os.close(fd)

    def _fork(self, request: frames.ForkRunner, fds: tuple[int, int, int]) -> int:
        """Fork the runner's guard, which forks the runner and says so; return the pid of the guard."""
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(parent_pid)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(self._child_read_fd)
                os.close(self._child_write_fd)
                # A group of its own: ``os.killpg(0, ...)`` in the runner is for the runner and what it has started.
                os.setsid()
                self._guard(request, fds)
            finally:
                breakdown.end_process()  # the code above must never run on in the child
        return pid

    def _guard(self, request: frames.ForkRunner, fds: tuple[int, int, int]) -> NoReturn:
        """Be the parent of one runner: fork it, wait for it, say how it ended."""
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            die_with_parent(parent_pid)
            self._control.close()
            command_fd, event_fd, output_fd = fds
            pipes = channel.Channel(command_fd=command_fd, event_fd=event_fd)
            functions = self._app.functions
            nice = self._launch.nice
            process.run_forked_runner(request.colour, pipes, output_fd, functions, self._streams, nice=nice)
        # What the runner's group is sent besides SIGKILL is for the runner, which may have chosen to survive it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for fd in fds:
            os.close(fd)
        self._control.send(frames.RunnerForked(request.runner, pid))
        _, status = os.waitpid(pid, 0)
        self._control.send(frames.RunnerExited(request.runner, pid, os.waitstatus_to_exitcode(status)))
        os._exit(0)

    def _spawn(self, request: frames.ForkRunner, fds: tuple[int, int, int]) -> int:
        command_fd, event_fd, output_fd = fds
        for fd in fds:
            os.set_inheritable(fd, True)  # noqa: FBT003 - no keyword exists
        launch = frames.LaunchRunner(
            parent_pid=os.getpid(),
            colour=request.colour,
            command_fd=command_fd,
            event_fd=event_fd,
            output_fd=output_fd,
            app=self._launch.app,
            app_dir=self._launch.app_dir,
            nice=self._launch.nice,
        )
        # The same interpreter flags as this process: its own command line with another last argument.
        arguments = [sys.executable, *sys.orig_argv[1:-1], msgspec.json.encode(launch).decode()]
        return os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0)

    def _reap(self) -> None:
        for pid, runner in list(self._runners.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._runners[pid]
                code = os.waitstatus_to_exitcode(status)
                if code or not self._may_fork:  # else it was a guard that has said how its runner ended
                    self._control.send(frames.RunnerExited(runner, pid, code))


def run_zygote(launch: frames.LaunchZygote) -> NoReturn:
    """Be the zygote: load the user's module, say how that went, serve."""
    try:
        die_with_parent(launch.parent_pid)
        process.enable_crash_reports()
        control = Control(launch.control_fd)
        streams = output.Output()
        streams.install()
        try:
            app = loader.load_app(launch.app, launch.app_dir)
            zygote = Zygote(launch, control, app, streams)
            loaded = zygote.describe()
        except loader.LoadError as error:
            control.send(frames.LoadFailed(error.message, error.traceback))
            os._exit(1)
        control.send(loaded)
        zygote.serve()
    finally:
        breakdown.end_process()  # no exit handler of the user's may run


def _thread_count() -> int:
    """Count this process's threads; also those that C libraries have started."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _thread_warning(app: str) -> str:
    names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
    return (
        f"importing {app} left {_thread_count() - 1} threads running ({names or 'of a C library'}): "
        "runners cannot be forked and start more slowly; start threads in functions, not at import"
    )
