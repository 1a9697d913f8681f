"""Kill -9 of anything at any moment: nothing is lost, and no step is recorded twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster import Cluster
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions, ExecutionHandle

ROUNDS = {"local": 200, "kube": 30}
"""A real server needs seconds to come back. KONTINUE_CHAOS_ROUNDS overrides either."""
IN_FLIGHT = 6
VICTIMS = ("runner", "runner", "worker", "server")


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_nothing_is_lost_and_no_step_is_recorded_twice_whatever_is_killed(
    tmp_path: Path, server_kind: str
) -> None:
    """Under load, runner, worker or API server die at random moments; every Execution ends with what it recorded."""
    rng = random.Random(20)
    rounds = int(os.environ.get("KONTINUE_CHAOS_ROUNDS") or ROUNDS[server_kind])
    options = ("--sync-runners", "2", "--crash-budget", "50")  # a slow machine is struck more often between records
    folder = Path(__file__).parent
    with Cluster(tmp_path, "chaos_app:app", app_dir=folder, server=server_kind, worker_options=options) as cluster:
        client_options = ClientOptions(kubeconfig=str(cluster.kubeconfig), qps=None, namespace="default")
        async with Client(client_options) as client:
            finished: list[Execution] = []
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                for number in range(IN_FLIGHT):
                    tasks.create_task(keep_busy(client, number, stop, finished))
                for _ in range(rounds):
                    await asyncio.sleep(rng.uniform(0.05, 0.6))
                    await strike(cluster, rng)
                stop.set()
            assert len(finished) >= IN_FLIGHT
            everything = await client.list()
    for execution in everything:
        assert execution.phase is Phase.COMPLETED, f"{execution.metadata.name}: {execution.status.message}"
        check_records(execution)
    for execution in finished:
        assert msgspec.json.decode(execution.status.result) == values_of(execution)


async def keep_busy(client: Client, number: int, stop: asyncio.Event, finished: list[Execution]) -> None:
    """Spawn one tree after the other and wait for each."""
    seed = number
    while not stop.is_set():
        seed += IN_FLIGHT
        handle: ExecutionHandle[Any] = await client.spawn("tree", {"seed": seed})
        finished.append(await handle.wait(timeout=timedelta(seconds=180)))


async def strike(cluster: Cluster, rng: random.Random) -> None:
    """Kill one process; restart what nobody else restarts."""
    victim = rng.choice(VICTIMS)
    if victim == "runner":
        if pids := cluster.runner_pids():
            cluster.kill(rng.choice(pids), signal.SIGKILL)
        return
    if victim == "worker":
        cluster.kill_worker()
        await asyncio.to_thread(cluster.start_worker)
    else:
        cluster.server.kill()
        await asyncio.to_thread(cluster.server.start)


def check_records(execution: Execution) -> None:
    """Every record stands once, in an order without gaps."""
    if execution.status.state is msgspec.UNSET:
        return
    records = msgspec.json.decode(execution.status.state)["records"]
    ids = [record["id"] for record in records]
    assert len(set(ids)) == len(ids), f"{execution.metadata.name} has recorded a step twice: {ids}"
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))


def values_of(execution: Execution) -> list[str]:
    """Return what the records say that the function saw, in the order of the calls."""
    records = msgspec.json.decode(execution.status.state)["records"]
    values: list[str] = []
    for record in sorted(records, key=lambda one: [int(part) for part in one["id"].split(".") if part.isdigit()]):
        if record["kind"] == "timer":
            continue
        values += record["value"] if isinstance(record["value"], list) else [record["value"]]
    return values
