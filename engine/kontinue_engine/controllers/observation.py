"""Internal. What the API server shows of this group's Executions becomes entries.

Informer handler of ``worker``. Level-based: every object is compared with what is known, an older one is ignored, and
one that left the selection is looked up. What was found by the first list may have been started by a predecessor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.kube.watch import EventType
from kontinue_engine.controllers.entries import Entry, Inheritance, version_number, without_answer
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_log = get_logger(__name__)


class Observation:
    """Keeps the entries equal to the selection.

    Args:
        runtime: shared tools.
        on_new: told of each Execution that was not known.
        on_found: told of each Execution that somebody else may have started (of the first list once all of them are
            known), and of each whose parent does not live here.
        on_deleted: told of one that was deleted.
        on_moved: told of one that another replica runs now.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        on_new: Callable[[Entry], None],
        on_found: Callable[[Entry], None],
        on_deleted: Callable[[Entry], None],
        on_moved: Callable[[Entry], None],
    ) -> None:
        self._runtime = runtime
        self._on_new = on_new
        self._on_found = on_found
        self._on_deleted = on_deleted
        self._on_moved = on_moved

    def on_list(self, objects: Sequence[Execution], *, initial: bool) -> None:
        """Take the whole selection: add what is new, look after what is missing."""
        listed, newest = set(), 0
        for execution in objects:
            self._observe(execution, inherited=initial)
            if initial and execution.phase is Phase.SUSPENDED:
                self._fold(execution.metadata.uid)
            listed.add(execution.metadata.uid)
            newest = max(newest, version_number(execution.metadata.resource_version))
        for entry in self._runtime.entries:
            if entry.uid not in listed:
                self._verify(entry)
        self._runtime.entries.tombstones.advance(newest)
        if initial:
            for entry in self._runtime.entries:
                if entry.inheritance is not Inheritance.NONE:
                    self._on_found(entry)

    def on_event(self, type: EventType, obj: Execution) -> None:  # noqa: A002 - the wire's word
        """Take one change of the selection. DELETED means that it left: find out why."""
        entry = self._runtime.entries.get(obj.metadata.uid)
        if type != "DELETED":
            self._observe(obj, inherited=False)
        elif entry is not None:
            self._verify(entry)
        self._runtime.entries.tombstones.advance(version_number(obj.metadata.resource_version))

    def on_answer(self, execution: Execution) -> None:
        """Take a child that was created or found; one that another replica runs is none of ours."""
        if self._runtime.scope.is_responsible(execution):
            self._observe(execution, inherited=False)

    def after_write(self, entry: Entry) -> None:
        """A write has ended: take what came meanwhile."""
        deferred, entry.deferred = entry.deferred, None
        must_verify, entry.must_verify = entry.must_verify, False
        if entry not in self._runtime.entries:
            if deferred is not None and _is_newer(deferred, entry.version):
                self._take_new(deferred)  # it had ended, and is retried already: the watch does not show that again
            return
        if deferred is not None:
            self._observe(deferred, inherited=False)
        if must_verify:
            self._verify(entry)

    def refresh(self, entry: Entry, execution: Execution) -> None:
        """Take what somebody else wrote."""
        entry.unfold()
        entry.see(execution)
        entry.version = execution.metadata.resource_version
        entry.labels = execution.metadata.labels
        entry.annotations = execution.metadata.annotations
        entry.spec, entry.status = without_answer(execution)
        is_ours = entry.inheritance is not Inheritance.NONE or not self._has_other_owner(execution)
        if not self._runtime.scope.is_responsible(execution) or not is_ours:
            self._on_moved(entry)
            return
        if entry.activation is None:
            self._take_memo(entry)  # the late write of a predecessor may have brought records
        self._runtime.queue.add(entry.uid)

    def _fold(self, uid: str) -> None:
        """Many of a list may go on sleeping: together they would need many times as much as at any time later."""
        entry = self._runtime.entries.get(uid)
        if entry is not None:
            entry.fold()

    def _observe(self, execution: Execution, *, inherited: bool) -> None:
        uid = execution.metadata.uid
        entries = self._runtime.entries
        entry = entries.get(uid)
        if entry is not None:
            newest = entry.deferred.metadata.resource_version if entry.deferred is not None else entry.version
            if not _is_newer(execution, newest):
                return
            if entry.writing is not None:
                entry.see(execution)
                entry.deferred = execution
            else:
                self.refresh(entry, execution)
            return
        # What the watch has passed, and is not here, has been dealt with; so has what ended here.
        is_old = not inherited and version_number(execution.metadata.resource_version) <= entries.tombstones.seen
        if is_old or entries.tombstones.covers(uid, version_number(execution.metadata.resource_version)):
            return
        if inherited:
            self._adopt(execution, inherited=True)
        else:
            self._take_new(execution)

    def _take_new(self, execution: Execution) -> None:
        if self._was_moved(execution):
            self._on_found(self._adopt(execution, inherited=True))
        elif self._has_other_owner(execution):
            meta = execution.metadata
            owner, attempt = execution.status.owner, max(1, execution.status.attempt_count)
            _log.warning("not ours", execution=meta.name, uid=meta.uid, attempt=attempt, owner=owner)
        else:
            self._adopt(execution, inherited=False)

    def _was_moved(self, execution: Execution) -> bool:
        """Tell whether it comes from another shard, where it may have been started, or is retried."""
        may_have_run = self._has_other_owner(execution) or labels.DEATHS in execution.metadata.annotations
        return may_have_run and (bool(self._runtime.scope.shard) or execution.phase is Phase.PENDING)

    def _has_other_owner(self, execution: Execution) -> bool:
        owner = execution.status.owner
        return owner is not None and owner.incarnation != self._runtime.worker.incarnation

    def _adopt(self, execution: Execution, *, inherited: bool) -> Entry:
        namesake = self._runtime.entries.by_name(execution.metadata.name)
        if namesake is not None:
            self._on_deleted(namesake)  # deleted, and created anew
        entry = Entry(execution, inherited=inherited)
        self._runtime.entries.add(entry)
        self._take_memo(entry)
        self._on_new(entry)
        has_parent_here = self._runtime.entries.get(entry.parent_uid) is not None
        entry.is_parent_unchecked = bool(entry.parent_uid) and (inherited or not has_parent_here)
        if not inherited and entry.is_parent_unchecked:
            self._on_found(entry)
        elif not inherited:
            self._runtime.queue.add(entry.uid)
        return entry

    def _take_memo(self, entry: Entry) -> None:
        try:
            entry.memo = parse_memo(entry.status.state, entry.status.memo_pages)
        except MemoUnreadableError as error:
            unreadable = frames.Mismatched(0, step="-", recorded=str(error), requested="a memo that decodes")
            entry.news = msgspec.structs.replace(entry.news, outcome=unreadable)
        now_ms = self._runtime.clock.now_ms()
        for wake_ms in entry.memo.timers.values():
            self._runtime.queue.add_after(entry.uid, (wake_ms - now_ms) / 1000)

    def _verify(self, entry: Entry) -> None:
        """Something says that it left the selection: ask the server, as soon as no write of ours is under way."""
        if entry.writing is not None:
            entry.must_verify = True
        else:
            self._runtime.spawn(entry.uid, self._look_again(entry), name=f"verify/{entry.name}")

    async def _look_again(self, entry: Entry) -> None:
        runtime = self._runtime
        execution = await executions.read_execution(
            runtime.transport, namespace=runtime.scope.namespace, name=entry.name
        )
        if entry not in runtime.entries:
            return
        if execution is None or execution.metadata.uid != entry.uid:
            self._on_deleted(entry)
        elif entry.writing is not None:
            entry.must_verify = True
        elif version_number(execution.metadata.resource_version) > version_number(entry.version):
            self.refresh(entry, execution)


def _is_newer(execution: Execution, version: str) -> bool:
    return version_number(execution.metadata.resource_version) > version_number(version)
