"""Internal. Archives and deletes root Executions when their ttl says so, and archives in turn. A duty of the leader.

Level-based: two watches show which roots have ended and which archives there are; whatever is due is read anew before
something is done about it, and each delete carries the version that was read (ADR 0020). What counts is decided in
``kontinue_engine.lifecycle.retention``; ``archiving`` reads and writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, ObjectReference, PartialObjectMetadata
from kontinue.api.v1alpha1 import TERMINAL_PHASES_SELECTOR, Execution, ExecutionDefaults, ExecutionTTL
from kontinue.archives import ArchiveError, build_parts, delete_time, unclear_delete_time
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator.archiving import Root, TreeStore
from kontinue_engine.coordinator.retention_views import ArchivesView, EndedExecution, RootsView
from kontinue_engine.kube import executions
from kontinue_engine.kube.events import EventRecorder, execution_reference
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle import retention
from kontinue_engine.lifecycle.retention import Due, StoredPart
from kontinue_engine.lifecycle.times import ms_of, time_of
from kontinue_engine.telemetry.logs import get_logger

IN_FLIGHT: Final = 2
"""Trees at a time. Judgement: nobody waits for it, and others want to write."""
PAUSE_S: Final = 0.05
"""After each tree that was dealt with: at most 40 a second, although thousands may be due at once. Judgement."""
LOOK_AGAIN_MS: Final = 60_000
"""Clocks are set and laptops sleep, so what waits is looked at after half of its time, but not before this."""
NOT_AT_REST_S: Final = 60.0
"""Until a tree is looked at again of which something still runs. Judgement."""
SETTLE_S: Final = 10.0
"""Until archives that are not whole are looked at: usually somebody is writing them. Judgement."""
RETRY_CAP_S: Final = 300.0
"""Longest delay between two tries. Judgement: what fails is mostly a permission, or a quota."""
NOT_ARCHIVED: Final = "NotArchived"
DELETE_AT_UNCLEAR: Final = "DeleteAtUnclear"

_REFUSALS: Final = (errors.Forbidden, errors.Invalid, errors.TooLarge, ArchiveError)
_ROOT, _ARCHIVES, _EXPIRY = "root", "archives of", "end of archive"
_Key = tuple[str, str]
_log = get_logger(__name__)


class RetentionDuty:
    """Looks after what has ended in one group.

    Args:
        transport: to the API server.
        events: where it is told what the server refuses.
        namespace: of the group.
        group: worker group.
        ttl: of Executions for which nobody has said anything else; None keeps them.
        defaults: function -> its defaults.
        owns: tells whether the group has a function.
        clock: wall time.
    """

    def __init__(
        self,
        transport: Transport,
        events: EventRecorder,
        *,
        namespace: str,
        group: str,
        ttl: ExecutionTTL | None,
        defaults: Mapping[str, ExecutionDefaults],
        owns: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._events = events
        self._namespace = namespace
        self._group = group
        self._ttl = ttl
        self._defaults = defaults
        self._owns = owns
        self._clock = clock
        self._store = TreeStore(transport, namespace)
        self._queue: WorkQueue[_Key] = WorkQueue()
        self._failures: dict[_Key, Backoff] = {}
        self._roots: dict[str, str] = {}  # uid -> name; only those for which something is due some time
        self._gone: set[str] = set()  # uids of those that we have deleted, until the watch says so, too
        self._suspects: set[str] = set()  # uids whose archives may be of something that lives
        self._unclear: dict[str, str] = {}  # archive -> what was told to be no time
        self._unclaimed_since_s: dict[str, dict[str, float]] = {}  # root -> uid -> since when it has been seen so
        self._archives = ArchivesView(self)

    async def run(self) -> None:
        """Archive and delete what is due until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            archives = Informer(
                self._transport,
                requests.ARCHIVED_EXECUTIONS,
                self._namespace,
                type_=PartialObjectMetadata,
                handler=self._archives,
                label_selector=f"{labels.WORKER_GROUP}={self._group}",
                only_metadata=True,
            )
            tasks.create_task(archives.run(), name="retention/archives")
            await archives.synced.wait()
            selectors = f"{labels.WORKER_GROUP}={self._group}", executions.UNADOPTED_SELECTOR
            views = [RootsView(self) for _ in selectors]
            for selector, view in zip(selectors, views, strict=True):
                view.others = [other for other in views if other is not view]
                ended = Informer(
                    self._transport,
                    requests.EXECUTIONS,
                    self._namespace,
                    type_=EndedExecution,
                    handler=view,
                    label_selector=f"{selector},!{labels.ROOT}",
                    field_selector=TERMINAL_PHASES_SELECTOR,
                )
                tasks.create_task(ended.run(), name=f"retention/{selector}")
                await ended.synced.wait()
            for number in range(IN_FLIGHT):
                tasks.create_task(self._work(), name=f"retention/{number}")
            await self._look_for_living()

    # What the watches show.

    def note_root(self, seen: EndedExecution) -> None:
        """Take a root that has ended."""
        meta = seen.metadata
        is_ours = labels.WORKER_GROUP in meta.labels or self._owns(seen.spec.function)
        due = self._due(seen) if is_ours and retention.is_root(meta) else retention.NEVER
        if due.first_ms is None:
            self.forget_root(meta.uid)
            return
        self._roots[meta.uid] = meta.name
        self._gone.discard(meta.uid)
        self._plan(_ROOT, meta.uid, due.first_ms)

    def forget_root(self, uid: str) -> None:
        """It is gone, or runs again, or is kept for ever."""
        self._roots.pop(uid, None)
        self._unclaimed_since_s.pop(uid, None)
        self._forget_key((_ROOT, uid))
        if uid not in self._gone or not retention.is_settled(self._archives.of(uid)):
            self._suspect(uid)
        self._gone.discard(uid)

    def note_archive(self, part: StoredPart) -> None:
        """Take a part of an archive."""
        uid = part.key.uid
        if uid in self._roots or not retention.is_settled(self._archives.of(uid)):
            self._queue.add_after((_ARCHIVES, uid), SETTLE_S)
        self._queue.forget((_EXPIRY, part.meta.name))
        if part.key.part > 1:
            return
        when = delete_time(part.meta)
        if when is not None:
            self._plan(_EXPIRY, part.meta.name, ms_of(when))
        self._tell_if_unclear(part.meta)

    def _tell_if_unclear(self, meta: ObjectMeta) -> None:
        """Say once that an archive is kept for ever because of what somebody has written."""
        text = unclear_delete_time(meta)
        if text is None:
            self._unclear.pop(meta.name, None)
        elif self._unclear.get(meta.name) != text:
            self._unclear[meta.name] = text
            about = ObjectReference(
                api_version=labels.API_VERSION,
                kind=requests.ARCHIVED_EXECUTIONS.kind,
                namespace=self._namespace,
                name=meta.name,
                uid=meta.uid,
            )
            message = (
                f"not deleted, because {labels.DELETE_AT} is no time: {text!r}. "
                "Write one with its zone, as 2030-01-31T12:00:00Z, or remove the annotation to keep the archive"
            )
            self._events.record(about, "Warning", DELETE_AT_UNCLEAR, message)
            _log.warning("archive kept", archive=meta.name, reason=message)

    def forget_archive(self, name: str) -> None:
        """It is gone."""
        self._unclear.pop(name, None)
        self._forget_key((_EXPIRY, name))

    def _forget_key(self, key: _Key) -> None:
        self._queue.forget(key)
        self._failures.pop(key, None)

    def _suspect(self, uid: str) -> None:
        if self._archives.of(uid):
            self._suspects.add(uid)
            self._queue.add((_ARCHIVES, uid))

    def _due(self, one: EndedExecution | Execution) -> Due:
        spec, status = one.spec, one.status
        ttl = retention.ttl_of(
            spec.ttl,
            status.defaults,
            self._defaults.get(spec.function),
            self._ttl,
            has_run=status.attempt_count > 0,
        )
        ended_ms = retention.ended_ms(one.metadata, status.finished_at, status.conditions)
        return retention.due_of(ttl, ended_ms) if ended_ms is not None else retention.NEVER

    def _plan(self, kind: str, key: str, when_ms: int) -> None:
        left_ms = when_ms - self._clock.now_ms()
        self._queue.add_after((kind, key), min(left_ms, max(left_ms // 2, LOOK_AGAIN_MS)) / 1000)

    async def _look_for_living(self) -> None:
        """Look at archives of what runs again: the leader before may have died before it dropped them."""
        archived = self._archives.uids()
        for uid in archived & self._roots.keys():
            self._suspect(uid)
        if archived:
            for meta in await self._list_living():
                if meta.uid in archived:
                    self._suspect(meta.uid)

    async def _list_living(self) -> Sequence[ObjectMeta]:
        selector = f"{labels.WORKER_GROUP}={self._group},!{labels.ROOT}"
        backoff = Backoff(cap_s=RETRY_CAP_S)
        while True:
            try:
                return await executions.list_live(self._transport, self._namespace, selector)
            except errors.ApiError as error:
                _log.warning("not looked for archives of what lives", error=str(error))
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))

    # Decide, act.

    async def _work(self) -> None:
        while True:
            key = kind, name = await self._queue.get()
            try:
                has_acted = await self._look_at(kind, name)
                self._failures.pop(key, None)
                if has_acted:
                    await asyncio.sleep(PAUSE_S)
            except Exception as error:  # noqa: BLE001 - one Execution must not end who leads, nor who leads next
                self._note_failure(key, error)
            finally:
                self._queue.done(key)

    async def _look_at(self, kind: str, key: str) -> bool:
        """Do what is to be done; return whether anything was."""
        if kind == _ROOT:
            return await self._look_at_root(key)
        if kind == _ARCHIVES:
            return await self._settle(key)
        return await self._expire(key)

    async def _look_at_root(self, uid: str) -> bool:
        name = self._roots.get(uid)
        root = await self._store.read_root(name, uid) if name is not None else None
        if uid not in self._roots or root is None or root.execution.metadata.deletion_timestamp is not None:
            return False
        due, now_ms = self._due(root.execution), self._clock.now_ms()
        if due.first_ms is None or not root.execution.phase.is_terminal:
            return False  # the watch is about to show it, too
        if due.first_ms > now_ms:
            self._plan(_ROOT, uid, due.first_ms)
            return False
        return await self._remove(root, due, now_ms)

    async def _remove(self, root: Root, due: Due, now_ms: int) -> bool:
        meta = root.execution.metadata
        since_s = self._unclaimed_since_s.setdefault(meta.uid, {})  # until the root is forgotten
        tree = await self._store.read_tree(root, lambda one: self._why_not(one, since_s))
        if tree.problem:
            _log.info("kept for now", execution=meta.name, uid=meta.uid, reason=tree.problem)
            self._queue.add_after((_ROOT, meta.uid), NOT_AT_REST_S)
            return False
        is_archived = due.delete_ms is None or due.delete_ms > now_ms
        if is_archived:
            parts = build_parts(
                root.execution,
                tree.packed,
                below=tree.versions.values(),
                group=self._group,
                delete_at=None if due.delete_ms is None else time_of(due.delete_ms),
            )
            await self._store.write(parts)
            await self._drop(meta.name, meta.uid, living=int(meta.resource_version))
        if tree.versions and await self._store.versions_below(root.execution) != tree.versions:
            self._queue.add((_ROOT, meta.uid))
            return True
        self._gone.add(meta.uid)
        if not await self._store.delete(requests.EXECUTIONS, meta):
            self._gone.discard(meta.uid)
            self._queue.add((_ROOT, meta.uid))
            self._suspect(meta.uid)
            return True
        done = "archived" if is_archived else "deleted"
        _log.info(done, execution=meta.name, uid=meta.uid, executions=len(tree.versions) + 1)
        return True

    def _why_not(self, execution: Execution, since_s: dict[str, float]) -> str:
        uid, now_s = execution.metadata.uid, self._clock.monotonic_s()
        if not retention.is_unclaimed(execution):
            since_s.pop(uid, None)
            return retention.why_not_at_rest(execution, 0.0)
        return retention.why_not_at_rest(execution, now_s - since_s.setdefault(uid, now_s))

    async def _settle(self, uid: str) -> bool:
        """Drop archives of an Execution that do not count."""
        parts = self._archives.of(uid)
        is_sure = uid not in self._suspects and uid not in self._roots and retention.is_settled(parts)
        if is_sure or not parts:
            return False
        name = parts[0].key.execution
        root = await self._store.read_root(name, uid)
        if root is None:
            await self._drop(name, uid, living=None)
        elif root.execution.metadata.deletion_timestamp is None:
            await self._drop(name, uid, living=int(root.execution.metadata.resource_version))
        self._suspects.discard(uid)
        return True

    async def _drop(self, name: str, uid: str, *, living: int | None) -> None:
        """Drop what does not count; ``living``, the version of the root, was read before."""
        if not retention.superfluous(self._archives.of(uid), living):
            return
        for part in retention.superfluous(await self._store.archives_of(name, uid), living):
            await self._store.delete(requests.ARCHIVED_EXECUTIONS, part.meta)
            _log.info("archive dropped: it does not count", execution=name, uid=uid, archive=part.meta.name)

    async def _expire(self, name: str) -> bool:
        """Delete an archive whose time has come; its other parts go with the first one."""
        part = self._archives.get(name)
        when = delete_time(part.meta) if part is not None else None
        if part is None or when is None:
            return False
        if ms_of(when) > self._clock.now_ms():
            self._plan(_EXPIRY, name, ms_of(when))
            return False
        if await self._store.delete(requests.ARCHIVED_EXECUTIONS, part.meta):
            _log.info("archive deleted", execution=part.key.execution, uid=part.key.uid, archive=name)
        return True

    def _note_failure(self, key: _Key, error: Exception) -> None:
        kind, name = key
        execution = self._roots.get(name, "")
        if key not in self._failures and execution and isinstance(error, _REFUSALS):
            about = execution_reference(self._namespace, execution, name)
            self._events.record(about, "Warning", NOT_ARCHIVED, f"not archived or deleted as its ttl says: {error}")
        delay_s = self._failures.setdefault(key, Backoff(cap_s=RETRY_CAP_S)).next_s()
        _log.warning(
            "retention failed",
            what=kind,
            name=name,
            execution=execution,
            uid=name if execution else "",
            error=f"{type(error).__name__}: {error}",
            retry_in_s=round(delay_s, 3),
        )
        self._queue.add_after(key, delay_s)
