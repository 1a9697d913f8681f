"""What the server does by itself: Events expire, CRDs are brought up to date, history is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.apiserver import server as server_module
from kontinue_engine.apiserver.objects import object_store
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.apiserver.server import LocalServer, ServerFailedError
from kontinue_engine.apiserver.storage.memory_storage import MemoryStorage
from kontinue_engine.apiserver.storage.protocol import Change, StorageFailedError, Write
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage

EVENTS = "/api/v1/namespaces/default/events"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class SetClock:
    """Shows what the test sets."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def now_ms(self) -> int:
        return int(self.time.timestamp() * 1000)

    def monotonic_s(self) -> float:
        return self.time.timestamp()


async def test_events_expire_an_hour_after_they_were_last_seen(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is counted again lives on; other kinds never expire."""
    monkeypatch.setattr(server_module, "MAINTENANCE_PERIOD_S", 0.01)
    clock = SetClock()
    async with LocalServer(SqliteStorage(MEMORY), token="t", clock=clock) as server:
        api = connect(server.url, "t")
        for name in ("quiet", "repeated"):
            body = {"metadata": {"name": name}, "involvedObject": {}, "lastTimestamp": "2026-01-01T00:00:00Z"}
            assert (await api.send("POST", EVENTS, body))[0] == 201
        await api.send("POST", api.configmaps, {"metadata": {"name": "kept"}})
        again = {"lastTimestamp": "2026-01-01T00:50:00Z"}
        await api.send("PATCH", f"{EVENTS}/repeated", again, content_type=api.merge_patch)
        clock.time += timedelta(minutes=61)
        await api.eventually(f"{EVENTS}/quiet", 404)
        assert (await api.send("GET", f"{EVENTS}/repeated"))[0] == 200
        assert (await api.send("GET", f"{api.configmaps}/kept"))[0] == 200
        await api.close()


class FullDisk(MemoryStorage):
    """Takes what it is given, unless ``is_full``."""

    is_full = False

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[list[int]]:
        if not self.is_full:
            return super().commit(writes)
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(StorageFailedError("database or disk is full"))
        return refused


async def test_a_server_is_not_ready_for_a_minute_after_its_storage_has_refused_a_write(connect: Any) -> None:
    """It lives, and a write that finds room in between says nothing of the next one."""
    storage, clock = FullDisk(), SetClock()
    async with LocalServer(storage, token="t", clock=clock) as server:
        api = connect(server.url, "t")
        assert await api.send("GET", "/readyz") == (200, b"ok")
        storage.is_full = True
        assert (await api.send("POST", api.configmaps, {"metadata": {"name": "large"}}))[0] == 500
        storage.is_full = False
        assert (await api.send("POST", api.configmaps, {"metadata": {"name": "small"}}))[0] == 201
        said = b"[+]ping ok\n[-]storage failed: database or disk is full\nreadyz check failed\n"
        assert await api.send("GET", "/readyz") == (500, said)
        assert await api.send("GET", "/readyz/storage") == (500, b"internal server error: database or disk is full\n")
        for path in ("/readyz/ping", "/livez", "/livez/storage", "/healthz"):
            assert await api.send("GET", path) == (200, b"ok")
        clock.time += timedelta(seconds=61)
        assert await api.send("GET", "/readyz") == (200, b"ok")
        await api.close()


async def test_a_start_stores_newer_definitions_and_leaves_equal_ones_alone(
    tmp_path: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An equal CRD keeps its resourceVersion over restarts; a changed one is replaced under its uid."""
    path = tmp_path / "data.db"

    async def definition() -> Any:
        async with LocalServer(SqliteStorage(path), token="t") as server:
            api = connect(server.url, "t")
            _, crd = await api.send("GET", f"{CRDS}/executions.kontinue.cloud")
            await api.close()
            return crd

    first = await definition()
    assert await definition() == first
    newer = load_crds()
    for crd in newer:
        crd["spec"]["names"]["categories"] = ["newer"]
    monkeypatch.setattr(server_module, "load_crds", lambda: newer)
    second = await definition()
    assert second["spec"]["names"]["categories"] == ["newer"]
    assert second["metadata"]["uid"] == first["metadata"]["uid"]


async def test_objects_orphaned_while_the_server_was_down_are_collected_at_start(tmp_path: Path, connect: Any) -> None:
    """A crash between an owner's deletion and that of its dependents leaves nothing behind."""
    path = tmp_path / "data.db"
    storage = SqliteStorage(path)
    async with LocalServer(storage, token="t") as server:
        api = connect(server.url, "t")
        _, owner = await api.send("POST", api.executions, api.execution("owner"))
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "owner"}
        reference["uid"] = owner["metadata"]["uid"]
        await api.send("POST", api.executions, api.execution("child", metadata={"ownerReferences": [reference]}))
        await api.close()
    raw = SqliteStorage(path)
    raw.open()
    key = "executions.kontinue.cloud/default/owner"
    rev = next(change.rev for change in _all(raw) if change.key == key)
    await raw.commit([Write(key, rev, None)])
    await raw.close()
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        await api.eventually(f"{api.executions}/child", 404)
        await api.close()


async def test_what_a_gone_namespace_left_behind_is_deleted_at_start(tmp_path: Path, connect: Any) -> None:
    """A create that was under way when its namespace went, and a crash right after it."""
    path = tmp_path / "data.db"
    raw = SqliteStorage(path)
    raw.open()
    await raw.commit([Write("configmaps/gone/late", 0, _config_map("late", "gone"))])
    await raw.close()
    async with LocalServer(SqliteStorage(path), token="t") as server:
        api = connect(server.url, "t")
        await api.eventually("/api/v1/namespaces/gone/configmaps/late", 404)
        await api.close()


async def test_an_object_that_comes_late_does_not_keep_its_definition(connect: Any) -> None:
    """A create judged before its definition was deleted, and committed after everything else was."""
    storage = SqliteStorage(MEMORY)
    async with LocalServer(storage, token="t") as server:
        api = connect(server.url, "t")
        held = api.execution("held", metadata={"finalizers": ["example.com/held"]})
        assert (await api.send("POST", api.executions, held))[0] == 201
        assert (await api.send("DELETE", f"{CRDS}/executions.kontinue.cloud"))[0] == 200
        while "deletionTimestamp" not in (await api.send("GET", f"{api.executions}/held"))[1]["metadata"]:
            pass
        document = api.execution("late", metadata={"namespace": "default", "uid": "late"})
        await storage.commit([Write("executions.kontinue.cloud/default/late", 0, object_store.encode(document))])
        await api.eventually(f"{api.executions}/late", 404)
        released = {"metadata": {"finalizers": None}}
        await api.send("PATCH", f"{api.executions}/held", released, content_type=api.merge_patch)
        await api.eventually(f"{CRDS}/executions.kontinue.cloud", 404)
        await api.close()


async def test_history_past_its_bytes_is_compacted_in_the_storage_without_waiting(
    tmp_path: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memo that is rewritten over and over does not fill the disk until the next round of maintenance."""
    monkeypatch.setattr(object_store, "MAX_HISTORY_BYTES", 1_000_000)
    monkeypatch.setattr(server_module, "COMPACTION_PAUSE_S", 0.01)
    storage = SqliteStorage(tmp_path / "data.db")
    async with LocalServer(storage, token="t") as server:
        api = connect(server.url, "t")
        await api.send("POST", api.configmaps, {"metadata": {"name": "big"}})
        for number in range(20):
            body = {"metadata": {"name": "big"}, "data": {"memo": f"{number}" + "x" * 200_000}}
            _, written = await api.send("PUT", f"{api.configmaps}/big", body)
        rev = int(written["metadata"]["resourceVersion"])
        async with asyncio.timeout(60):
            while storage.compacted_rev() < rev - 5:
                await asyncio.sleep(0.01)
        assert storage.compacted_rev() < rev
        await api.close()


async def test_a_watcher_keeps_its_place_while_history_is_compacted(local_server: Any, api: Any) -> None:
    """Compaction takes nothing from watches that are open."""
    seen: list[str] = []

    async def follow() -> None:
        async for event in api.watch(f"{api.executions}?watch=1&timeoutSeconds=60"):
            seen.append(event["object"]["metadata"]["name"])
            if len(seen) == 3:
                return

    watching = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    for name in "abc":
        await api.send("POST", api.executions, api.execution(name))
        await local_server.server.compact()
    await watching
    assert seen == ["a", "b", "c"]


async def test_a_server_whose_background_work_failed_does_not_end_as_if_nothing_had_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In-process users, tests above all, see it when they leave the server; one that waits for it sees it at once."""

    async def fail(_: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(LocalServer, "_bookmark", fail)
    with pytest.raises(ServerFailedError, match="bookmarks") as caught:
        async with LocalServer(SqliteStorage(MEMORY), token="t"):
            await asyncio.sleep(0)
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(ServerFailedError, match="bookmarks"):
        async with LocalServer(SqliteStorage(MEMORY), token="t") as server:
            await server.serve(asyncio.Event())


async def test_a_listener_that_fails_stops_the_server(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    """What is in memory may not be what is stored; the write itself was durable and is answered."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(pytest.raises(ServerFailedError, match="storage"))
        server = await stack.enter_async_context(LocalServer(SqliteStorage(MEMORY), token="t"))
        api = connect(server.url, "t")

        def fail(*_: object) -> None:
            raise LookupError("a bug")

        monkeypatch.setattr("kontinue_engine.apiserver.reads.watch.WatchHub.on_events", fail)
        assert (await api.send("POST", api.executions, api.execution("a")))[0] == 201
        await api.close()
        await server.serve(asyncio.Event())


def _config_map(name: str, namespace: str) -> bytes:
    metadata = {"name": name, "namespace": namespace, "uid": name}
    return object_store.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def _all(storage: SqliteStorage) -> list[Change]:
    changes = list(storage.list_at(storage.compacted_rev()))
    storage.tail(storage.compacted_rev(), changes.extend)
    return changes
