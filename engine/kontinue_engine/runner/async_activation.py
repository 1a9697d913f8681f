"""Internal. One activation of an async function with a context, on a deterministic loop of its own.

Everything runs on the host loop's thread. The loop tells when the program has settled (``on_idle``), the journal says
what comes next, and effects are performed between turns (``on_turn_end``): steps as tasks of the host loop or in
threads, children and timers by the supervisor. Implements ``kontinue.ports.AsyncPort``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from kontinue import durable_calls
from kontinue.context import ExecutionContext, context_coroutine
from kontinue.definition import FunctionDefinition
from kontinue.durable_timeout import LONGEST
from kontinue.errors import ContextError
from kontinue.poll_calls import step_of
from kontinue.replay.branch import Branch
from kontinue.replay.call import Call, CallState, Mismatch, Outcome
from kontinue.replay.journal import Effect
from kontinue.replay.records import RecordKind
from kontinue_engine.runner import activation as base
from kontinue_engine.runner import breakdown, function_calls
from kontinue_engine.runner.current import clean_context
from kontinue_engine.runner.deterministic_loop import DeterministicLoop, HostLoop
from kontinue_engine.runner.failures import Failure
from kontinue_engine.runner.threads import Threads
from kontinue_engine.wire import frames

T = TypeVar("T")

_MAX_CANCELS: Final = 20
"""How often code that has been canceled and waits again is canceled anew; judgement. Then it is left where it is."""
_MAX_LISTED: Final = 3
"""Calls named in a message; judgement."""


class Host(Protocol):
    """What an activation needs of its host."""

    loop: HostLoop
    threads: Threads
    skips_pauses: bool
    only_replays: bool

    def call_from_thread(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the loop."""

    def forget(self, activation: AsyncActivation, *, is_blocked: bool) -> None:
        """This activation has ended."""


class _Watched(NamedTuple):
    """A coroutine that a context call returned; ``position`` is how many outcomes had been delivered then."""

    coroutine: Coroutine[object, None, Any]
    what: str
    line: str
    position: int

    @property
    def state(self) -> str:
        return inspect.getcoroutinestate(self.coroutine)

    def __str__(self) -> str:
        return f"{self.what} at {self.line}"


def _skip(delay_s: float) -> None:
    del delay_s


def _listed(calls: Sequence[str]) -> str:
    more = f" and {len(calls) - _MAX_LISTED} more" if len(calls) > _MAX_LISTED else ""
    return ", ".join(calls[:_MAX_LISTED]) + more


class AsyncActivation(base.Activation):
    """Runs one function with an ExecutionContext."""

    def __init__(
        self,
        host: Host,
        activate: frames.Activate,
        function: FunctionDefinition[..., Any],
        *,
        send: base.Send,
        now_ms: base.NowMs,
    ) -> None:
        super().__init__(activate, function, send=send, now_ms=now_ms, only_replays=host.only_replays)
        self._host = host
        self._loop = DeterministicLoop(self, host.loop)
        self._main: asyncio.Task[bytes | Failure] | None = None
        self._steps: dict[str, asyncio.Task[None] | None] = {}
        self._watched: list[_Watched] = []
        self._watched_limit = 64
        self._late: list[str] = []
        self._timer_seqs: dict[float, int] = {}
        self._misuse: Failure | None = None
        self._is_parked = False
        self._interruption: str | None = None
        self._cancels = 0
        self._end: bytes | Failure | Mismatch | None = None
        self._has_ended = False

    # For the host.

    def start(self) -> None:
        """Begin to run the function."""
        arguments = self.send_running()
        running = function_calls.call_async(self._function, (ExecutionContext(self),), arguments)
        self._main = self._loop.create_main_task(running, clean_context(self.number))

    def recorded(self, flush: int) -> None:
        """Records up to ``flush`` are durable."""
        self.journal.recorded(flush)
        self._go_on()

    def arrived(self, frame: frames.StepArrived | frames.StepRejected) -> None:
        """A child or timer has its outcome."""
        super().arrived(frame)
        self._go_on()

    def interrupt(self, message: str) -> None:
        """Raise CancelledError in the function; it is told again at every further context call."""
        if self._main is None or self._interruption is not None:
            return
        self._interruption = message
        self._set_running()
        self._main.cancel(message)
        self._loop.wake()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it runs, and all that it has done has been said: it waits for the supervisor."""
        return self._loop.is_settled and not (self._steps or self.journal.has_unflushed)

    def from_thread(self, change: Callable[[], None]) -> None:
        """Have ``change`` done to this activation; from any thread of a step, which may outlive the loop."""
        with contextlib.suppress(RuntimeError):
            self._host.call_from_thread(change)

    def cancel_steps(self) -> None:
        """Cancel the steps that run on the host loop; their outcome is of no interest any more."""
        for task in self._steps.values():
            if task is not None:
                task.cancel()

    def _go_on(self) -> None:
        self.send_flush()
        self._loop.wake()

    def _set_running(self, *, looks: bool = False) -> None:
        if self._is_parked:
            self._is_parked = False
            self.send(frames.Running(self.number, looks=looks))

    # For the deterministic loop.

    def now_s(self) -> float:
        """Return the time of the program."""
        return self.now_ms / 1000

    def on_idle(self) -> bool:
        """The program has settled: deliver one outcome, or bring it to its end."""
        assert self._main is not None  # noqa: S101
        if self._main.done():
            return self._clean_up(self._main.result())
        if self._interruption is not None:
            return self._cancel_again(Failure(asyncio.CancelledError(), "UserError"))
        try:
            call = self.journal.advance()
        except Mismatch as mismatch:
            self._end = mismatch
            return False
        if call is None:
            return False
        self._set_running()
        if isinstance(call.listener, asyncio.Future):
            if not call.listener.done():
                call.listener.set_result(None)
        else:
            call.listener()
        return True

    def on_turn_end(self) -> None:
        """Perform what the turn has asked for; then say how it stands with the function."""
        if self._end is not None:
            self._conclude(self._end)
            return
        for effect in self.journal.take_effects():
            self._perform(effect)
        for call in self.take_due():
            self._set_running(looks=True)
            self._start_step(call)
        self.send_flush()
        waits = self._loop.is_settled and not self._steps and not self.journal.is_flushing
        if waits and not self._is_parked:
            self._is_parked = True
            self.send_waiting()

    def on_spin(self, error: ContextError) -> None:
        """The program never settles."""
        self._end = Failure(error, "ContextMisuse")

    def open_timer(self, branch: Branch, when_s: float, fire: Callable[[], None]) -> Callable[[], None]:
        """Start a durable timer for ``loop.call_at``."""
        self._raise_if_interrupted()
        # Libraries say for ever by a large number, or infinity.
        call = durable_calls.timer_call(timedelta(seconds=min(when_s - self.now_s(), LONGEST.total_seconds())))
        call.id = branch.next_timer()
        call.listener = functools.partial(self._fire_timer, call, when_s, fire)
        self.journal.request(call)
        return functools.partial(self.journal.abandon, call)

    def _fire_timer(self, call: Call, when_s: float, fire: Callable[[], None]) -> None:
        assert call.record is not None  # noqa: S101 - it is told of the delivery
        self._timer_seqs.setdefault(when_s, call.record.seq)
        fire()

    def seq_of_timer(self, when_s: float) -> int:
        """Return the number of the record of a timer that was due then; -1 if none has fired."""
        return self._timer_seqs.get(when_s, -1)

    def _clean_up(self, result: bytes | Failure) -> bool:
        """The function has ended: what it has left running is canceled, like ``asyncio.run`` does."""
        if self._cancels == 0 and self._interruption is None and not isinstance(result, Failure):
            self._check_what_is_left()
        for generator in self._loop.take_unfinished_generators():
            self._loop.close_generator(generator)
        return self._cancel_again(result)

    def _check_what_is_left(self) -> None:
        """Look at context calls that tasks still wait for: what never began is an error, what did a warning.

        Replays agree: what was called after the latest delivery cannot have begun, and deliveries are recorded.
        """
        waiting = [watched for watched in self._watched if watched.state == inspect.CORO_SUSPENDED]
        unborn = [str(watched) for watched in waiting if watched.position == self.journal.delivered] + self._late
        begun = [str(watched) for watched in waiting if watched.position < self.journal.delivered]
        remedy = "await its tasks (a TaskGroup does), or cancel them"
        if unborn:
            message = f"the function returned before its tasks could do {_listed(unborn)}. Nothing of it ran: {remedy}"
            self._misuse = Failure(ContextError(message), "ContextMisuse")
        elif begun:
            message = f"the function returned while its tasks waited for {_listed(begun)}, which is given up: {remedy}"
            log = logging.getLogger(f"kontinue.function.{self.info.function}")
            clean_context(self.number).run(log.warning, message)

    def _cancel_again(self, result: bytes | Failure) -> bool:
        tasks = self._loop.unfinished_tasks()
        if tasks and self._cancels < _MAX_CANCELS:
            self._cancels += 1
            for task in tasks:
                task.cancel(self._interruption)
            return True
        self._end = self._checked(result)
        return False

    def _checked(self, result: bytes | Failure) -> bytes | Failure:
        """Return the result, or the failure that a context call was never awaited."""
        forgotten = [watched for watched in self._watched if watched.state == inspect.CORO_CREATED]
        for watched in forgotten:
            watched.coroutine.close()
        if isinstance(result, Failure):
            return result
        if not forgotten:
            return self._misuse or result
        calls = _listed([str(watched) for watched in forgotten])
        return Failure(
            ContextError(f"never awaited: {calls}. Nothing of it ran: write 'await' before it"), "ContextMisuse"
        )

    def _conclude(self, end: bytes | Failure | Mismatch) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._loop.halt()
        self.cancel_steps()
        self._host.forget(self, is_blocked=isinstance(end, Mismatch))
        if isinstance(end, Mismatch):
            self.send_mismatched(end)
        elif self._interruption is not None:
            self.send_interrupted()
        else:
            self.send_ended(end)

    # For contexts.

    def branch(self) -> Branch:
        """Return the branch of the calling task."""
        branch = self._loop.branch_of_caller()
        has_ended = self._main is None or self._main.done()
        if branch is None or has_ended:
            if branch is not None and self._cancels == 0:
                self._late.append(f"its call at {durable_calls.line_of_caller()}")
            raise base.context_misuse(self.info.function, has_ended=has_ended)
        return branch

    def open(self, call: Call) -> None:
        """Give the call its step id."""
        branch = self.branch()
        self._raise_if_interrupted()
        call.id = branch.next_step()

    def start_call(self, call: Call) -> asyncio.Future[None]:
        """Request an open call."""
        self._raise_if_interrupted()
        arrived: asyncio.Future[None] = self._loop.create_future()
        call.listener = arrived
        self.journal.request(call)
        return arrived

    @context_coroutine
    async def outcome(self, call: Call) -> Any:
        """Request an open call and return its result."""
        arrived = self.start_call(call)
        try:
            await arrived
        finally:
            self.abandon(call)
        return call.result()

    def abandon(self, call: Call) -> None:
        """Give up a call; nothing happens if it is finished."""
        if call.is_finished:
            return
        self.journal.abandon(call)
        task = self._steps.pop(call.id, None)
        if task is not None:
            task.cancel()

    def cancel_child(self, call: Call, message: str) -> None:
        """Ask for the child of ``call`` to be canceled."""
        self.branch()
        self._raise_if_interrupted()
        if not call.is_finished:
            self.journal.cancel(call, message)

    def watch(self, coroutine: Coroutine[object, None, T], what: str, line: str) -> Coroutine[object, None, T]:
        """Return ``coroutine``; the end of the function looks whether it was awaited."""
        self._watched.append(_Watched(coroutine, what, line, self.journal.delivered))
        if len(self._watched) > self._watched_limit:
            self._watched = [watched for watched in self._watched if watched.state != inspect.CORO_CLOSED]
            self._watched_limit = max(64, 2 * len(self._watched))
        return coroutine

    def _raise_if_interrupted(self) -> None:
        if self._interruption is not None:
            raise asyncio.CancelledError(self._interruption)

    # Steps. On the host loop, between turns.

    def _perform(self, effect: Effect) -> None:
        call = effect.call
        if call.state is CallState.ABANDONED and not effect.is_cancel:
            return  # given up later in the same turn
        if call.kind is RecordKind.STEP:
            self._start_step(call)
        else:
            self.send_effect(effect)

    def _start_step(self, call: Call) -> None:
        context = clean_context(self.number, call.id)
        self.step_started()
        if step_of(call.request).is_async:
            task = self._host.loop.create_task(self._run_step(call), name=call.name, context=context)
            task.add_done_callback(lambda _: self.step_ended())
            self._steps[call.id] = task
        else:
            self._steps[call.id] = None
            self._host.threads.start(functools.partial(context.run, self._run_step_in_thread, call))

    async def _run_step(self, call: Call) -> None:
        try:
            self._take_step(call, await self.step_run(call).run_async(pause=self._pause))
        except Exception:  # noqa: BLE001 - user code's are outcomes; nobody would ever look at this one
            breakdown.end_process()

    async def _pause(self, delay_s: float) -> None:
        await asyncio.sleep(0 if self._host.skips_pauses else delay_s)

    def _run_step_in_thread(self, call: Call) -> None:
        outcome = self.step_run(call).run(pause=_skip if self._host.skips_pauses else time.sleep)
        self._host.call_from_thread(functools.partial(self._thread_ended, call, outcome))

    def _thread_ended(self, call: Call, outcome: Outcome) -> None:
        self.step_ended()
        self._take_step(call, outcome)

    def _take_step(self, call: Call, outcome: Outcome) -> None:
        if self._steps.pop(call.id, self) is self or self._has_ended:
            return  # given up meanwhile
        has_outcome = self.step_returned(call, outcome)
        self.send_flush()
        if self.journal.can_advance or not has_outcome:  # usually not before the record is durable; else it parks
            self._loop.wake()
