"""Figures of Executions that sleep for long: what each of them holds, and how late it goes on.

``KONTINUE_BENCH_SLEEPERS`` says how many, 10,000 unless told otherwise. They are evicted by a restart of the worker:
what sleeps stays asleep, and nobody claims it before its time has come.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import uvloop

from bench import load
from bench.engine import ROOT, pss_mib
from bench.figures import Figure, figure
from cluster import Cluster, children_of
from kontinue.api.v1alpha1 import Execution, Phase, Suspension
from kontinue.client import Client
from kontinue.kube import requests
from write_counts import written

COUNT = int(os.environ.get("KONTINUE_BENCH_SLEEPERS", "10000"))
WAKING_PER_S = 100
"""How many are due each second. Judgement: what they do when they wake is a small part of what the machine can do."""
SPAWNED_PER_S = 200
"""At least so many fall asleep each second, everything included. Judgement."""
QUIET_S = 20.0
"""Between the last of them that falls asleep, and the first that wakes: the restart, and the measuring."""
SETTLED_S = 5.0
IN_FLIGHT = 64
LONG = timedelta(minutes=10)
NAMES = (
    "sleepers_supervisor_bytes",
    "sleepers_server_bytes",
    "sleepers_awake_bytes",
    "sleepers_late_p50_ms",
    "sleepers_late_p99_ms",
    "writes_sleeper",
)


def measure(wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure all of them, once."""
    del wanted, rounds
    with tempfile.TemporaryDirectory(prefix="kontinue-sleepers-") as name:
        options = ("--sync-runners", "1")
        with Cluster(Path(name), "bench.app:app", app_dir=ROOT, worker_options=options) as cluster:
            yield from uvloop.run(_measure(cluster))


async def _measure(cluster: Cluster) -> list[Figure]:
    async with Client(load.client_options(cluster)) as client:
        await load.run_batch(client, "trivial", concurrency=IN_FLIGHT, count=200)
        await asyncio.to_thread(_restart, cluster)
        await asyncio.sleep(SETTLED_S)
        empty = _memory(cluster)
        written_before = _written(cluster)
        first_s = time.time() + COUNT / SPAWNED_PER_S + QUIET_S
        await _spawn(client, first_s)
        await _until_asleep(client)
        due = await _due(client)
        awake = _memory(cluster)
        await asyncio.to_thread(_restart, cluster)
        await asyncio.sleep(SETTLED_S)
        evicted = _memory(cluster)
        if time.time() > first_s:
            raise RuntimeError(f"this machine is too slow for {SPAWNED_PER_S} sleepers per second")
        ended = await _until_ended(client, max(due.values()))
        await asyncio.sleep(SETTLED_S)
        writes = (_written(cluster) - written_before) / COUNT
    return _figures(empty, awake, evicted, late_ms(ended, due), writes)


class _Suspensions(msgspec.Struct):
    items: list[Suspension]


class _Memory(msgspec.Struct):
    """PSS in MiB, with ``worker`` for the supervisor and everything below it."""

    supervisor: float
    worker: float
    server: float


def _figures(empty: _Memory, awake: _Memory, evicted: _Memory, late: Sequence[float], writes: float) -> list[Figure]:
    conditions = f"{COUNT:,} Executions that sleep by a Suspension each"
    after = f"{conditions}, after a restart of the worker: PSS beyond that without them, for each"
    waking = f"{conditions}, {WAKING_PER_S} due each second: from then until it is recorded that they have ended"
    return [
        figure("sleepers_supervisor_bytes", bytes_each(empty.supervisor, evicted.supervisor, COUNT), after),
        figure("sleepers_server_bytes", bytes_each(empty.server, evicted.server, COUNT), after),
        figure(
            "sleepers_awake_bytes",
            bytes_each(empty.worker, awake.worker, COUNT),
            f"{conditions}, their activations in memory: PSS of supervisor and runners, for each",
        ),
        figure("sleepers_late_p50_ms", percentile(late, 0.5), waking),
        figure("sleepers_late_p99_ms", percentile(late, 0.99), waking),
        figure("writes_sleeper", writes, f"{conditions}, of Executions and Suspensions, counted by the server"),
    ]


def bytes_each(before_mib: float, after_mib: float, count: int) -> float:
    """Return how much more it is, for each."""
    return (after_mib - before_mib) * 2**20 / count


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as such a share of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def late_ms(ended: Mapping[str, datetime], due: Mapping[str, datetime]) -> list[float]:
    """Return how long after its time each of them has ended."""
    return [(ended[name] - due[name]) / timedelta(milliseconds=1) for name in due]


def _memory(cluster: Cluster) -> _Memory:
    assert cluster.worker is not None
    supervisor = cluster.worker.pid
    below = [*children_of(supervisor), *cluster.runner_pids()]
    return _Memory(pss_mib([supervisor]), pss_mib([supervisor, *below]), pss_mib([cluster.server.pid]))


def _restart(cluster: Cluster) -> None:
    cluster.kill_worker()
    cluster.start_worker()


def _written(cluster: Cluster) -> int:
    metrics = cluster.server.metrics()
    return written(metrics, "executions") + written(metrics, "suspensions")


async def _spawn(client: Client, first_s: float) -> None:
    left = iter(range(COUNT))

    async def one_after_another() -> None:
        for number in left:
            await client.spawn("sleep_until", {"until_s": first_s + number / WAKING_PER_S})

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(one_after_another())


async def _until_asleep(client: Client) -> None:
    async with asyncio.timeout(LONG.total_seconds()):
        while len(await _listed(client, Phase.SUSPENDED)) < COUNT:  # noqa: ASYNC110 - other processes do it
            await asyncio.sleep(1)


async def _due(client: Client) -> dict[str, datetime]:
    """Return when they are to be woken: what a function takes for now is as old as what it was last told."""
    listed = await client.kube.send(requests.list_objects(requests.SUSPENSIONS, client.namespace))
    items = msgspec.json.decode(listed, type=_Suspensions).items
    return {one.spec.execution: one.spec.resume_at for one in items if one.spec.resume_at is not None}


async def _until_ended(client: Client, last: datetime) -> dict[str, datetime]:
    """Wait without asking while they wake: a list of all of them would hold the server up."""
    await asyncio.sleep(last.timestamp() - time.time() + SETTLED_S)
    async with asyncio.timeout(LONG.total_seconds()):
        while len(ended := await _listed(client, Phase.COMPLETED)) < COUNT:  # noqa: ASYNC110 - as above
            await asyncio.sleep(1)
    return {one.metadata.name: one.status.finished_at for one in ended if one.status.finished_at is not None}


async def _listed(client: Client, phase: Phase) -> list[Execution]:
    return [one for one in await client.list(function="sleep_until") if one.phase is phase]
