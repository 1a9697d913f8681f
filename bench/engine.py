"""Figures of the engine: a worker and an API server, all co-located with the clients."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import uvloop

from bench import app as bench_app
from bench import load, raw_limit
from bench.figures import Figure, figure
from cluster import Cluster, children_of
from kontinue.client import Client

ROOT = Path(__file__).resolve().parents[1]
BURNS = 200
BURN_MS = 50

Measure = Callable[[Cluster, int], Awaitable[Figure]]
"""Given a running cluster and the number of rounds."""


def rate_of(name: str, function: str, concurrency: int, count: int) -> Measure:
    async def measure(cluster: Cluster, rounds: int) -> Figure:
        rate = await load.throughput(cluster, function, concurrency=concurrency, count=count, rounds=rounds)
        conditions = f"{concurrency} in flight, median of {rounds} rounds of {count}, durable (synchronous=FULL)"
        return figure(name, rate, conditions)

    return measure


async def cpu_vs_pool(cluster: Cluster, rounds: int) -> Figure:
    """The same CPU-bound work through kontinue and through a bare ProcessPoolExecutor, in turn."""
    ratios = []
    async with Client(load.client_options(cluster)) as client:
        await load.run_batch(client, "burn", concurrency=4, count=20, argument=BURN_MS)
        for _ in range(rounds):
            started = time.perf_counter()
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(bench_app.burn_cpu, [BURN_MS] * BURNS))
            bare_s = time.perf_counter() - started
            started = time.perf_counter()
            await load.run_batch(client, "burn", concurrency=BURNS, count=BURNS, argument=BURN_MS)
            ratios.append(bare_s / (time.perf_counter() - started))
    conditions = f"{BURNS} x {BURN_MS} ms of CPU, ProcessPoolExecutor(2) in the same run, median of {rounds}"
    return figure("cpu_200x50ms_vs_pool", statistics.median(ratios), conditions)


async def runner_death(cluster: Cluster, rounds: int) -> Figure:
    """From SIGKILL of a busy runner until the Execution that it held runs again in another one."""
    delays_ms = []
    deaths = max(7, rounds)
    async with Client(load.client_options(cluster)) as client:
        for _ in range(deaths):
            before = set(cluster.runner_pids())
            handle = await client.spawn("burn", {"ms": 300}, result=int)
            busy = await busiest(before)
            log_end = (cluster.data_dir / "worker.log").stat().st_size
            killed_at = time.time()
            cluster.kill(busy)
            await handle.result(timeout=timedelta(seconds=30))
            resumed = cluster.events("resumed running", since=log_end)
            delays_ms.append((parse_time(resumed[0]["time"]) - killed_at) * 1000)
    conditions = (
        f"median of {deaths}, SIGKILL of a runner in CPU-bound code, until user code runs again in another, idle runner"
    )
    return figure("runner_death_to_resume_p50_ms", statistics.median(delays_ms), conditions)


async def busiest(pids: set[int]) -> int:
    """Return the runner that uses the CPU now."""
    for _ in range(200):
        before = {pid: cpu_ticks(pid) for pid in pids}
        await asyncio.sleep(0.03)
        used = {pid: cpu_ticks(pid) - before[pid] for pid in pids}
        best = max(used, key=lambda pid: used[pid])
        if used[best] >= 2:
            return best
    raise RuntimeError("no runner is busy")


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def parse_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def kube_vs_raw(cluster: Cluster, rounds: int) -> Figure:
    """Trivial Executions on a real control plane, against a bare client that only makes the same two writes."""
    count = 600
    rates: list[float] = []
    ratios: list[float] = []
    async with Client(load.client_options(cluster)) as client:
        await load.run_batch(client, "trivial", concurrency=64, count=200)
        for _ in range(rounds):
            raw = await raw_limit.trivial_rate(
                str(cluster.kubeconfig), namespace="default", concurrency=64, count=count
            )
            started = time.perf_counter()
            await load.run_batch(client, "trivial", concurrency=64, count=count)
            rates.append(count / (time.perf_counter() - started))
            ratios.append(rates[-1] / raw)
    conditions = (
        f"kube-apiserver and etcd, 64 in flight, {count} Executions a round at {statistics.median(rates):.0f}/s, "
        f"bare create + PUT status in the same round, median of {rounds} ratios"
    )
    return figure("kube_trivial_c64_vs_raw", statistics.median(ratios), conditions)


async def idle_pss(cluster: Cluster, rounds: int) -> Figure:
    """Memory of server, supervisor, zygote, guards and the sync runners of a fresh cluster, each page counted once."""
    del rounds
    with (
        tempfile.TemporaryDirectory(prefix="kontinue-idle-") as folder,
        Cluster(Path(folder), "bench.idle_app:app", app_dir=ROOT, worker_options=("--sync-runners", "2")) as idle,
    ):
        await asyncio.sleep(2)
        assert idle.worker is not None
        zygotes = children_of(idle.worker.pid)
        guards = [pid for zygote in zygotes for pid in children_of(zygote)]
        runners = idle.runner_pids()
        parts = {
            "server": pss_mib([idle.server.pid]),
            "supervisor": pss_mib([idle.worker.pid]),
            "zygote": pss_mib(zygotes),
            "guards": pss_mib(guards),
            f"{len(runners)} sync runners": pss_mib(runners),
        }
    del cluster
    return figure("idle_pss_mib", sum(parts.values()), ", ".join(f"{k} {v:.0f}" for k, v in parts.items()))


def pss_mib(pids: list[int]) -> float:
    total_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


async def writes_trivial(cluster: Cluster, rounds: int) -> Figure:
    """API writes per trivial Execution, counted by the server."""
    del rounds
    count = 200
    async with Client(load.client_options(cluster)) as client:
        await load.run_batch(client, "trivial", concurrency=4, count=20)
        await asyncio.sleep(0.5)
        before = cluster.writes()
        await load.run_batch(client, "trivial", concurrency=4, count=count)
        await asyncio.sleep(0.5)
        written = cluster.writes() - before
    return figure("writes_trivial", written / count, f"{count} Executions, counted by the server")


_ON_LOCAL: dict[str, Measure] = {
    "trivial_c64_per_s": rate_of("trivial_c64_per_s", "trivial", 64, 6000),
    "trivial_c1_per_s": rate_of("trivial_c1_per_s", "trivial", 1, 800),
    "steps10_c64_per_s": rate_of("steps10_c64_per_s", "steps10", 64, 1000),
    "fanout100_c8_per_s": rate_of("fanout100_c8_per_s", "fanout100", 8, 60),
    "cpu_200x50ms_vs_pool": cpu_vs_pool,
    "runner_death_to_resume_p50_ms": runner_death,
    "idle_pss_mib": idle_pss,
    "writes_trivial": writes_trivial,
}
_ON_KUBE: dict[str, Measure] = {"kube_trivial_c64_vs_raw": kube_vs_raw}
ON = {"local": _ON_LOCAL, "kube": _ON_KUBE}
"""What is measured on which API server."""


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure with a worker of two sync runners."""
    options = ("--sync-runners", "2")
    with (
        tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder,
        Cluster(Path(folder), "bench.app:app", app_dir=ROOT, server=server, worker_options=options) as cluster,
    ):
        for name, of_cluster in ON[server].items():
            if name in wanted:
                yield uvloop.run(of_cluster(cluster, rounds))
