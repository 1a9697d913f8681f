"""What an API server can do for a bare client: the limit against which the engine is measured in the same run.

The client does what the engine must do at least for a trivial Execution: create it, and write its final status; one
watch of everything is open meanwhile, as a worker's is. Nothing is run. It is the engine's own transport, the cheapest
client at hand, so that the limit is the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import msgspec
import orjson

from bench.objects import EXECUTIONS, STATUS, execution
from kontinue.api import labels
from kontinue.kube import config, requests
from kontinue.kube.http import KubeTransport


async def trivial_rate(
    kubeconfig: str, *, namespace: str, concurrency: int, count: int, is_labelled: bool = False
) -> float:
    """Return how many times a second an Execution can be created, labelled if asked for, and its status be written.

    ``concurrency`` of them are in flight.
    """
    transport = KubeTransport(config.load_config(kubeconfig=kubeconfig), user_agent="kontinue-bench")
    try:
        listed = msgspec.json.decode(await transport.send(requests.list_objects(EXECUTIONS, namespace)))
        watch = requests.watch(EXECUTIONS, namespace, resource_version=listed["metadata"]["resourceVersion"])
        watcher = asyncio.create_task(_drain(transport, watch), name="raw watcher")
        try:
            started = time.perf_counter()
            await _write(transport, namespace, concurrency=concurrency, count=count, is_labelled=is_labelled)
            return count / (time.perf_counter() - started)
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
    finally:
        await transport.close()


async def _write(transport: KubeTransport, namespace: str, *, concurrency: int, count: int, is_labelled: bool) -> None:
    run = uuid.uuid4().hex[:8]
    left = iter(range(count))

    async def one_after_another() -> None:
        for number in left:
            name = f"raw-{run}-{number}"
            created = orjson.loads(await transport.send(requests.create(EXECUTIONS, namespace, execution(name))))
            if is_labelled:
                version = created["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version, "labels": {labels.SHARD: "w-0"}}}
                created = orjson.loads(await transport.send(requests.merge_patch(EXECUTIONS, namespace, name, patch)))
            created["status"] = STATUS
            await transport.send(requests.replace_status(EXECUTIONS, namespace, name, orjson.dumps(created)))

    async with asyncio.TaskGroup() as tasks:
        for number in range(concurrency):
            tasks.create_task(one_after_another(), name=f"raw-{number}")


async def _drain(transport: KubeTransport, watch: requests.Request) -> None:
    async for _ in transport.stream(watch):
        pass
