"""Everything that faults strike, and what watches it: an API server, three pods, a client, the ledger, the observer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from chaos.app import GROUP, LEDGER, LIMITS
from chaos.ledger import Ledger, served
from chaos.observer import Observer, SeenExecution
from chaos.pods import Pod
from kontinue import errors
from kontinue.api.meta import Lease
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from kontinue_engine.kube.informer import Informer
from kontinue_engine.sharding.leases import holder_of, leader_lease_name
from startable import KubeStartable, LocalStartable, StartableServer, startable

SHARDS = ("w-0", "w-1", "w-2")
NAMESPACE = "default"
READY_S = 120.0
POLL_S = 0.02

_decode_lease = msgspec.json.Decoder(Lease).decode


class World:
    """Built by ``running_world``."""

    def __init__(self, server: StartableServer, pods: list[Pod], client: Client, ledger: Ledger) -> None:
        self.server = server
        self.pods = pods
        self.client = client
        self.ledger = ledger
        self.observer = Observer()

    def process_of(self, program: str) -> subprocess.Popen[bytes]:
        """Return the process of ``apiserver`` or ``etcd``."""
        match self.server:
            case KubeStartable(plane=plane) if plane is not None:
                return plane.processes["etcd" if program == "etcd" else "kube-apiserver"]
            case LocalStartable(process=process) if process is not None:
                return process
        raise AssertionError(f"{program} does not run")

    async def start_program(self, program: str) -> None:
        """Start ``apiserver`` or ``etcd`` again on its data."""
        if program == "etcd":
            assert isinstance(self.server, KubeStartable)
            assert self.server.plane is not None
            await asyncio.to_thread(self.server.plane.start_etcd)
        else:
            await asyncio.to_thread(self.server.start)

    async def leader(self, *, other_than: str = "") -> Pod:
        """Return the pod whose process leads, as soon as one does; never that of the given incarnation."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            holder = await self._leader_lease()
            if holder is not None:
                identity = holder_of(holder)
                for pod in self.pods:
                    if pod.shard == identity.shard and pod.pid == identity.pid and identity.incarnation != other_than:
                        return pod
            await asyncio.sleep(POLL_S)
        raise TimeoutError(f"nobody leads for {READY_S:.0f} s")

    async def incarnation_of_leader(self) -> str:
        """Return who leads, or led last."""
        lease = await self._leader_lease()
        return "" if lease is None else holder_of(lease).incarnation

    async def _leader_lease(self) -> Lease | None:
        try:
            return _decode_lease(
                await self.client.kube.send(requests.get(requests.LEASES, NAMESPACE, leader_lease_name(GROUP)))
            )
        except errors.ApiError:
            return None

    async def all_ready(self) -> None:
        """Wait until every replica takes work."""
        await until(lambda: all(pod.is_ready for pod in self.pods), READY_S, "all replicas are ready")


async def until(holds: Callable[[], bool], limit_s: float, what: str) -> None:
    """Poll until it holds.

    Raises:
        TimeoutError: it does not within ``limit_s``.
    """
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_s:.0f} s in vain until {what}")
        await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def running_world(folder: Path, server_kind: str) -> AsyncIterator[World]:
    """Start it in that folder, wait until all replicas are ready, and end it."""
    ledger = Ledger(LIMITS)
    async with contextlib.AsyncExitStack() as stack:
        server = startable(server_kind, folder)
        stack.callback(server.stop)
        os.environ[LEDGER] = str(await stack.enter_async_context(served(ledger)))
        await asyncio.to_thread(server.start)
        pods = [Pod(folder, server.kubeconfig, shard) for shard in SHARDS]
        options = ClientOptions(kubeconfig=str(server.kubeconfig), qps=None, namespace=NAMESPACE)
        client = await stack.enter_async_context(Client(options))
        world = World(server, pods, client, ledger)
        informer = Informer(client.kube, requests.EXECUTIONS, NAMESPACE, type_=SeenExecution, handler=world.observer)
        tasks = [asyncio.create_task(work) for work in (informer.run(), *(pod.run() for pod in pods))]
        stack.push_async_callback(_cancel, tasks)
        await world.all_ready()
        yield world


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
