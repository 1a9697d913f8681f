"""Figures of a sharded group: throughput against the raw limit, what it costs idle, how fast it mends itself."""

from __future__ import annotations

import asyncio
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import uvloop

from bench import load, raw_limit
from bench.figures import Figure, figure
from kontinue.client import Client, ClientOptions
from replica import LEASE_S, RENEW_S, Replica, replicas
from startable import StartableServer, startable
from write_counts import executions_written

ROOT = Path(__file__).resolve().parents[1]
APP = "bench.app:app"
COUNT = 600
IDLE_S = 30.0
SOON = timedelta(seconds=60)
BURN_MS = 8_000
"""Longer than any recovery takes."""


@contextmanager
def sharded(kind: str, folder: Path) -> Iterator[tuple[StartableServer, list[Replica]]]:
    """Run two replicas."""
    server = startable(kind, folder / "server")
    server.start()
    try:
        with replicas(folder, server.kubeconfig, APP, ROOT, "w-0", "w-1") as started:
            yield server, started
    finally:
        server.stop()


def client_of(server: StartableServer) -> Client:
    """Return a client that nothing slows down."""
    return Client(ClientOptions(kubeconfig=str(server.kubeconfig), qps=None))


async def versus_raw(server: StartableServer, rounds: int) -> Figure:
    """Trivial Executions against a bare client that makes the same three writes."""
    rates: list[float] = []
    ratios: list[float] = []
    async with client_of(server) as client:
        await load.run_batch(client, "trivial", concurrency=64, count=200)
        for _ in range(rounds):
            raw = await raw_limit.trivial_rate(
                str(server.kubeconfig), namespace="default", concurrency=64, count=COUNT, is_labelled=True
            )
            started = time.perf_counter()
            await load.run_batch(client, "trivial", concurrency=64, count=COUNT)
            rates.append(COUNT / (time.perf_counter() - started))
            ratios.append(rates[-1] / raw)
    conditions = (
        f"kube-apiserver and etcd, 2 replicas, 64 in flight, {COUNT} Executions a round at "
        f"{statistics.median(rates):.0f}/s, bare create + label + PUT status in the same round, "
        f"median of {rounds} ratios"
    )
    return figure("kube_sharded_c64_vs_raw", statistics.median(ratios), conditions)


async def writes(server: StartableServer) -> Figure:
    """API writes per trivial Execution, counted by the server."""
    async with client_of(server) as client:
        await load.run_batch(client, "trivial", concurrency=4, count=20)
        await asyncio.sleep(0.5)
        before = executions_written(server.metrics())
        await load.run_batch(client, "trivial", concurrency=4, count=200)
        await asyncio.sleep(0.5)
        written = executions_written(server.metrics()) - before
    return figure("writes_sharded", written / 200, "200 Executions, 2 replicas, counted by the server")


def requests_of(server: StartableServer) -> float:
    """Return how many requests about Executions, Functions and Leases a kube-apiserver has counted."""
    wanted = re.compile(r'apiserver_request_total\{.*resource="(executions|functions|leases)".*\} (\S+)$', re.MULTILINE)
    return sum(float(found[2]) for found in wanted.finditer(server.metrics()))


def idle_requests(folder: Path) -> Figure:
    """Requests of two replicas that have nothing to do, with the default times of Leases."""
    server = startable("kube", folder / "idle")
    server.start()
    try:
        before = requests_of(server)
        time.sleep(IDLE_S)
        others = requests_of(server) - before
        times = ("--lease-duration", "40", "--lease-renew", "10")
        with replicas(folder, server.kubeconfig, APP, ROOT, "i-0", "i-1", options=times):
            time.sleep(5)
            before = requests_of(server)
            time.sleep(IDLE_S)
            counted = requests_of(server) - before - others
    finally:
        server.stop()
    conditions = (
        f"2 replicas, Leases of 40 s renewed every 10 s, one of them leads, counted by kube-apiserver for {IDLE_S:g} s"
    )
    return figure("idle_requests_per_replica_per_min", counted / 2 * 60 / IDLE_S, conditions)


async def recovery(name: str, server: StartableServer, pair: list[Replica], rounds: int) -> Figure:
    """From the signal until the Execution that the replica ran runs again."""
    number, conditions = _FAULTS[name]
    delays_s = []
    async with client_of(server) as client:
        for turn in range(rounds):
            # In turn, so that in half of the rounds it is the leader that goes.
            victim, other = (pair, pair[::-1])[turn % 2]
            execution = await _running_on(client, victim)
            known = {replica: replica.log.stat().st_size for replica in pair}
            begun = time.monotonic()
            victim.signal(number)
            if name == "recovery_same_hostname_s":
                await asyncio.to_thread(victim.wait)
                victim.start(wait=False)
            async with asyncio.timeout(SOON.total_seconds()):
                while not _has_resumed(execution, (victim, other), known):  # noqa: ASYNC110 - another process' log
                    await asyncio.sleep(0.005)
            delays_s.append(time.monotonic() - begun)
            await client.cancel(execution)
            if name != "recovery_same_hostname_s":
                await asyncio.to_thread(victim.wait)
                await asyncio.to_thread(victim.start, same_pod=False)
            else:
                await asyncio.to_thread(victim.wait_for, "worker ready", since=known[victim])
    return figure(name, statistics.median(delays_s), f"median of {rounds}, {conditions}")


_KNOWN_BY = f"known by its Lease alone, which lasts {LEASE_S} s (renewed every {RENEW_S:g} s)"
_FAULTS = {
    "recovery_killed_replica_s": (signal.SIGKILL, f"SIGKILL of a replica, {_KNOWN_BY}, until its Execution runs again"),
    "recovery_sigterm_s": (
        signal.SIGTERM,
        "SIGTERM of a replica with a grace of 0.5 s for running code, until its Execution runs elsewhere",
    ),
    "recovery_same_hostname_s": (
        signal.SIGKILL,
        "SIGKILL of a replica that is started again at once in its pod, until its Execution runs there again",
    ),
}
NAMES = {
    "local": ("writes_sharded", *_FAULTS),
    "kube": ("kube_sharded_c64_vs_raw", "idle_requests_per_replica_per_min"),
}


async def _running_on(client: Client, replica: Replica) -> str:
    while True:
        handle = await client.spawn("burn", {"ms": BURN_MS}, result=int)
        while (owner := (await client.get(handle.name)).status.owner) is None:  # noqa: ASYNC110 - written soon
            await asyncio.sleep(0.02)
        if owner.shard == replica.shard:
            return handle.name
        await client.cancel(handle.name)


def _has_resumed(execution: str, pair: tuple[Replica, ...], known: dict[Replica, int]) -> bool:
    return any(
        line["execution"] == execution
        for replica in pair
        for line in replica.events("resumed running", since=known[replica])
    )


def measure(kind: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure with two replicas of one sync runner each."""
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as name:
        folder = Path(name)
        if set(wanted) - {"idle_requests_per_replica_per_min"}:
            with sharded(kind, folder) as (server, pair):
                if "kube_sharded_c64_vs_raw" in wanted:
                    yield uvloop.run(versus_raw(server, rounds))
                if "writes_sharded" in wanted:
                    yield uvloop.run(writes(server))
                for fault in _FAULTS:
                    if fault in wanted:
                        yield uvloop.run(recovery(fault, server, pair, max(4, rounds)))
        if "idle_requests_per_replica_per_min" in wanted:
            yield idle_requests(folder)
