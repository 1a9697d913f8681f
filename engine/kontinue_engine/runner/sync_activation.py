"""Internal. One activation of a sync function with a context: its branches are threads that pass a baton.

Only the holder of the baton runs user code of the function; who waits hands it to the next ready branch. When no
branch is ready the program has settled, and the journal says what comes next. A step runs outside of the baton: in
its branch's own thread where nothing else could want to give it up meanwhile, else in a further thread.
All state is guarded by the host's lock. Methods for contexts (``kontinue.ports.SyncPort``) are called by the holder.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Protocol

from kontinue.definition import FunctionDefinition
from kontinue.errors import ExecutionInterrupted
from kontinue.ports import SyncBranch
from kontinue.replay.branch import Branch
from kontinue.replay.call import Call, Mismatch, Outcome
from kontinue.replay.journal import Effect
from kontinue.replay.records import RecordKind
from kontinue.sync_context import SyncExecutionContext
from kontinue_engine.runner import activation as base
from kontinue_engine.runner import breakdown, failures, function_calls
from kontinue_engine.runner.current import clean_context
from kontinue_engine.runner.threads import Threads
from kontinue_engine.wire import frames


class Host(Protocol):
    """What an activation needs of its host; all but ``threads`` with the lock held."""

    lock: threading.Lock
    threads: Threads
    skips_pauses: bool
    only_replays: bool

    def wake(self, activation: SyncActivation) -> None:
        """Give the slot to this parked activation when it is free."""

    def give_slot_away(self) -> None:
        """This activation does not need the slot any more."""

    def forget(self, activation: SyncActivation) -> None:
        """This activation has ended."""


class _Strand:
    """A branch and its thread.

    Attributes:
        turn: released to hand over the baton, or ``job``: a step to run in this thread.
        waiting: what it waits for; empty when it does not wait.
        missing: how many of those must still be finished.
        own_step: the step that its thread runs, and that it waits for.
    """

    def __init__(self, branch: Branch, code: Callable[[], Any] | None, context: Context) -> None:
        self.branch = branch
        self.code = code
        self.context = context
        self.thread = 0
        self.turn = threading.Lock()
        self.turn.acquire()
        self.job: Call | None = None
        self.own_step: Call | None = None
        self.waiting: Sequence[Call | _Strand] = ()
        self.alarms: Sequence[Call] = ()
        self.missing = 0
        self.is_interruptible = True
        self.is_interrupted = False
        self.is_finished = False
        self.listener: list[_Strand] = []
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def is_failed(self) -> bool:
        return self._error is not None

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def run(self) -> None:
        try:
            if self.is_interrupted:
                return
            assert self.code is not None  # noqa: S101
            self._value = self.context.run(self.code)
        except BaseException as error:  # noqa: BLE001 - raised again where the branch's result is asked for
            self._error = error

    def stop_waiting(self) -> None:
        for waitable in (*self.waiting, *self.alarms):
            if self in waitable.listener:
                waitable.listener.remove(self)
        self.waiting, self.alarms = (), ()


class SyncActivation(base.Activation):
    """Runs one function with a SyncExecutionContext; implements ``kontinue.ports.SyncPort``."""

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
        self._lock = host.lock
        self._main = _Strand(Branch(), None, clean_context(self.number))
        self._strands: dict[_Strand, None] = {self._main: None}
        self._holder: _Strand | None = self._main
        self._ready: deque[_Strand] = deque()
        self._steps: dict[str, Call] = {}
        self._is_parked = False
        self._is_woken = False
        self._has_ended = False
        self._interruption: str | None = None
        self._interrupted = threading.Event()

    # For the host. The lock is held, except in ``run``.

    def run(self) -> None:
        """Run the function in this thread, which has the slot, until it has ended. A blocked one never returns."""
        self._main.thread = threading.get_ident()
        arguments = self.send_running()
        first = (SyncExecutionContext(self),)
        result = self._main.context.run(function_calls.call, self._function, first, arguments)
        self.abandon([strand for strand in self._strands if strand is not self._main])
        with self._lock:
            self._has_ended = True
            self._host.forget(self)
            if self._interruption is None:
                self.send_ended(result)
            else:
                self.send_interrupted()

    def resume(self) -> None:
        """Go on after being parked: the slot is free."""
        self._is_parked = self._is_woken = False
        self.send(frames.Running(self.number, looks=not (self._ready or self.journal.can_advance)))
        self._advance()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it runs, and all that it has done has been said: it waits for the supervisor."""
        return self._is_parked and not (self._is_woken or self.journal.has_unflushed)

    def recorded(self, flush: int) -> None:
        """Records up to ``flush`` are durable."""
        self.journal.recorded(flush)
        self._go_on()

    def arrived(self, frame: frames.StepArrived | frames.StepRejected) -> None:
        """A child or timer has its outcome."""
        super().arrived(frame)
        self._go_on()

    def interrupt(self, message: str) -> None:
        """Raise ExecutionInterrupted at the next context call of the function."""
        self._interruption = message
        self._interrupted.set()
        self._interrupt(self._main)
        self._go_on()

    def from_thread(self, change: Callable[[], None]) -> None:
        """Have ``change`` done to this activation; from any thread of a step, without the lock."""
        with self._lock:
            change()

    # For contexts: in the thread of the holder, without the lock.

    def branch(self) -> Branch:
        """Return the caller's branch."""
        return self._caller().branch

    def open(self, call: Call) -> None:
        """Give the call its step id and request it."""
        me = self._caller()
        self._raise_if_interrupted(me)
        self._request(me, call)

    def open_last(self, call: Call) -> bool:
        """Like ``open``, also in a branch that was given up; tell whether it may wait for the outcome."""
        me = self._caller()
        if self._interruption is not None:
            self._raise_if_interrupted(me)
        self._request(me, call)
        return not me.is_interrupted

    def _request(self, me: _Strand, call: Call) -> None:
        call.id = me.branch.next_step()
        call.listener = []
        with self._lock:
            self.journal.request(call)

    def wait(
        self, waitables: Sequence[Call | SyncBranch], *, alarms: Sequence[Call] = (), for_all: bool = False
    ) -> None:
        """Block until one of them (or all) is finished, or an alarm."""
        me = self._caller()
        self._raise_if_interrupted(me)
        missing = [waitable for waitable in _own(waitables) if not waitable.is_finished]
        if (
            not missing
            or (not for_all and len(missing) < len(waitables))
            or any(waitable.is_finished and waitable.is_failed for waitable in waitables)
            or any(alarm.is_finished for alarm in alarms)
        ):
            return
        self._wait(me, missing, alarms=tuple(alarms), count=len(missing) if for_all else 1)
        self._raise_if_interrupted(me)

    def abandon(self, waitables: Sequence[Call | SyncBranch]) -> None:
        """Give up what is unfinished; interrupted branches have ended on return."""
        left = [waitable for waitable in _own(waitables) if not waitable.is_finished]
        if not left or self._has_ended:
            return
        me = self._caller()
        with self._lock:
            for waitable in left:
                if isinstance(waitable, Call):
                    self.journal.abandon(waitable)
                    self._steps.pop(waitable.id, None)
                else:
                    self._interrupt(waitable)
        strands = [waitable for waitable in left if isinstance(waitable, _Strand)]
        if strands:
            me.is_interruptible = False
            self._wait(me, strands, alarms=(), count=len(strands))
            me.is_interruptible = True

    def cancel_child(self, call: Call, message: str) -> None:
        """Ask for the child of ``call`` to be canceled."""
        self._raise_if_interrupted(self._caller())
        with self._lock:
            if not call.is_finished:
                self.journal.cancel(call, message)

    def fork(self, code: Callable[[], Any]) -> SyncBranch:
        """Run ``code`` as a branch; its turn comes when the others wait."""
        me = self._caller()
        self._raise_if_interrupted(me)
        name = getattr(code, "__qualname__", type(code).__qualname__)
        strand = _Strand(me.branch.fork(name), code, copy_context())
        with self._lock:
            self._strands[strand] = None
            self._ready.append(strand)
        return strand

    def _caller(self) -> _Strand:
        holder = self._holder
        if holder is not None and holder.thread == threading.get_ident() and not self._has_ended:
            return holder
        raise base.context_misuse(self.info.function, has_ended=self._has_ended)

    def _raise_if_interrupted(self, me: _Strand) -> None:
        if self._interruption is not None:
            raise ExecutionInterrupted(self._interruption or "the Execution was canceled")
        if me.is_interrupted:
            raise ExecutionInterrupted("this branch was given up")

    def _wait(self, me: _Strand, waitables: Sequence[Call | _Strand], *, alarms: Sequence[Call], count: int) -> None:
        try:
            with self._lock:
                me.waiting, me.alarms, me.missing = waitables, alarms, count
                for waitable in (*waitables, *alarms):
                    waitable.listener.append(me)
                self._holder = None
                self._advance()
            while True:
                me.turn.acquire()
                job, me.job = me.job, None
                if job is None:
                    return
                self._run_step(job)
        except Exception:  # noqa: BLE001 - it would be raised in user code, which knows nothing about it
            breakdown.end_process()

    # The baton. The lock is held.

    def _go_on(self) -> None:
        """Something has come in: flush it, and if no user code runs, let it."""
        if self._has_ended:
            return
        self.send_flush()
        if self._holder is not None:
            return
        if not self._is_parked:
            self._advance()
        elif not self._is_woken and (self._ready or self._due or self.journal.can_advance):
            self._is_woken = True
            self._host.wake(self)

    def _advance(self) -> None:
        """Nobody has the baton: hand it to who is ready, or to whom the journal has something for; else park."""
        if self._interruption is None:
            try:
                while not self._ready and (call := self.journal.advance()) is not None:
                    self._notify(call)
            except Mismatch as mismatch:
                self._block(mismatch)
                return
            for effect in self.journal.take_effects():
                self._perform(effect)
            for call in self.take_due():
                self._start_step(call)
            self.send_flush()
        if self._ready:
            self._hand_baton_to(self._ready.popleft())
        elif not self._steps:
            self._is_parked = True
            self.send_waiting()
            self._host.give_slot_away()

    def _hand_baton_to(self, strand: _Strand) -> None:
        self._holder = strand
        if strand.thread:
            strand.turn.release()
        else:
            self._host.threads.start(functools.partial(self._run_strand, strand))

    def _run_strand(self, strand: _Strand) -> None:
        """In a thread that has the baton, without the lock."""
        strand.thread = threading.get_ident()
        strand.run()
        with self._lock:
            del self._strands[strand]
            strand.is_finished = True
            self._notify(strand)
            self._holder = None
            self._advance()

    def _notify(self, finished: Call | _Strand) -> None:
        """Let those go on that waited for ``finished``."""
        for strand in list(finished.listener):
            strand.missing -= 1
            is_alarm = any(alarm is finished for alarm in strand.alarms)
            if strand.missing <= 0 or is_alarm or (finished.is_failed and strand.is_interruptible):
                strand.stop_waiting()
                self._ready.append(strand)

    def _interrupt(self, strand: _Strand) -> None:
        strand.is_interrupted = True
        if strand.waiting and strand.is_interruptible and strand.own_step is None:
            strand.stop_waiting()
            self._ready.append(strand)

    def _block(self, mismatch: Mismatch) -> None:
        """End without user code noticing: its threads wait for good, so that no ``finally`` block of it runs."""
        self._has_ended = True
        self.send_mismatched(mismatch)
        self._host.forget(self)
        self._host.give_slot_away()

    # Steps.

    def _perform(self, effect: Effect) -> None:
        call = effect.call
        if call.kind is not RecordKind.STEP:
            self.send_effect(effect)
        else:
            self._start_step(call)

    def _start_step(self, call: Call) -> None:
        self._steps[call.id] = call
        self.step_started()
        if len(self._strands) == 1 and not self._main.alarms and len(self._main.waiting) == 1:
            self._main.own_step = self._main.job = call
            self._main.turn.release()
        else:
            self._host.threads.start(functools.partial(self._run_step, call))

    def _run_step(self, call: Call) -> None:
        """In a thread without the baton, without the lock."""
        try:
            context = clean_context(self.number, call.id)
            outcome = context.run(self.step_run(call).run, pause=self._pause)
        except BaseException as error:  # noqa: BLE001 - interrupted while it paused
            outcome = Outcome(at_ms=self.now_ms, error=failures.recorded_error(error))
        with self._lock:
            self.step_ended()
            if self._main.own_step is call:
                self._main.own_step = None
            if self._steps.pop(call.id, None) is None:
                return  # given up meanwhile
            self.step_returned(call, outcome)
            if self._interruption is not None:
                self._interrupt(self._main)
            self._go_on()

    def _pause(self, delay_s: float) -> None:
        if self._interrupted.wait(0 if self._host.skips_pauses else delay_s):
            raise ExecutionInterrupted(self._interruption or "")


def _own(waitables: Sequence[Call | SyncBranch]) -> list[Call | _Strand]:
    return [waitable for waitable in waitables if isinstance(waitable, Call | _Strand)]
