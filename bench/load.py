"""Load on a cluster: clients that spawn Executions and read their results, so many at a time."""

from __future__ import annotations

import asyncio
import statistics
import time

from cluster import Cluster
from kontinue.client import Client, ClientOptions


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
