"""What tests of several replicas share: a server of the module's own, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kontinue.client import Client, ClientOptions
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from replica import Replica, replicas
from startable import StartableServer, startable

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def own_server(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartableServer]:
    """An API server that no other module uses: its replicas come and go in the namespace default."""
    one = startable(server_kind, tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
async def client(own_server: StartableServer) -> AsyncIterator[Client]:
    """A client that nothing slows down."""
    async with Client(ClientOptions(kubeconfig=str(own_server.kubeconfig), qps=None)) as one:
        yield one


@pytest.fixture
async def transport(own_server: StartableServer) -> AsyncIterator[KubeTransport]:
    """For Leases, labels, and objects that no client creates."""
    one = KubeTransport(load_config(kubeconfig=str(own_server.kubeconfig)), user_agent="tests")
    yield one
    await one.close()


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, own_server: StartableServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas of the app that the module names as ``APP``; the first one leads."""
    folder, app = tmp_path_factory.mktemp("replicas"), request.module.APP
    with replicas(folder, own_server.kubeconfig, app, HERE, "w-0") as [first]:
        first.wait_for("leading")
        with replicas(folder, own_server.kubeconfig, app, HERE, "w-1") as [second]:
            yield first, second
