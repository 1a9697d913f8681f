"""Everything that faults strike: an API server, a coordinator, clients; and the ledger that sees it from outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from kontinue import errors
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.sync import Holder
from looked_after import World as Namespace
from primitives_chaos.book import Line, read_book
from primitives_chaos.processes import ClientProcess, Coordinator, client_processes
from startable import StartableServer, startable

NAMESPACE = "default"


class World:
    """Built by ``running_world``.

    Attributes:
        server: the API server.
        coordinator: the only one.
        clients: processes.
        client: nobody strikes it.
        namespace: seen by it.
        ledger: the file.
    """

    def __init__(
        self,
        server: StartableServer,
        coordinator: Coordinator,
        clients: list[ClientProcess],
        client: Client,
        ledger: Path,
    ) -> None:
        self.server = server
        self.coordinator = coordinator
        self.clients = clients
        self.client = client
        assert isinstance(client.kube, KubeTransport)
        self.namespace = Namespace(client.kube, NAMESPACE)
        self.ledger = ledger
        self._pods: dict[str, Holder] = {}
        self._born = 0

    def lines(self) -> list[Line]:
        """Return the ledger."""
        return list(read_book(self.ledger))

    def forget(self) -> None:
        """Begin the ledger anew: what was written so far has been judged."""
        with self.ledger.open("wb"):
            pass

    async def new_pod(self, name: str) -> Holder:
        """Return the Pod of a client's new life; that of its last one is gone."""
        if (old := self._pods.pop(name, None)) is not None:
            with contextlib.suppress(errors.NotFound):  # the answer got lost
                await self.client.kube.send(requests.delete(requests.PODS, NAMESPACE, old.name, uid=old.uid))
        while name not in self._pods:
            self._born += 1
            with contextlib.suppress(errors.Unavailable):  # one that was made nevertheless is nobody's
                self._pods[name] = await self.namespace.pod(f"{name}-{self._born}")
        return self._pods[name]


@contextlib.asynccontextmanager
async def running_world(folder: Path, server_kind: str, *, clients: int) -> AsyncIterator[World]:
    """Start everything in that folder, and end it."""
    async with contextlib.AsyncExitStack() as stack:
        server = startable(server_kind, folder)
        stack.callback(server.stop)
        await asyncio.to_thread(server.start)
        options = ClientOptions(kubeconfig=str(server.kubeconfig), qps=None, namespace=NAMESPACE)
        client = await stack.enter_async_context(Client(options))
        coordinator = Coordinator(folder, server.kubeconfig, NAMESPACE)
        running = asyncio.create_task(coordinator.run())
        stack.push_async_callback(_cancel, running)
        ledger = folder / "ledger"
        ledger.touch()
        processes = client_processes(folder, server.kubeconfig, NAMESPACE, ledger, number=clients)
        yield World(server, coordinator, await stack.enter_async_context(processes), client, ledger)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
