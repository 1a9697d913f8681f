"""``make bench``: start a local API server and a worker, measure, print a table, write ``.bench/latest.json``.

    make bench ARGS='trivial_c64_per_s steps10_c64_per_s'     only these
    make bench ARGS='--rounds 5'

Durable (SQLite, synchronous=FULL), the client in this process, two sync runners. Throughputs are medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import uvloop

from bench import app as bench_app
from bench.figures import TARGETS, Figure, figure, print_table, store
from cluster import Cluster, children_of
from kontinue.client import Client, ClientOptions

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
BURNS = 200
BURN_MS = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    names = arguments.names or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    figures = []
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder:
        options = ("--sync-runners", "2")
        with Cluster(Path(folder), "bench.app:app", app_dir=ROOT, worker_options=options) as cluster:
            for name in names:
                print(f"{name} ...", file=sys.stderr, flush=True)
                figures.append(uvloop.run(MEASURES[name](cluster, arguments.rounds)))
    print_table(figures)
    store(figures, ROOT / ".bench" / "latest.json")
    return 0 if all(one.verdict in {"ok", "goal reached"} for one in figures) else 1


async def throughput(cluster: Cluster, function: str, *, concurrency: int, count: int, rounds: int) -> float:
    """Return Executions per second: spawned, run, and their results read; median of rounds after a warm-up."""
    async with Client(client_options(cluster)) as client:
        await run_batch(client, function, concurrency=concurrency, count=max(concurrency, count // 5))
        rates = []
        for _ in range(rounds):
            started = time.perf_counter()
            await run_batch(client, function, concurrency=concurrency, count=count)
            rates.append(count / (time.perf_counter() - started))
    return statistics.median(rates)


async def run_batch(client: Client, function: str, *, concurrency: int, count: int, argument: int = 1) -> None:
    """Run ``count`` Executions, ``concurrency`` at a time."""
    key = {"burn": "ms", "hold": "ms"}.get(function, "n")
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            handle = await client.spawn(function, {key: argument}, result=int)
            await handle.result()

    async with asyncio.TaskGroup() as tasks:
        for number in range(concurrency):
            tasks.create_task(one_after_another(), name=f"client-{number}")


def client_options(cluster: Cluster) -> ClientOptions:
    """The client's throttle is for people."""
    return ClientOptions(kubeconfig=str(cluster.kubeconfig), qps=None)


def rate_of(name: str, function: str, concurrency: int, count: int) -> Callable[[Cluster, int], Awaitable[Figure]]:
    async def measure(cluster: Cluster, rounds: int) -> Figure:
        rate = await throughput(cluster, function, concurrency=concurrency, count=count, rounds=rounds)
        conditions = f"{concurrency} in flight, median of {rounds} rounds of {count}, durable (synchronous=FULL)"
        return figure(name, rate, conditions)

    return measure


async def cpu_vs_pool(cluster: Cluster, rounds: int) -> Figure:
    """The same CPU-bound work through kontinue and through a bare ProcessPoolExecutor, in turn."""
    ratios = []
    async with Client(client_options(cluster)) as client:
        await run_batch(client, "burn", concurrency=4, count=20, argument=BURN_MS)
        for _ in range(rounds):
            started = time.perf_counter()
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(bench_app.burn_cpu, [BURN_MS] * BURNS))
            bare_s = time.perf_counter() - started
            started = time.perf_counter()
            await run_batch(client, "burn", concurrency=BURNS, count=BURNS, argument=BURN_MS)
            ratios.append(bare_s / (time.perf_counter() - started))
    conditions = f"{BURNS} x {BURN_MS} ms of CPU, ProcessPoolExecutor(2) in the same run, median of {rounds}"
    return figure("cpu_200x50ms_vs_pool", statistics.median(ratios), conditions)


async def runner_death(cluster: Cluster, rounds: int) -> Figure:
    """From SIGKILL of a busy runner until the Execution that it held runs again in another one."""
    delays_ms = []
    deaths = max(7, rounds)
    async with Client(client_options(cluster)) as client:
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
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


async def idle_pss(cluster: Cluster, rounds: int) -> Figure:
    """Memory of server, supervisor, zygote and the sync runners of a fresh cluster, each page counted once."""
    del rounds
    with (
        tempfile.TemporaryDirectory(prefix="kontinue-idle-") as folder,
        Cluster(Path(folder), "bench.idle_app:app", app_dir=ROOT, worker_options=("--sync-runners", "2")) as idle,
    ):
        await asyncio.sleep(2)
        assert idle.server is not None
        assert idle.worker is not None
        zygotes = children_of(idle.worker.pid)
        runners = idle.runner_pids()
        parts = {
            "server": pss_mib([idle.server.pid]),
            "supervisor": pss_mib([idle.worker.pid]),
            "zygote": pss_mib(zygotes),
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
    async with Client(client_options(cluster)) as client:
        await run_batch(client, "trivial", concurrency=4, count=20)
        await asyncio.sleep(0.5)
        before = cluster.writes()
        await run_batch(client, "trivial", concurrency=4, count=count)
        await asyncio.sleep(0.5)
        written = cluster.writes() - before
    return figure("writes_trivial", written / count, f"{count} Executions, counted by the server")


MEASURES: dict[str, Callable[[Cluster, int], Awaitable[Figure]]] = {
    "trivial_c64_per_s": rate_of("trivial_c64_per_s", "trivial", 64, 6000),
    "trivial_c1_per_s": rate_of("trivial_c1_per_s", "trivial", 1, 800),
    "steps10_c64_per_s": rate_of("steps10_c64_per_s", "steps10", 64, 1000),
    "fanout100_c8_per_s": rate_of("fanout100_c8_per_s", "fanout100", 8, 60),
    "cpu_200x50ms_vs_pool": cpu_vs_pool,
    "runner_death_to_resume_p50_ms": runner_death,
    "idle_pss_mib": idle_pss,
    "writes_trivial": writes_trivial,
}


if __name__ == "__main__":
    sys.exit(main())
