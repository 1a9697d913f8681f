"""How many Executions there are by phase: listed for whoever asks, page by page, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kontinue import errors
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.state_counts import INTERVAL_S, StateCounts
from kontinue_engine.telemetry.metrics import OTHER, ExecutionMetrics
from scripted_transport import ScriptedTransport
from virtual_time import LoopClock, virtual_time


class Server:
    """Lists what a test says, two Executions a page, or what ``page`` allows.

    Attributes:
        most: Executions in the largest page that somebody got.
    """

    def __init__(self, *executions: dict[str, Any]) -> None:
        self.executions = list(executions)
        self.is_away = False
        self.page = 2
        self.most = 0

    def __call__(self, request: Request) -> bytes:
        if self.is_away:
            raise errors.Unavailable("away", status=503)
        query = dict(parse_qsl(request.query))
        assert query["labelSelector"] == "kontinue.cloud/worker-group=g"
        begin = int(query.get("continue", 0))
        end = begin + min(self.page, int(query["limit"]))
        self.most = max(self.most, len(self.executions[begin:end]))
        metadata = {"continue": str(end)} if end < len(self.executions) else {}
        return msgspec.json.encode({"metadata": metadata, "items": self.executions[begin:end]})


def execution(function: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"function": function}, **({"status": status} if status else {})}


@asynccontextmanager
async def counting(server: Server) -> AsyncIterator[tuple[ExecutionMetrics, ScriptedTransport]]:
    """Run the duty of a leader."""
    transport = ScriptedTransport()
    transport.answer = server
    metrics = ExecutionMetrics(["f"], namespace="ns", worker="w-0")
    duty = StateCounts(transport, metrics, namespace="ns", group="g", clock=LoopClock())
    task = asyncio.create_task(duty.run())
    yield metrics, transport
    task.cancel()
    await asyncio.wait([task])
    assert metrics.states is None


@virtual_time
async def test_all_pages_are_counted_by_function_and_phase() -> None:
    """One without a status is Pending, and functions that the app does not have are one."""
    server = Server(
        execution("f", phase="Suspended", state={"records": []}),
        execution("f"),
        execution("f", phase="Suspended"),
        execution("x", phase="Completed"),
        execution("y", phase="Completed"),
    )
    async with counting(server) as (metrics, transport):
        metrics.render({})
        await asyncio.sleep(1)
        assert metrics.states == {("f", "Suspended"): 2, ("f", "Pending"): 1, (OTHER, "Completed"): 2}
        assert len(transport.sent) == 3


@virtual_time
async def test_nothing_is_listed_for_nobody() -> None:
    """And for those who ask every second it is listed every 30 s: what is there now, not what was."""
    server = Server(execution("f", phase="Executing"))
    async with counting(server) as (metrics, transport):
        await asyncio.sleep(1000)
        assert not transport.sent
        metrics.render({})
        await asyncio.sleep(1)
        assert metrics.states == {("f", "Executing"): 1}
        server.executions = [execution("f", phase="Completed")]
        for _ in range(4 * int(INTERVAL_S)):
            metrics.render({})
            await asyncio.sleep(1)
        assert metrics.states == {("f", "Completed"): 1}
        assert len(transport.sent) == 5


@virtual_time
async def test_a_list_that_fails_is_tried_again_and_the_last_counts_stay() -> None:
    """A gap of a minute in the API server is none in the dashboard."""
    server = Server(execution("f", phase="Executing"))
    async with counting(server) as (metrics, _):
        metrics.render({})
        await asyncio.sleep(1)
        server.is_away = True
        metrics.render({})
        await asyncio.sleep(INTERVAL_S)
        assert metrics.states == {("f", "Executing"): 1}
        server.is_away, server.executions = False, []
        metrics.render({})
        await asyncio.sleep(INTERVAL_S)
        assert metrics.states == {}


@virtual_time
async def test_a_page_of_the_largest_executions_fits_in_memory() -> None:
    """Whoever leads runs Executions besides, and each may have a mebibyte and a half."""
    server = Server(*(execution("f", phase="Failed") for _ in range(1000)))
    server.page = 1000
    async with counting(server) as (metrics, _):
        metrics.render({})
        await asyncio.sleep(1)
        assert metrics.states == {("f", "Failed"): 1000}
        assert server.most * 1.5 <= 100
