"""Internal. The controller of Executions: feeds ``lifecycle.decide`` and applies its plans.

``observation`` (API server) and ``activations`` (runners) report into entries and queue their uid; ``reconcile(uid)``
builds an ``Observed``, decides, and applies the plan: at most one status write in flight per Execution, actions only
once it is durable. Nothing here decides about phases. ``offspring`` coordinates parents and children.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import assert_never

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, ExecutionStatus, Phase
from kontinue_engine.controllers.activations import Activations
from kontinue_engine.controllers.admission import Admission
from kontinue_engine.controllers.backlog import Backlog
from kontinue_engine.controllers.entries import Entry, Inheritance, Rest
from kontinue_engine.controllers.histories import Histories
from kontinue_engine.controllers.jobs import Jobs
from kontinue_engine.controllers.observation import Observation
from kontinue_engine.controllers.offspring import Offspring
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.primitives import Primitives
from kontinue_engine.controllers.runtime import FENCE_POLL_S, Runtime
from kontinue_engine.controllers.suspensions import Suspensions
from kontinue_engine.kube import executions
from kontinue_engine.kube.events import execution_reference
from kontinue_engine.kube.functions import find_owner
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import NO_NEWS, News, Observed
from kontinue_engine.lifecycle.running import JOB_KINDS
from kontinue_engine.lifecycle.statuses import next_attempt
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import holder_of, shard_lease_name
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_log = get_logger(__name__)


class ExecutionController:
    """Reconciles the Executions of one worker group.

    Attributes:
        observation: handler of the informer that selects this group's live Executions.
        activations: listener of the pool.
        offspring: told of children that other groups run.
        admission: told of news of Leases.

    Args:
        runtime: shared tools.
        book: Leases of the group.
    """

    def __init__(self, runtime: Runtime, book: LeaseBook) -> None:
        self._runtime = runtime
        self._backlog = Backlog(runtime.scope.windows)
        self._book = book
        self._owners: dict[str, str] = {}
        self.admission = Admission(runtime, book)
        self.offspring = Offspring(runtime, observe=self._on_child)
        self._histories = Histories(runtime)
        self._suspensions = Suspensions(runtime)
        self._jobs = Jobs(runtime)
        self._primitives = Primitives(runtime)
        self.activations = Activations(
            runtime,
            self.offspring,
            self._histories,
            self._suspensions,
            self._jobs,
            self._primitives,
            on_disowned_end=self.admission.free,
        )
        self.observation = Observation(
            runtime,
            on_new=self.admission.add,
            on_found=self._on_found,
            on_deleted=self._on_deleted,
            on_moved=self._on_moved,
        )

    async def run(self) -> None:
        """Reconcile until cancelled; see ``Runtime.run``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.offspring.abroad.run(), name="children elsewhere")
            await self._runtime.run(self.reconcile)

    @property
    def busy(self) -> int:
        """Number of Executions that run user code now, or whose write is in flight; cancels elsewhere, deleted Jobs."""
        entries = self._runtime.entries
        active = sum(1 for entry in entries if entry.is_active or entry.writing is not None)
        return len(self.offspring.cancels) + len(self._jobs) + len(self._primitives) + active

    def reconcile(self, uid: str) -> None:
        """Bring one Execution a step further. Level-based: what made it due does not matter."""
        entry = self._runtime.entries.get(uid)
        if entry is None or entry.writing is not None:
            return
        if entry.is_parent_unchecked:
            self.offspring.check_parent(entry)
            return
        if self._is_strange(entry) and entry.spec.function not in self._owners:
            self._runtime.spawn(uid, self._find_owner(entry), name=f"owner/{entry.name}")
            return
        if not self._runtime.is_writable:
            self._runtime.queue.add_after(uid, FENCE_POLL_S)  # what is seen now may be somebody else's by now
            return
        now_ms = self._runtime.clock.now_ms()
        self.activations.fire_timers(entry, now_ms)
        plan = decide(self._build_observed(entry, now_ms), self._runtime.worker, now_ms)
        if plan.requeue_after_ms is not None:
            self._runtime.queue.add_after(uid, plan.requeue_after_ms / 1000)
        if plan.status is None:
            self._act(entry, plan.actions)
        else:
            entry.writing, entry.news = entry.news, NO_NEWS
            self._runtime.spawn(uid, self._write(entry, plan), name=f"write/{entry.name}")
        if len(self._backlog) and not entry.is_active:
            self._leave_window(entry)
        if entry.rest is Rest.DORMANT:
            self._fold(entry)

    def _fold(self, entry: Entry) -> None:
        """Keep little of one that sleeps, if whatever it waits for comes with its name, and not by a look at all."""
        needs_looks = any(item.kind in JOB_KINDS for item in entry.status.waiting_for)
        if not needs_looks and self._suspensions.can_rest(entry):
            entry.fold()

    def _build_observed(self, entry: Entry, now_ms: int) -> Observed:
        is_over = entry.status.phase is not None and entry.status.phase.is_terminal
        may_start = entry.activation is None and not is_over and entry.rest is not Rest.DORMANT
        obstacle = self.admission.find(entry, now_ms) if may_start else None
        return Observed(
            spec=entry.spec,
            status=entry.status,
            memo=entry.memo,
            created_at_ms=entry.created_at_ms,
            uid=entry.uid,
            defaults=self._runtime.scope.defaults.get(entry.spec.function),
            activation=entry.activation,
            news=entry.news,
            inherited=entry.inheritance is not Inheritance.NONE,
            is_admitted=entry.inheritance is Inheritance.ADMITTED,
            lost_by=self._lost_by(entry),
            owner_lives=self._owner_lives(entry),
            deaths=entry.deaths,
            seen_retries=entry.seen_retries,
            obstacle=obstacle,
            grant=entry.grant,
            is_held_up=self._runtime.room.is_due(entry.uid, entry.room_wait, now_ms),
            function_known=entry.spec.function in self._runtime.scope.colours,
            # Looked up anew the next time: somebody may register it, or take it over.
            function_owner=self._owners.pop(entry.spec.function, ""),
            group=self._runtime.scope.group,
            is_deaf=entry.spec.function in self._runtime.scope.deaf,
            cancel_message=entry.cancel_message,
            dormant=entry.rest is not Rest.AWAKE,
            woken=entry.rest is Rest.WOKEN,
            has_history=entry.has_history,
            waits={
                **self._suspensions.waits_of(entry),
                **self._jobs.waits_of(entry),
                **self._primitives.waits_of(entry),
                **self.activations.polls.waits_of(entry),
            },
        )

    def _lost_by(self, entry: Entry) -> str:
        """Return the incarnation that is known to have died with the Execution, or nothing.

        Its owner may be older than our predecessor: then only what was noted when it was moved tells how that ended.
        """
        owner, dead = entry.status.owner, self._runtime.scope.dead_predecessor
        if owner is not None and owner.incarnation == dead:
            return dead
        return entry.annotations.get(labels.LOST_BY, "")

    def _is_strange(self, entry: Entry) -> bool:
        """Tell whether it waits for a function that the app does not have."""
        is_over = entry.status.phase is not None and entry.status.phase.is_terminal
        return entry.spec.function not in self._runtime.scope.colours and not is_over

    async def _find_owner(self, entry: Entry) -> None:
        """Look up who has the function of an Execution that came here by its label; then it is looked at again."""
        function, runtime = entry.spec.function, self._runtime
        owner = await find_owner(runtime.transport, namespace=runtime.scope.namespace, function=function)
        self._owners[function] = owner or ""
        runtime.queue.add(entry.uid)

    def _owner_lives(self, entry: Entry) -> bool:
        """Tell whether the replica of another shard that had it last runs, as far as we know."""
        owner, scope = entry.status.owner, self._runtime.scope
        if owner is None or not scope.shard or owner.shard == scope.shard:
            return False
        lease = self._book.get(shard_lease_name(scope.group, owner.shard))
        if lease is None or lease.has_lapsed(self._runtime.clock.monotonic_s()):
            return False
        return holder_of(lease.lease).incarnation == owner.incarnation

    # Apply a plan.

    async def _write(self, entry: Entry, plan: plans.Plan) -> None:
        assert plan.status is not None  # noqa: S101 - for the type checker
        unwritten = entry.writing or NO_NEWS
        try:
            result = await self._send(entry, plan.status, plan.memo)
        except BaseException:
            entry.writing = None
            entry.news = unwritten.merged(entry.news)
            raise
        entry.writing = None
        if entry not in self._runtime.entries:
            return
        match result:
            case executions.Written():
                self._runtime.succeeded(entry.uid)
                entry.version = result.version
                if next_attempt(plan.status) > next_attempt(entry.status):
                    self._primitives.discard_all(entry)  # the next one asks anew
                entry.status = plan.status
                self._histories.replace_memo(entry, plan.memo)
                if entry.status.phase is Phase.SUSPENDED:
                    self.activations.suspended(entry)
                if plan.status.owner is not None and plan.status.owner.incarnation == self._runtime.worker.incarnation:
                    entry.inheritance = Inheritance.NONE  # claimed, and not merely told what it waits for
                self._act(entry, plan.actions)
                if entry in self._runtime.entries:  # it has not ended
                    self._runtime.queue.add(entry.uid)
            case executions.Changed():
                entry.news = unwritten.merged(entry.news)
                self.observation.refresh(entry, result.execution)
            case executions.Gone():
                entry.news = unwritten.merged(entry.news)
                self._on_deleted(entry)
            case executions.Refused():
                self._on_refused(entry, unwritten.merged(entry.news), result.error)
            case _:
                assert_never(result)
        self.observation.after_write(entry)

    async def _send(
        self, entry: Entry, status: ExecutionStatus, memo: MemoBytes
    ) -> executions.Written | executions.Changed | executions.Gone | executions.Refused:
        try:
            await self._histories.close_pages(entry, status, memo)
        except (errors.TooLarge, errors.Invalid) as error:
            return executions.Refused(error)
        return await executions.write_status(
            self._runtime.transport,
            namespace=self._runtime.scope.namespace,
            name=entry.name,
            uid=entry.uid,
            version=entry.version,
            status=status,
        )

    def _on_refused(self, entry: Entry, news: News, error: errors.ApiError) -> None:
        """The server will never take this status: fail with one that it takes."""
        _log.error("status refused", **entry.log_fields, error=str(error))
        if isinstance(news.outcome, frames.Failed):
            return  # not even the failure: an operator has to look at the CRD; the next start tries again
        self.activations.kill(entry)
        reason = "InvalidResult" if isinstance(news.outcome, frames.Completed) else "StatusRefused"
        info = own_error(type(error), str(error))
        entry.news = News(outcome=frames.Failed(0, reason, info))
        self._runtime.queue.add(entry.uid)

    def _act(self, entry: Entry, actions: Sequence[plans.Action]) -> None:
        for action in actions:
            match action:
                case plans.Dispatch():
                    self.activations.dispatch(entry, action)
                case plans.AwaitAdmission():
                    self._await_admission(entry)
                case plans.AwaitHistory():
                    self._histories.await_whole(entry)
                case plans.Acknowledge():
                    self.activations.acknowledge(entry, action.flush)
                case plans.StopActivation():
                    self.activations.stop(entry, action.message)
                case plans.KillActivation():
                    self.activations.kill(entry)
                case plans.ForgetActivation():
                    self.activations.forget(entry, is_dormant=action.is_dormant)
                case plans.CancelChildren():
                    self.offspring.cancel_all(entry, action.message, is_anew=action.is_anew)
                    self._suspensions.discard_all(entry)
                    self._jobs.discard_all(entry)
                    self._primitives.discard_all(entry)
                case plans.Finish():
                    self._finish(entry)
                case plans.Report():
                    self._report(entry, action)
                case _:
                    assert_never(action)

    def _finish(self, entry: Entry) -> None:
        status = entry.status
        if entry in self._runtime.entries and status.phase is not None:
            self._runtime.metrics.ended(entry.spec.function, status.phase, status.started_at, status.finished_at)
        self._drop(entry)
        self.admission.free(entry)
        self.offspring.tell_parent(entry)

    def _drop(self, entry: Entry) -> None:
        self._runtime.queue.forget(entry.uid)
        self._runtime.entries.remove(entry)
        self._release(entry.uid)

    def _report(self, entry: Entry, action: plans.Report) -> None:
        write = _log.warning if action.type == "Warning" else _log.info
        write(
            "execution event",
            **entry.log_fields,
            reason=action.reason,
            message=action.message,
            resumption=entry.status.resumptions,
        )
        if not action.is_event:
            return
        about = execution_reference(self._runtime.scope.namespace, entry.name, entry.uid)
        self._runtime.events.record(about, action.type, action.reason, action.message)

    # What a predecessor left behind, and what is not ours any more.

    def _on_found(self, entry: Entry) -> None:
        can_rest = self.offspring.can_rest(entry, self._runtime.clock.now_ms()) and self._suspensions.can_rest(entry)
        can_rest = can_rest and self._primitives.can_rest(entry.status)
        if entry.inheritance is not Inheritance.NONE and can_rest:
            entry.rest = Rest.DORMANT
            entry.awaited = frozenset(item.name for item in entry.status.waiting_for if item.kind == "Execution")
            self._fold(entry)
        self._runtime.queue.add(entry.uid)

    def _await_admission(self, entry: Entry) -> None:
        if entry.room_wait is None:
            entry.room_wait = self._runtime.room.begin(entry.uid)
        self._backlog.add(entry.uid, self._runtime.scope.colours[entry.spec.function])
        self._admit()

    def _leave_window(self, entry: Entry) -> None:
        """It does not run: unless it is about to, another one may be admitted instead."""
        is_queued = entry.activation is not None and entry.activation.running_since_ms is None
        if entry.inheritance is Inheritance.NONE and entry.writing is None and not is_queued:
            self._release(entry.uid)

    def _release(self, uid: str) -> None:
        if len(self._backlog):
            self._backlog.release(uid)
            self._admit()

    def _admit(self) -> None:
        for uid in self._backlog.admit():
            entry = self._runtime.entries.get(uid)
            if entry is None:
                self._backlog.release(uid)
            elif entry.inheritance is Inheritance.WAITING:
                entry.inheritance = Inheritance.ADMITTED
                self._runtime.queue.add(uid)

    def _on_child(self, execution: Execution) -> None:
        self.observation.on_answer(execution)

    def _on_deleted(self, entry: Entry) -> None:
        self.activations.disown(entry, "it was deleted")
        self._primitives.discard_all(entry)
        self._drop(entry)
        self.offspring.tell_parent_of_deletion(entry)

    def _on_moved(self, entry: Entry) -> None:
        self.activations.abandon(entry, "it belongs to another worker now")
        self._primitives.leave(entry)
        self.admission.leave(entry)
        self._drop(entry)
        self.offspring.on_moved(entry)
