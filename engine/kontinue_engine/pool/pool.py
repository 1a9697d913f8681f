"""Internal. The pool: keeps the runners that the options ask for, and carries activations and frames to and from them.

Called by ``worker`` (start, stop) and ``controllers`` (submit, send, forget); tells a ``PoolListener``. Not here: which
runner gets what (``pool.dispatch``, pure), one runner's pipes and session (``pool.runner_process``), what the end of a
runner means for an Execution (``lifecycle``). Everything runs on the supervisor's event loop; nothing blocks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import psutil

from kontinue_engine.errors import AppLoadFailedError
from kontinue_engine.pool import cpus, dispatch
from kontinue_engine.pool.exits import describe_exit
from kontinue_engine.pool.options import Colour, LostReason, PoolListener, PoolOptions, RunnerInfo, RunnerState
from kontinue_engine.pool.runner_process import RunnerProcess, Verdict
from kontinue_engine.pool.zygote_process import ZygoteProcess
from kontinue_engine.wire import frames
from kontinue_engine.wire.session import ActivationState

_log: Final = logging.getLogger(__name__)

_COLOURS: Final[tuple[Colour, ...]] = ("sync", "async")

_MEMORY_WATCH_S: Final = 1.0
"""A judgement: the limit leaves 256 MiB for what runners take in between (the kernel then kills the whole container)."""

_RESTART_DELAY_S: Final = 0.1
_MAX_RESTART_DELAY_S: Final = 10.0

_STOP_WAIT_S: Final = 5.0
"""A killed process that is not gone by then hangs in the kernel; the supervisor must end all the same."""


class _Slot:
    """A place for one runner; the runner in it changes."""

    def __init__(self, colour: Colour) -> None:
        self.colour: Colour = colour
        self.runner: RunnerProcess | None = None
        self.failures = 0
        self.restart: asyncio.TimerHandle | None = None


class _ColourQueue:
    """Activations of one colour that no runner holds, oldest first."""

    def __init__(self) -> None:
        self.activates: OrderedDict[int, frames.Activate] = OrderedDict()
        self.recheck: asyncio.TimerHandle | None = None
        self.is_dispatch_scheduled = False


class Pool:
    """Runners of one app.

    Attributes:
        app: what the user's module declares; None before ``start`` has returned.
    """

    def __init__(self, options: PoolOptions, listener: PoolListener) -> None:
        self.app: frames.AppLoaded | None = None
        self._options = options
        self._listener = listener
        self._zygote: ZygoteProcess | None = None
        self._zygote_failures = 0
        self._slots: list[_Slot] = []
        self._runners: dict[int, RunnerProcess] = {}
        self._next_number = 1
        self._queues: dict[Colour, _ColourQueue] = {colour: _ColourQueue() for colour in _COLOURS}
        self._colours: dict[str, Colour] = {}
        self._homes: dict[int, RunnerProcess] = {}
        self._canceled: set[int] = set()
        self._estimates: dict[str, float] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._is_stopping = False
        self._load_failure: AppLoadFailedError | None = None
        self._changed = asyncio.Event()

    # Start and stop.

    async def start(self) -> frames.AppLoaded:
        """Start zygote and runners; returns when every runner is READY. Call it once, from the main thread.

        Raises:
            AppLoadFailedError: the user's module cannot be used; nothing is left running.
        """
        self._loop = asyncio.get_running_loop()
        self._start_zygote()
        self._after(_MEMORY_WATCH_S, self._watch_memory)
        try:
            while self.app is None or any(not self._is_ready(slot) for slot in self._slots):
                if self._load_failure is not None:
                    raise self._load_failure
                self._changed.clear()
                await self._changed.wait()
        except BaseException:
            await self.stop()
            raise
        return self.app

    async def stop(self) -> None:
        """Kill everything. What runs is not reported as lost: the supervisor is going."""
        self._is_stopping = True
        for timer in self._timers:
            timer.cancel()
        for runner in list(self._runners.values()):
            runner.kill(Verdict(LostReason.EVICTED, "the pool stopped", charge=False))
            runner.orphaned()
        if self._zygote is not None:
            self._zygote.kill()
        deadline = self._loop.time() + _STOP_WAIT_S
        while (self._zygote is not None or self._runners) and self._loop.time() < deadline:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - self._loop.time())
            except TimeoutError:
                break

    # Activations.

    def submit(self, activate: frames.Activate) -> None:
        """Run an activation as soon as a runner has room.

        Raises:
            ValueError: the app has no such function.
        """
        colour = self._colours.get(activate.function)
        if colour is None:
            raise ValueError(f"the app has no function {activate.function!r}")
        self._queues[colour].activates[activate.activation] = activate
        self._schedule_dispatch(colour)

    def send(self, command: frames.Command) -> None:
        """Send a command to the runner that holds its activation; ignored if none does."""
        activation = command.activation
        if isinstance(command, frames.CancelActivation):
            self._cancel(activation)
        runner = self._homes.get(activation)
        if runner is not None:
            runner.send(command)

    def forget(self, activation: int) -> None:
        """Care no longer: nothing is reported of it, and it does not start if it has not. Running code runs on."""
        for queue in self._queues.values():
            queue.activates.pop(activation, None)
        self._canceled.discard(activation)
        runner = self._homes.pop(activation, None)
        if runner is not None:
            runner.recall(activation)
            runner.session.give_up(activation)

    def kill_activation(self, activation: int) -> None:
        """End an activation by SIGKILL of its runner, whatever it does. All that are on it are lost, reason Evicted."""
        runner = self._homes.get(activation)
        if runner is not None:
            runner.kill(
                Verdict(LostReason.EVICTED, f"the runner was killed to end activation {activation}", charge=False)
            )
            return
        for queue in self._queues.values():
            if queue.activates.pop(activation, None) is not None:
                self._lose(
                    activation, was_active=False, verdict=Verdict(LostReason.EVICTED, "not started", charge=False)
                )

    def _cancel(self, activation: int) -> None:
        for queue in self._queues.values():
            if queue.activates.pop(activation, None) is not None:
                # As a runner would answer; not within the caller's call.
                self._loop.call_soon(self._tell, self._listener.on_frame, frames.Interrupted(activation))
        if activation in self._homes:
            self._canceled.add(activation)

    # Runners.

    def runners(self) -> list[RunnerInfo]:
        """Return the runners that exist, oldest first."""
        return [
            RunnerInfo(
                pid=runner.pid,
                colour=runner.colour,
                activations=tuple(runner.session.states),
                state=runner.state,
            )
            for runner in self._runners.values()
        ]

    def drain_runner(self, pid: int) -> None:
        """Replace a runner without interrupting what is active on it: parked activations are lost now (Evicted)."""
        for runner in list(self._runners.values()):
            if runner.pid == pid and runner.state is RunnerState.READY:
                self._drain(runner, "the runner was drained")

    def _drain(self, runner: RunnerProcess, message: str) -> None:
        runner.state = RunnerState.DRAINING
        runner.drain_message = message
        for activation in list(runner.unstarted):
            runner.recall(activation)
        self._continue_drain(runner)

    def _continue_drain(self, runner: RunnerProcess) -> None:
        verdict = Verdict(LostReason.EVICTED, runner.drain_message, charge=False)
        states = runner.session.states
        for activation in [one for one, state in states.items() if state is ActivationState.WAITING]:
            # Its copy in the runner is never fed again, so another runner may replay it at once.
            runner.session.give_up(activation)
            self._lose(activation, was_active=False, verdict=verdict)
        if not runner.running and not runner.unstarted:
            runner.kill(verdict)

    # Dispatch.

    def _schedule_dispatch(self, colour: Colour) -> None:
        queue = self._queues[colour]
        if not queue.is_dispatch_scheduled:
            queue.is_dispatch_scheduled = True
            self._loop.call_soon(self._dispatch, colour)

    def _dispatch(self, colour: Colour) -> None:
        queue = self._queues[colour]
        queue.is_dispatch_scheduled = False
        runners = {
            runner.number: runner
            for runner in self._runners.values()
            if runner.colour == colour and runner.state is RunnerState.READY and runner.verdict is None
        }
        plan = dispatch.plan_dispatch(
            ((activate.activation, activate.function) for activate in queue.activates.values()),
            [runner.load() for runner in runners.values()],
            self._estimates,
            time.monotonic(),
        )
        for assignment in plan.assignments:
            runner = runners[assignment.runner]
            activate = queue.activates.pop(assignment.activation)
            self._homes[activate.activation] = runner
            runner.activate(activate)
        for recall in plan.recalls:
            runners[recall.runner].recall(recall.activation)
        for runner in runners.values():
            runner.flush()
        if queue.recheck is not None:
            queue.recheck.cancel()
            self._timers.discard(queue.recheck)
            queue.recheck = None
        if plan.recheck_s is not None:
            queue.recheck = self._after(plan.recheck_s, self._dispatch, colour)

    # RunnerOwner.

    def on_events(self, runner: RunnerProcess, events: Sequence[frames.RunnerEvent]) -> None:
        """Handle what a runner says. Runners get their next work before the listener hears of their last."""
        told: list[frames.RunnerEvent] = []
        for event in events:
            match event:
                case frames.Ready():
                    self._changed.set()
                case frames.LoadFailed():
                    self._on_load_failed(AppLoadFailedError(event.message, event.traceback))
                case frames.Recalled(activation):
                    self._homes.pop(activation, None)
                    self._requeue(runner.given_back.pop(activation))
                case frames.Completed() | frames.Failed() | frames.Mismatched() | frames.Interrupted():
                    self._homes.pop(event.activation, None)
                    self._canceled.discard(event.activation)
                    told.append(event)
                case _:
                    told.append(event)
        recycle_after = self._options.recycle_after
        if recycle_after is not None and runner.started_count >= recycle_after and runner.state is RunnerState.READY:
            self._drain(runner, f"the runner was recycled after {runner.started_count} activations")
        if not all(isinstance(event, frames.LogLine) for event in events):
            self._dispatch(runner.colour)
        for event in told:
            if isinstance(event, frames.LogLine):
                self.on_log(runner.pid, event)
            else:
                self._tell(self._listener.on_frame, event)
        if runner.state is RunnerState.DRAINING and runner.verdict is None:
            self._continue_drain(runner)

    def _requeue(self, activate: frames.Activate) -> None:
        activation = activate.activation
        if activation in self._canceled:
            self._canceled.discard(activation)
            self._tell(self._listener.on_frame, frames.Interrupted(activation))
            return
        colour = self._colours[activate.function]
        self._queues[colour].activates[activation] = activate
        self._queues[colour].activates.move_to_end(activation, last=False)
        self._schedule_dispatch(colour)

    def on_log(self, pid: int, line: frames.LogLine) -> None:
        """Pass a line of output on."""
        self._tell(self._listener.on_log, pid, line)

    def on_active_time(self, function: str, duration_s: float) -> None:
        """Learn how long a function is active."""
        self._estimates[function] = dispatch.next_estimate(self._estimates.get(function), duration_s)

    def on_ended(self, runner: RunnerProcess) -> None:
        """Replace a runner that is gone, and say what is lost with it."""
        del self._runners[runner.number]
        self._changed.set()
        if self._is_stopping:
            return
        verdict = runner.verdict
        if verdict is None:
            verdict = Verdict(LostReason.RUNNER_CRASHED, f"the runner {describe_exit(runner.exit_code)}", charge=True)
        _log.log(
            logging.WARNING if verdict.charge else logging.INFO,
            "runner ended",
            extra={"runner_pid": runner.pid, "colour": runner.colour, "reason": verdict.reason, "how": verdict.message},
        )
        slot = next(slot for slot in self._slots if slot.runner is runner)
        slot.runner = None
        slot.failures = 0 if runner.started_count > 0 or not verdict.charge else slot.failures + 1
        self._lose_all(runner, verdict)
        if slot.failures == 0:
            self._start_runner(slot)
        else:
            slot.restart = self._after(_delay_s(slot.failures), self._start_runner, slot)
        self._schedule_dispatch(runner.colour)

    def _lose_all(self, runner: RunnerProcess, verdict: Verdict) -> None:
        # Without anything running, the first unstarted one may have killed the runner while it was being started.
        suspect = next(iter(runner.unstarted), None) if verdict.charge and not runner.running else None
        given_back: list[frames.Activate] = []
        for activation, state in list(runner.session.states.items()):
            if state is ActivationState.UNSTARTED and activation != suspect:
                given_back.append(runner.unstarted[activation])
                self._homes.pop(activation, None)
            else:
                was_active = state is ActivationState.RUNNING or activation == suspect
                self._lose(activation, was_active=was_active and verdict.charge, verdict=verdict)
        for activate in reversed(given_back):
            self._requeue(activate)

    def _lose(self, activation: int, *, was_active: bool, verdict: Verdict) -> None:
        self._homes.pop(activation, None)
        self._canceled.discard(activation)
        on_lost = self._listener.on_lost
        self._tell(on_lost, activation, was_active=was_active, reason=verdict.reason, message=verdict.message)

    # ZygoteOwner.

    def on_zygote_event(self, event: frames.ZygoteEvent) -> None:
        """Handle what the zygote says."""
        match event:
            case frames.AppLoaded():
                self._on_app_loaded(event)
            case frames.LoadFailed():
                self._on_load_failed(AppLoadFailedError(event.message, event.traceback))
            case frames.RunnerForked():
                runner = self._runners.get(event.runner)
                if runner is not None:
                    runner.forked(event.pid)
            case frames.RunnerExited():
                runner = self._runners.get(event.runner)
                if runner is not None:
                    runner.exited(event.code)

    def _on_app_loaded(self, app: frames.AppLoaded) -> None:
        self._zygote_failures = 0
        if self.app is not None and app.build != self.app.build:
            _log.warning("code changed", extra={"build": app.build, "build_before": self.app.build})
        for warning in app.warnings:
            _log.warning("app loaded with a warning", extra={"warning": warning})
        self.app = app
        self._colours = {function.name: "async" if function.is_async else "sync" for function in app.functions}
        self._slots = self._slots or self._make_slots()
        for slot in self._slots:
            self._start_runner(slot)
        self._changed.set()

    def _make_slots(self) -> list[_Slot]:
        options = self._options
        sync_runners = cpus.default_sync_runners() if options.sync_runners is None else options.sync_runners
        wanted: dict[Colour, int] = {"sync": sync_runners, "async": options.async_runners}
        used = set(self._colours.values())
        return [_Slot(colour) for colour in _COLOURS if colour in used for _ in range(wanted[colour])]

    def _on_load_failed(self, failure: AppLoadFailedError) -> None:
        self._load_failure = failure
        self._changed.set()
        if self.app is not None:
            _log.error("app does not load any more", extra={"error": failure.message, "traceback": failure.traceback})

    def on_zygote_ended(self) -> None:
        """Start another one; its runners die with it (the kernel sees to that)."""
        zygote, self._zygote = self._zygote, None
        self._changed.set()
        end = "" if zygote is None else zygote.end
        for runner in list(self._runners.values()):
            runner.kill(Verdict(LostReason.RUNNER_CRASHED, f"the zygote {end}, and its runners with it", charge=True))
            runner.orphaned()
        if self._is_stopping:
            return
        if self.app is None:
            if self._load_failure is None:
                tail = "" if zygote is None else zygote.tail
                self._load_failure = AppLoadFailedError(f"the process that imports {self._options.app} {end}", tail)
            return
        _log.warning("zygote ended", extra={"how": end})
        self._zygote_failures += 1
        self._after(_delay_s(self._zygote_failures), self._start_zygote)

    def _start_zygote(self) -> None:
        self._zygote = ZygoteProcess(self._options, loop=self._loop, owner=self)

    def _start_runner(self, slot: _Slot) -> None:
        if self._zygote is None or slot.runner is not None or self._is_stopping:
            return  # a new zygote starts a runner in every empty slot
        runner = RunnerProcess(number=self._next_number, colour=slot.colour, loop=self._loop, owner=self)
        self._next_number += 1
        slot.runner = runner
        self._runners[runner.number] = runner
        self._zygote.fork(runner)

    def _is_ready(self, slot: _Slot) -> bool:
        return slot.runner is not None and slot.runner.state is not RunnerState.STARTING

    # Memory.

    def _watch_memory(self) -> None:
        self._after(_MEMORY_WATCH_S, self._watch_memory)
        limit = self._options.memory_limit_bytes
        recycle_above = self._options.recycle_above_bytes
        if limit is None and recycle_above is None:
            return
        for runner in list(self._runners.values()):
            used = _resident_bytes(runner.pid)
            if limit is not None and used > limit:
                message = f"the runner used {used >> 20} MiB of memory, the limit is {limit >> 20} MiB"
                runner.kill(Verdict(LostReason.OUT_OF_MEMORY, message, charge=True))
            elif recycle_above is not None and used > recycle_above and runner.state is RunnerState.READY:
                self._drain(runner, f"the runner was recycled: it used {used >> 20} MiB of memory")

    # Small things.

    def _after(self, delay_s: float, callback: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        def run() -> None:
            self._timers.discard(timer)
            callback(*arguments)

        timer = self._loop.call_later(delay_s, run)
        self._timers.add(timer)
        return timer

    def _tell(self, callback: Callable[..., None], *arguments: Any, **named: Any) -> None:
        try:
            callback(*arguments, **named)
        except Exception:  # noqa: BLE001 - a bug there must not stop the reading of pipes
            _log.exception("listener failed")


def _delay_s(failures: int) -> float:
    return min(_MAX_RESTART_DELAY_S, _RESTART_DELAY_S * 2.0 ** (failures - 1))


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid > 0 else 0
    except psutil.NoSuchProcess:
        return 0
