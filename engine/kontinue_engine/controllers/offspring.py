"""Internal. Parents and children in one replica: who asked for which child, and who is told how it ended.

``children`` knows children as API objects; here is the coordination in memory. A parent without an activation is woken
instead of told: it asks again when it replays, and finds the child by its deterministic name; or finds that it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import ChildPolicy, Execution, ExecutionStatus, Phase
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue_engine.controllers import begun, child_retries, children
from kontinue_engine.controllers.abroad import Abroad, AwayChild
from kontinue_engine.controllers.cancels import Cancels
from kontinue_engine.controllers.entries import Entry, Rest
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import Stage, is_asked_by_parent, run_epoch_of, stage_of, stages_before
from kontinue_engine.lifecycle.continuing import OLD_RUN_MESSAGE
from kontinue_engine.lifecycle.ending import PARENT_ENDED_MESSAGE
from kontinue_engine.lifecycle.observed import Activation
from kontinue_engine.lifecycle.retrying import child_policy_of, policy_of
from kontinue_engine.lifecycle.statuses import asked_for, next_attempt
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

CANCELED_MESSAGE: Final = "Canceled by its parent"
_EXECUTION: Final = requests.EXECUTIONS.kind
LOOK_AGAIN_S: Final = 0.1
"""Until a child that has ended while it was looked for is looked for again. Judgement."""

_log = get_logger(__name__)


class Offspring:
    """Children of the Executions of this replica.

    Args:
        runtime: shared tools.
        observe: takes a child that was created or found.
    """

    def __init__(self, runtime: Runtime, *, observe: Callable[[Execution], None]) -> None:
        self.abroad = Abroad(runtime, on_missing=self._on_missing)
        """Children that run elsewhere, or of which a retry is asked for."""
        self.cancels = Cancels(runtime)
        """Of children that run elsewhere."""
        self._runtime = runtime
        self._observe = observe
        self._sought: set[tuple[str, str]] = set()
        """Uid of a parent and name of a child that its new attempt looks for: what is known of the child may be old."""
        self._checking: set[str] = set()

    # Asked for by a parent.

    def request(self, parent: Entry, step: str, command: frames.CreateChild) -> None:
        """Create the child of a step, or find it; its outcome goes to the parent's activation."""
        activation = parent.activation
        if activation is not None:
            parent.children[command.name] = step
            parent.unwanted.discard(command.name)
            work = self._create(parent, activation, step, command)
            self._runtime.spawn(parent.uid, work, name=f"create-child/{command.name}")

    async def _create(self, parent: Entry, activation: Activation, step: str, command: frames.CreateChild) -> None:
        runtime = self._runtime
        stage = _stage_of(parent)
        is_sought = stage > Stage()
        if is_sought:
            self._sought.add((parent.uid, command.name))
        try:
            execution = await self._create_or_find(parent, activation, step, command, stage)
            while not self._is_noticed(execution) and not await self._announce(execution):
                execution = await self._create_or_find(parent, activation, step, command, stage)
        except children.ChildGoneError:
            self._deliver(parent, command.name, self._deleted(command.name, ""))
            return
        except children.ChildRejectedError as error:
            parent.children.pop(command.name, None)
            runtime.send_to(parent, frames.StepRejected(activation.number, step, error.info))
            return
        finally:
            self._sought.discard((parent.uid, command.name))
        if _stage_of(parent) == stage:
            begun.note(parent, step, _EXECUTION, command.name)
        is_asked = is_asked_by_parent(execution)
        if execution.phase.is_terminal and not is_asked:
            outcome = self._outcome(command.name, execution.metadata.uid, execution.status)
            self._deliver(parent, command.name, outcome)
            return
        if not is_asked:  # else a watch shows it when it is live again
            self._observe(execution)
            is_here = runtime.scope.is_responsible(execution)
            if is_sought and is_here and runtime.entries.get(execution.metadata.uid) is None:
                await asyncio.sleep(LOOK_AGAIN_S)  # it has ended while it was looked for
                if parent.activation is not None and parent.activation.number == activation.number:
                    self.request(parent, step, command)
                return
        if is_asked or not runtime.scope.is_responsible(execution):
            self.abroad.add(AwayChild(command.name, execution.metadata.uid, parent.uid))
        if parent not in runtime.entries:
            self._cancel(command.name, PARENT_ENDED_MESSAGE, up_to=stage)
        elif command.name in parent.unwanted:
            parent.unwanted.discard(command.name)
            self._cancel(command.name, CANCELED_MESSAGE, up_to=stage)

    async def _create_or_find(
        self, parent: Entry, activation: Activation, step: str, command: frames.CreateChild, stage: Stage
    ) -> Execution:
        runtime = self._runtime
        scope = runtime.scope
        group = scope.group
        if not runtime.owns(command.function):
            group = command.group or await children.find_group(
                runtime.transport, namespace=scope.namespace, function=command.function
            )
        child = children.build_child(parent, step, command, group=group, scope=scope, attempt=stage.attempt)
        look_first = activation.resumption > 0 or stage.attempt > 1
        backoff = Backoff()
        while True:
            found: Execution | None = await children.create_child(
                runtime.transport,
                namespace=scope.namespace,
                child=child,
                look_first=look_first,
                may_create=not begun.is_known(parent, step, _EXECUTION, command.name),
            )
            if found is not None:
                found = await child_retries.take_over(
                    runtime.transport,
                    scope.namespace,
                    found,
                    stage,
                    retries_failed=self._is_retried_with(parent),
                    parent_group="" if scope.is_responsible(found) else scope.group,
                )
            if found is not None:
                if is_asked_by_parent(found):
                    parent.asked_children[found.metadata.uid] = asked_for(found.spec)
                return found
            await asyncio.sleep(backoff.next_s())

    def _is_retried_with(self, parent: Entry) -> bool:
        """Tell whether a new attempt of the parent retries children that failed or were canceled."""
        policy = policy_of(parent.spec, parent.status, self._runtime.scope.defaults.get(parent.spec.function))
        return child_policy_of(policy) is ChildPolicy.RETRY_FAILED

    def _is_noticed(self, child: Execution) -> bool:
        """Tell whether its end will be seen here: it has, or it runs here, or carries the label for the watch."""
        is_here = self._runtime.scope.is_responsible(child)
        has_ended = child.phase.is_terminal and not is_asked_by_parent(child)
        return has_ended or is_here or labels.PARENT_GROUP in child.metadata.labels

    async def _announce(self, child: Execution) -> bool:
        """Label a child that was created in its parent's shard, one of which has been moved since.

        Returns False if it has changed meanwhile.
        """
        meta, scope = child.metadata, self._runtime.scope
        wanted = {labels.PARENT_GROUP: scope.group}
        patch = {"metadata": {"resourceVersion": meta.resource_version, "labels": wanted}}
        try:
            await self._runtime.transport.send(
                requests.merge_patch(requests.EXECUTIONS, scope.namespace, meta.name, patch)
            )
        except (errors.Conflict, errors.NotFound):
            return False
        return True

    def give_up(self, parent: Entry, command: frames.CancelChild) -> None:
        """Cancel a child; unless the parent has abandoned it, its outcome is still delivered."""
        if command.is_abandoned:
            parent.children.pop(command.name, None)
        parent.unwanted.add(command.name)
        self._cancel(command.name, command.message or CANCELED_MESSAGE, up_to=_stage_of(parent))

    def cancel_all(self, parent: Entry, message: str, *, is_anew: bool = False) -> None:
        """The parent has ended: nothing that it started may go on. With ``is_anew`` only its runs before have."""
        names = {child.name for child in self._runtime.entries.children_of(parent.uid)} | set(parent.children)
        parent.children.clear()
        parent.unwanted |= names
        up_to = stages_before(parent.status.run_epoch) if is_anew else _stage_of(parent)
        for name in names:
            self._cancel(name, message, up_to=up_to)
        if self._may_have_more(parent):
            self.cancels.cancel_all(parent, message, up_to=up_to)

    def _may_have_more(self, parent: Entry) -> bool:
        """Tell whether a former run may have started children to which the last one had not come when it ended."""
        status = parent.status
        is_anew = status.phase is Phase.BACKOFF  # what came before is of another run, however often it was resumed
        was_run_before = parent.was_found or is_anew or status.resumptions > 0 or status.attempt_count > 1
        has_replayed_all = parent.status.phase is Phase.COMPLETED
        return was_run_before and not has_replayed_all and parent.spec.function not in self._runtime.scope.deaf

    def _cancel(self, name: str, message: str, *, up_to: Stage) -> None:
        child = self._runtime.entries.by_name(name)
        if child is None:
            self.cancels.cancel(name, message, up_to=up_to)
        elif stage_of(child.annotations) <= up_to:
            child.cancel_message = message
            self._runtime.queue.add(child.uid)

    # Told to a parent.

    def tell_parent(self, entry: Entry) -> None:
        """The Execution has ended: its parent, if it lives here, gets the outcome."""
        parent = self._runtime.entries.get(entry.parent_uid)
        if parent is None or (parent.uid, entry.name) in self._sought:
            return
        if entry.status.observed_retries < parent.asked_children.get(entry.uid, 0):
            return
        self._deliver(parent, entry.name, self._outcome(entry.name, entry.uid, entry.status))

    def tell_parent_of_deletion(self, entry: Entry) -> None:
        """The Execution was deleted: for its parent that is a cancel."""
        parent = self._runtime.entries.get(entry.parent_uid)
        if parent is None:
            return
        outcome = self._deleted(entry.name, entry.uid, attempt=max(1, entry.status.attempt_count))
        self._deliver(parent, entry.name, outcome)

    def _deleted(self, name: str, uid: str, *, attempt: int = 1) -> frames.ChildFinished:
        return frames.ChildFinished(
            name=name,
            uid=uid,
            attempt=attempt,
            phase=Phase.CANCELED.value,
            finished_at_ms=self._runtime.clock.now_ms(),
            error=own_error(errors.NotFound, f"Execution {name} was deleted"),
        )

    def _on_missing(self, parent: Entry, child: AwayChild, found: Execution | None) -> None:
        if found is None:
            self._deliver(parent, child.name, self._deleted(child.name, child.uid))
        else:
            self._deliver(parent, child.name, self._outcome(child.name, child.uid, found.status))

    def on_moved(self, entry: Entry) -> None:
        """The Execution runs elsewhere from now on: its parent, if it lives here, is to learn how it ends there."""
        parent = self._runtime.entries.get(entry.parent_uid)
        if parent is not None:
            child = AwayChild(entry.name, entry.uid, parent.uid)
            parent.was_found = True  # it has a child that is not among those known here
            self.abroad.add(child)
            self._runtime.spawn(parent.uid, self._follow(parent, child), name=f"follow/{child.name}")

    async def _follow(self, parent: Entry, child: AwayChild) -> None:
        """Whoever moved it by hand has not labelled it for the watch. What fails here, ``abroad`` finds out."""
        runtime = self._runtime
        is_noticed = False
        while not is_noticed:
            found = await executions.read_execution(
                runtime.transport, namespace=runtime.scope.namespace, name=child.name
            )
            if found is not None and found.metadata.uid != child.uid:
                found = None
            if found is None or found.phase.is_terminal:
                self._on_missing(parent, child, found)
                return
            is_noticed = self._is_noticed(found) or await self._announce(found)

    def on_foreign_end(self, child: ObjectMeta) -> None:
        """A child that runs elsewhere has ended: if its parent lives here, read how."""
        for owner in child.owner_references:
            parent = self._runtime.entries.get(owner.uid)
            if parent is not None and parent.awaits(child.name):
                self._runtime.spawn(parent.uid, self._fetch_end(parent, child), name=f"child-end/{child.name}")

    async def _fetch_end(self, parent: Entry, child: ObjectMeta) -> None:
        runtime = self._runtime
        execution = await executions.read_execution(
            runtime.transport, namespace=runtime.scope.namespace, name=child.name
        )
        has_ended = execution is not None and execution.metadata.uid == child.uid and execution.phase.is_terminal
        is_sought = (parent.uid, child.name) in self._sought
        if execution is not None and has_ended and not is_asked_by_parent(execution) and not is_sought:
            self._deliver(parent, child.name, self._outcome(child.name, child.uid, execution.status))

    def _outcome(self, name: str, uid: str, status: ExecutionStatus) -> frames.ChildFinished:
        return children.outcome_of(name=name, uid=uid, status=status, now_ms=self._runtime.clock.now_ms())

    def _deliver(self, parent: Entry, child: str, outcome: frames.ChildFinished) -> None:
        self.abroad.discard(child)
        parent.asked_children.pop(outcome.uid, None)
        if parent.rest is Rest.DORMANT or parent.is_losing:
            parent.rest = Rest.WOKEN
            self._runtime.queue.add(parent.uid)
            return
        step = parent.children.pop(child, None)
        if step is not None:
            self._runtime.tell(parent, step, outcome)

    # Found, not created here.

    def check_parent(self, entry: Entry) -> None:
        """Find out whether the parent of an Execution still wants it; it does not run before. Idempotent."""
        if entry.uid not in self._checking:
            self._checking.add(entry.uid)
            self._runtime.spawn(entry.uid, self._check_parent(entry), name=f"check-parent/{entry.name}")

    async def _check_parent(self, entry: Entry) -> None:
        """What fails here has the Execution reconciled again, and so its parent looked at again."""
        try:
            refusal = await self._find_refusal(entry)
        finally:
            self._checking.discard(entry.uid)
        if refusal:
            entry.cancel_message = refusal
        entry.is_parent_unchecked = False
        self._runtime.queue.add(entry.uid)

    async def _find_refusal(self, entry: Entry) -> str:
        """Return why its parent does not want it any more, if so. One that cannot be read lives, as far as we know."""
        runtime = self._runtime
        if labels.RETRIED_ALONE in entry.annotations:
            return ""
        here = runtime.entries.get(entry.parent_uid)
        if here is not None:
            parent_status = here.status
        else:
            try:
                parent = await executions.read_execution(
                    runtime.transport, namespace=runtime.scope.namespace, name=entry.parent_name
                )
            except executions.UnreadableError as error:
                _log.warning("parent not looked at", **entry.log_fields, error=str(error))
                return ""
            if parent is None or parent.metadata.uid != entry.parent_uid or parent.phase.is_terminal:
                return PARENT_ENDED_MESSAGE
            parent_status = parent.status
        return OLD_RUN_MESSAGE if parent_status.run_epoch > run_epoch_of(entry.annotations) else ""

    def can_rest(self, entry: Entry, now_ms: int) -> bool:
        """Tell whether an inherited Execution, found Suspended, may go on waiting without an activation.

        Only if everything that it waits for is known to come, and will be noticed here: timers of its memo, and
        children that live in this replica. Anything else is found out by a replay; of Suspensions others know.
        """
        waiting_for = entry.status.waiting_for
        if entry.status.phase is not Phase.SUSPENDED or not waiting_for or any(item.message for item in waiting_for):
            return False
        siblings = {child.name for child in self._runtime.entries.children_of(entry.uid)}
        timers = sum(1 for item in waiting_for if item.kind == "Timer")
        running_timers = sum(1 for wake_ms in entry.memo.timers.values() if wake_ms > now_ms)
        return timers <= running_timers and all(
            item.kind in {"Timer", "Suspension"} or (item.kind == "Execution" and item.name in siblings)
            for item in waiting_for
        )


def _stage_of(parent: Entry) -> Stage:
    """Return what a parent has come to: the attempt that runs, or else the last that may have begun."""
    status, activation = parent.status, parent.activation
    return Stage(status.run_epoch, next_attempt(status) if activation is None else activation.attempt)
