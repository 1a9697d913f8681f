"""Ends Jobs and Pods as a kubelet would. A real API server has its Job controller; on the local one we play it, too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from api import PATIENCE_S
from api_server import ApiServer
from kontinue.api import labels
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.kube import played_jobs
from kontinue_engine.kube.jobs import CONTROLLER_UID


async def started(transport: Transport, namespace: str, resource: Resource, *, count: int = 1) -> list[dict[str, Any]]:
    """Wait until Executions have started so many Jobs or Pods, and return them, oldest first."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await owned(transport, namespace, resource)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def owned(transport: Transport, namespace: str, resource: Resource) -> list[dict[str, Any]]:
    """Return the Jobs or Pods that Executions have started, oldest first."""
    found = await listed(transport, namespace, resource, labels.PARENT_GROUP)
    return sorted(found, key=lambda one: int(one["metadata"]["resourceVersion"]))


async def listed(transport: Transport, namespace: str, resource: Resource, selector: str) -> list[dict[str, Any]]:
    """Return the objects of one kind with these labels."""
    request = requests.list_objects(resource, namespace, label_selector=selector)
    items: list[dict[str, Any]] = msgspec.json.decode(await transport.send(request))["items"]
    return items


async def pod_of(server: ApiServer, transport: Transport, job: dict[str, Any]) -> str:
    """Return the name of the Pod of a Job, once there is one."""
    if server.ca_file is None:
        return await played_jobs.start_pod(transport, namespace=server.namespace, job=job, number=1)
    selector = f"{CONTROLLER_UID}={job['metadata']['uid']}"
    async with asyncio.timeout(PATIENCE_S):
        while not (pods := await listed(transport, server.namespace, requests.PODS, selector)):
            await asyncio.sleep(0.02)
    return str(pods[0]["metadata"]["name"])


async def end_job(
    server: ApiServer, transport: Transport, job: dict[str, Any], *, exit_code: int = 0, message: str = ""
) -> None:
    """Have the only Pod of a Job end, and the Job with it."""
    pod = await pod_of(server, transport, job)
    await end_pod(transport, server.namespace, pod, exit_code=exit_code, message=message)
    if server.ca_file is None:
        await played_jobs.end_job(
            transport,
            namespace=server.namespace,
            name=job["metadata"]["name"],
            succeeded=exit_code == 0,
            reason="" if exit_code == 0 else "BackoffLimitExceeded",
            message="" if exit_code == 0 else "Job has reached the specified backoff limit",
            now=datetime.now(UTC),
        )


async def end_pod(
    transport: Transport, namespace: str, name: str, *, exit_code: int = 0, message: str = "", container: str = "main"
) -> None:
    """Have the containers of a Pod end."""
    ended = played_jobs.Ended(name=container, exit_code=exit_code, message=message)
    await played_jobs.end_pod(transport, namespace=namespace, name=name, containers=[ended], now=datetime.now(UTC))
