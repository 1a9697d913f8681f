"""A namespace whose primitives a coordinator looks after, in the test or as a process; and what they are held by."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from api_server import ApiServer
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Resource
from kontinue.sync import Holder, HolderKind, Mutex, Once, RWMutex, WaitGroup
from kontinue_engine.arbiter.process import USER_AGENT, look_after_all
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.events import EventRecorder
from startable import StartableServer


class LosesAnswers:
    """A transport that sends a DELETE again, as if the first answer had got lost."""

    def __init__(self, inner: KubeTransport) -> None:
        self._inner = inner
        self.stream, self.chunks = inner.stream, inner.chunks

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        """Send it; the answer is the last one."""
        if request.method == "DELETE":
            await self._inner.send(request, **options)
        return await self._inner.send(request, **options)


class World:
    """A namespace, seen by a user.

    Attributes:
        transport: to its API server.
        namespace: its name.
        client: kontinue's.
    """

    def __init__(self, transport: KubeTransport, namespace: str) -> None:
        self.transport = transport
        self.namespace = namespace
        self.client = Client.from_kube(transport, namespace)

    async def group(self, name: str, *, ttl: timedelta | None = None) -> WaitGroup:
        """Create a WaitGroup."""
        group = WaitGroup(name, self.client)
        await group.create(ttl=ttl)
        return group

    async def mutex(self, name: str, *, ttl: timedelta | None = None) -> Mutex:
        """Create a Mutex."""
        mutex = Mutex(name, self.client)
        await mutex.create(ttl=ttl)
        return mutex

    async def rw_mutex(self, name: str) -> RWMutex:
        """Create an RWMutex."""
        mutex = RWMutex(name, self.client)
        await mutex.create()
        return mutex

    async def once(self, name: str, *, ttl: timedelta | None = None) -> Once:
        """Create a Once."""
        once = Once(name, self.client)
        await once.create(ttl=ttl)
        return once

    async def create(self, resource: Resource, name: str, spec: dict[str, Any]) -> Holder:
        """Create a Pod or an Execution; return it as a holder."""
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "spec": spec,
        }
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
        await self.patch_status(resource, name, {"phase": phase})

    async def patch_status(self, resource: Resource, name: str, status: dict[str, Any]) -> None:
        """Write some fields of a status, as anybody may who has the right."""
        patch = {"status": status}
        await self.transport.send(requests.merge_patch(resource, self.namespace, name, patch, subresource="status"))

    async def events(self, reason: str) -> list[str]:
        """Return the messages of Events."""
        body = await self.transport.send(requests.list_objects(requests.EVENTS, self.namespace))
        return [one["message"] for one in json.loads(body)["items"] if one["reason"] == reason]

    @contextlib.asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """Have a coordinator work meanwhile."""
        clock = SystemClock()
        events = EventRecorder(self.transport, component=USER_AGENT, instance="test", clock=clock)
        looking = look_after_all(self.transport, self.namespace, events, clock)
        tasks = [asyncio.create_task(one) for one in (events.run(), looking)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def start_coordinator(api_server: ApiServer | StartableServer, *options: str) -> asyncio.subprocess.Process:
    """Start a coordinator as a process, which gives way within seconds when it dies; return once it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kontinue_engine.arbiter", "--kubeconfig", str(api_server.kubeconfig)),
        *("--lease-duration", "7", "--lease-renew", "0.5", *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"coordinator ready" not in (line := await process.stdout.readline()):
        assert line, "the coordinator has ended"
    return process
