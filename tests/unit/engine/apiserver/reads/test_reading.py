"""Lists in pages over a real object store in memory: whatever is written between them, they are one state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.http.http_protocol import Response
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects import object_store
from kontinue_engine.apiserver.objects.object_store import ObjectStore
from kontinue_engine.apiserver.reads import views, watch
from kontinue_engine.apiserver.reads.reading import Reader
from kontinue_engine.apiserver.resources import CONFIG_MAPS
from kontinue_engine.apiserver.statuses import StatusError
from kontinue_engine.apiserver.storage.protocol import Change

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A store that is written to by its tail alone, and a reader of it."""

    def __init__(self) -> None:
        self.store = ObjectStore(self, monotonic_s=lambda: 0.0)  # type: ignore[arg-type]
        self.store.load([CONFIG_MAPS])
        self._reader = Reader(self.store, watch.WatchHub(self.store, now=lambda: NOW), now=lambda: NOW)

    def compacted_rev(self) -> int:
        return 0

    def list_at(self, _rev: int) -> list[Change]:
        return []

    def tail(self, _after_rev: int, sink: Any) -> None:
        self._sink = sink

    def put(self, namespace: str, name: str, labels: dict[str, str] | None) -> None:
        """Write an object, or with None delete it."""
        metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "labels": labels}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        value = None if labels is None else object_store.encode(document)
        self._sink([Change(self.store.rev + 1, object_store.storage_key(CONFIG_MAPS, namespace, name), value, 0)])

    def list(self, query: str, namespace: str | None = None) -> Any:
        """Return the body of a list."""
        answer = self._reader.list(Target(CONFIG_MAPS, namespace, "", ""), requests.parse_query(query), views.View())
        assert isinstance(answer, Response)
        return orjson.loads(answer.body)

    def pages(self, query: str, limit: int, namespace: str | None, between: Any) -> list[Any]:
        """Return the items of all pages; ``between`` is called after each."""
        items: list[Any] = []
        page = self.list(f"{query}&limit={limit}", namespace)
        while True:
            items += page["items"]
            assert len(page["items"]) <= limit
            token = page["metadata"].get("continue")
            if not token:
                return items
            between()
            page = self.list(f"{query}&limit={limit}&continue={token}", namespace)


namespaces = st.sampled_from(["a", "a-b", "b"])
names = st.sampled_from(["x", "x-y", "x.y", "y", "z"])
states = st.sampled_from([None, {}, {"on": "1"}])
changes = st.lists(st.tuples(namespaces, names, states), max_size=25)


@given(
    before=changes,
    after=changes,
    limit=st.integers(1, 4),
    query=st.sampled_from(["", "labelSelector=on", "fieldSelector=metadata.name%21%3Dx"]),
    namespace=st.sampled_from([None, "a", "a-b"]),
)
def test_pages_together_are_the_list_as_it_was(
    before: list[Any], after: list[Any], limit: int, query: str, namespace: str | None
) -> None:
    """In the same order, none twice, none left out, with any selector, in one namespace or in all."""
    world = World()
    for change in before:
        world.put(*change)
    expected = world.list(query, namespace)["items"]
    rest = iter(after)

    def write() -> None:
        for change in rest:
            world.put(*change)
            break

    assert world.pages(query, limit, namespace, write) == expected
    keys = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in expected]
    assert [f"{place}/{name}" for place, name in keys] == sorted(f"{place}/{name}" for place, name in keys)


@given(before=changes, limit=st.integers(1, 4), forgotten_after=st.integers(0, 3))
def test_pages_go_on_at_the_same_place_when_their_state_is_forgotten(
    before: list[Any], limit: int, forgotten_after: int
) -> None:
    """The token of the refusal leads on behind what was shown."""
    world = World()
    for change in before:
        world.put(*change)
    page = world.list(f"limit={limit}")
    items = page["items"]
    for turn in range(len(before) + 1):
        token = page["metadata"].get("continue")
        if not token:
            break
        if turn == forgotten_after:
            world.put("zz", "new", {})
            world.store._forget(world.store.rev)
            with pytest.raises(StatusError) as caught:
                world.list(f"limit={limit}&continue={token}")
            token = caught.value.status()["metadata"]["continue"]
        page = world.list(f"limit={limit}&continue={token}")
        items += page["items"]
    shown = [item["metadata"]["uid"] for item in items]
    assert shown == [item["metadata"]["uid"] for item in world.list("")["items"]][: len(shown)]
