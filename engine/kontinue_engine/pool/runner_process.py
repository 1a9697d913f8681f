"""Internal. One runner as the supervisor sees it: its pipes, its session, what it runs, and its end.

Created by ``pool.pool``, which decides what the runner gets and why it is killed; forked by ``pool.zygote_process``.
The end is noticed by the process descriptor (at once, also if a grandchild holds the pipes), the zygote tells how it
ended, and everything that the runner said before is handled first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from kontinue_engine.errors import ProtocolError
from kontinue_engine.pool import pipes
from kontinue_engine.pool.dispatch import RunnerLoad, Running, Unstarted
from kontinue_engine.pool.lines import OutputLines
from kontinue_engine.pool.options import Colour, LostReason, RunnerState
from kontinue_engine.wire import frames, framing
from kontinue_engine.wire.session import RunnerSession

_EXIT_CODE_WAIT_S: Final = 0.5
"""How long to wait for the zygote to say how a dead runner ended; it answers within a millisecond unless it hangs."""

ALONE_PARKED_S: Final = 1.0
"""How long one that runs alone must be parked before others are started beside it. Judgement: what a replayed function
waits for has often happened already, and its answer is there within milliseconds."""

_SLOTS: Final = {"sync": 1, "async": 1000}
"""Active activations at once. 1,000 is a judgement: enough for functions that only wait for I/O."""


class Verdict(msgspec.Struct, frozen=True):
    """Why a runner ended. ``charge``: what was active is to blame, or with ``is_shared`` what was on other runners."""

    reason: LostReason
    message: str
    charge: bool
    is_shared: bool = False


class RunnerOwner(Protocol):
    """Who is told: the pool."""

    def on_events(self, runner: RunnerProcess, events: Sequence[frames.RunnerEvent]) -> None:
        """Legal events of activations that are not given up, in order."""
        ...

    def on_log(self, pid: int, line: frames.LogLine) -> None:
        """A line of output."""
        ...

    def on_active_time(self, function: str, duration_s: float) -> None:
        """An activation has held the active slot for this long."""
        ...

    def on_released(self, runner: RunnerProcess) -> None:
        """The runner is not reserved any more."""
        ...

    def on_ended(self, runner: RunnerProcess) -> None:
        """The process is gone, and everything that it said has been reported."""
        ...


class RunnerProcess:
    """A runner, from the request to fork it until its descriptors are closed.

    Attributes:
        number: never reused within a pool.
        state: STARTING, READY, DRAINING or ENDED.
        pid: 0 until the zygote has forked it.
        session: what is legal, and the state of every activation.
        running: activations that hold the active slot, also those given up.
        unstarted: activations in the runner's inbox.
        parked: activations that wait in the runner, also those given up.
        stepping: those of the parked that wait for a step.
        started_count: activations that it has run.
        has_left_thread: a thread of it runs a step that nobody waits for any more.
        given_back: recalled activations that nobody has fetched yet.
        drain_message: why it is DRAINING.
        verdict: why the pool killed it, if it did.
        exit_code: as in ``subprocess``; None while it lives, and if nobody could tell.
    """

    def __init__(self, *, number: int, colour: Colour, loop: asyncio.AbstractEventLoop, owner: RunnerOwner) -> None:
        self.number = number
        self.colour: Colour = colour
        self.state = RunnerState.STARTING
        self.pid = 0
        self.session = RunnerSession()
        self.running: dict[int, Running] = {}
        self.unstarted: dict[int, frames.Activate] = {}
        self.parked: set[int] = set()
        self.stepping: set[int] = set()
        self.started_count = 0
        self.has_left_thread = False
        self.given_back: dict[int, frames.Activate] = {}
        self.drain_message = ""
        self.verdict: Verdict | None = None
        self.exit_code: int | None = None
        self._is_frozen = False
        self._is_broken = False
        self._is_orphan = False
        self._is_gone = False
        self._has_read_output = False
        self._recalled: set[int] = set()
        self._alone: set[int] = set()
        self._release: asyncio.TimerHandle | None = None
        self._functions: dict[int, str] = {}
        self._loop = loop
        self._owner = owner
        self._decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
        self._lines = OutputLines()
        self._pidfd = -1
        self._exit_timer: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        command_read, command_write = os.pipe()
        self._event_fd, event_write = os.pipe()
        self._output_fd, output_write = os.pipe()
        self._remote_fds = (command_read, event_write, output_write)
        for fd in (command_write, self._event_fd, self._output_fd):
            os.set_blocking(fd, False)
        self._commands = pipes.PipeWriter(self._loop, command_write)
        self._loop.add_reader(self._event_fd, self._on_event_bytes)
        self._loop.add_reader(self._output_fd, self._read_output, pipes.OUTPUT_BYTES)

    @property
    def remote_fds(self) -> tuple[int, int, int]:
        """Command, event and output pipe for the runner; close them with ``close_remote_fds`` once they are sent."""
        return self._remote_fds

    def close_remote_fds(self) -> None:
        """Close the runner's ends in this process, or the end of a pipe would never come."""
        for fd in self._remote_fds:
            os.close(fd)
        self._remote_fds = (-1, -1, -1)

    # What the pool does with a runner.

    def load(self) -> RunnerLoad:
        """Return what the runner has to do."""
        unstarted = [
            Unstarted(activation, activate.function, activation in self._recalled)
            for activation, activate in self.unstarted.items()
        ]
        return RunnerLoad(
            self.number,
            _SLOTS[self.colour],
            list(self.running.values()),
            unstarted,
            len(self.parked),
            len(self.stepping),
            self.is_reserved,
        )

    @property
    def is_reserved(self) -> bool:
        """Whether what is active there, or about to be, is to be alone."""
        return bool(self._alone)

    @property
    def active(self) -> int:
        """How many activations are not merely parked, also of those given up."""
        return len(self.running) + len(self.stepping)

    @property
    def running_code(self) -> set[int]:
        """The activations that may run code now, also those given up: who is to blame if the process dies.

        On a sync runner a step runs in the slot; one that is waited for elsewhere is over, and being recorded.
        """
        return {*self.running, *self.stepping} if self.colour == "async" else {*self.running}

    def activate(self, activate: frames.Activate, *, is_alone: bool = False) -> None:
        """Send an activation; ``is_alone``: the runner is reserved until it is parked for a while or has ended."""
        if is_alone:
            self._alone.add(activate.activation)
        self.unstarted[activate.activation] = activate
        self._functions[activate.activation] = activate.function
        self.send(activate)

    def recall(self, activation: int) -> None:
        """Ask an unstarted activation back; ``Recalled`` comes, or it has started."""
        if activation in self.unstarted and activation not in self._recalled:
            self._recalled.add(activation)
            self.send(frames.Recall(activation))

    def send(self, command: frames.Command) -> None:
        """Send a command at the end of this turn of the loop."""
        self.session.sent(command)
        self._commands.write(framing.encode(command))

    def flush(self) -> None:
        """Send now what ``send`` has collected."""
        self._commands.flush()

    def kill(self, verdict: Verdict) -> None:
        """SIGKILL the runner; ``on_ended`` follows. The first verdict counts."""
        if self.verdict is None:
            self.verdict = verdict
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop its code where it is, if need be once it is known to have a process; a kill still works."""
        self._is_frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its code go on."""
        self._is_frozen = False
        self._signal(signal.SIGCONT)

    # What the zygote says of it.

    def forked(self, pid: int) -> None:
        """It has a process."""
        self.pid = pid
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                return  # gone and reaped already: ``exited`` is on its way
            self._loop.add_reader(self._pidfd, self._on_process_gone)
        if self.verdict is not None:
            self._signal(signal.SIGKILL)
        elif self._is_frozen:  # it may be READY before the zygote has told of it
            self._signal(signal.SIGSTOP)

    def orphaned(self) -> None:
        """Its zygote is gone or going: nobody will say how it ends. Kill both."""
        self._is_orphan = True
        if self._pidfd < 0 or self._is_gone:
            self.exited(None)

    def exited(self, code: int | None) -> None:
        """It has ended; ``code`` is None if the zygote is gone and nobody can tell."""
        if self.state is RunnerState.ENDED:
            return
        if code is not None:
            self.exit_code = code
            if self._pidfd >= 0 and not self._is_gone:
                # Its guard may have died before it: it has ended when the kernel says so.
                self._signal(signal.SIGKILL)
                return
        self._drain()
        self.state = RunnerState.ENDED
        self._close()
        self._owner.on_ended(self)

    # Reading.

    def _on_event_bytes(self) -> None:
        data = pipes.read_available(self._event_fd)
        if data:
            self._take_bytes(data)
        elif data is not None:
            # The end: dying, or it has closed its pipe, which no runner does in its senses.
            self._loop.remove_reader(self._event_fd)
            self._signal(signal.SIGKILL)

    def _take_bytes(self, data: bytes) -> None:
        accepted: list[frames.RunnerEvent] = []
        self._has_read_output = False
        try:
            for event in self._decoder.feed(data):
                if self.session.received(event):
                    accepted.append(self._place(event) if isinstance(event, frames.LogLine) else event)
                    if isinstance(event, frames.Recalled):
                        self.given_back[event.activation] = self.unstarted[event.activation]
                self._note(event)
        except ProtocolError as error:
            self._is_broken = True
            self._loop.remove_reader(self._event_fd)
            self.kill(Verdict(LostReason.RUNNER_CRASHED, f"the runner broke the protocol: {error}", charge=True))
        if accepted:
            self._owner.on_events(self, accepted)

    def _note(self, event: frames.RunnerEvent) -> None:
        match event:
            case frames.Ready():
                self.state = RunnerState.READY
            case frames.ThreadLeft():
                self.has_left_thread = True
            case frames.Running(activation):
                self._recalled.discard(activation)
                self.parked.discard(activation)
                self.stepping.discard(activation)
                self._cancel_release(activation)
                if self.unstarted.pop(activation, None) is not None:
                    self.started_count += 1
                self.running[activation] = Running(self._functions[activation], time.monotonic())
            case frames.Waiting(activation):
                self._leave_slot(activation)
                self.parked.add(activation)
                self._cancel_release(activation)
                if event.has_step:
                    self.stepping.add(activation)
                else:
                    self.stepping.discard(activation)
                    if activation in self._alone:
                        self._release = self._loop.call_later(ALONE_PARKED_S, self._end_reservation)
            case frames.Recalled(activation) | frames.Completed(activation) | frames.Failed(activation):
                self._leave(activation)
            case frames.Mismatched(activation) | frames.Interrupted(activation):
                self._leave(activation)

    def _cancel_release(self, activation: int) -> None:
        if self._release is not None and activation in self._alone:
            self._release.cancel()
            self._release = None

    def _end_reservation(self) -> None:
        self._release = None
        self._alone.clear()
        self._owner.on_released(self)

    def _leave_slot(self, activation: int) -> None:
        running = self.running.pop(activation, None)
        if running is not None:
            if not self._has_read_output:
                # What it wrote past Python belongs to it; later it would be the next one's. All that the others of
                # these events have written is in the pipe already, so one look is enough for them together.
                self._has_read_output = True
                self._read_output(of=activation)
            self._owner.on_active_time(running.function, time.monotonic() - running.started_s)

    def _leave(self, activation: int) -> None:
        self._leave_slot(activation)
        self._recalled.discard(activation)
        self.parked.discard(activation)
        self.stepping.discard(activation)
        self._cancel_release(activation)
        self._alone.discard(activation)
        self.unstarted.pop(activation, None)
        self._functions.pop(activation, None)

    def _read_output(self, max_bytes: int = pipes.READ_BYTES, *, of: int | None = None) -> None:
        if self._output_fd < 0:
            return
        data = pipes.read_available(self._output_fd, max_bytes)
        if data == b"":
            self._loop.remove_reader(self._output_fd)
        self._report_output(self._lines.feed(data) if data else self._lines.finish() if data == b"" else [], of=of)

    def _report_output(self, lines: list[str], *, of: int | None = None) -> None:
        now_ms = time.time_ns() // 1_000_000
        for text in lines:
            line = frames.LogLine(of or 0, "stdout", text, at_ms=now_ms)
            self._owner.on_log(self.pid, self._place(line))

    def _place(self, line: frames.LogLine) -> frames.LogLine:
        """Give a line without an activation (a thread of the user's, C code) to the only one that runs."""
        if line.activation == 0 and len(self.running) == 1:
            return msgspec.structs.replace(line, activation=next(iter(self.running)))
        return line

    # The end.

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.pid > 0:
                os.kill(self.pid, number)

    def _on_process_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._is_gone = True
        if self._is_orphan or self.exit_code is not None:
            self.exited(self.exit_code)
            return
        self._exit_timer = self._loop.call_later(_EXIT_CODE_WAIT_S, self.exited, None)

    def _drain(self) -> None:
        """Read what the runner has left in its pipes; a broken one's events do not count."""
        for data in pipes.read_rest(self._event_fd):
            if not self._is_broken:
                self._take_bytes(data)
        for data in pipes.read_rest(self._output_fd):
            self._report_output(self._lines.feed(data))
        self._report_output(self._lines.finish())

    def _close(self) -> None:
        for timer in (self._exit_timer, self._release):
            if timer is not None:
                timer.cancel()
        self._commands.close()
        for fd in (self._event_fd, self._output_fd, self._pidfd):
            if fd >= 0:
                self._loop.remove_reader(fd)
                os.close(fd)
        self._event_fd = self._output_fd = self._pidfd = -1
