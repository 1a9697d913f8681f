"""Figures of long histories: what a step writes when there are many, a replay of many, and many children."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import msgspec
import uvloop

from bench import load
from bench.engine import ROOT, parse_time
from bench.figures import Figure, figure
from cluster import Cluster
from kontinue.api.v1alpha1 import Execution, MemoPage
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue.kube.reflector import Reflector
from kontinue.kube.watch import Changed

STEPS = 1_000
CHILDREN = 1_000
WINDOW = 32
"""Steps on either side of which an average is taken: as many as stand in a status at most."""
LONG = timedelta(minutes=5)
NAMES = {
    server: (
        f"{server}_step10_bytes",
        f"{server}_step1000_bytes",
        f"{server}_step1000_vs_step10",
        f"{server}_replay_1000_steps_ms",
        f"{server}_children1000_s",
        f"{server}_children1000_supervisor_mib",
        f"{server}_children1000_server_mib",
    )
    for server in ("local", "kube")
}


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure all of them, once."""
    del wanted, rounds
    with tempfile.TemporaryDirectory(prefix="kontinue-history-") as name:
        folder = Path(name)
        options = ("--sync-runners", "2")
        with Cluster(folder, "bench.app:app", app_dir=ROOT, server=server, worker_options=options) as cluster:
            yield from uvloop.run(_children(server, cluster))
            marks = folder / "marks"
            marks.touch()
            yield from uvloop.run(_steps(server, cluster, marks))


async def _steps(server: str, cluster: Cluster, marks: Path) -> list[Figure]:
    """Count what is written while a function takes its steps; kill the worker at the end of them, and start another."""
    transport = KubeTransport(load_config(kubeconfig=str(cluster.kubeconfig)), user_agent="bench")
    sizes: list[int] = []
    page_bytes: dict[int, int] = {}
    async with Client(load.client_options(cluster)) as client, asyncio.TaskGroup() as tasks:
        watches = [
            tasks.create_task(_watch_statuses(transport, sizes)),
            tasks.create_task(_watch_pages(transport, sizes, page_bytes)),
        ]
        handle = await client.spawn("steps_then_mark", {"count": STEPS, "marks": str(marks)}, result=int)
        await _marked(marks, 1)
        for watch in watches:
            watch.cancel()
        cluster.kill_worker()
        log_end = (cluster.data_dir / "worker.log").stat().st_size
        cluster.start_worker()
        again_at = await _marked(marks, 2)
        assert await handle.result(timeout=LONG) == STEPS
    await transport.close()
    claimed = [one for one in cluster.events("execution event", since=log_end) if one["reason"] == "Resumed"]
    replay_ms = (again_at - parse_time(claimed[0]["time"])) * 1e3
    for at, written in page_bytes.items():
        sizes[min(at, len(sizes) - 1)] += written
    early, late = (statistics.mean(sizes[start : start + WINDOW]) for start in (0, STEPS - WINDOW))
    conditions = f"a function of {STEPS} steps with results of some bytes"
    written = f"{conditions}: size of the object that is stored and of MemoPages, average of {WINDOW} steps"
    return [
        figure(f"{server}_step10_bytes", early, written),
        figure(f"{server}_step1000_bytes", late, written),
        figure(f"{server}_step1000_vs_step10", late / early, written),
        figure(
            f"{server}_replay_1000_steps_ms",
            replay_ms,
            f"{conditions}: from the claim after SIGKILL of the worker until the step after them runs again",
        ),
    ]


async def _watch_statuses(transport: KubeTransport, sizes: list[int]) -> None:
    watched = Reflector(
        transport,
        requests.EXECUTIONS,
        "default",
        type_=Execution,
        field_selector="spec.function=steps_then_mark",
    )
    async with aclosing(watched.follow()) as changes:
        async for change in changes:
            if isinstance(change, Changed) and change.object.status.phase is not None:
                sizes.append(len(msgspec.json.encode(change.object)))  # noqa: PERF401 - others read it meanwhile


async def _watch_pages(transport: KubeTransport, sizes: list[int], page_bytes: dict[int, int]) -> None:
    watched = Reflector(transport, requests.MEMO_PAGES, "default", type_=MemoPage)
    async with aclosing(watched.follow()) as changes:
        async for change in changes:
            if isinstance(change, Changed):
                page_bytes[len(sizes)] = len(msgspec.json.encode(change.object))


async def _marked(marks: Path, count: int) -> float:
    """Wait until the function has made so many marks; return the time of the last one."""
    async with asyncio.timeout(LONG.total_seconds()):
        while len(lines := _read(marks)) < count:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    return float(lines[-1])


def _read(marks: Path) -> list[str]:
    return marks.read_text().splitlines()


async def _children(server: str, cluster: Cluster) -> list[Figure]:
    """One parent that starts all of its children at once."""
    async with Client(load.client_options(cluster)) as client:
        await load.run_batch(client, "trivial", concurrency=64, count=200)
        begun = time.perf_counter()
        handle = await client.spawn("fanout", {"count": CHILDREN}, result=int)
        assert await handle.result(timeout=LONG) == sum(range(CHILDREN))
        elapsed_s = time.perf_counter() - begun
    assert cluster.worker is not None
    conditions = f"one function with {CHILDREN:,} children at once, each trivial"
    return [
        figure(f"{server}_children1000_s", elapsed_s, conditions),
        figure(
            f"{server}_children1000_supervisor_mib",
            _peak_mib(cluster.worker.pid),
            f"{conditions}: its peak RSS so far",
        ),
        figure(
            f"{server}_children1000_server_mib",
            _peak_mib(cluster.server.pid),
            f"{conditions}: its peak RSS so far",
        ),
    ]


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
