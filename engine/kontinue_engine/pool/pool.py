"""Internal. The pool: carries activations and frames to and from the runners of one app.

Called by ``worker`` (start, stop) and ``controllers`` (submit, send, forget); tells a ``PoolListener``. Not here: which
processes exist (``pool.supply``), which runner gets what (``pool.dispatch``, pure), a runner's pipes and session
(``pool.runner_process``), what the end of a runner means for an Execution (``lifecycle``). Everything runs on the
supervisor's event loop; nothing blocks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from kontinue_engine.pool import dispatch
from kontinue_engine.pool.options import Colour, LostReason, PoolListener, PoolOptions, RunnerInfo, RunnerState
from kontinue_engine.pool.runner_process import RunnerProcess, Verdict
from kontinue_engine.pool.supply import COLOURS, Supply, colour_of
from kontinue_engine.wire import frames
from kontinue_engine.wire.session import ActivationState


class _Queue:
    """Activations of one colour that no runner holds: suspects, then resumed ones, each kind oldest first.

    A resumed Execution has waited before, and others may wait for it; behind a long queue its crash would cost it
    minutes. A suspect is resumed too, and is to be the only active one of its runner.
    """

    def __init__(self) -> None:
        self.suspects: OrderedDict[int, frames.Activate] = OrderedDict()
        self._resumed: OrderedDict[int, frames.Activate] = OrderedDict()
        self._fresh: OrderedDict[int, frames.Activate] = OrderedDict()
        self.next_dispatch: asyncio.Handle | None = None
        self.recheck: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[frames.Activate]:
        return chain(self._resumed.values(), self._fresh.values())

    def add(self, activate: frames.Activate, *, is_suspect: bool, is_first: bool = False) -> None:
        """Queue an activation; ``is_first``: before all others of its kind."""
        queue = self.suspects if is_suspect else self._resumed if activate.resumption else self._fresh
        queue[activate.activation] = activate
        if is_first:
            queue.move_to_end(activate.activation, last=False)

    def take(self, activation: int) -> frames.Activate | None:
        """Remove an activation and return it; None if it is not queued."""
        for queue in (self._fresh, self._resumed, self.suspects):
            if (activate := queue.pop(activation, None)) is not None:
                return activate
        return None


class Pool:
    """Runs activations of one app on zygote-forked processes."""

    def __init__(self, options: PoolOptions, listener: PoolListener) -> None:
        self._options = options
        self._listener = listener
        self._supply = Supply(options, owner=self)
        self._queues: dict[Colour, _Queue] = {colour: _Queue() for colour in COLOURS}
        self._colours: dict[str, Colour] = {}
        self._homes: dict[int, RunnerProcess] = {}
        self._canceled: set[int] = set()
        self._suspects: set[int] = set()
        self._estimates: dict[str, float] = {}
        self._is_held = False
        self._is_frozen = False
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()

    async def start(self) -> frames.AppLoaded:
        """Start zygote and runners; return when every runner is READY. Call it once, from the main thread.

        Raises:
            AppLoadFailedError: the user's module cannot be used; nothing is left running.
        """
        try:
            app = await self._supply.start()
        except BaseException:
            await self.stop()
            raise
        self._colours = {function.name: colour_of(function) for function in app.functions}
        return app

    async def run(self) -> None:
        """Wait, beside whoever uses the pool, until it cannot go on.

        Raises:
            StartupError: the user's code has changed.
            Exception: what the listener has raised. It must not: what it was told is lost, and with it perhaps the end
                of an Execution. A new worker finds everything by listing.
        """
        await self._has_failed.wait()
        assert self._failure is not None  # noqa: S101
        raise self._failure

    def fail(self, error: BaseException) -> None:
        """Have ``run`` raise; the first failure counts."""
        self._failure = self._failure or error
        self._has_failed.set()

    async def stop(self) -> None:
        """Kill everything. What runs is not reported as lost: the supervisor is going."""
        for queue in self._queues.values():
            for handle in (queue.next_dispatch, queue.recheck):
                if handle is not None:
                    handle.cancel()
        await self._supply.stop()

    # Activations.

    def submit(self, activate: frames.Activate, *, alone: bool = False) -> None:
        """Run an activation as soon as a runner has room.

        Args:
            activate: sent to the runner.
            alone: on a runner where nothing else is active, and nothing else is started until it is parked for a while
                (without a step that runs) or has ended: if it is lost there, it is to blame. Goes before all others.

        Raises:
            ValueError: the app has no such function.
        """
        colour = self._colours.get(activate.function)
        if colour is None:
            raise ValueError(f"the app has no function {activate.function!r}")
        if alone:
            self._suspects.add(activate.activation)
        self._queues[colour].add(activate, is_suspect=alone)
        self._schedule_dispatch(colour)

    def send(self, command: frames.Command) -> None:
        """Send a command to the runner that holds its activation; ignored if none does."""
        activation = command.activation
        runner = self._homes.get(activation)
        if runner is not None:
            if isinstance(command, frames.CancelActivation):
                self._canceled.add(activation)
            runner.send(command)
        elif isinstance(command, frames.CancelActivation) and self._take_from_queue(activation):
            # As a runner would answer; not within the caller's call.
            answer = frames.Interrupted(activation)
            asyncio.get_running_loop().call_soon(self._tell, self._listener.on_frame, answer)

    def forget(self, activation: int) -> None:
        """Care no longer: nothing is reported of it, and it does not start if it has not. Running code runs on."""
        self._take_from_queue(activation)
        runner = self._drop(activation)
        if runner is not None:
            runner.recall(activation)
            runner.session.give_up(activation)

    def kill_activation(self, activation: int) -> None:
        """End an activation by SIGKILL of its runner, whatever it does. All that are on it are lost, reason Evicted."""
        runner = self._homes.get(activation)
        if runner is not None:
            runner.kill(Verdict(LostReason.EVICTED, f"killed to end activation {activation}", charge=False))
        elif self._take_from_queue(activation):
            verdict = Verdict(LostReason.EVICTED, "it had not started", charge=False)
            self._lose(activation, verdict)

    def _drop(self, activation: int) -> RunnerProcess | None:
        """Know no longer of an activation; return the runner that has it."""
        self._canceled.discard(activation)
        self._suspects.discard(activation)
        return self._homes.pop(activation, None)

    def _take_from_queue(self, activation: int) -> bool:
        return any(queue.take(activation) is not None for queue in self._queues.values())

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
            for runner in self._supply.runners.values()
        ]

    def drain(self, runner: RunnerProcess, message: str) -> None:
        """Give the runner no new work, and kill it once nothing is active on it. Without effect while it cannot begin.

        What only waits there is lost now (Evicted): nothing of it unwinds, and it is replayed when it wakes.
        """
        if self._begin_drain(runner, message):
            self._continue_drain(runner)

    def _recycle(self, runner: RunnerProcess) -> None:
        after = self._options.recycle_after
        if runner.has_left_thread:
            self._begin_drain(runner, "the runner was recycled: a step that took too long has kept a thread of it")
        elif after is not None and runner.started_count >= after:
            self._begin_drain(runner, f"the runner was recycled after {runner.started_count} activations")

    def _begin_drain(self, runner: RunnerProcess, message: str) -> bool:
        is_ready = runner.state is RunnerState.READY and runner.verdict is None
        if not is_ready or runner.is_reserved or not self._supply.may_leave(runner):
            return False  # what is to run alone is to show what it takes
        runner.state = RunnerState.DRAINING
        runner.drain_message = message
        for activation in list(runner.unstarted):
            runner.recall(activation)
        self._supply.leave(runner)
        return True

    def _continue_drain(self, runner: RunnerProcess) -> None:
        verdict = Verdict(LostReason.EVICTED, runner.drain_message, charge=False)
        states = runner.session.states
        waiting = [activation for activation, state in states.items() if state is ActivationState.WAITING]
        for activation in set(waiting) - runner.stepping:
            # Its copy in the runner is never fed again, so another runner may replay it at once.
            runner.session.give_up(activation)
            self._lose(activation, verdict)
        if not runner.active and not runner.unstarted:
            runner.kill(verdict)

    # Dispatch.

    def hold(self) -> None:
        """Start nothing more: what is queued stays queued, what a runner has not started comes back."""
        self._is_held = True
        for runner in self._supply.runners.values():
            for activation in list(runner.unstarted):
                runner.recall(activation)

    def freeze(self) -> None:
        """Stop the code of every runner where it is, and start nothing; idempotent.

        What user code has started as processes of its own goes on.
        """
        self._is_frozen = True
        for runner in self._supply.runners.values():
            runner.freeze()

    def thaw(self) -> None:
        """Let everything go on after ``freeze``."""
        self._is_frozen = False
        for runner in self._supply.runners.values():
            runner.thaw()
        for colour in self._queues:
            self._schedule_dispatch(colour)

    def _schedule_dispatch(self, colour: Colour) -> None:
        if self._is_held or self._is_frozen:
            return
        queue = self._queues[colour]
        if queue.next_dispatch is None:
            queue.next_dispatch = asyncio.get_running_loop().call_soon(self._dispatch, colour)

    def _dispatch(self, colour: Colour) -> None:
        queue = self._queues[colour]
        for handle in (queue.next_dispatch, queue.recheck):
            if handle is not None:
                handle.cancel()
        queue.next_dispatch = queue.recheck = None
        if self._is_held or self._is_frozen:
            return  # scheduled before
        runners = {
            runner.number: runner
            for runner in self._supply.runners.values()
            if runner.colour == colour and runner.state is RunnerState.READY and runner.verdict is None
        }
        plan = dispatch.plan_dispatch(
            ((activate.activation, activate.function) for activate in queue),
            [runner.load() for runner in runners.values()],
            self._estimates,
            time.monotonic(),
            suspects=self._in_turn(list(queue.suspects)),
            room=self._room(),
        )
        for assignment in plan.assignments:
            activate = queue.take(assignment.activation)
            if activate is not None:
                runner = runners[assignment.runner]
                self._homes[assignment.activation] = runner
                runner.activate(activate, is_alone=assignment.activation in self._suspects)
        for recall in plan.recalls:
            runners[recall.runner].recall(recall.activation)
        for runner in runners.values():
            runner.flush()
        if plan.recheck_s is not None:
            queue.recheck = asyncio.get_running_loop().call_later(plan.recheck_s, self._dispatch, colour)

    def _room(self) -> int | None:
        """Return how many activations may be given out now. One that wakes from a wait goes on without being asked."""
        limit = 1 if self._supply.is_unsettled else self._options.max_active
        if limit is None:
            return None
        active = sum(
            len(load.running) + load.stepping + len(load.unstarted)
            for load in (runner.load() for runner in self._supply.runners.values())
        )
        return max(0, limit - active)

    def _in_turn(self, suspects: list[int]) -> list[int]:
        """Return them with another one first after each death of the zygote, so that each is once the only one."""
        first = self._supply.zygote_deaths % len(suspects) if suspects else 0
        return suspects[first:] + suspects[:first]

    def _schedule_others(self, colour: Colour) -> None:
        """Runners of one colour have something less to do: where all share a limit, that is room for the others."""
        if self._options.max_active is not None or self._supply.is_unsettled:
            for other in self._queues:
                if other != colour:
                    self._schedule_dispatch(other)

    def _requeue(self, activate: frames.Activate) -> None:
        """Queue an activation that a runner had and did not start."""
        activation = activate.activation
        self._homes.pop(activation, None)
        if activation in self._canceled:
            self._drop(activation)
            self._tell(self._listener.on_frame, frames.Interrupted(activation))
            return
        colour = self._colours[activate.function]
        self._queues[colour].add(activate, is_suspect=activation in self._suspects, is_first=True)
        self._schedule_dispatch(colour)

    # What runners report (RunnerOwner).

    def on_events(self, runner: RunnerProcess, events: Sequence[frames.RunnerEvent]) -> None:
        """Handle what a runner says. Runners get their next work before the listener hears of their last."""
        told: list[frames.RunnerEvent] = []
        for event in events:
            match event:
                case frames.Ready():
                    self._supply.ready(runner)
                case frames.LoadFailed():
                    self._supply.load_failed(event.message, event.traceback)
                case frames.ThreadLeft():
                    pass  # noted by the runner's process, which is recycled below
                case frames.Recalled():
                    self._requeue(runner.given_back.pop(event.activation))
                case frames.Completed() | frames.Failed() | frames.Mismatched() | frames.Interrupted():
                    self._drop(event.activation)
                    told.append(event)
                case _:
                    told.append(event)
        self._recycle(runner)
        if not all(isinstance(event, frames.LogLine) for event in events):
            self._dispatch(runner.colour)
            self._schedule_others(runner.colour)
        for event in told:
            if isinstance(event, frames.LogLine):
                self.on_log(runner.pid, event)
            else:
                self._tell(self._listener.on_frame, event)
        if runner.state is RunnerState.DRAINING and runner.verdict is None:
            self._continue_drain(runner)

    def on_log(self, pid: int, line: frames.LogLine) -> None:
        """Pass a line of output on."""
        self._tell(self._listener.on_log, pid, line)

    def on_active_time(self, function: str, duration_s: float) -> None:
        """Learn how long a function is active."""
        self._estimates[function] = dispatch.next_estimate(self._estimates.get(function), duration_s)

    def on_released(self, runner: RunnerProcess) -> None:
        """Let others start on the runner."""
        self._schedule_dispatch(runner.colour)

    def on_calm(self) -> None:
        """Use all runners again."""
        for colour in self._queues:
            self._schedule_dispatch(colour)

    def on_ended(self, runner: RunnerProcess) -> None:
        """Say what is lost with a runner; what it had not started goes to another."""
        verdict = self._supply.ended(runner)
        if verdict is None:
            return
        active = runner.running_code
        # Without anything active, the first unstarted one may have killed the runner while it was being started.
        starting = next(iter(runner.unstarted), None) if verdict.charge and not active else None
        was_alone = (
            verdict.charge and not verdict.is_shared and (len(active) == 1 if active else len(runner.unstarted) == 1)
        )
        given_back: list[frames.Activate] = []
        for activation, state in list(runner.session.states.items()):
            if state is ActivationState.UNSTARTED and activation != starting:
                given_back.append(runner.unstarted[activation])
            else:
                was_active = verdict.charge and (activation in active or activation == starting)
                self._lose(activation, verdict, was_active=was_active, was_alone=was_active and was_alone)
        for activate in reversed(given_back):
            self._requeue(activate)
        self._schedule_dispatch(runner.colour)
        self._schedule_others(runner.colour)

    def _lose(self, activation: int, verdict: Verdict, *, was_active: bool = False, was_alone: bool = False) -> None:
        self._drop(activation)
        self._tell(
            self._listener.on_lost,
            activation,
            was_active=was_active,
            was_alone=was_alone,
            reason=verdict.reason,
            message=verdict.message,
        )

    def _tell(self, callback: Callable[..., None], *arguments: Any, **named: Any) -> None:
        try:
            callback(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - here it would go to the event loop, which only logs it
            self.fail(error)
