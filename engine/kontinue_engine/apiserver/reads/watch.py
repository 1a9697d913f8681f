"""Internal. Watches: who follows which kind, namespace and selector, from which revision, in which form.

Fed by the object store, so after durability and in order of revision. Watchers that ask for the same share one
``_Group``: selectors are evaluated and lines are encoded once per batch for all of them. A watch begins with the
current objects or with the kept history after its revision, without a gap, because nothing here awaits.
Called by ``reading``; writes to ``http_protocol.Stream``.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http.http_protocol import Stream, chunk
from kontinue_engine.apiserver.objects.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.reads import views
from kontinue_engine.apiserver.reads.list_options import ListOptions
from kontinue_engine.apiserver.reads.views import View
from kontinue_engine.apiserver.resources import ResourceInfo

_log: Final = logging.getLogger(__name__)
BOOKMARK_PERIOD_S: Final = 60.0
BOOKMARK_BEFORE_END_S: Final = 2.0
DEFAULT_TIMEOUT_S: Final = (1800.0, 3600.0)
"""As in kube-apiserver, random within these so that watchers do not return all at once."""
INITIAL_CHUNK_BYTES: Final = 256 * 1024
_Lines = dict[tuple[int, str], bytes]
"""Plain lines of one batch by (revision, type): shared by groups, and gone with the batch."""
_GroupKey = tuple[str, str | None, str, View, int, int]


class _Watcher:
    """One open watch."""

    __slots__ = ("allows_bookmarks", "group", "stream", "timers")

    def __init__(self, stream: Stream, group: _Group, *, allows_bookmarks: bool) -> None:
        self.stream = stream
        self.group = group
        self.allows_bookmarks = allows_bookmarks
        self.timers: list[asyncio.TimerHandle] = []

    def send_bookmark(self, rev: int) -> None:
        if self.allows_bookmarks and rev >= self.group.after_rev:
            self.stream.send(chunk(self.group.bookmark(rev, is_initial_end=False)))


class _Group:
    """Watchers of the same kind, namespace, selectors and form."""

    def __init__(
        self,
        key: _GroupKey,
        resource: ResourceInfo,
        options: ListOptions,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self.key = key
        self.resource = resource
        self.namespace = key[1]
        self.view = key[3]
        self.after_rev = key[4]
        self.watchers: set[_Watcher] = set()
        self._labels = options.labels if options.labels.requirements else None
        self._fields = options.fields if options.fields.requirements else None
        self._now = now
        self._has_sent = False

    def selects(self, entry: Entry) -> bool:
        """Tell whether an object is in the selection."""
        if self.namespace is not None and entry.namespace != self.namespace:
            return False
        if self._labels is not None and not self._labels.matches(entry.facts.labels):
            return False
        return self._fields is None or self._fields.matches(entry.field)

    def end(self) -> None:
        """End the watch of each."""
        for watcher in list(self.watchers):
            watcher.stream.end()

    def encode(self, events: Iterable[Event], known: _Lines) -> bytes:
        """Return the lines that ``events`` are for this selection; leaving it is DELETED, entering it ADDED."""
        lines = []
        for event in events:
            if event.rev <= self.after_rev:
                continue
            had = event.old is not None and self.selects(event.old)
            has = event.new is not None and self.selects(event.new)
            if has:
                lines.append(self._line(event, "MODIFIED" if had else "ADDED", known))
            elif had:
                lines.append(self._line(event, "DELETED", known))
        return b"".join(lines)

    def encode_initial(self, entries: Sequence[Entry], *, end_rev: int | None) -> Iterator[bytes]:
        """Yield the current objects as framed chunks of ADDED lines, then a bookmark of ``end_rev``, if any."""
        lines: list[bytes] = []
        size_bytes = 0
        for entry in entries:
            line = self._encode("ADDED", entry.data)
            lines.append(line)
            size_bytes += len(line)
            if size_bytes >= INITIAL_CHUNK_BYTES:
                yield chunk(b"".join(lines))
                lines.clear()
                size_bytes = 0
        if end_rev is not None:
            lines.append(self.bookmark(end_rev, is_initial_end=True))
        if lines:
            yield chunk(b"".join(lines))

    def bookmark(self, rev: int, *, is_initial_end: bool) -> bytes:
        """Return a BOOKMARK line."""
        metadata: dict[str, Any] = {"resourceVersion": str(rev), "creationTimestamp": None}
        if is_initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind = {"kind": self.resource.kind, "apiVersion": self.resource.api_version}
        return self._encode("BOOKMARK", orjson.dumps({**kind, "metadata": metadata}))

    def _line(self, event: Event, kind: str, known: _Lines) -> bytes:
        is_shared = self.view.form == views.PLAIN and self.resource.convert is None
        line = known.get((event.rev, kind)) if is_shared else None
        if line is None:
            if kind == "DELETED" and event.old is not None:
                line = self._encode(kind, event.old.data_at(event.rev))
            else:
                line = self._encode(kind, event.new.data if event.new is not None else b"null")
            if is_shared:
                known[event.rev, kind] = line
        return line

    def _encode(self, kind: str, data: bytes) -> bytes:
        if self.resource.convert is not None:
            data = self.resource.convert(data)
        if self.view.form == views.PLAIN:
            return views.plain_line(kind, data)
        line = self.view.encode_event(self.resource, kind, data, self._now(), is_first=not self._has_sent)
        self._has_sent = True
        return line


class WatchHub:
    """All open watches."""

    def __init__(self, store: ObjectStore, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._groups: dict[str, dict[_GroupKey, _Group]] = {}
        self._next_table_watch = 0

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Send a batch of one kind to everybody who watches it."""
        groups = self._groups.get(store_key)
        if not groups:
            return
        lines: _Lines = {}
        for group in list(groups.values()):
            try:
                payload = group.encode(events, lines)
            except Exception:  # noqa: BLE001
                # A form of what is stored, not what is stored: the server and everybody else go on without it.
                _log.exception("watch failed", extra={"resource": store_key, "form": group.view.form})
                group.end()
                continue
            if payload:
                framed = chunk(payload)
                for watcher in list(group.watchers):
                    watcher.stream.send(framed)

    def start(
        self, stream: Stream, resource: ResourceInfo, namespace: str | None, options: ListOptions, view: View
    ) -> None:
        """Begin a watch on an open stream."""
        store = self._store
        table = store.table(resource.store_key)
        wants_initial = options.sends_initial_events
        after_rev = store.rev if wants_initial else options.rev or store.rev
        if after_rev < store.compacted_rev:
            fail(stream, statuses.expired(f"too old resource version: {after_rev} ({store.compacted_rev})"))
            return
        group = self._group(resource, namespace, options, view, after_rev)
        if wants_initial:
            entries = sorted(
                (entry for entry in table.entries(namespace) if group.selects(entry)),
                key=operator.attrgetter("key"),
            )
            chunks = group.encode_initial(entries, end_rev=store.rev if options.allows_bookmarks else None)
        else:
            missed = []
            for event in reversed(table.history):
                if event.rev <= after_rev:
                    break
                missed.append(event)
            missed.reverse()
            chunks = _in_chunks(group, missed)
        # A Table's columns stand in what is encoded first, so nothing may be encoded before all of this is.
        stream.send_initial(iter(list(chunks)) if view.form == views.TABLE else chunks)
        self._join(stream, group, options)

    def send_bookmarks(self) -> None:
        """Tell everybody who wants to know the current revision, so that they resume from there."""
        for groups in self._groups.values():
            for group in list(groups.values()):
                for watcher in list(group.watchers):
                    watcher.send_bookmark(self._store.rev)

    def end(self, store_key: str) -> None:
        """End every watch of a kind, whose definition changed or went: clients begin anew with what there is now."""
        for group in list(self._groups.get(store_key, {}).values()):
            group.end()

    @property
    def count(self) -> int:
        """Number of open watches."""
        return sum(len(group.watchers) for groups in self._groups.values() for group in groups.values())

    def _group(
        self, resource: ResourceInfo, namespace: str | None, options: ListOptions, view: View, after_rev: int
    ) -> _Group:
        # A Table names its columns in its first line, so such watchers share nothing.
        self._next_table_watch += 1
        alone = self._next_table_watch if view.form == views.TABLE else 0
        not_before = after_rev if after_rev > self._store.rev else 0
        key = (resource.api_version, namespace, options.selector_text, view, not_before, alone)
        groups = self._groups.setdefault(resource.store_key, {})
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(key, resource, options, now=self._now)
        return group

    def _join(self, stream: Stream, group: _Group, options: ListOptions) -> None:
        watcher = _Watcher(stream, group, allows_bookmarks=options.allows_bookmarks)
        group.watchers.add(watcher)
        stream.on_closed = lambda: self._leave(watcher)
        timeout_s = options.timeout_s or random.uniform(*DEFAULT_TIMEOUT_S)  # noqa: S311 - only spreads load
        loop = asyncio.get_running_loop()
        watcher.timers.append(loop.call_later(timeout_s, stream.end))
        if options.allows_bookmarks and timeout_s > BOOKMARK_BEFORE_END_S:
            at_s = timeout_s - BOOKMARK_BEFORE_END_S
            watcher.timers.append(loop.call_later(at_s, lambda: watcher.send_bookmark(self._store.rev)))

    def _leave(self, watcher: _Watcher) -> None:
        for timer in watcher.timers:
            timer.cancel()
        group = watcher.group
        group.watchers.discard(watcher)
        if not group.watchers:
            self._groups[group.resource.store_key].pop(group.key, None)


def fail(stream: Stream, problem: statuses.StatusError) -> None:
    """End a watch with an ERROR event: as in kube-apiserver, what is wrong with a revision is no refusal."""
    stream.send(chunk(views.plain_line("ERROR", problem.body())))
    stream.end()


def _in_chunks(group: _Group, events: Sequence[Event]) -> Iterator[bytes]:
    for start in range(0, len(events), 256):
        payload = group.encode(events[start : start + 256], {})
        if payload:
            yield chunk(payload)
