"""What Prometheus finds at a worker while Executions come, run and end."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, ClientOptions
from ports import free_port
from prometheus_text import Sample, parse, types_of

PATIENCE_S = 60.0
GROUP = "metrics"
APP = f"""
import pathlib, time
from kontinue import App

app = App(group="{GROUP}")
here = pathlib.Path(__file__).parent


@app.function
def hold() -> None:
    while not (here / "end").exists():
        time.sleep(0.02)


@app.function
def fail() -> None:
    raise ValueError("no")
"""
NAMES = {
    "kontinue_executions_running": "gauge",
    "kontinue_executions_completed": "counter",
    "kontinue_execution_latency": "histogram",
    "kontinue_execution_states": "gauge",
}

pytestmark = pytest.mark.slow


class Prometheus:
    """Scrapes one worker."""

    def __init__(self) -> None:
        self._port = free_port()
        self.options = ("--metrics-port", str(self._port))

    def scrape(self) -> tuple[str, str]:
        """Return the content type and the text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    async def finds(self, holds: Callable[[dict[Sample, float]], bool]) -> str:
        """Scrape until this holds; returns the text."""
        text = ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds(parse(text := (await asyncio.to_thread(self.scrape))[1])):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(text) from None
        return text


def value(name: str, function: str, **more: str) -> Callable[[dict[Sample, float]], float | None]:
    labels = {"function": function, "namespace": "default", **more}
    return lambda found: found.get(Sample.of(name, labels))


@pytest.fixture
async def client(place: Any) -> AsyncIterator[Client]:
    """A client of the same server."""
    async with Client(ClientOptions(kubeconfig=str(place.server.kubeconfig), qps=None)) as one:
        yield one


@pytest.mark.parametrize("options", [(), ("--sharding",)])
async def test_each_metric_moves_as_executions_do(
    place: Any, client: Client, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What runs, what has ended and how, how long that took, and how many there are by phase."""
    place.write_app(APP.replace(GROUP, f"{GROUP}-{len(options)}"))
    prometheus = Prometheus()
    place.start(*prometheus.options, *options, "--take-ownership", "--shard", "w-0").ready()
    held = await client.spawn("hold")
    await client.wait_for_execution(held.name, until=[Phase.EXECUTING])
    running = value("kontinue_executions_running", "hold", worker="w-0")
    executing = value("kontinue_execution_states", "hold", phase="Executing")
    text = await prometheus.finds(lambda found: (running(found), executing(found)) == (1, 1))
    assert types_of(text) == NAMES
    (tmp_path / "end").touch()
    failed = await client.spawn("fail")
    for one in (held, failed):
        await client.wait_for_execution(one.name, until=[Phase.COMPLETED, Phase.FAILED])
    success = value("kontinue_executions_completed", "hold", worker="w-0", result="success")
    error = value("kontinue_executions_completed", "fail", worker="w-0", result="error")
    latency = value("kontinue_execution_latency_count", "hold", worker="w-0")
    await prometheus.finds(lambda found: (running(found), success(found), error(found), latency(found)) == (0, 1, 1, 1))
    assert prometheus.scrape()[0] == "text/plain; version=0.0.4; charset=utf-8"


async def test_who_stands_by_has_nothing_to_tell(place: Any) -> None:
    """Its page is there, and empty: Prometheus sees that it is up, and adds nothing to the others' sums."""
    first, second = Prometheus(), Prometheus()
    place.write_app(APP.replace(GROUP, f"{GROUP}-standby"))
    place.start(*first.options, "--take-ownership", "--shard", "first").ready()
    place.start(*second.options, "--shard", "second").wait_for("standing by")
    assert second.scrape()[1] == ""
    assert "kontinue_executions_running" in first.scrape()[1]
