"""Internal. What the leader's watches show of roots that have ended, and of archives. For ``retention``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from kontinue.api.meta import ApiStruct, Condition, ObjectMeta, PartialObjectMetadata
from kontinue.api.v1alpha1 import ExecutionDefaults, ExecutionTTL
from kontinue.archives import part_key
from kontinue.kube.watch import EventType
from kontinue_engine.lifecycle.retention import StoredPart


class EndedSpec(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's spec."""

    function: str = ""
    ttl: ExecutionTTL | None = None


class EndedStatus(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's status."""

    attempt_count: int = 0
    defaults: ExecutionDefaults | None = None
    finished_at: datetime | None = None
    conditions: list[Condition] = []


class EndedExecution(ApiStruct, frozen=True, kw_only=True):
    """An Execution that has ended, without what retention does not read."""

    metadata: ObjectMeta
    spec: EndedSpec = EndedSpec()
    status: EndedStatus = EndedStatus()


class Listener(Protocol):
    """Told what has changed."""

    def note_root(self, seen: EndedExecution) -> None:
        """Take a root that has ended."""

    def forget_root(self, uid: str) -> None:
        """It is gone, or runs again."""

    def note_archive(self, part: StoredPart) -> None:
        """Take a part of an archive."""

    def forget_archive(self, name: str) -> None:
        """It is gone."""


class RootsView:
    """What one watch of roots that have ended shows. Who is adopted moves from one to the other.

    Informer handler.

    Args:
        listener: told of each change.

    Attributes:
        others: the other watches.
        seen: uids of what it shows.
    """

    def __init__(self, listener: Listener) -> None:
        self.others: Sequence[RootsView] = ()
        self.seen: set[str] = set()
        self._listener = listener

    def on_list(self, objects: Sequence[EndedExecution], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for uid in self.seen - {one.metadata.uid for one in objects}:
            self._forget(uid)
        for one in objects:
            self.on_event("ADDED", one)

    def on_event(self, type: EventType, obj: EndedExecution) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it runs again, or is gone, or that a group has adopted it."""
        if type == "DELETED":
            self._forget(obj.metadata.uid)
        else:
            self.seen.add(obj.metadata.uid)
            self._listener.note_root(obj)

    def _forget(self, uid: str) -> None:
        self.seen.discard(uid)
        if not any(uid in other.seen for other in self.others):
            self._listener.forget_root(uid)


class ArchivesView:
    """The parts of archives that the watch has shown.

    Informer handler.

    Args:
        listener: told of each change.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._by_root: dict[str, dict[str, StoredPart]] = {}
        self._by_name: dict[str, StoredPart] = {}

    def of(self, uid: str) -> list[StoredPart]:
        """Return the parts of archives of an Execution."""
        return list(self._by_root.get(uid, {}).values())

    def get(self, name: str) -> StoredPart | None:
        """Return the part of this name."""
        return self._by_name.get(name)

    def uids(self) -> frozenset[str]:
        """Return the uids of the Executions that have archives."""
        return frozenset(self._by_root)

    def on_list(self, objects: Sequence[PartialObjectMetadata], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for name in self._by_name.keys() - {one.metadata.name for one in objects}:
            self._remove(name)
        for one in objects:
            self.on_event("ADDED", one)

    def on_event(self, type: EventType, obj: PartialObjectMetadata) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        meta = obj.metadata
        key = part_key(meta)
        if type == "DELETED" or key is None:
            self._remove(meta.name)
            return
        known = self._by_name.get(meta.name)
        if known is not None and known.key.uid != key.uid:
            self._remove(meta.name)
        part = self._by_name[meta.name] = StoredPart(key, meta)
        self._by_root.setdefault(key.uid, {})[meta.name] = part
        self._listener.note_archive(part)

    def _remove(self, name: str) -> None:
        part = self._by_name.pop(name, None)
        if part is None:
            return
        parts = self._by_root[part.key.uid]
        parts.pop(name, None)
        if not parts:
            del self._by_root[part.key.uid]
        self._listener.forget_archive(name)
