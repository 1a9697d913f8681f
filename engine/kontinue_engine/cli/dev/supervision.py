"""Internal. When ``kontinue dev`` starts, restarts, stops and kills its processes. Every transition lives here.

Sans-io: ``Supervision`` is fed events with the time they happened and returns the actions that the caller
(``kontinue_engine.cli.dev.session``) must perform, in order. It holds no process, stream or clock.

The server starts first, the worker once the server answers. What ends before it was ever ready is a mistake of the
user (port, module) and ends the session; what ends later is restarted, at once the first time, then with back-off.
A worker whose code was edited is stopped gracefully and started again; its Executions resume.
Stopping goes the other way round: worker, then server, each with a deadline after which it is killed.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

STABLE_AFTER_S: Final = 10.0
"""A process that was ready this long is healthy: its next end counts as the first one again. A judgement."""
MAX_BACKOFF_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.25
STOP_GRACE_S: Final = {"worker": 10.0, "server": 5.0}
"""Time from SIGTERM to SIGKILL. A worker parks and flushes; the server commits what it has."""


class Role(enum.StrEnum):
    """Which of the two processes."""

    SERVER = "server"
    WORKER = "worker"


class State(enum.StrEnum):
    """Where a process is."""

    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    RELOADING = "reloading"


class Start(msgspec.Struct, frozen=True):
    """Start the process."""

    role: Role


class Terminate(msgspec.Struct, frozen=True):
    """Ask the process to end (SIGTERM)."""

    role: Role


class Kill(msgspec.Struct, frozen=True):
    """End the process at once (SIGKILL)."""

    role: Role


class WakeAt(msgspec.Struct, frozen=True):
    """Call ``Supervision.tick`` at this time."""

    at_s: float


class Restarting(msgspec.Struct, frozen=True):
    """Tell the user: the process ended and starts again after ``delay_s``."""

    role: Role
    code: int
    delay_s: float
    was_ready: bool


class Finish(msgspec.Struct, frozen=True):
    """Leave. ``failed`` names the process that ended before it was ever ready."""

    failed: Role | None = None


Action = Start | Terminate | Kill | WakeAt | Restarting | Finish


class _Process(msgspec.Struct):
    state: State = State.IDLE
    was_ready_once: bool = False
    ready_since_s: float | None = None
    failures: int = 0
    deadline_s: float | None = None
    is_stale: bool = False


class Supervision:
    """The state of one session."""

    def __init__(self) -> None:
        self._processes = {role: _Process() for role in Role}
        self._stopping = False
        self._finished = False
        self._failed: Role | None = None

    @property
    def stopping(self) -> bool:
        """Whether the session ends: nothing is restarted any more."""
        return self._stopping

    def state(self, role: Role) -> State:
        """Return where the process is."""
        return self._processes[role].state

    def begin(self) -> list[Action]:
        """Start the session."""
        return [self._start(Role.SERVER)]

    def ready(self, role: Role, now_s: float) -> list[Action]:
        """Note that the process answers."""
        process = self._processes[role]
        if process.state is not State.STARTING:
            return []
        process.state = State.READY
        process.was_ready_once = True
        process.ready_since_s = now_s
        if process.is_stale:
            return self.reload(role, now_s)
        worker = self._processes[Role.WORKER]
        if role is Role.SERVER and worker.state is State.IDLE and not self._stopping:
            return [self._start(Role.WORKER)]
        return []

    def reload(self, role: Role, now_s: float) -> list[Action]:
        """The code that the process runs has changed: end it gracefully and start it again."""
        process = self._processes[role]
        process.is_stale = process.state is State.STARTING  # it may have loaded the old code: again once it is ready
        if self._stopping or process.state not in {State.READY, State.BACKOFF}:
            return []
        if process.state is State.BACKOFF:
            process.deadline_s = None
            return [self._start(role)]
        process.state = State.RELOADING
        process.deadline_s = now_s + STOP_GRACE_S[role]
        return [Terminate(role), WakeAt(process.deadline_s)]

    def exited(self, role: Role, code: int, now_s: float) -> list[Action]:
        """Note that the process has ended."""
        process = self._processes[role]
        was_ready, was_reloading = process.state is State.READY, process.state is State.RELOADING
        ready_since_s, process.ready_since_s, process.deadline_s = process.ready_since_s, None, None
        process.state, process.is_stale = State.IDLE, False
        if self._stopping:
            return self._stop_next(now_s)
        if was_reloading:
            process.failures = 0
            return [self._start(role)]
        if not process.was_ready_once:
            self._failed = role
            return self.stop(now_s)
        stable = was_ready and ready_since_s is not None and now_s - ready_since_s >= STABLE_AFTER_S
        process.failures = 1 if stable else process.failures + 1
        delay_s = 0.0 if process.failures == 1 else min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (process.failures - 2))
        told = Restarting(role, code, delay_s, was_ready)
        if not delay_s:
            return [told, self._start(role)]
        process.state = State.BACKOFF
        process.deadline_s = now_s + delay_s
        return [told, WakeAt(process.deadline_s)]

    def tick(self, now_s: float) -> list[Action]:
        """Do what is due. Harmless when called too early or twice."""
        actions: list[Action] = []
        for role, process in self._processes.items():
            if process.deadline_s is None or now_s < process.deadline_s:
                continue
            process.deadline_s = None
            if process.state is State.BACKOFF:
                actions.append(self._start(role))
            elif process.state in {State.STOPPING, State.RELOADING}:
                actions.append(Kill(role))
        return actions

    def stop(self, now_s: float) -> list[Action]:
        """The user wants to leave; the second time: at once."""
        if self._finished:
            return []
        if not self._stopping:
            self._stopping = True
            return self._stop_next(now_s)
        return [Kill(role) for role, process in self._processes.items() if _runs(process)]

    def _start(self, role: Role) -> Start:
        self._processes[role].state = State.STARTING
        return Start(role)

    def _stop_next(self, now_s: float) -> list[Action]:
        for role in (Role.WORKER, Role.SERVER):
            process = self._processes[role]
            if process.state is State.STOPPING:
                return []
            if _runs(process):
                process.state = State.STOPPING
                process.deadline_s = now_s + STOP_GRACE_S[role]
                return [Terminate(role), WakeAt(process.deadline_s)]
            process.state = State.IDLE
        self._finished = True
        return [Finish(self._failed)]


def _runs(process: _Process) -> bool:
    return process.state in {State.STARTING, State.READY, State.STOPPING, State.RELOADING}
