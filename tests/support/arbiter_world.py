"""A namespace as a user of primitives sees it, and a coordinator that works there for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from api_server import ApiServer
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Resource
from kontinue.sync import Holder, HolderKind
from kontinue_engine.arbiter.process import USER_AGENT
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.events import EventRecorder


class ArbiterWorld:
    """A namespace.

    Attributes:
        transport: to its API server.
        namespace: its name.
        client: kontinue's.
    """

    def __init__(self, transport: KubeTransport, namespace: str) -> None:
        self.transport = transport
        self.namespace = namespace
        self.client = Client.from_kube(transport, namespace)

    async def create(self, resource: Resource, name: str, spec: dict[str, Any]) -> Holder:
        """Create a Pod or an Execution; return it as a holder."""
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
        created = json.loads(await self.transport.send(requests.create(resource, self.namespace, body)))
        return Holder(kind=HolderKind(resource.kind), name=name, uid=created["metadata"]["uid"])

    async def pod(self, name: str) -> Holder:
        """Create a Pod that nobody runs."""
        spec = {"containers": [{"name": "main", "image": "worker"}], "terminationGracePeriodSeconds": 0}
        return await self.create(requests.PODS, name, spec)

    async def execution(self, name: str) -> Holder:
        """Create an Execution that nobody runs."""
        return await self.create(requests.EXECUTIONS, name, {"function": "work"})

    async def set_phase(self, resource: Resource, name: str, phase: str) -> None:
        """Write a phase, as a kubelet or a worker does."""
        patch = {"status": {"phase": phase}}
        await self.transport.send(requests.merge_patch(resource, self.namespace, name, patch, subresource="status"))

    async def events(self, reason: str) -> list[str]:
        """Return the messages of Events."""
        body = await self.transport.send(requests.list_objects(requests.EVENTS, self.namespace))
        return [one["message"] for one in json.loads(body)["items"] if one["reason"] == reason]

    @contextlib.asynccontextmanager
    async def looked_after(self, *controllers: Any) -> AsyncIterator[None]:
        """Have controllers of these classes work meanwhile, as a coordinator that has the Lease."""
        clock = SystemClock()
        events = EventRecorder(self.transport, component=USER_AGENT, instance="test", clock=clock)
        made = [one(self.transport, namespace=self.namespace, events=events, clock=clock) for one in controllers]
        tasks = [asyncio.create_task(one.run()) for one in (events, *made)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def start_coordinator(api_server: ApiServer) -> asyncio.subprocess.Process:
    """Start a coordinator as a process, which gives way within seconds when it dies; return once it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kontinue_engine.arbiter", "--kubeconfig", str(api_server.kubeconfig)),
        *("--lease-duration", "7", "--lease-renew", "0.5"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"coordinator ready" not in (line := await process.stdout.readline()):
        assert line, "the coordinator has ended"
    return process
