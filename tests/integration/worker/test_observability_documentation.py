"""The examples of docs/observability.md are what a worker really says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.telemetry.metrics import ExecutionMetrics
from ports import free_port
from prometheus_text import parse, types_of

TEXT = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
PATIENCE_S = 60.0
VARYING = (
    (re.compile(r"(order-7-2-)[a-z0-9]{10}"), r"\1HASH"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00"), "TIME"),
    (re.compile(r"\b\d+h\d+m\b"), "LONG"),
    (re.compile(r"\b\d+m?\d*s\b"), "AGE"),
    (re.compile(r" +"), " "),
)

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return [body for name, body in found if name == language]


def same(text: str) -> str:
    """Return a text without what differs each time."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text.strip()


def poll(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def kontinue(place: Any) -> Callable[..., str]:
    """Run the command line."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "kontinue_engine.cli", *arguments]
        environment = {**os.environ, "KUBECONFIG": str(place.server.kubeconfig)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def worker(place: Any, kontinue: Callable[..., str]) -> Iterator[tuple[Any, int]]:
    """The worker and the Execution of the document, which waits for its approval; and the port of its metrics."""
    (app,) = blocks("python")
    (commands,) = blocks("sh")
    run, execute = [shlex.split(line) for line in commands.splitlines()]
    assert run[:4] == ["kontinue", "worker", "run", "shop:app"]
    assert run[4] == "--metrics-port"
    assert execute[0] == "kontinue"
    place.write_app(app)
    port = free_port()
    one = place.start("--metrics-port", str(port), *run[6:]).ready()
    kontinue(*execute[1:])
    poll(lambda: "Suspended" in kontinue("get", "order-7"))
    yield one, port
    kontinue("cancel", "order-7")


def test_the_examples_are_what_is_said(worker: tuple[Any, int], kontinue: Callable[..., str]) -> None:
    """By the command line, the log and the metrics, names of objects and times aside."""
    log, port = worker
    shown = [block for block in blocks("") if block.startswith("$ kontinue ")]
    assert len(shown) == 3
    for block in shown:
        command, expected = block.split("\n", 1)
        assert same(expected) in same(kontinue(*shlex.split(command)[2:]))
    (example,) = [json.loads(block) for block in blocks("json")]
    poll(lambda: any(example.items() <= line.items() for line in log.lines()))
    (metrics,) = [block for block in blocks("") if block.startswith("kontinue_")]
    types = types_of(ExecutionMetrics([], namespace="", worker="").render({}))
    types["kontinue_execution_states"] = "gauge"
    heads = "".join(f"# TYPE {name} {kind}\n" for name, kind in types.items())
    wanted = parse(heads + metrics)

    def scrape() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return wanted.items() <= parse(answer.read().decode()).items()

    poll(scrape)


def test_the_table_of_metrics_has_their_types() -> None:
    """All of them, and no other."""
    rows = dict(re.findall(r"^\| `(kontinue_\w+)` \| (\w+) \|", TEXT, re.MULTILINE))
    metrics = ExecutionMetrics([], namespace="", worker="")
    metrics.states = {}
    assert rows == types_of(metrics.render({}))
