"""Internal. When ``kontinue dev`` starts, restarts, stops and kills its processes. Every transition lives here.

Sans-io: ``Supervision`` is fed events with the time they happened and returns the actions that the caller
(``kontinue_engine.cli.dev.session``) must perform, in order. It holds no process, stream or clock.

The server starts first, the workers once the server answers. What ends before one of its kind was ever ready is a
mistake of the user (port, module) and ends the session; what ends later is restarted, at once the first time, then
with back-off. A worker whose code was edited is stopped gracefully and started again; its Executions resume.
Stopping goes the other way round: all workers, then the server, each with a deadline after which it is killed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

STABLE_AFTER_S: Final = 10.0
"""A process that was ready this long is healthy: its next end counts as the first one again. A judgement."""
MAX_BACKOFF_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.25
SERVER: Final = "server"
"""Name of the API server's process; all others are workers."""
WORKER_STOP_GRACE_S: Final = 10.0
"""Time from SIGTERM to SIGKILL: a worker parks and flushes."""
SERVER_STOP_GRACE_S: Final = 5.0
"""The server commits what it has."""


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

    name: str


class Terminate(msgspec.Struct, frozen=True):
    """Ask the process to end (SIGTERM)."""

    name: str


class Kill(msgspec.Struct, frozen=True):
    """End the process at once (SIGKILL)."""

    name: str


class WakeAt(msgspec.Struct, frozen=True):
    """Call ``Supervision.tick`` at this time."""

    at_s: float


class Restarting(msgspec.Struct, frozen=True):
    """Tell the user: the process ended and starts again after ``delay_s``."""

    name: str
    code: int
    delay_s: float
    was_ready: bool


class Finish(msgspec.Struct, frozen=True):
    """Leave. ``failed`` names the process that ended before it was ever ready."""

    failed: str | None = None


Action = Start | Terminate | Kill | WakeAt | Restarting | Finish


class _Process(msgspec.Struct):
    state: State = State.IDLE
    was_ready_once: bool = False
    ready_since_s: float | None = None
    failures: int = 0
    deadline_s: float | None = None
    is_stale: bool = False


class Supervision:
    """The state of one session.

    Args:
        workers: names of the worker processes.
    """

    def __init__(self, workers: Sequence[str]) -> None:
        self._workers = {name: _Process() for name in workers}
        self._processes = {SERVER: _Process(), **self._workers}
        self._stopping = False
        self._finished = False
        self._failed: str | None = None

    @property
    def stopping(self) -> bool:
        """Whether the session ends: nothing is restarted any more."""
        return self._stopping

    def state(self, name: str) -> State:
        """Return where the process is."""
        return self._processes[name].state

    def begin(self) -> list[Action]:
        """Start the session."""
        return [self._start(SERVER)]

    def ready(self, name: str, now_s: float) -> list[Action]:
        """Note that the process answers."""
        process = self._processes[name]
        if process.state is not State.STARTING:
            return []
        process.state = State.READY
        process.was_ready_once = True
        process.ready_since_s = now_s
        if process.is_stale:
            return self.reload([name], now_s)
        if name != SERVER or self._stopping:
            return []
        return [self._start(worker) for worker, found in self._workers.items() if found.state is State.IDLE]

    def reload(self, names: Iterable[str], now_s: float) -> list[Action]:
        """The code that these processes run has changed: end them gracefully and start them again."""
        return [action for name in names for action in self._reload(name, now_s)]

    def _reload(self, name: str, now_s: float) -> list[Action]:
        process = self._processes[name]
        process.is_stale = process.state is State.STARTING  # it may have loaded the old code: again once it is ready
        if self._stopping or process.state not in {State.READY, State.BACKOFF}:
            return []
        if process.state is State.BACKOFF:
            process.deadline_s = None
            return [self._start(name)]
        return self._terminate(name, State.RELOADING, now_s)

    def exited(self, name: str, code: int, now_s: float) -> list[Action]:
        """Note that the process has ended."""
        process = self._processes[name]
        was_ready, was_reloading = process.state is State.READY, process.state is State.RELOADING
        ready_since_s, process.ready_since_s, process.deadline_s = process.ready_since_s, None, None
        process.state, process.is_stale = State.IDLE, False
        if self._stopping:
            return self._stop_next(now_s)
        if was_reloading:
            process.failures = 0
            return [self._start(name)]
        if not self._kind_was_ready(name):
            self._failed = name
            return self.stop(now_s)
        stable = was_ready and ready_since_s is not None and now_s - ready_since_s >= STABLE_AFTER_S
        process.failures = 1 if stable else process.failures + 1
        delay_s = 0.0 if process.failures == 1 else min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (process.failures - 2))
        told = Restarting(name, code, delay_s, was_ready)
        if not delay_s:
            return [told, self._start(name)]
        process.state = State.BACKOFF
        process.deadline_s = now_s + delay_s
        return [told, WakeAt(process.deadline_s)]

    def tick(self, now_s: float) -> list[Action]:
        """Do what is due. Harmless when called too early or twice."""
        actions: list[Action] = []
        for name, process in self._processes.items():
            if process.deadline_s is None or now_s < process.deadline_s:
                continue
            process.deadline_s = None
            if process.state is State.BACKOFF:
                actions.append(self._start(name))
            elif process.state in {State.STOPPING, State.RELOADING}:
                actions.append(Kill(name))
        return actions

    def stop(self, now_s: float) -> list[Action]:
        """The user wants to leave; the second time: at once."""
        if self._finished:
            return []
        if not self._stopping:
            self._stopping = True
            for process in self._processes.values():
                if process.state is State.BACKOFF:
                    process.state = State.IDLE
            return self._stop_next(now_s)
        return [Kill(name) for name, process in self._processes.items() if _runs(process)]

    def _kind_was_ready(self, name: str) -> bool:
        """Tell whether this process, or another worker, was ever ready: then its end is no mistake of the user."""
        alike = self._workers.values() if name in self._workers else [self._processes[name]]
        return any(process.was_ready_once for process in alike)

    def _start(self, name: str) -> Start:
        self._processes[name].state = State.STARTING
        return Start(name)

    def _terminate(self, name: str, state: State, now_s: float) -> list[Action]:
        process = self._processes[name]
        process.state = state
        process.deadline_s = now_s + (SERVER_STOP_GRACE_S if name == SERVER else WORKER_STOP_GRACE_S)
        return [Terminate(name), WakeAt(process.deadline_s)]

    def _stop_next(self, now_s: float) -> list[Action]:
        # Workers together: one after the other, each would hand its Executions to those that stop next.
        for names in (tuple(self._workers), (SERVER,)):
            running = [name for name in names if _runs(self._processes[name])]
            if running:
                return [
                    action
                    for name in running
                    if self._processes[name].state is not State.STOPPING
                    for action in self._terminate(name, State.STOPPING, now_s)
                ]
        self._finished = True
        return [Finish(self._failed)]


def _runs(process: _Process) -> bool:
    return process.state in {State.STARTING, State.READY, State.STOPPING, State.RELOADING}
