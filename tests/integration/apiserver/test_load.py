"""Many writers, many watchers, one of them stuck: nobody else notices, and memory stays bounded.

A short form with small limits. ``make bench ARGS='load'`` is the long one: 64 writers and 1,000 watchers for 60 s.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import Api
from server_process import ServerProcess

pytestmark = pytest.mark.slow

WRITERS, WRITES_EACH, WATCHERS = 16, 30, 60
VALUE = "x" * 16 * 1024
SMALL_LIMITS = """
from kontinue_engine.apiserver import server
from kontinue_engine.apiserver.http import http_protocol
from kontinue_engine.apiserver.objects import object_store
http_protocol.MAX_STREAM_BACKLOG_BYTES = 1_000_000
object_store.MAX_HISTORY_BYTES = 2_000_000
server.MAINTENANCE_PERIOD_S = server.COMPACTION_PAUSE_S = 0.1
"""
MAX_GROWTH_BYTES = 150_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data", fault=SMALL_LIMITS)
    yield running
    if running.is_running:
        running.stop(signal.SIGKILL)


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def watch_count(api: Api) -> int:
    _, text = await api.send("GET", "/metrics")
    return int(text.decode().rpartition("kontinue_apiserver_watches ")[2])


async def test_a_watcher_that_does_not_read_harms_nobody(server: ServerProcess) -> None:
    """Its stream is ended; every other one sees every change in order; history and memory stay within their limits."""
    api = Api(server.url, server.token)
    path = f"{api.path('configmaps')}?watch=1"
    _, before = await api.send("GET", api.path("configmaps"))
    stuck_reader, stuck = await asyncio.open_connection("127.0.0.1", server.ready["port"], limit=1024)
    stuck.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode())
    await stuck_reader.readuntil(b"\r\n\r\n")
    seen: list[list[int]] = [[] for _ in range(WATCHERS)]

    async def follow(revs: list[int]) -> None:
        rev = before["metadata"]["resourceVersion"]
        async for event in api.watch(f"{path}&resourceVersion={rev}"):
            assert event["type"] in {"ADDED", "MODIFIED"}, event
            revs.append(int(event["object"]["metadata"]["resourceVersion"]))
            if len(revs) == WRITERS * WRITES_EACH:
                return

    following = [asyncio.create_task(follow(revs)) for revs in seen]
    async with asyncio.timeout(60):
        while await watch_count(api) < WATCHERS + 1:
            await asyncio.sleep(0.01)
    resting_bytes = rss_bytes(server.pid)
    written: list[int] = []

    async def write(writer: int) -> None:
        for number in range(WRITES_EACH):
            body: Any = {"metadata": {"name": f"w{writer}"}, "data": {"n": str(number), "x": VALUE}}
            target = api.path("configmaps", f"w{writer}" if number else "")
            status, made = await api.send("PUT" if number else "POST", target, body)
            assert status in {200, 201}, made
            written.append(int(made["metadata"]["resourceVersion"]))

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    async with asyncio.timeout(60):
        await asyncio.gather(*following)
    assert all(revs == sorted(written) for revs in seen)
    async with asyncio.timeout(60):
        while await watch_count(api):
            await asyncio.sleep(0.01)
    assert rss_bytes(server.pid) - resting_bytes < MAX_GROWTH_BYTES
    async with asyncio.timeout(60):
        event: Any = {}
        while event.get("type") != "ERROR":
            rev = before["metadata"]["resourceVersion"]
            event, *_ = [event async for event in api.watch(f"{path}&resourceVersion={rev}&timeoutSeconds=1")]
    assert event["object"]["code"] == 410
    stuck.close()
    await api.close()
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
