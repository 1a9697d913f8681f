"""Internal. Runners within the test's process: the hosts of real runners, the frames of real pipes, no processes.

Bodies of async functions run on the engine's virtual loop; steps, and functions without a context, on the test's own
loop, so that they may use what the test has made there. Sync code runs in threads, one activation at a time. What user
code says is encoded and decoded as on a pipe, and judged by the same session.
Here, too, activations are evicted after each durable call, and crash where the test has asked for it. Nothing of an
activation that is gone is unwound before the environment ends: no ``finally`` block runs in the middle of a test.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from kontinue.definition import FunctionDefinition
from kontinue_engine.pool.options import LostReason
from kontinue_engine.runner import breakdown
from kontinue_engine.runner.async_host import AsyncHost
from kontinue_engine.runner.sync_host import SyncHost
from kontinue_engine.runner.threads import Threads
from kontinue_engine.testing.crashes import Crashes
from kontinue_engine.testing.driver import Driver
from kontinue_engine.testing.outside import CountedThreads, OuterLoop
from kontinue_engine.wire import frames, framing
from kontinue_engine.wire.session import RunnerSession

MAX_EVICTED_THREADS: Final = 500
"""Evicted activations of sync functions keep a thread each until the environment ends. Judgement: 10 MiB."""
CLOSING_S: Final = 2.0
"""How long sync code may take to end with the environment; then it is left where it is."""
_CLOSED: Final = "the test environment has been closed"
_threads: Final = Threads()
"""Of all environments: a thread that idles is used by the next one."""

Functions = Mapping[str, FunctionDefinition[..., Any]]


class Listener(Protocol):
    """Who is told: the part of ``kontinue_engine.pool.options.PoolListener`` without lines of output.

    Here they go where the test's own output goes.
    """

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        """An event of an activation."""

    def on_lost(self, number: int, /, *, was_active: bool, was_alone: bool, reason: str, message: str) -> None:
        """An activation is gone without having ended."""


class _Home(msgspec.Struct):
    """An activation that is cared for.

    Attributes:
        crash_at: flush -> name of the step after which it dies, once that is recorded.
        names: step id -> name of the function, or display name of the timer, that it waits for.
        is_further: it has recorded or asked for something that no activation before it had. One that waits for many
            children is replayed when the first of them has ended, and not once more for each.
        produced: highest flush that it has asked for.
        recorded: highest flush that was answered.
    """

    activate: frames.Activate
    host: AsyncHost | SyncHost
    crash_at: dict[int, str] = {}
    names: dict[str, str] = {}
    is_further: bool = False
    produced: int = 0
    recorded: int = 0


class InProcessRunners:
    """``kontinue_engine.controllers.runtime.Runners``, played within the process.

    Args:
        functions: by registered name; a live view.
        driver: of the engine's loop.
        now_ms: virtual time.
        crashes: what the test wants to fail.
        replays: whether activations are evicted after each durable call.
    """

    def __init__(
        self,
        functions: Functions,
        driver: Driver,
        *,
        now_ms: Callable[[], int],
        crashes: Crashes,
        replays: bool,
    ) -> None:
        self.listener: Listener
        """Told what runners report; to be set before anything is submitted."""
        self.unknown: dict[str, None] = {}
        """Functions that were wanted as children, and that nobody has."""
        self._functions = functions
        self._driver = driver
        self._crashes = crashes
        self._replays = replays
        self._homes: dict[int, _Home] = {}
        self._session = RunnerSession()
        self._requested: set[tuple[str, int, int, str]] = set()
        self._evicted_threads = 0
        self._is_over = False
        self._numbers: dict[int, AsyncHost | SyncHost] = {}
        self._events: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
        self._commands: framing.FrameDecoder[frames.Command] = framing.FrameDecoder(frames.Command)
        self._inbox: deque[bytes] = deque()
        self._is_idle = threading.Event()
        breakdown.spare_process(self._on_breakdown)
        self._async = AsyncHost(
            functions,
            send=self._send,
            now_ms=now_ms,
            loop=OuterLoop(driver),
            threads=CountedThreads(driver, _threads),
            skips_pauses=True,
        )
        self._sync = SyncHost(
            functions,
            send=self._send,
            now_ms=now_ms,
            threads=_threads,
            skips_pauses=True,
            on_idle=self._on_idle,
        )

    @property
    def is_busy(self) -> bool:
        """Whether sync code runs, or is about to."""
        return not self._sync.is_idle

    # For the controllers.

    def submit(self, activate: frames.Activate, *, alone: bool = False) -> None:
        """Run an activation."""
        del alone  # who is to blame for a crash is always known here
        host = self._async if self._functions[activate.function].is_async else self._sync
        self._homes[activate.activation] = _Home(activate, host)
        self._numbers[activate.activation] = host
        self._command(host, activate)

    def send(self, command: frames.Command) -> None:
        """Send a command to the runner that has its activation; ignored if none has."""
        home = self._homes.get(command.activation)
        if home is None:
            return
        match command:
            case frames.StepRecorded(flush=flush):
                home.recorded = max(home.recorded, flush)
                crashed = next((name for at, name in home.crash_at.items() if at <= flush), "")
                if crashed:
                    self._crash(command.activation, crashed, was_active=True)
                    return
                is_replayed = self._replay(home)
            case frames.StepArrived(step=step, outcome=outcome):
                name = home.names.get(step, "")
                if self._crashes.strike(home.activate.uid, step, name):
                    # One that only waits is not to blame for the death of its runner.
                    self._crash(command.activation, name, was_active=not home.host.is_quiet(command.activation))
                    return
                # The end of a Suspension or Job counts once it is recorded: then there is a replay.
                is_replayed = not isinstance(outcome, (frames.SuspensionEnded, frames.JobEnded)) and self._replay(home)
            case _:
                is_replayed = False
        if not is_replayed:
            self._command(home.host, command)

    def forget(self, activation: int) -> None:
        """Care no longer: nothing is reported of it."""
        if self._homes.pop(activation, None) is not None:
            self._session.give_up(activation)

    def kill_activation(self, activation: int) -> None:
        """Take an activation for dead. Threads cannot be killed: what they still do is not heard any more."""
        self._lose(activation, LostReason.EVICTED, f"killed to end activation {activation}", was_active=False)

    def hold(self) -> None:
        """Nothing has to be held back: the test ends when it ends."""

    # For the environment.

    def abandon(self) -> None:
        """The worker is dead: nothing of its runners is heard any more."""
        self._is_over = True
        for activation in list(self._homes):
            self._async.cancel_running(activation)
            self.forget(activation)

    def unwind(self) -> None:
        """End what is left of all activations: their code is told that they were canceled, and nobody listens."""
        self._is_over = True
        for activation, host in self._numbers.items():
            host.receive(frames.CancelActivation(activation, _CLOSED))
        self._driver.run_ready()
        self._is_idle.clear()
        if not self._sync.is_idle:
            self._is_idle.wait(CLOSING_S)
        self._driver.run_ready()

    # What becomes of activations.

    def _replay(self, home: _Home) -> bool:
        """Evict an activation that has got further, and has waited for something since: it is replayed to go on.

        Not while something that it has said is on its way, or not recorded yet: that would be lost.
        """
        number = home.activate.activation
        is_thread = home.host is self._sync
        is_due = self._replays and home.is_further and home.recorded >= home.produced
        if not is_due or not home.host.is_quiet(number) or self._inbox:
            return False
        if is_thread and self._evicted_threads >= MAX_EVICTED_THREADS:
            return False
        self._evicted_threads += is_thread
        self._lose(number, LostReason.EVICTED, "replayed by the test environment", was_active=False)
        return True

    def _crash(self, activation: int, name: str, *, was_active: bool) -> None:
        message = f"the runner was killed by the test, after {name!r}"
        self._lose(activation, LostReason.RUNNER_CRASHED, message, was_active=was_active)

    def _lose(self, activation: int, reason: LostReason, message: str, *, was_active: bool) -> None:
        if activation not in self._homes:
            return
        self.forget(activation)
        self._async.cancel_running(activation)
        self.listener.on_lost(activation, was_active=was_active, was_alone=True, reason=reason, message=message)

    # Pipes.

    def _command(self, host: AsyncHost | SyncHost, command: frames.Command) -> None:
        self._session.sent(command)
        (received,) = self._commands.feed(bytes(framing.encode(command)))
        self._driver.loop.call_soon(host.receive, received)

    def _send(self, event: frames.RunnerEvent) -> None:
        """In any thread, often with a host's lock held."""
        self._inbox.append(bytes(framing.encode(event)))
        self._driver.loop.call_soon_threadsafe(self._receive)

    def _receive(self) -> None:
        """Take everything that was said by now, as one read of a pipe does: it may be one decision."""
        while self._inbox:
            (event,) = self._events.feed(self._inbox.popleft())
            if not self._is_over and self._session.received(event):
                self._on_event(event)

    def _on_event(self, event: frames.RunnerEvent) -> None:
        if isinstance(event, frames.ThreadLeft):
            return  # threads outlive the environment
        number = getattr(event, "activation", 0)
        home = self._homes[number]
        records = getattr(event, "records", ())
        crashed = self._crashes.strike_records(home.activate.uid, records, is_recorded=False)
        if crashed:
            self._crash(number, crashed, was_active=True)
            return
        match event:
            case frames.RecordsProduced(flush=flush):
                home.is_further = True
                home.produced = max(home.produced, flush)
                crashed = self._crashes.strike_records(home.activate.uid, records, is_recorded=True)
                if crashed:
                    home.crash_at[flush] = crashed
            case frames.StepRequested(step=step, command=command):
                self._note_request(home, step, command)
            case frames.Waiting(waiting_for=items):
                home.names.update({item.step: item.name for item in items if item.kind == "Timer"})
            case frames.Completed() | frames.Failed() | frames.Mismatched() | frames.Interrupted():
                del self._homes[number]
            case _:
                pass
        self.listener.on_frame(event)

    def _note_request(self, home: _Home, step: str, command: frames.Frame) -> None:
        activate = home.activate
        key = (activate.uid, activate.run_epoch, activate.attempt, step)
        home.is_further = home.is_further or key not in self._requested
        self._requested.add(key)
        if isinstance(command, frames.AskPrimitive):
            home.names[step] = f"{command.kind}/{command.name}"
        if isinstance(command, frames.CreateChild):
            home.names[step] = command.function
            if command.function not in self._functions:
                self.unknown[command.function] = None

    def _on_idle(self) -> None:
        """In any thread, with the host's lock held."""
        self._is_idle.set()
        self._driver.wake()

    def _on_breakdown(self, error: BaseException) -> None:
        """In any thread."""
        self._driver.loop.failures.append(error)
        self._driver.wake()
