"""Objects in memory: revisions in their bytes, lists of the past, owners' index, history limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.objects import object_store
from kontinue_engine.apiserver.objects.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.resources import CONFIG_MAPS, EVENTS
from kontinue_engine.apiserver.statuses import StatusError
from kontinue_engine.apiserver.storage.protocol import Change, Sink, StorageCorruptError
from kontinue_engine.apiserver.values import MAX_NESTING


class FakeStorage:
    """A storage whose tail is fed by the test."""

    def __init__(self, live: Iterable[Change] = ()) -> None:
        self._live = list(live)
        self.sink: Sink
        self.compacted = 0
        self.rev = 0

    def list_at(self, _: int) -> Iterable[Change]:
        return self._live

    def tail(self, _: int, sink: Sink) -> None:
        sink([])
        self.sink = sink

    async def current_rev(self) -> int:
        return self.rev

    def compacted_rev(self) -> int:
        return self.compacted

    async def compact(self, rev: int) -> int:
        self.compacted = rev
        return rev


def document(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata},
        "data": {},
    }


def loaded(storage: Any, clock: Any = lambda: 0.0) -> ObjectStore:
    store = ObjectStore(storage, monotonic_s=clock)
    store.load([CONFIG_MAPS])
    return store


def put(name: str, rev: int, previous: int = 0, **metadata: Any) -> Change:
    return Change(rev, f"configmaps/default/{name}", object_store.encode(document(name, **metadata)), previous)


def test_stored_bytes_take_any_revision_wherever_else_its_name_stands() -> None:
    """User data that looks like the slot of the revision is left alone."""
    tricky = document("a", annotations={"x": '"resourceVersion":""'})
    tricky["data"] = {"resourceVersion": "", "metadata": {"resourceVersion": ""}}
    tricky["metadata"]["resourceVersion"] = "99"
    data = object_store.with_revision(object_store.encode(tricky), 7)
    assert orjson.loads(data) == {**tricky, "metadata": {**tricky["metadata"], "resourceVersion": "7"}}
    entry = Entry(7, "k", "default", "a", data, object_store.facts_of(CONFIG_MAPS, tricky))
    assert orjson.loads(entry.data_at(1234))["metadata"]["resourceVersion"] == "1234"
    assert orjson.loads(entry.data_at(1234))["data"] == tricky["data"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_is_nested_too_deeply_for_any_answer_is_a_bad_request() -> None:
    """The limit leaves room for what a watch of tables wraps around an object."""
    deepest = {**document("a"), "data": nested(MAX_NESTING - 1)}
    stored = object_store.encode(deepest)
    assert orjson.loads(object_store.with_revision(stored, 1))["data"] == deepest["data"]
    assert orjson.dumps({"object": {"rows": [{"object": orjson.loads(stored)}]}})
    for levels in (MAX_NESTING, 300, 1000):
        with pytest.raises(StatusError, match="250 levels") as caught:
            object_store.encode({**document("a"), "data": nested(levels)})
        assert caught.value.code == 400


def test_the_index_follows_owners_and_uids() -> None:
    """Dependents are found by the owner's uid as long as they name it."""
    storage = FakeStorage()
    store = loaded(storage)
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "uid-o"}
    storage.sink([put("o", 1), put("a", 2, ownerReferences=[owner])])
    assert store.dependents == {"uid-o": {"configmaps/default/a"}}
    storage.sink([put("a", 3, 2)])
    assert store.dependents == {}
    storage.sink([Change(4, "configmaps/default/o", None, 1)])
    assert set(store.by_uid) == {"uid-a"}


def test_objects_and_their_revisions_share_what_is_equal() -> None:
    """Most of 100,000 objects have the same labels, and each has one name and one uid, however often it is written."""
    storage = FakeStorage()
    store = loaded(storage)
    storage.sink([put("a", 1, labels={"group": "x"}), put("b", 2, labels={"group": "x"})])
    storage.sink([put("a", 3, 1, labels={"group": "y"})])
    table = store.table("configmaps")
    first, other, changed = (event.new for event in table.history)
    assert first is not None
    assert other is not None
    assert changed is not None
    assert first.facts.labels is other.facts.labels
    assert (first.facts.labels, changed.facts.labels) == ({"group": "x"}, {"group": "y"})
    assert changed.name is first.name
    assert changed.facts.uid is first.facts.uid


def test_an_object_that_replaces_another_has_its_own_uid() -> None:
    """What is shared between revisions is taken only where it is equal."""
    storage = FakeStorage()
    store = loaded(storage)
    storage.sink([put("a", 1)])
    storage.sink([put("a", 2, 1, uid="other")])
    assert set(store.by_uid) == {"other"}


def test_a_field_selector_asks_for_names_and_for_what_the_kind_has() -> None:
    """A field that is absent counts as empty."""
    event = {"metadata": {"name": "e", "namespace": "default", "uid": "u"}, "reason": "Because"}
    entry = Entry(7, "events/default/e", "default", "e", b"", object_store.facts_of(EVENTS, event))
    paths = ("metadata.name", "metadata.namespace", "reason", "type")
    assert [entry.field(path) for path in paths] == ["e", "default", "Because", ""]


def test_listeners_hear_each_batch_with_the_state_before_and_after() -> None:
    """Old and new object of each event, in order of revision."""
    storage = FakeStorage([put("a", 1)])
    store = loaded(storage)
    heard: list[tuple[str, bool, bool]] = []

    class Listener:
        def on_events(self, store_key: str, events: Sequence[Event]) -> None:
            heard.extend((store_key, event.old is not None, event.new is not None) for event in events)

    store.listen(Listener())
    storage.sink([put("a", 2, 1), put("b", 3), Change(4, "configmaps/default/a", None, 2)])
    assert heard == [("configmaps", True, True), ("configmaps", False, True), ("configmaps", True, False)]
    assert store.rev == 4


def test_something_that_is_no_object_is_a_corrupt_file() -> None:
    """The error tells what to do instead of a traceback."""
    for value in (b"not json", b"{}", b"[]"):
        with pytest.raises(StorageCorruptError, match="nothing was changed"):
            loaded(FakeStorage([Change(1, "configmaps/default/a", value, 0)]))


async def test_history_is_forgotten_by_age_and_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older or more than the limits goes, in memory and in the storage; live objects stay."""
    now = [0.0]
    storage = FakeStorage()
    store = loaded(storage, lambda: now[0])
    storage.sink([put("a", 1)])
    now[0] = 1000.0
    storage.sink([put("a", 2, 1)])
    await store.compact()
    assert (store.compacted_rev, storage.compacted) == (1, 1)
    monkeypatch.setattr(object_store, "MAX_HISTORY_EVENTS", 2)
    for rev in range(3, 6):
        storage.sink([put("a", rev, rev - 1)])
    await store.compact()
    assert store.compacted_rev == 3
    assert [event.rev for event in store.table("configmaps").history] == [4, 5]
    entry = store.entry("configmaps/default/a")
    assert entry is not None
    assert entry.rev == 5


def kept_bytes(store: ObjectStore) -> int:
    """Return the size of what only history holds."""
    return sum(len(event.old.data) for event in store.table("configmaps").history if event.old is not None)


async def test_history_past_its_bytes_goes_at_once_and_the_storage_is_compacted_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large objects that are rewritten fast do not wait for the next round of maintenance; deleted ones count too."""
    monkeypatch.setattr(object_store, "MAX_HISTORY_BYTES", 100_000)
    storage = FakeStorage()
    store = loaded(storage)
    storage.sink([put("a", 1, annotations={"x": "x" * 10_000})])
    for rev in range(2, 50):
        storage.sink([put("a", rev, rev - 1, annotations={"x": "x" * 10_000})])
        assert kept_bytes(store) <= 100_000
    assert store.table("configmaps").history[-1].rev == 49
    assert store.compacted_rev == 40
    assert store.compaction_due.is_set()
    await store.compact()
    assert (storage.compacted, store.compaction_due.is_set()) == (40, False)
    for rev in range(50, 90):
        storage.sink([put(f"b{rev}", rev, annotations={"x": "x" * 10_000})])
    assert store.compacted_rev == 40, "live objects are no history"
    for rev in range(90, 130):
        storage.sink([Change(rev, f"configmaps/default/b{rev - 40}", None, rev - 40)])
        assert kept_bytes(store) <= 100_000
    assert len(store.table("configmaps").history) >= 9


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=25))
def test_a_list_of_the_past_is_what_was_there_then(steps: list[tuple[str, bool]]) -> None:
    """Undoing the history gives the objects as of any kept revision."""
    storage = FakeStorage()
    store = loaded(storage)
    live: dict[str, int] = {}
    snapshots = [dict(live)]
    for rev, (name, is_delete) in enumerate(steps, start=1):
        previous = live.get(name, 0)
        if is_delete and previous:
            storage.sink([Change(rev, f"configmaps/default/{name}", None, previous)])
            del live[name]
        else:
            storage.sink([put(name, rev, previous)])
            live[name] = rev
        snapshots.append(dict(live))
    table = store.table("configmaps")
    for rev, expected in enumerate(snapshots):
        assert {entry.name: entry.rev for entry in table.entries_at(rev, "default")} == expected
        assert table.entries_at(rev, "other") == []


@pytest.mark.parametrize(
    ("fields", "last_seen"),
    [
        ({}, "2026-01-01T00:00:00Z"),
        ({"lastTimestamp": "2026-01-01T00:05:00Z"}, "2026-01-01T00:05:00Z"),
        ({"series": {"lastObservedTime": "2026-01-01T00:06:00.000000Z"}}, "2026-01-01T00:06:00.000000Z"),
        ({"eventTime": "2020-01-01T00:00:00.000000Z"}, "2026-01-01T00:00:00Z"),
    ],
)
def test_an_event_was_last_seen_when_it_was_told_at_the_earliest(fields: dict[str, Any], last_seen: str) -> None:
    """One about something old would else expire as soon as it is there."""
    metadata = {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert object_store.facts_of(EVENTS, {"metadata": metadata, **fields}).last_seen == last_seen
