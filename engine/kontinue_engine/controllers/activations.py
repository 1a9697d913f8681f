"""Internal. Runs of user code: dispatch, what runners report, wakes, stops.

The controller's side of the pool: frames become ``News`` of an entry and its uid is queued; commands go the other way.
Called by ``controllers.execution`` (actions of a plan) and by ``worker`` (as the pool's listener).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import itemgetter
from typing import assert_never

import msgspec

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.controllers import begun
from kontinue_engine.controllers.entries import Entry, Rest
from kontinue_engine.controllers.histories import Histories
from kontinue_engine.controllers.jobs import Jobs
from kontinue_engine.controllers.offspring import Offspring
from kontinue_engine.controllers.polls import Polls
from kontinue_engine.controllers.primitives import Primitives
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.controllers.suspensions import Suspensions
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, HistoryIncomplete, Lost
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_log = get_logger(__name__)

_EFFECTS = (frames.RecordsProduced, frames.StepRequested)
_ENDS = (frames.Completed, frames.Failed, frames.Mismatched, frames.Interrupted)


class Activations:
    """Every activation of this replica.

    Args:
        runtime: shared tools.
        offspring: told what user code asks of its children.
        histories: reads what a replay needs.
        suspensions: told of sleeps and suspends.
        jobs: told of Jobs and Pods.
        primitives: told of what is asked of objects of ``konductor.io``.
        on_disowned_end: told when nothing runs any more of an Execution that was deleted.
    """

    def __init__(
        self,
        runtime: Runtime,
        offspring: Offspring,
        histories: Histories,
        suspensions: Suspensions,
        jobs: Jobs,
        primitives: Primitives,
        *,
        on_disowned_end: Callable[[Entry], None],
    ) -> None:
        self._runtime = runtime
        self._offspring = offspring
        self._histories = histories
        self._suspensions = suspensions
        self._jobs = jobs
        self._primitives = primitives
        self.polls = Polls(runtime)
        self._on_disowned_end = on_disowned_end
        self._last_number = 0
        self._is_draining = False
        self._disowned: dict[int, Entry] = {}

    def drain(self) -> None:
        """Dispatch nothing more; what runs goes on."""
        self._is_draining = True
        self._runtime.runners.hold()

    # Commands.

    def dispatch(self, entry: Entry, action: plans.Dispatch) -> None:
        """Give the Execution to a runner."""
        if self._is_draining:
            return
        self._last_number += 1
        entry.rest = Rest.AWAKE
        if action.resumption == 0:
            entry.polls.clear()  # of an earlier attempt
            entry.news = msgspec.structs.replace(entry.news, begun={})
        activation = Activation(number=self._last_number, attempt=action.attempt, resumption=action.resumption)
        self._runtime.entries.set_activation(entry, activation)
        entry.end_room_wait()
        entry.room_wait = self._runtime.room.begin(entry.uid)
        _log.debug("dispatched", **entry.log_fields, resumption=action.resumption)
        if entry.memo.pages is None:
            self._submit(entry, action, self._last_number, entry.memo)
        else:
            work = self._replay(entry, action, self._last_number)
            self._runtime.spawn(entry.uid, work, name=f"history/{entry.name}")

    async def _replay(self, entry: Entry, action: plans.Dispatch, number: int) -> None:
        """Give it to a runner once its whole memo is read."""
        memo, problem = await self._histories.fetch(entry)
        activation = entry.activation
        if activation is None or activation.number != number:
            self._end_disowned(number)
        elif memo is None:
            entry.has_history = False
            entry.news = msgspec.structs.replace(entry.news, outcome=HistoryIncomplete(problem))
            self._runtime.queue.add(entry.uid)
        elif activation.stopping_since_ms is not None:
            self.on_frame(frames.Interrupted(number))
        elif not self._is_draining:
            self._submit(entry, action, number, memo)

    def _submit(self, entry: Entry, action: plans.Dispatch, number: int, memo: MemoBytes) -> None:
        activate = frames.Activate(
            activation=number,
            namespace=self._runtime.scope.namespace,
            execution=entry.name,
            uid=entry.uid,
            function=entry.spec.function,
            arguments=bytes(entry.spec.arguments),
            memo=b"" if memo.is_empty else bytes(memo.encode()),
            attempt=action.attempt,
            resumption=action.resumption,
            run_epoch=entry.status.run_epoch,
            created_at_ms=entry.created_at_ms,
            fencing_token=action.fencing_token,
        )
        self._runtime.runners.submit(activate, alone=action.alone)

    def acknowledge(self, entry: Entry, flush: int) -> None:
        """Every record up to ``flush`` is durable."""
        if entry.activation is not None:
            self._runtime.runners.send(frames.StepRecorded(entry.activation.number, flush))

    def stop(self, entry: Entry, message: str) -> None:
        """Raise the cancel in user code."""
        if entry.activation is not None:
            now_ms = self._runtime.clock.now_ms()
            entry.activation = msgspec.structs.replace(entry.activation, stopping_since_ms=now_ms)
            self._runtime.runners.send(frames.CancelActivation(entry.activation.number, message))

    def kill(self, entry: Entry) -> None:
        """User code did not end in time."""
        if entry.activation is not None:
            self._runtime.runners.kill_activation(entry.activation.number)

    def suspended(self, entry: Entry) -> None:
        """It was written Suspended: if it has been woken meanwhile, the time of its attempt counts from now."""
        activation = entry.activation
        if activation is not None and activation.running_since_ms is not None and activation.parked_since_ms is None:
            now_ms = self._runtime.clock.now_ms()
            entry.activation = msgspec.structs.replace(activation, running_since_ms=now_ms)

    def forget(self, entry: Entry, *, is_dormant: bool) -> None:
        """The activation has ended. A wake that came while that was being written is kept."""
        if entry.activation is not None:
            self._runtime.runners.forget(entry.activation.number)
        entry.awaited = frozenset(entry.children)
        entry.end_room_wait()
        self._runtime.entries.forget_activation(entry)
        entry.news = begun.outliving(entry.news)
        if not is_dormant:
            entry.rest = Rest.AWAKE
        elif entry.rest is not Rest.WOKEN:
            entry.rest = Rest.DORMANT
        self._runtime.queue.add(entry.uid)

    def disown(self, entry: Entry, why: str) -> None:
        """It is gone: stop whatever runs of it."""
        activation = entry.activation
        if activation is None or entry.has_ended:
            self._on_disowned_end(entry)
            return
        _log.warning("activation stopped", **entry.log_fields, why=why)
        self._disowned[activation.number] = entry
        self._runtime.runners.send(frames.CancelActivation(activation.number, why))
        grace_s = self._runtime.worker.cancel_grace_ms / 1000
        asyncio.get_running_loop().call_later(grace_s, self._kill_disowned, activation.number)

    def abandon(self, entry: Entry, why: str) -> None:
        """It goes on elsewhere, so its code must not unwind here: ``finally`` would clean up under its feet."""
        if entry.activation is not None:
            _log.warning("activation killed", **entry.log_fields, why=why)
            self._runtime.runners.kill_activation(entry.activation.number)

    def _kill_disowned(self, number: int) -> None:
        if number in self._disowned:
            self._runtime.runners.kill_activation(number)

    def _end_disowned(self, number: int) -> None:
        entry = self._disowned.pop(number, None)
        if entry is not None:
            self._on_disowned_end(entry)

    def fire_timers(self, entry: Entry, now_ms: int) -> None:
        """Tell whoever waits that its wake time has come, or look again then."""
        for step, wake_ms in sorted(entry.memo.timers.items(), key=itemgetter(1)):
            if wake_ms > now_ms:
                self._runtime.queue.add_after(entry.uid, (wake_ms - now_ms) / 1000)
            elif entry.rest is Rest.DORMANT or entry.is_losing:
                entry.rest = Rest.WOKEN
            elif step in entry.timers:
                entry.timers.discard(step)
                self._runtime.tell(entry, step, frames.TimerFired(wake_ms))
        self.polls.fire(entry, now_ms)

    # What runners report.

    def on_lost(self, number: int, *, was_active: bool, was_alone: bool, reason: str, message: str) -> None:
        """Take the end of an activation together with its runner."""
        self._end_disowned(number)
        entry = self._runtime.entries.by_activation(number)
        if entry is not None:
            lost = Lost(was_active=was_active, was_alone=was_alone, reason=reason, message=message)
            entry.news = msgspec.structs.replace(entry.news, lost=lost)
            self._runtime.queue.add(entry.uid)

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        """Take what a runner reports about one of its activations."""
        number = getattr(frame, "activation", 0)
        entry = self._runtime.entries.by_activation(number)
        if entry is None or entry.activation is None:
            if isinstance(frame, _ENDS):
                self._end_disowned(number)
            return
        if entry.activation.stopping_since_ms is not None and isinstance(frame, _EFFECTS):
            return  # of code that is being unwound: what another attempt finds was there before
        match frame:
            case frames.Running():
                self._on_running(entry, entry.activation, frame)
            case frames.Waiting():
                since_ms = entry.activation.waited_since_ms
                entry.activation = msgspec.structs.replace(
                    entry.activation,
                    parked_since_ms=self._runtime.clock.now_ms() if since_ms is None else since_ms,
                    waiting_for=tuple(frame.waiting_for),
                    more=frame.more,
                    has_step=frame.has_step,
                    heard=frame.heard,
                )
                self._runtime.queue.add(entry.uid)
            case frames.PayloadRefused():
                self._suspensions.refuse(entry, frame)
            case frames.RecordsProduced():
                # It goes on as soon as they are durable.
                entry.activation = msgspec.structs.replace(
                    entry.activation,
                    running_since_ms=self._awake_since_ms(entry, entry.activation),
                    parked_since_ms=None,
                    looks_since_ms=None,
                    waited_since_ms=None,
                    waiting_for=(),
                )
                records = entry.news.records + tuple(frame.records)
                entry.news = msgspec.structs.replace(entry.news, records=records, flush=frame.flush)
                self._suspensions.recorded(entry, frame.records)
                self.polls.recorded(entry, frame.records)
                self._primitives.recorded(entry, frame.records)
                self._runtime.queue.add(entry.uid)
            case frames.StepRequested():
                self._on_step_requested(entry, frame.step, frame.command)
            case frames.Completed() | frames.Failed() | frames.Mismatched() | frames.Interrupted():
                entry.news = msgspec.structs.replace(entry.news, outcome=frame)
                self._runtime.queue.add(entry.uid)
            case frames.Ready() | frames.LoadFailed() | frames.Recalled() | frames.ThreadLeft() | frames.LogLine():
                pass  # the pool's own business
            case _:
                assert_never(frame)

    def _awake_since_ms(self, entry: Entry, activation: Activation) -> int | None:
        """Return since when the time of its attempt runs: if what it was Suspended for has come, from now."""
        if activation.parked_since_ms is not None and entry.status.phase is Phase.SUSPENDED:
            return self._runtime.clock.now_ms()
        return activation.running_since_ms

    def _on_running(self, entry: Entry, activation: Activation, frame: frames.Running) -> None:
        if frame.arguments:
            entry.news = msgspec.structs.replace(entry.news, arguments=frame.arguments)
        entry.end_room_wait()
        is_first = activation.running_since_ms is None
        is_woken = entry.status.phase is Phase.SUSPENDED and activation.stopping_since_ms is None
        now_ms, worker = self._runtime.clock.now_ms(), self._runtime.worker
        since_ms = activation.running_since_ms
        if is_first or is_woken:
            since_ms = now_ms
        if is_first or is_woken or frame.looks:
            after_ms = worker.parking_ms if frame.looks else worker.executing_after_ms
            self._runtime.queue.add_after(entry.uid, after_ms / 1000)
        entry.activation = msgspec.structs.replace(
            activation,
            running_since_ms=since_ms,
            parked_since_ms=None,
            looks_since_ms=now_ms if frame.looks else None,
            waited_since_ms=activation.parked_since_ms if frame.looks else None,
            waiting_for=(),
            more=0,
            has_step=False,
        )
        if is_first and activation.resumption:
            _log.info("resumed running", **entry.log_fields, resumption=activation.resumption)

    def _on_step_requested(
        self,
        entry: Entry,
        step: str,
        command: frames.CreateChild
        | frames.StartTimer
        | frames.StartPoll
        | frames.StartSuspension
        | frames.StartJob
        | frames.AskPrimitive
        | frames.CancelChild
        | frames.CancelTimer
        | frames.CancelPoll
        | frames.CancelSuspension
        | frames.CancelJob
        | frames.WithdrawPrimitive,
    ) -> None:
        match command:
            case frames.CreateChild():
                self._offspring.request(entry, step, command)
            case frames.CancelChild():
                self._offspring.give_up(entry, command)
            case frames.StartTimer():
                self._start_timer(entry, step, command.duration_ms)
            case frames.CancelTimer():
                self._cancel_timer(entry, step)
            case frames.StartPoll():
                self.polls.request(entry, step, command)
            case frames.CancelPoll():
                entry.polls.pop(step, None)
            case frames.StartSuspension():
                if self._suspensions.is_kept_as_timer(entry, step, command):
                    self._start_timer(entry, step, command.duration_ms)
                else:
                    self._suspensions.request(entry, step, command)
            case frames.CancelSuspension():
                if step in entry.timers or step in entry.memo.timers:
                    self._cancel_timer(entry, step)
                self._suspensions.give_up(entry, step, command)
            case frames.StartJob():
                self._jobs.request(entry, step, command)
            case frames.CancelJob():
                self._jobs.give_up(entry, step, command)
            case frames.AskPrimitive():
                self._primitives.request(entry, step, command)
            case frames.WithdrawPrimitive():
                self._primitives.give_up(entry, step, command)
                self._note_given_up(entry, step)  # what was recorded to be held, before the program heard of it
            case _:
                assert_never(command)

    def _start_timer(self, entry: Entry, step: str, duration_ms: int) -> None:
        entry.timers.add(step)
        if step not in entry.memo.timers:
            wake_ms = self._runtime.clock.now_ms() + duration_ms
            started = {**entry.news.timers_started, step: wake_ms}
            entry.news = msgspec.structs.replace(entry.news, timers_started=started)
        self._runtime.queue.add(entry.uid)

    def _cancel_timer(self, entry: Entry, step: str) -> None:
        entry.timers.discard(step)
        self._note_given_up(entry, step)

    @staticmethod
    def _note_given_up(entry: Entry, step: str) -> None:
        given_up = (*entry.news.given_up, step)
        entry.news = msgspec.structs.replace(entry.news, given_up=given_up)
