"""What tests of several replicas share: a server of the module's own, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from kontinue.client import Client, ClientOptions
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from startable import StartableServer, startable


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
