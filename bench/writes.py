"""Figures of API servers: each kind of write, and what an event costs for each watcher."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.figures import Figure, figure
from bench.objects import EXECUTIONS, LARGE_STATUS, NAMESPACE, execution
from bench.subjects import IN_FLIGHT, Subject, at_once, running
from bench.watching import watching
from kontinue.kube import requests

COUNTS = {"local": 3000, "kube": 600}
"""Writes of each kind: some seconds on either server."""
WARM_UP = 64
KINDS = ("create", "put_status", "merge_patch", "json_patch", "delete")
WATCHERS, EVENTS = 500, 200


def names(server: str) -> tuple[str, ...]:
    """Return the figures of a server, ``local`` or ``kube``."""
    values = (f"c{IN_FLIGHT}_per_s", f"c{IN_FLIGHT}_p50_ms", f"c{IN_FLIGHT}_p99_ms", "cpu_us")
    return (*(f"{server}_{kind}_{value}" for kind in KINDS for value in values), f"{server}_fan_out_cpu_us")


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure all of them, or the fan-out alone."""
    del rounds
    fan_out = f"{server}_fan_out_cpu_us"
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder, running(server, Path(folder)) as subject:
        if set(wanted) - {fan_out}:
            yield from uvloop.run(_writes(server, subject, COUNTS[server]))
        if fan_out in wanted:
            yield uvloop.run(_fan_out(fan_out, subject))


async def _writes(server: str, subject: Subject, count: int) -> list[Figure]:
    figures: list[Figure] = []
    async with subject.transport() as transport:
        for write in _kinds(transport).values():  # a real server's caches start with the first requests
            await at_once(IN_FLIGHT, write, WARM_UP)
        for kind, write in _kinds(transport).items():
            figures += await _timed(f"{server}_{kind}", subject, write, count)
    return figures


def _kinds(transport: Any) -> dict[str, Callable[[int], Awaitable[None]]]:
    run = uuid.uuid4().hex[:8]
    stored: dict[int, Any] = {}

    def name(number: int) -> str:
        return f"b-{run}-{number}"

    async def create(number: int) -> None:
        request = requests.create(EXECUTIONS, NAMESPACE, execution(name(number)))
        stored[number] = orjson.loads(await transport.send(request))

    async def put_status(number: int) -> None:
        body = orjson.dumps({**stored[number], "status": LARGE_STATUS})
        await transport.send(requests.replace_status(EXECUTIONS, NAMESPACE, name(number), body))

    async def patch(number: int, kind: str, body: Any) -> None:
        path = EXECUTIONS.path(NAMESPACE, name(number))
        await transport.send(requests.Request("PATCH", path, body=orjson.dumps(body), content_type=kind))

    async def merge_patch(number: int) -> None:
        await patch(number, "application/merge-patch+json", {"metadata": {"labels": {"n": str(number)}}})

    async def json_patch(number: int) -> None:
        operation = {"op": "add", "path": "/metadata/labels/m", "value": str(number)}
        await patch(number, "application/json-patch+json", [operation])

    async def delete(number: int) -> None:
        await transport.send(requests.delete(EXECUTIONS, NAMESPACE, name(number)))

    return dict(zip(KINDS, (create, put_status, merge_patch, json_patch, delete), strict=True))


async def _timed(name: str, subject: Subject, write: Callable[[int], Awaitable[None]], count: int) -> list[Figure]:
    latencies: list[float] = []

    async def timed(number: int) -> None:
        begun = time.perf_counter()
        await write(number)
        latencies.append((time.perf_counter() - begun) * 1e3)

    cpu_s, begun = subject.cpu_s, time.perf_counter()
    await at_once(IN_FLIGHT, timed, count)
    elapsed_s = time.perf_counter() - begun
    cpu_us = (subject.cpu_s - cpu_s) / count * 1e6
    percentiles = statistics.quantiles(latencies, n=100)
    conditions = f"{count} Executions, {IN_FLIGHT} in flight, a bare client"
    return [
        figure(f"{name}_c{IN_FLIGHT}_per_s", count / elapsed_s, conditions),
        figure(f"{name}_c{IN_FLIGHT}_p50_ms", percentiles[49], f"{conditions}, its latency"),
        figure(f"{name}_c{IN_FLIGHT}_p99_ms", percentiles[98], f"{conditions}, its latency"),
        figure(f"{name}_cpu_us", cpu_us, f"{conditions}; CPU of the server's processes per request"),
    ]


async def _fan_out(name: str, subject: Subject) -> Figure:
    """What creates cost with watchers more than without."""
    async with subject.transport() as transport:

        async def create(_: int) -> None:
            body = execution(f"f-{uuid.uuid4().hex[:12]}")
            await transport.send(requests.create(EXECUTIONS, NAMESPACE, body))

        await at_once(1, create, EVENTS)
        before_s = subject.cpu_s
        await at_once(1, create, EVENTS)
        without_s = subject.cpu_s - before_s
        async with watching(subject, WATCHERS) as watchers:
            before_s = subject.cpu_s
            await at_once(1, create, EVENTS)
            await watchers.have_seen(EVENTS)
            await asyncio.sleep(0.1)  # what the server still does after its last event is part of the price
            with_s = subject.cpu_s - before_s
    conditions = f"{EVENTS} creates with {WATCHERS} watchers against as many with none, per event and watcher"
    return figure(name, (with_s - without_s) / EVENTS / WATCHERS * 1e6, conditions)
