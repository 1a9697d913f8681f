"""Nothing leaves the server before it is durable: a commit held back, a commit that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage


class HeldStorage(SqliteStorage):
    """Holds commits back just before they become durable while ``is_held``; fails them with ``failure``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reached = threading.Event()
        self.released = threading.Event()
        self.released.set()
        self.failure: Exception | None = None

    def hold(self) -> None:
        self.reached.clear()
        self.released.clear()

    def _make_durable(self, rows: Sequence[tuple[int, int, str, bytes | None]]) -> None:
        self.reached.set()
        assert self.released.wait(20)
        if self.failure is not None:
            raise self.failure
        super()._make_durable(rows)


async def test_while_a_commit_is_held_back_neither_a_response_nor_a_watch_event_leaves_the_server(
    tmp_path: Path, connect: Any
) -> None:
    """The write's answer, the watch and reads all show it only after the commit returned."""
    storage = HeldStorage(tmp_path / "data.db")
    async with LocalServer(storage, token="t") as server:
        assert await storage.read_pragma("synchronous") == 2
        api = connect(server.url, "t")
        seen: list[str] = []

        async def follow() -> None:
            async for event in api.watch(f"{api.executions}?watch=1&timeoutSeconds=20"):
                seen.append(event["type"])
                return

        watching = asyncio.create_task(follow())
        await asyncio.sleep(0.05)
        storage.hold()
        writing = asyncio.create_task(api.send("POST", api.executions, api.execution("a")))
        assert await asyncio.to_thread(storage.reached.wait, 10)
        await asyncio.sleep(0.2)
        assert not writing.done()
        assert not seen
        assert (await api.send("GET", f"{api.executions}/a"))[0] == 404
        _, listed = await api.send("GET", api.executions)
        assert listed["items"] == []
        storage.released.set()
        status, created = await writing
        await watching
        assert (status, seen) == (201, ["ADDED"])
        assert await api.send("GET", f"{api.executions}/a") == (200, created)
        await api.close()


async def test_a_commit_that_fails_is_a_500_status_and_the_server_lives_on(tmp_path: Path, connect: Any) -> None:
    """A full disk: the write is refused, nothing of it is visible, reads go on, and so do writes once there is room."""
    storage = HeldStorage(tmp_path / "data.db")
    async with LocalServer(storage, token="t") as server:
        api = connect(server.url, "t")
        _, before = await api.send("POST", api.executions, api.execution("a"))
        storage.failure = sqlite3.OperationalError("database or disk is full")
        answers = await asyncio.gather(
            *(api.send("POST", api.executions, api.execution(f"b{n}")) for n in range(5)),
            api.send("DELETE", f"{api.executions}/a"),
            api.send(
                "PATCH", f"{api.executions}/a", {"metadata": {"labels": {"x": "y"}}}, content_type=api.merge_patch
            ),
        )
        assert {status for status, _ in answers} == {500}
        assert "disk is full" in answers[0][1]["message"]
        _, listed = await api.send("GET", api.executions)
        assert listed["items"] == [before]
        storage.failure = None
        status, after = await api.send("POST", api.executions, api.execution("b0"))
        assert status == 201
        assert int(after["metadata"]["resourceVersion"]) == int(before["metadata"]["resourceVersion"]) + 1
        await api.close()
