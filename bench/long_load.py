"""The long load of the local API server: many writers, many watchers, and one that never reads."""

from __future__ import annotations

import asyncio
import socket
import statistics
import tempfile
import time
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop

import kube
from bench.figures import Figure, figure
from bench.objects import EXECUTIONS, NAMESPACE, execution
from bench.subjects import Subject, running
from bench.watching import watching
from kontinue.kube import requests

WRITERS, WATCHERS, SECONDS, OBJECTS_EACH = 64, 1000, 60.0, 20
NAMES = ("load_writes_per_s", "load_p99_ms", "load_events_lost", "load_rss_more_mib")


def measure(wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """All of them, from one run."""
    del wanted, rounds
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as name, running("local", Path(name)) as subject:
        yield from uvloop.run(_load(subject))


async def _load(subject: Subject) -> list[Figure]:
    latencies: list[float] = []
    with _stuck_watcher(subject):
        async with watching(subject, WATCHERS) as watchers, subject.transport() as transport:
            before_bytes = most_bytes = subject.rss_bytes
            deadline = time.perf_counter() + SECONDS

            async def write(writer: int) -> None:
                nonlocal most_bytes
                number = 0
                while (begun := time.perf_counter()) < deadline:
                    await transport.send(_write(writer, number))
                    latencies.append((time.perf_counter() - begun) * 1e3)
                    number += 1
                    if not writer:
                        most_bytes = max(most_bytes, subject.rss_bytes)

            await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
            await watchers.have_seen(len(latencies))
            lost = len(latencies) - watchers.least
    conditions = f"local server, {WRITERS} writers for {SECONDS:g} s, {WATCHERS} watchers and one that never reads"
    return [
        figure("load_writes_per_s", len(latencies) / SECONDS, conditions),
        figure("load_p99_ms", statistics.quantiles(latencies, n=100)[98], f"{conditions}; latency of a write"),
        figure("load_events_lost", lost, f"{conditions}; by the watcher that has seen least"),
        figure("load_rss_more_mib", (most_bytes - before_bytes) / 2**20, f"{conditions}; most, above the start"),
    ]


def _write(writer: int, number: int) -> Any:
    name = f"l-{writer}-{number % OBJECTS_EACH}"
    if number < OBJECTS_EACH:
        return requests.create(EXECUTIONS, NAMESPACE, execution(name))
    body = orjson.dumps({"metadata": {"labels": {"n": str(number)}}})
    path = EXECUTIONS.path(NAMESPACE, name)
    return requests.Request("PATCH", path, body=body, content_type="application/merge-patch+json")


def _stuck_watcher(subject: Subject) -> socket.socket:
    """Open a watch whose answer nobody reads."""
    access = kube.read_kubeconfig(subject.kubeconfig)
    parts = urllib.parse.urlsplit(access.url)
    stuck = socket.create_connection((str(parts.hostname), parts.port or 80))
    path = f"{EXECUTIONS.path(NAMESPACE)}?watch=1"
    stuck.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {access.token}\r\n\r\n".encode())
    return stuck
