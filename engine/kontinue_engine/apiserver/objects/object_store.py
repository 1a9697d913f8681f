"""Internal. Every live object in memory as bytes, with what selectors and the garbage collector ask of it.

Fed by ``Storage.tail`` alone, so it never shows what is not durable. Keeps the recent history of each kind: watches
resume from it, and lists of an older revision are reconstructed by undoing it. Never parses on the hot path: the
writer passes ``Facts`` along with its bytes. Read by ``reading``, ``watch``, ``garbage_collector``, ``namespaces``.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import orjson

from kontinue_engine.apiserver import resources, statuses
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.storage.protocol import Change, Storage, StorageCorruptError, StorageFailedError
from kontinue_engine.apiserver.values import with_whole_numbers

_REVISION_SLOT: Final = b'"resourceVersion":""'
"""Where stored bytes take the revision: stored first in metadata, so the first match is the right one."""
_SLOT_END: Final = len(_REVISION_SLOT) - 1
_MAYBE_WHOLE_FLOAT: Final = re.compile(rb"\.0[],}]")
"""How orjson writes ``1.0`` inside of an object; a text can say the same."""
MAX_HISTORY_EVENTS: Final = 20_000
MAX_HISTORY_BYTES: Final = 64 * 1024 * 1024
"""Of replaced and deleted content, which only history holds; the one limit that is kept at every moment."""
MAX_HISTORY_AGE_S: Final = 600.0
"""Judgement, as are the others: kube-apiserver keeps 75 s or more; a worker that restarts need not relist."""
MAX_BATCH_EVENTS: Final = 256
"""History is forgotten batch by batch; the one that a start reads is split into such, or it would go as a whole."""
CATCH_UP_S: Final = 5.0
"""Judgement: how long a request waits for what other servers of a shared store have committed."""
MAX_SHARED_SETS: Final = 1024
"""Judgement: so many sets of labels or fields are known at once, of which any number of objects hold the one copy."""


# The three below are what most of the memory holds, so they share what is equal: sets of labels and fields across
# objects, name and uid across the revisions of one. They form no cycles, so with gc=False the collector, whose work
# would otherwise grow with the number of objects, never looks at them.


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is asked of an object without parsing it."""

    uid: str
    labels: dict[str, str]
    fields: dict[str, str]
    """The kind's own; name and namespace are the entry's."""
    owners: tuple[str, ...]
    is_deleting: bool
    last_seen: str
    """RFC 3339; of Events only, for their expiry: not before their creation, however old what they tell of is."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One object at one revision; ``data`` is its JSON, resourceVersion included."""

    rev: int
    key: str
    namespace: str
    name: str
    data: bytes
    facts: Facts

    def field(self, path: str) -> str:
        """Return what a field selector compares, ``""`` for a field that is absent."""
        if path == "metadata.name":
            return self.name
        if path == "metadata.namespace":
            return self.namespace
        return self.facts.fields.get(path, "")

    def data_at(self, rev: int) -> bytes:
        """Return the JSON with another resourceVersion: a DELETED event carries the last content at a new revision."""
        return with_revision(self.stored(), rev)

    def stored(self) -> bytes:
        """Return the bytes as the storage has them: with an empty resourceVersion, where one is put in."""
        filled = b'"resourceVersion":"%d"' % self.rev
        at = self.data.index(filled)
        return self.data[:at] + _REVISION_SLOT + self.data[at + len(filled) :]


class Event(msgspec.Struct, gc=False):
    """One committed change of one kind."""

    rev: int
    old: Entry | None
    new: Entry | None


class Listener(Protocol):
    """Told of every batch of committed changes, kind by kind, before the writers are answered."""

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Take note; must be quick and must not raise."""


class Table:
    """The objects of one kind by namespace ("" for cluster-wide ones), and their history."""

    __slots__ = ("history", "namespaces")

    def __init__(self) -> None:
        self.namespaces: dict[str, dict[str, Entry]] = {}
        self.history: deque[Event] = deque()

    def get(self, namespace: str, name: str) -> Entry | None:
        """Return the object, or None."""
        objects = self.namespaces.get(namespace)
        return objects.get(name) if objects else None

    def entries(self, namespace: str | None = None) -> Iterator[Entry]:
        """Iterate over the objects of one namespace or (None) of all, unordered."""
        if namespace is not None:
            yield from self.namespaces.get(namespace, {}).values()
            return
        for objects in self.namespaces.values():
            yield from objects.values()

    def entries_at(self, rev: int, namespace: str | None) -> list[Entry]:
        """Return the objects as of ``rev``, which must not be older than the history kept."""
        objects = {entry.key: entry for entry in self.entries(namespace)}
        for event in reversed(self.history):
            if event.rev <= rev:
                break
            entry = event.old or event.new
            if entry is None or (namespace is not None and entry.namespace != namespace):
                continue
            if event.old is None:
                objects.pop(entry.key, None)
            else:
                objects[entry.key] = event.old
        return list(objects.values())

    def put(self, entry: Entry) -> None:
        """Add or replace an object."""
        self.namespaces.setdefault(entry.namespace, {})[entry.name] = entry

    def drop(self, entry: Entry) -> None:
        """Remove an object."""
        objects = self.namespaces.get(entry.namespace)
        if objects is not None and objects.pop(entry.name, None) is not None and not objects:
            del self.namespaces[entry.namespace]


class _Batch(NamedTuple):
    """What is remembered of changes that came together."""

    rev: int
    events: int
    size_bytes: int
    at_s: float


class ObjectStore:
    """All tables, the index of owners, and the listeners of changes.

    Attributes:
        rev: newest revision shown.
        compacted_rev: revision up to which history is forgotten.
        compaction_due: set when history was forgotten here that the storage still holds.
        by_uid: every live object.
        dependents: keys of the objects that name an owner, by its uid.
    """

    def __init__(self, storage: Storage, *, monotonic_s: Callable[[], float]) -> None:
        self._storage = storage
        self._monotonic_s = monotonic_s
        self._resources: dict[str, ResourceInfo] = {}
        self._tables: dict[str, Table] = {}
        self._listeners: list[Listener] = []
        self._batches: deque[_Batch] = deque()
        self._history_events = 0
        self._history_bytes = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.rev = 0
        self.compacted_rev = 0
        self.compaction_due = asyncio.Event()
        self.by_uid: dict[str, Entry] = {}
        self.dependents: dict[str, set[str]] = {}

    def load(self, known: Iterable[ResourceInfo]) -> None:
        """Read everything from the opened storage and follow its tail.

        Raises:
            StorageCorruptError: a stored object is not JSON.
        """
        for resource in known:
            self._resources.setdefault(resource.store_key, resource)
        self.compacted_rev = self._storage.compacted_rev()
        try:
            for change in self._storage.list_at(self.compacted_rev):
                self._apply(change)
            self._storage.tail(self.compacted_rev, self._on_tail)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise StorageCorruptError(
                f"the data file holds something that is no object: {error}; nothing was changed. "
                "Move it away, then restore a backup or start with an empty one"
            ) from error
        self.rev = max(self.rev, self.compacted_rev)

    def renew(self, resource: ResourceInfo, change: Callable[[dict[str, Any]], None], *, before_rev: int) -> None:
        """Show the objects of a kind, and their history, as its new definition has them; what is stored stays.

        Args:
            resource: the kind; what its selectors ask is read anew.
            change: what becomes of an object, in place.
            before_rev: what was written from here on was written under the new definition.
        """
        known = self._resources.get(resource.store_key)
        self._resources[resource.store_key] = resource
        is_asked_the_same = known is not None and known.selectable_fields == resource.selectable_fields
        renewed: dict[tuple[str, int], Entry] = {}

        def renew(entry: Entry | None) -> Entry | None:
            if entry is None or (is_asked_the_same and entry.rev >= before_rev):
                return entry
            new = renewed.get((entry.key, entry.rev))
            if new is None:
                new = renewed[entry.key, entry.rev] = _renewed(entry, resource, change)
            return new

        table = self.table(resource.store_key)
        for objects in table.namespaces.values():
            for name, entry in objects.items():
                new = renew(entry)
                if new is not None and new is not entry:
                    objects[name] = self.by_uid[new.facts.uid] = new
        for event in table.history:
            event.old, event.new = renew(event.old), renew(event.new)

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every later batch."""
        self._listeners.append(listener)

    def table(self, store_key: str) -> Table:
        """Return the table of a kind, empty when nothing of it is stored."""
        table = self._tables.get(store_key)
        if table is None:
            table = self._tables[store_key] = Table()
        return table

    def tables(self) -> Iterable[tuple[str, Table]]:
        """Return every table with its key."""
        return list(self._tables.items())

    def entry(self, key: str) -> Entry | None:
        """Return the object of a storage key, or None."""
        store_key, namespace, name = key.split("/", 2)
        return self.table(store_key).get(namespace, name)

    async def wait_for(self, rev: int, timeout_s: float) -> bool:
        """Wait until ``rev`` has come up in the tail; False when it did not in time."""
        if rev <= self.rev:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rev, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiting = [waiter for waiter in self._waiting if waiter[1] is not future]

    async def catch_up(self) -> None:
        """Wait until everything that is durable now, whoever committed it, has come up in the tail.

        Raises:
            StatusError: 504, it did not in time; 500, the storage cannot be asked.
        """
        try:
            rev = await self._storage.current_rev()
        except StorageFailedError as error:
            raise statuses.storage_failed(str(error)) from error
        if not await self.wait_for(rev, CATCH_UP_S):
            raise statuses.StatusError(
                504, "Timeout", f"this server has seen revision {self.rev} of {rev}; nothing was changed, try again"
            )

    async def compact(self) -> None:
        """Forget history past its limits of count, bytes and age.

        Raises:
            StorageFailedError: the storage could not; the next call tries again.
        """
        await self.compact_to(self._oldest_to_forget())

    async def compact_to(self, rev: int) -> None:
        """Forget history up to ``rev``, first in memory: what a reader is refused must not be half there.

        Raises:
            StorageFailedError: the storage could not; the next call tries again.
        """
        self.compaction_due.clear()
        self._forget(rev)
        await self._storage.compact(self.compacted_rev)

    def _oldest_to_forget(self) -> int:
        """Return the revision up to which history is past its limits."""
        oldest_s = self._monotonic_s() - MAX_HISTORY_AGE_S
        events, size_bytes = self._history_events, self._history_bytes
        rev = self.compacted_rev
        for batch in self._batches:
            if events <= MAX_HISTORY_EVENTS and size_bytes <= MAX_HISTORY_BYTES and batch.at_s >= oldest_s:
                break
            rev = batch.rev
            events -= batch.events
            size_bytes -= batch.size_bytes
        return rev

    def _forget(self, rev: int) -> None:
        self.compacted_rev = max(self.compacted_rev, min(rev, self.rev))
        while self._batches and self._batches[0].rev <= self.compacted_rev:
            batch = self._batches.popleft()
            self._history_events -= batch.events
            self._history_bytes -= batch.size_bytes
        for table in self._tables.values():
            while table.history and table.history[0].rev <= self.compacted_rev:
                table.history.popleft()

    def _on_tail(self, changes: Sequence[Change]) -> None:
        if len(changes) <= MAX_BATCH_EVENTS:
            self._take(changes)
            return
        for start in range(0, len(changes), MAX_BATCH_EVENTS):
            self._take(changes[start : start + MAX_BATCH_EVENTS])

    def _take(self, changes: Sequence[Change]) -> None:
        touched: dict[str, list[Event]] = {}
        size_bytes = 0
        for change in changes:
            store_key, table, event = self._apply(change)
            table.history.append(event)
            if store_key in touched:
                touched[store_key].append(event)
            else:
                touched[store_key] = [event]
            if event.old is not None:
                size_bytes += len(event.old.data)
        if not changes:
            return
        self.rev = changes[-1].rev
        self._batches.append(_Batch(self.rev, len(changes), size_bytes, self._monotonic_s()))
        self._history_events += len(changes)
        self._history_bytes += size_bytes
        for store_key, events in touched.items():
            for listener in self._listeners:
                listener.on_events(store_key, events)
        if self._waiting:
            for rev, future in self._waiting:
                if rev <= self.rev and not future.done():
                    future.set_result(None)
        if self._history_bytes > MAX_HISTORY_BYTES:
            self._forget(self._oldest_to_forget())
            self.compaction_due.set()

    def _apply(self, change: Change) -> tuple[str, Table, Event]:
        store_key, namespace, name = change.key.split("/", 2)
        namespace = sys.intern(namespace)
        table = self.table(store_key)
        old = table.get(namespace, name)
        if old is not None:
            name = old.name
        new = None
        if change.value is not None:
            facts = change.note
            if not isinstance(facts, Facts):
                document = orjson.loads(change.value)
                facts = facts_of(self._resources.get(store_key), document, old.facts if old is not None else None)
            new = Entry(change.rev, change.key, namespace, name, with_revision(change.value, change.rev), facts)
            table.put(new)
        elif old is not None:
            table.drop(old)
        self._index(old, new)
        return store_key, table, Event(change.rev, old, new)

    def _index(self, old: Entry | None, new: Entry | None) -> None:
        if old is not None:
            if new is None or new.facts.uid != old.facts.uid:
                self.by_uid.pop(old.facts.uid, None)
            for uid in old.facts.owners:
                keys = self.dependents.get(uid)
                if keys is not None:
                    keys.discard(old.key)
                    if not keys:
                        del self.dependents[uid]
        if new is not None:
            self.by_uid[new.facts.uid] = new
            for uid in new.facts.owners:
                self.dependents.setdefault(uid, set()).add(new.key)


def _renewed(entry: Entry, resource: ResourceInfo, change: Callable[[dict[str, Any]], None]) -> Entry:
    document = orjson.loads(entry.data)
    change(document)
    data = with_revision(encode(document), entry.rev)
    return Entry(entry.rev, entry.key, entry.namespace, entry.name, data, facts_of(resource, document, entry.facts))


def storage_key(resource: ResourceInfo, namespace: str, name: str) -> str:
    """Return the key of an object; no part of it can contain a slash."""
    return f"{resource.store_key}/{namespace}/{name}"


def encode(document: dict[str, Any]) -> bytes:
    """Return the bytes to be stored: apiVersion, kind and an empty resourceVersion lead, so that one can be put in.

    Floats that are whole are stored as integers, as Go encodes them.

    Raises:
        StatusError: 400, it is nested too deeply.
    """
    metadata = {"resourceVersion": "", **document["metadata"]}
    metadata["resourceVersion"] = ""
    leading = {"apiVersion": document["apiVersion"], "kind": document["kind"], "metadata": metadata}
    try:
        # Written inside of four lists, the object has the levels to spare that answers wrap around it.
        encoded = orjson.dumps([[[[{**leading, **document, "metadata": metadata}]]]])[4:-4]
    except orjson.JSONEncodeError as error:
        raise statuses.nested_too_deeply() from error
    if _MAYBE_WHOLE_FLOAT.search(encoded) is None:  # the rule; a look at every value would cost more than the encoding
        return encoded
    return orjson.dumps(with_whole_numbers(orjson.loads(encoded)))


def with_revision(stored: bytes, rev: int) -> bytes:
    """Return stored bytes as answers carry them, with their resourceVersion."""
    at = stored.index(_REVISION_SLOT) + _SLOT_END
    return b"%b%d%b" % (stored[:at], rev, stored[at:])


def facts_of(resource: ResourceInfo | None, document: dict[str, Any], before: Facts | None = None) -> Facts:
    """Read what selectors and owners' index need from a parsed object; ``before`` is of its last revision."""
    metadata = document["metadata"]
    uid = metadata["uid"]
    references = metadata.get("ownerReferences")
    fields = resources.field_values(resource, document) if resource is not None else {}
    return Facts(
        uid=before.uid if before is not None and before.uid == uid else uid,
        labels=_shared(tuple((metadata.get("labels") or {}).items())),
        fields=_shared(tuple(fields.items())),
        owners=tuple(reference["uid"] for reference in references) if references else (),
        is_deleting="deletionTimestamp" in metadata,
        last_seen=_last_seen(document) if resource is not None and resource.kind == "Event" else "",
    )


@functools.lru_cache(maxsize=MAX_SHARED_SETS)
def _shared(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the one copy of a set of labels or fields: most objects of a kind have one of a few sets."""
    return {sys.intern(key): sys.intern(value) for key, value in items}


def _last_seen(event: dict[str, Any]) -> str:
    series = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return max(str(text or ""), str(event["metadata"].get("creationTimestamp", "")))
