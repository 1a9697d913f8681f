"""Figures of the local API server: memory and start with many objects, and a list of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import orjson
import uvloop

from bench.figures import Figure, figure
from bench.objects import EXECUTIONS, LARGE_STATUS, NAMESPACE, execution
from bench.subjects import IN_FLIGHT, Subject, at_once, running
from kontinue.kube import requests

SIZES = {"empty": 0, "10k": 10_000, "100k": 100_000}
LISTED = 10_000
_STATUS = orjson.dumps(LARGE_STATUS)
NAMES = (
    *(f"{kind}_{size}_{unit}" for size in SIZES for kind, unit in (("start", "s"), ("rss", "mib"))),
    *(f"rss_bytes_per_object_{size}{when}" for size in ("10k", "100k") for when in ("", "_after_start")),
    "list_10k_ms",
)


def measure(wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Fill one server in steps, and start it again after each."""
    del rounds
    sizes = [size for size in SIZES if size != "100k" or any("100k" in name for name in wanted)]
    empty_bytes = 0
    there = 0
    object_bytes = 0
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as name:
        for size in sizes:
            count = SIZES[size]
            with running("local", Path(name)) as subject:
                if count:
                    object_bytes = uvloop.run(_fill(subject, there, count))
                filled_bytes = subject.rss_bytes
            there = count
            begun = time.perf_counter()
            with running("local", Path(name)) as subject:
                start_s = time.perf_counter() - begun
                rss_bytes = subject.rss_bytes
                empty_bytes = empty_bytes or rss_bytes
                conditions = f"local server with {count:,} Executions of {object_bytes:,} bytes"
                yield figure(f"start_{size}_s", start_s, f"{conditions}, until it answers")
                yield figure(f"rss_{size}_mib", rss_bytes / 2**20, f"{conditions}, just started")
                if count:
                    each = "more than when empty, for each"
                    live, fresh = (filled_bytes - empty_bytes) / count, (rss_bytes - empty_bytes) / count
                    now = "just filled, with its history"
                    yield figure(f"rss_bytes_per_object_{size}", live, f"{conditions}, {now}: {each}")
                    yield figure(
                        f"rss_bytes_per_object_{size}_after_start", fresh, f"{conditions}, just started: {each}"
                    )
                if count == LISTED:
                    yield uvloop.run(_list(subject, conditions))


async def _fill(subject: Subject, there: int, count: int) -> int:
    """Create and end Executions as the engine does, until there are ``count``; return the size of one."""
    size = 0
    async with subject.transport() as transport:

        async def fill(number: int) -> None:
            nonlocal size
            name = f"m-{there + number:06}"
            created = await transport.send(requests.create(EXECUTIONS, NAMESPACE, execution(name)))
            body = b'%b,"status":%b}' % (created[:-1], _STATUS)
            size = len(await transport.send(requests.replace_status(EXECUTIONS, NAMESPACE, name, body)))

        await at_once(IN_FLIGHT, fill, count - there)
    return size


async def _list(subject: Subject, conditions: str) -> Figure:
    best_s = float("inf")
    async with subject.transport() as transport:
        for _ in range(3):
            begun = time.perf_counter()
            listed = await transport.send(requests.list_objects(EXECUTIONS, NAMESPACE, limit=LISTED))
            best_s = min(best_s, time.perf_counter() - begun)
    conditions = f"{conditions}: all of them, {len(listed) / 2**20:.1f} MiB, best of three"
    return figure("list_10k_ms", best_s * 1e3, conditions)
