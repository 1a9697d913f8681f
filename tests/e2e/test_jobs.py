"""Jobs and Pods of real workers: they go on while workers die, and are deleted with what waits for them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import job_answers
from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, ExecutionHandle
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Resource
from replica import Replica, replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def worker(own_server: StartableServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The one replica, which leads."""
    folder = tmp_path_factory.mktemp("replica")
    with replicas(folder, own_server.kubeconfig, "job_app:app", HERE, "w-0") as [only]:
        only.wait_for("leading")
        yield only


@pytest.fixture
def kubelet(server_kind: str, own_server: StartableServer) -> ApiServer:
    """What ``job_answers`` has to know of the server."""
    authority = None if server_kind == "local" else Path()
    return ApiServer(url="", token="", ca_file=authority, kubeconfig=own_server.kubeconfig, namespace="default")


async def started(transport: KubeTransport, resource: Resource, run: ExecutionHandle[Any]) -> dict[str, Any]:
    """Wait for the Job or Pod of an Execution."""
    selector = f"{labels.PARENT_GROUP},{labels.PARENT}={labels.label_value(run.name)}"
    async with asyncio.timeout(SOON.total_seconds()):
        while not (found := await job_answers.listed(transport, "default", resource, selector)):
            await asyncio.sleep(0.05)
    (one,) = found
    return one


async def suspended(client: Client, run: ExecutionHandle[Any]) -> None:
    """Wait until it waits, and says so."""
    async with asyncio.timeout(SOON.total_seconds()):
        while (await client.get(run.name)).phase is not Phase.SUSPENDED:
            await asyncio.sleep(0.05)


async def test_a_job_that_ends_while_the_worker_is_dead_is_told_of_by_the_next_one(
    client: Client, transport: KubeTransport, kubelet: ApiServer, worker: Replica
) -> None:
    """There is one Job and one Pod, however many workers have waited for them."""
    run = await client.spawn("migrate", result=list[int | None])
    job = await started(transport, requests.JOBS, run)
    await suspended(client, run)
    await asyncio.to_thread(worker.kill)
    await job_answers.end_job(kubelet, transport, job, exit_code=3)
    await asyncio.to_thread(worker.start)
    pod = await started(transport, requests.PODS, run)
    await job_answers.end_pod(transport, "default", pod["metadata"]["name"])
    assert await run.result(timeout=SOON) == [3, 0]
    assert (await started(transport, requests.JOBS, run))["metadata"]["uid"] == job["metadata"]["uid"]


@pytest.mark.parametrize("is_dead", [False, True], ids=["with a worker", "while the worker is dead"])
async def test_the_job_of_a_canceled_execution_is_deleted(
    client: Client, transport: KubeTransport, worker: Replica, *, is_dead: bool
) -> None:
    """At once, or by whoever comes next."""
    run = await client.spawn("migrate_sync", result=str)
    job = await started(transport, requests.JOBS, run)
    await suspended(client, run)
    if is_dead:
        worker.signal(signal.SIGKILL)
        await asyncio.to_thread(worker.wait)
    await client.cancel(run.name)
    if is_dead:
        await asyncio.to_thread(worker.start)
    async with asyncio.timeout(SOON.total_seconds()):
        while job["metadata"]["name"] in {
            one["metadata"]["name"] for one in await job_answers.owned(transport, "default", requests.JOBS)
        }:
            await asyncio.sleep(0.05)
