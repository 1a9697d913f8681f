"""Watches on fake streams: sharing of encoded lines, revisions of the future, who is told what."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from msgspec.structs import astuple

from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.objects import object_store
from kontinue_engine.apiserver.objects.object_store import Entry, Event, Table
from kontinue_engine.apiserver.reads import list_options, views, watch
from kontinue_engine.apiserver.resources import CONFIG_MAPS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PLAIN = views.View()


class FakeStream:
    """Collects the chunks that it is given."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.is_ended = False
        self.on_closed: Any = None

    def send(self, framed: bytes) -> None:
        self.chunks.append(framed)

    def send_initial(self, chunks: Iterator[bytes]) -> None:
        self.chunks.extend(chunks)

    def end(self) -> None:
        self.is_ended = True

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """What arrived, as (type, name, revision)."""
        lines = b"".join(framed.split(b"\r\n", 1)[1][:-2] for framed in self.chunks).splitlines()
        found = []
        for line in lines:
            event = orjson.loads(line)
            metadata = event["object"]["metadata"]
            found.append((event["type"], metadata.get("name", ""), int(metadata.get("resourceVersion", 0))))
        return found


class CountedCalls:
    """Counts the calls of a function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.count = 0

    def __call__(self, *arguments: Any) -> Any:
        self.count += 1
        return self._function(*arguments)


class FakeStore:
    """One table whose history the test writes."""

    def __init__(self) -> None:
        self.only = Table()
        self.rev = 0
        self.compacted_rev = 0

    def table(self, _store_key: str) -> Table:
        return self.only

    def put(self, hub: watch.WatchHub, *changes: tuple[str, dict[str, str] | None]) -> Sequence[Event]:
        """Commit (name, labels; None deletes) and tell the hub."""
        events = []
        for name, labels in changes:
            self.rev += 1
            old = self.only.get("default", name)
            new = None
            if labels is None:
                assert old is not None
                self.only.drop(old)
            else:
                new = _entry(name, labels, self.rev)
                self.only.put(new)
            events.append(Event(self.rev, old, new))
        self.only.history.extend(events)
        hub.on_events(CONFIG_MAPS.store_key, events)
        return events


def _entry(name: str, labels: dict[str, str], rev: int) -> Entry:
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    data = object_store.with_revision(object_store.encode(document), rev)
    return Entry(rev, f"configmaps/default/{name}", "default", name, data, object_store.facts_of(CONFIG_MAPS, document))


def _hub() -> tuple[FakeStore, watch.WatchHub]:
    store = FakeStore()
    return store, watch.WatchHub(store, now=lambda: NOW)  # type: ignore[arg-type]


def _start(
    hub: watch.WatchHub, query: str, *, namespace: str | None = "default", view: views.View = _PLAIN
) -> FakeStream:
    stream = FakeStream()
    options = list_options.parse_list_options(requests.parse_query(f"watch=1&{query}"), CONFIG_MAPS)
    hub.start(stream, CONFIG_MAPS, namespace, options, view)  # type: ignore[arg-type]
    return stream


async def test_watchers_that_ask_for_the_same_get_the_very_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is encoded and framed once for all of them; others share the lines."""
    store, hub = _hub()
    first, second = _start(hub, "resourceVersion=0"), _start(hub, "resourceVersion=0")
    other = _start(hub, "resourceVersion=0", namespace=None)
    plain_line = CountedCalls(views.plain_line)
    monkeypatch.setattr(views, "plain_line", plain_line)
    events = store.put(hub, ("a", {}), ("b", {}))
    assert first.chunks[-1] is second.chunks[-1]
    assert first.events == other.events == [("ADDED", "a", 1), ("ADDED", "b", 2)]
    assert plain_line.count == 2
    assert not any(isinstance(value, dict) for event in events for value in astuple(event)), "no line is kept"


async def test_selection_and_namespace_decide_what_is_told() -> None:
    """Entering is ADDED, leaving is DELETED at the new revision, other namespaces are silence."""
    store, hub = _hub()
    selected = _start(hub, "resourceVersion=0&labelSelector=on")
    elsewhere = _start(hub, "resourceVersion=0", namespace="other")
    everywhere = _start(hub, "resourceVersion=0", namespace=None)
    store.put(hub, ("a", {}), ("a", {"on": "1"}), ("a", {"on": "2"}), ("a", {}), ("a", None))
    assert selected.events == [("ADDED", "a", 2), ("MODIFIED", "a", 3), ("DELETED", "a", 4)]
    assert elsewhere.events == []
    assert [kind for kind, _, _ in everywhere.events] == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]


async def test_a_watch_resumes_without_gap_or_repetition_from_any_kept_revision() -> None:
    """History after the revision first, then what follows."""
    store, hub = _hub()
    store.put(hub, *((f"n{number}", {}) for number in range(1, 6)))
    for rev in range(1, 6):
        stream = _start(hub, f"resourceVersion={rev}")
        store.put(hub, ("x", {}))
        revs = [event_rev for _, _, event_rev in stream.events]
        assert revs == list(range(rev + 1, store.rev + 1))
        assert all(later == earlier + 1 for earlier, later in itertools.pairwise(revs))


async def test_a_revision_of_the_future_is_waited_for_in_silence() -> None:
    """Nothing is told until the store has passed it."""
    store, hub = _hub()
    stream = _start(hub, "resourceVersion=2&allowWatchBookmarks=1")
    store.put(hub, ("a", {}))
    hub.send_bookmarks()
    store.put(hub, ("b", {}))
    store.put(hub, ("c", {}))
    assert stream.events == [("ADDED", "c", 3)]
    hub.send_bookmarks()
    assert stream.events[-1] == ("BOOKMARK", "", 3)


async def test_a_forgotten_revision_is_an_error_event_and_the_end() -> None:
    """The client lists again."""
    store, hub = _hub()
    store.put(hub, ("a", {}), ("b", {}))
    store.compacted_rev = 2
    stream = _start(hub, "resourceVersion=1")
    assert [kind for kind, _, _ in stream.events] == ["ERROR"]
    assert stream.is_ended
    assert hub.count == 0


async def test_a_closed_stream_leaves_nothing_behind() -> None:
    """Groups go with their last watcher."""
    store, hub = _hub()
    stream = _start(hub, "resourceVersion=0")
    assert hub.count == 1
    stream.on_closed()
    store.put(hub, ("a", {}))
    assert (hub.count, stream.events) == (0, [])


async def test_a_form_that_fails_ends_its_own_watches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an object holds, the server goes on, and so do those who look at it in another form."""

    def fail(*_: object, **__: object) -> bytes:
        raise LookupError("a bug")

    store, hub = _hub()
    plain, table = _start(hub, "resourceVersion=0"), _start(hub, "resourceVersion=0", view=views.View(views.TABLE))
    monkeypatch.setattr(views.View, "encode_event", fail)
    store.put(hub, ("a", {}))
    assert (plain.is_ended, table.is_ended) == (False, True)
    assert plain.events == [("ADDED", "a", 1)]
