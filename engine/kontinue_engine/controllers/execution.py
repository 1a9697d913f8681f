"""Internal. The controller of Executions: feeds ``lifecycle.decide`` and applies its plans.

Informer and pool report into entries and add their key to the work queue; ``reconcile(name)`` builds an ``Observed``,
decides, and applies the plan: at most one status write in flight per Execution, actions only once it is durable.
Nothing here decides about phases. Children are created and read in ``children``, statuses written by ``status_writer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Final, Protocol, assert_never

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectReference
from kontinue.api.v1alpha1 import Execution, ExecutionStatus, Phase
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.controllers import children, status_writer
from kontinue_engine.controllers.entries import Entry, EntryStore
from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.decide import PARENT_ENDED_MESSAGE, decide
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import NO_NEWS, Activation, Lost, Observed, Worker
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

LIVE_PHASES_SELECTOR: Final = ",".join(
    f"status.phase!={phase}" for phase in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELED, Phase.SKIPPED)
)
"""Field selector of what can still run; an Execution without a status matches too."""

RECONCILES_PER_TURN: Final = 64
"""Reconciles between two looks at pipes and sockets (judgement: about 3 ms)."""

_log = get_logger(__name__)


class Runners(Protocol):
    """What the controller needs of the pool."""

    def submit(self, activate: frames.Activate) -> None:
        """Queue an activation for a runner."""

    def send(self, command: frames.Command) -> None:
        """Send a command to the runner that has the activation."""

    def forget(self, activation: int) -> None:
        """Drop whatever is known of an activation."""

    def kill_activation(self, activation: int) -> None:
        """Kill the runner that has the activation."""


class ExecutionController:
    """Reconciles the Executions of one worker group; belongs to one event loop.

    Args:
        transport: to the API server.
        runners: the pool.
        events: where Kubernetes Events go.
        clock: wall time.
        worker: identity and rules of this replica.
        namespace: the one namespace that it works in.
        group: its worker group.
        functions: names of the functions that the app has.
        predecessor_released: the replica before this one shut down cleanly.
    """

    def __init__(
        self,
        transport: Transport,
        runners: Runners,
        events: EventRecorder,
        clock: Clock,
        *,
        worker: Worker,
        namespace: str,
        group: str,
        functions: frozenset[str],
        predecessor_released: bool,
    ) -> None:
        self.entries = EntryStore()
        self._transport = transport
        self._runners = runners
        self._events = events
        self._clock = clock
        self._worker = worker
        self._namespace = namespace
        self._group = group
        self._functions = functions
        self._predecessor_released = predecessor_released
        self._queue: WorkQueue[str] = WorkQueue()
        self._last_activation = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._is_draining = False
        self._orphans: set[int] = set()
        self.started = asyncio.Event()
        """Set once ``run`` takes work; informers start after it."""

    async def run(self) -> None:
        """Reconcile until cancelled; an unexpected error of any reconcile or write ends it."""
        async with asyncio.TaskGroup() as self._tasks:
            self.started.set()
            done_in_turn = 0
            while True:
                name = await self._queue.get()
                try:
                    self.reconcile(name)
                finally:
                    self._queue.done(name)
                done_in_turn += 1
                if done_in_turn >= RECONCILES_PER_TURN or not len(self._queue):
                    done_in_turn = 0
                    await asyncio.sleep(0)

    def drain(self) -> None:
        """Dispatch nothing more; what runs goes on and is persisted."""
        self._is_draining = True

    @property
    def busy(self) -> int:
        """Number of Executions that run user code now, or whose write is in flight."""
        return sum(
            1
            for entry in self.entries
            if entry.writing is not None
            or (
                entry.activation is not None
                and entry.activation.running_since_ms is not None
                and entry.activation.parked_since_ms is None
            )
        )

    # The informer's side.

    def on_list(self, objects: Sequence[Execution], *, initial: bool) -> None:
        """Take the whole selection: add what is new, look after what is missing."""
        listed = {execution.metadata.uid for execution in objects}
        for entry in self.entries:
            if entry.uid not in listed:
                self._verify(entry)
        for execution in objects:
            self._observe(execution, inherited=initial)
        self.entries.bury_all_but(listed)

    def on_event(self, type: EventType, obj: Execution) -> None:  # noqa: A002
        """Take one change of the selection. DELETED means that it left: find out why."""
        if type != "DELETED":
            self._observe(obj, inherited=False)
            return
        self.entries.bury(obj.metadata.uid)
        entry = self.entries.by_uid(obj.metadata.uid)
        if entry is not None:
            self._verify(entry)

    def _observe(self, execution: Execution, *, inherited: bool) -> None:
        uid = execution.metadata.uid
        if self.entries.has_ended(uid):
            return
        entry = self.entries.by_uid(uid)
        if entry is None:
            self._adopt(execution, inherited=inherited)
            return
        if entry.writing is not None:
            entry.deferred = execution
            return
        if _is_newer(execution.metadata.resource_version, entry.version):
            self._refresh(entry, execution)

    def _adopt(self, execution: Execution, *, inherited: bool) -> Entry:
        entry = Entry(execution, MemoBytes(), inherited=inherited)
        self.entries.add(entry)
        self._take_memo(entry, execution)
        if not entry.is_checked:
            self._spawn(self._check_parent(entry), f"check-parent/{entry.name}")
        else:
            self._queue.add(entry.name)
        return entry

    def _refresh(self, entry: Entry, execution: Execution) -> None:
        """Take what somebody else wrote."""
        entry.version = execution.metadata.resource_version
        entry.labels = execution.metadata.labels
        entry.spec = execution.spec
        entry.status = execution.status
        owner = execution.status.owner
        if execution.metadata.labels.get(labels.WORKER_GROUP) != self._group or (
            owner is not None and owner.incarnation != self._worker.incarnation and not entry.inherited
        ):
            self._lose(entry, "it belongs to another worker now")
            return
        self._queue.add(entry.name)

    def _take_memo(self, entry: Entry, execution: Execution) -> None:
        try:
            entry.memo = parse_memo(execution.status.state)
        except MemoUnreadableError as error:
            entry.news = msgspec.structs.replace(
                entry.news,
                outcome=frames.Mismatched(0, step="-", recorded=str(error), requested="a memo that decodes"),
            )
        for wake_ms in entry.memo.timers.values():
            self._queue.add_after(entry.name, (wake_ms - self._clock.now_ms()) / 1000)

    def _verify(self, entry: Entry) -> None:
        """Something says that it left the selection: ask the server, unless our own write explains it."""
        if entry.writing is None:
            self._spawn(self._look_again(entry), f"verify/{entry.name}")

    async def _look_again(self, entry: Entry) -> None:
        execution = await status_writer.read_execution(self._transport, namespace=self._namespace, name=entry.name)
        if self.entries.by_uid(entry.uid) is not entry or entry.writing is not None:
            return
        if execution is None or execution.metadata.uid != entry.uid:
            self._vanish(entry)
        elif _is_newer(execution.metadata.resource_version, entry.version):
            self._refresh(entry, execution)

    def _vanish(self, entry: Entry) -> None:
        """It was deleted."""
        self._lose(entry, "it was deleted")
        now_ms = self._clock.now_ms()
        error = frames.ErrorInfo(type="kontinue.errors.NotFound", message=f"Execution {entry.name} was deleted")
        self._tell_parent(
            entry,
            frames.ChildFinished(
                name=entry.name,
                uid=entry.uid,
                attempt=max(1, entry.status.attempt_count),
                phase=Phase.CANCELED.value,
                finished_at_ms=now_ms,
                error=error,
            ),
        )

    def _lose(self, entry: Entry, why: str) -> None:
        """Stop whatever runs of it, write nothing, and drop it."""
        activation = entry.activation
        if activation is not None:
            _log.warning("activation stopped", execution=entry.name, uid=entry.uid, why=why)
            self._orphans.add(activation.number)
            self._runners.send(frames.CancelActivation(activation.number, why))
            loop = asyncio.get_running_loop()
            loop.call_later(self._worker.cancel_grace_ms / 1000, self._kill_orphan, activation.number)
        self._queue.forget(entry.name)
        self.entries.remove(entry)

    def _kill_orphan(self, activation: int) -> None:
        if activation in self._orphans:
            self._runners.kill_activation(activation)

    async def _check_parent(self, entry: Entry) -> None:
        """Found by listing: does its parent still want it?"""
        parent = self.entries.by_uid(entry.parent_uid)
        if parent is None:
            execution = await status_writer.read_execution(
                self._transport, namespace=self._namespace, name=entry.parent_name
            )
            if execution is None or execution.metadata.uid != entry.parent_uid or execution.phase.is_terminal:
                entry.cancel_message = PARENT_ENDED_MESSAGE
        entry.is_checked = True
        self._queue.add(entry.name)

    # The runners' side.

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        """Take what a runner reports about one of its activations."""
        number = getattr(frame, "activation", 0)
        entry = self.entries.by_activation(number)
        if entry is None or entry.activation is None:
            if isinstance(frame, frames.Completed | frames.Failed | frames.Mismatched | frames.Interrupted):
                self._orphans.discard(number)
            return
        match frame:
            case frames.Running():
                self._on_running(entry, entry.activation, frame.arguments)
            case frames.Waiting():
                entry.activation = msgspec.structs.replace(
                    entry.activation, parked_since_ms=self._clock.now_ms(), waiting_for=tuple(frame.waiting_for)
                )
                self._queue.add(entry.name)
            case frames.RecordsProduced():
                entry.news = msgspec.structs.replace(
                    entry.news, records=entry.news.records + tuple(frame.records), flush=frame.flush
                )
                self._queue.add(entry.name)
            case frames.StepRequested():
                self._on_step_requested(entry, frame.step, frame.command)
            case frames.Completed() | frames.Failed() | frames.Mismatched() | frames.Interrupted():
                entry.news = msgspec.structs.replace(entry.news, outcome=frame)
                self._queue.add(entry.name)
            case frames.Ready() | frames.LoadFailed() | frames.Recalled() | frames.LogLine():
                pass  # the pool's own business
            case _:
                assert_never(frame)

    def _on_running(self, entry: Entry, activation: Activation, arguments: bytes) -> None:
        if arguments:
            entry.news = msgspec.structs.replace(entry.news, arguments=arguments)
        now_ms = self._clock.now_ms()
        is_first = activation.running_since_ms is None
        is_woken = entry.status.phase is Phase.SUSPENDED
        since_ms = now_ms if is_first or is_woken else activation.running_since_ms
        entry.activation = msgspec.structs.replace(
            activation, running_since_ms=since_ms, parked_since_ms=None, waiting_for=()
        )
        if is_first and activation.resumption:
            _log.info("resumed running", execution=entry.name, uid=entry.uid, resumption=activation.resumption)
        if is_first or is_woken:
            self._queue.add_after(entry.name, self._worker.executing_after_ms / 1000)

    def on_lost(self, activation: int, *, was_active: bool, reason: str, message: str) -> None:
        """Take the death of a runner."""
        entry = self.entries.by_activation(activation)
        self._orphans.discard(activation)
        if entry is None:
            return
        entry.news = msgspec.structs.replace(
            entry.news, lost=Lost(was_active=was_active, reason=reason, message=message)
        )
        self._queue.add(entry.name)

    def _on_step_requested(
        self,
        entry: Entry,
        step: str,
        command: frames.CreateChild | frames.StartTimer | frames.CancelChild | frames.CancelTimer,
    ) -> None:
        match command:
            case frames.CreateChild():
                entry.children[command.name] = step
                self._spawn(self._create_child(entry, step, command), f"create-child/{command.name}")
            case frames.StartTimer():
                entry.timers.add(step)
                if step not in entry.memo.timers:
                    wake_ms = self._clock.now_ms() + command.duration_ms
                    started = {**entry.news.timers_started, step: wake_ms}
                    entry.news = msgspec.structs.replace(entry.news, timers_started=started)
                self._queue.add(entry.name)
            case frames.CancelChild():
                entry.children.pop(command.name, None)
                entry.unwanted.add(command.name)
                self._cancel_child(command.name, command.message or "Canceled by its parent")
            case frames.CancelTimer():
                entry.timers.discard(step)
                canceled = (*entry.news.timers_canceled, step)
                entry.news = msgspec.structs.replace(entry.news, timers_canceled=canceled)
            case _:
                assert_never(command)

    async def _create_child(self, parent: Entry, step: str, command: frames.CreateChild) -> None:
        activation = parent.activation
        if activation is None:
            return
        try:
            if command.function in self._functions:
                group = self._group
            else:
                group = command.group or await children.find_group(
                    self._transport, namespace=self._namespace, function=command.function
                )
            child = children.build_child(parent, step, command, group=group, parent_group=self._group)
            execution = await children.create_child(
                self._transport, namespace=self._namespace, child=child, look_first=activation.resumption > 0
            )
        except children.ChildRejectedError as error:
            parent.children.pop(command.name, None)
            self._runners.send(frames.StepRejected(activation.number, step, error.info))
            return
        if execution.phase.is_terminal:
            uid = execution.metadata.uid
            self._deliver(parent, command.name, self._outcome(command.name, uid, execution.status))
            return
        if group == self._group:
            self._observe(execution, inherited=execution.status.owner is not None)
        if command.name in parent.unwanted or self.entries.by_uid(parent.uid) is not parent:
            parent.unwanted.discard(command.name)
            self._cancel_child(command.name, PARENT_ENDED_MESSAGE)

    def _cancel_child(self, name: str, message: str) -> None:
        child = self.entries.get(name)
        if child is not None:
            child.cancel_message = message
            self._queue.add(name)
            return
        self._spawn(
            children.cancel_from_outside(self._transport, namespace=self._namespace, name=name, message=message),
            f"cancel/{name}",
        )

    def on_foreign_child(self, execution: Execution) -> None:
        """Take the end of a child that another worker group runs."""
        if execution.phase.is_terminal:
            for owner in execution.metadata.owner_references:
                parent = self.entries.by_uid(owner.uid)
                if parent is not None:
                    name, uid = execution.metadata.name, execution.metadata.uid
                    self._deliver(parent, name, self._outcome(name, uid, execution.status))

    def _outcome(self, name: str, uid: str, status: ExecutionStatus) -> frames.ChildFinished:
        return children.outcome_of(name=name, uid=uid, status=status, now_ms=self._clock.now_ms())

    def _tell_parent(self, entry: Entry, outcome: frames.ChildFinished) -> None:
        parent = self.entries.by_uid(entry.parent_uid) if entry.parent_uid else None
        if parent is not None:
            self._deliver(parent, entry.name, outcome)

    def _deliver(self, parent: Entry, child: str, outcome: frames.ChildFinished) -> None:
        if parent.dormant:
            parent.woken = True
            self._queue.add(parent.name)
            return
        step = parent.children.pop(child, None)
        if step is not None and parent.activation is not None:
            self._runners.send(frames.StepArrived(parent.activation.number, step, outcome))

    # Observe, decide, apply.

    def reconcile(self, name: str) -> None:
        """Bring one Execution a step further. Level-based: what made it due does not matter."""
        entry = self.entries.get(name)
        if entry is None or entry.writing is not None or not entry.is_checked:
            return
        now_ms = self._clock.now_ms()
        self._fire_timers(entry, now_ms)
        plan = decide(self._build_observed(entry), self._worker, now_ms)
        if plan.requeue_after_ms is not None:
            self._queue.add_after(name, plan.requeue_after_ms / 1000)
        if plan.status is None:
            self._act(entry, plan.actions)
        else:
            entry.writing = entry.news
            entry.news = NO_NEWS
            self._spawn(self._write(entry, plan), f"write/{name}")

    def _build_observed(self, entry: Entry) -> Observed:
        return Observed(
            spec=entry.spec,
            status=entry.status,
            memo=entry.memo,
            created_at_ms=entry.created_at_ms,
            activation=entry.activation,
            news=entry.news,
            inherited=entry.inherited,
            predecessor_released=self._predecessor_released,
            function_known=entry.spec.function in self._functions,
            cancel_message=entry.cancel_message,
            dormant=entry.dormant,
            woken=entry.woken,
        )

    def _fire_timers(self, entry: Entry, now_ms: int) -> None:
        for step, wake_ms in entry.memo.timers.items():
            if wake_ms > now_ms:
                self._queue.add_after(entry.name, (wake_ms - now_ms) / 1000)
            elif entry.dormant:
                entry.woken = True
            elif step in entry.timers and entry.activation is not None:
                entry.timers.discard(step)
                self._runners.send(frames.StepArrived(entry.activation.number, step, frames.TimerFired(wake_ms)))

    async def _write(self, entry: Entry, plan: plans.Plan) -> None:
        if plan.status is None:
            return
        result = await status_writer.write_status(
            self._transport,
            namespace=self._namespace,
            name=entry.name,
            uid=entry.uid,
            version=entry.version,
            status=plan.status,
        )
        unwritten = entry.writing or NO_NEWS
        entry.writing = None
        match result:
            case status_writer.Written():
                entry.version = result.version
                entry.status = plan.status
                entry.memo = plan.memo
                entry.inherited = False
                self._act(entry, plan.actions)
                self._queue.add(entry.name)
            case status_writer.Changed():
                entry.news = unwritten.merged(entry.news)
                self._refresh(entry, result.execution)
            case status_writer.Gone():
                self._vanish(entry)
            case status_writer.Refused():
                entry.news = unwritten.merged(entry.news)
                self._on_refused(entry, result.error)
            case _:
                assert_never(result)
        deferred, entry.deferred = entry.deferred, None
        if deferred is not None and self.entries.by_uid(entry.uid) is entry:
            self._observe(deferred, inherited=False)

    def _on_refused(self, entry: Entry, error: errors.ApiError) -> None:
        """The server will never take this status: fail with one that it takes."""
        _log.error("status refused", execution=entry.name, uid=entry.uid, error=str(error))
        if isinstance(entry.news.outcome, frames.Failed):
            return  # not even the failure: an operator has to look at the CRD; the next start tries again
        if entry.activation is not None:
            self._runners.kill_activation(entry.activation.number)
        reason = "InvalidResult" if isinstance(entry.news.outcome, frames.Completed) else "StatusRefused"
        info = frames.ErrorInfo(type=f"kontinue.errors.{type(error).__name__}", message=str(error))
        entry.news = msgspec.structs.replace(NO_NEWS, outcome=frames.Failed(0, reason, info))
        self._queue.add(entry.name)

    def _act(self, entry: Entry, actions: Sequence[plans.Action]) -> None:
        for action in actions:
            match action:
                case plans.Dispatch():
                    self._dispatch(entry, action)
                case plans.Acknowledge():
                    if entry.activation is not None:
                        self._runners.send(frames.StepRecorded(entry.activation.number, action.flush))
                case plans.StopActivation():
                    self._stop_activation(entry, action.message)
                case plans.KillActivation():
                    if entry.activation is not None:
                        self._runners.kill_activation(entry.activation.number)
                case plans.ForgetActivation():
                    self._forget_activation(entry, is_dormant=action.is_dormant)
                case plans.CancelChildren():
                    for child in self.entries.children_of(entry.uid):
                        self._cancel_child(child.name, action.message)
                    for name in entry.children:
                        self._cancel_child(name, action.message)
                    entry.children.clear()
                case plans.Finish():
                    self._finish(entry)
                case plans.Report():
                    self._report(entry, action)
                case _:
                    assert_never(action)

    def _dispatch(self, entry: Entry, action: plans.Dispatch) -> None:
        if self._is_draining:
            return
        self._last_activation += 1
        entry.dormant = entry.woken = False
        self.entries.set_activation(entry, Activation(number=self._last_activation, resumption=action.resumption))
        _log.debug("dispatched", execution=entry.name, uid=entry.uid, resumption=action.resumption)
        self._runners.submit(
            frames.Activate(
                activation=self._last_activation,
                namespace=self._namespace,
                execution=entry.name,
                uid=entry.uid,
                function=entry.spec.function,
                arguments=bytes(entry.spec.arguments),
                memo=b"" if entry.memo.is_empty else bytes(entry.memo.encode()),
                attempt=action.attempt,
                resumption=action.resumption,
                run_epoch=entry.status.run_epoch,
                created_at_ms=entry.created_at_ms,
                fencing_token=action.fencing_token,
            )
        )

    def _stop_activation(self, entry: Entry, message: str) -> None:
        if entry.activation is not None:
            entry.activation = msgspec.structs.replace(entry.activation, stopping_since_ms=self._clock.now_ms())
            self._runners.send(frames.CancelActivation(entry.activation.number, message))

    def _forget_activation(self, entry: Entry, *, is_dormant: bool) -> None:
        if entry.activation is not None:
            self._runners.forget(entry.activation.number)
            self.entries.forget_activation(entry)
        entry.news = NO_NEWS
        entry.dormant = is_dormant

    def _finish(self, entry: Entry) -> None:
        self._queue.forget(entry.name)
        self.entries.remove(entry, tombstone=True)
        if entry.parent_uid:
            self._tell_parent(entry, self._outcome(entry.name, entry.uid, entry.status))

    def _report(self, entry: Entry, action: plans.Report) -> None:
        write = _log.warning if action.type == "Warning" else _log.info
        write(
            "execution event",
            execution=entry.name,
            uid=entry.uid,
            reason=action.reason,
            message=action.message,
            attempt=max(1, entry.status.attempt_count),
            resumption=entry.status.resumptions,
        )
        reference = ObjectReference(
            api_version=labels.API_VERSION,
            kind="Execution",
            namespace=self._namespace,
            name=entry.name,
            uid=entry.uid,
        )
        self._events.record(reference, action.type, action.reason, action.message)

    def _spawn(self, work: Coroutine[object, None, None], name: str) -> None:
        if self._tasks is None:
            work.close()
            raise RuntimeError("ExecutionController.run is not running")
        self._tasks.create_task(work, name=name)


def _is_newer(version: str, than: str) -> bool:
    """Compare resourceVersions of one resource type (Kubernetes 1.35 made their order part of the API)."""
    return int(version or 0) > int(than or 0)
