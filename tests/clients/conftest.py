"""Foreign clients, unmodified: each test runs against the local server and a real kube-apiserver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from api import Api, unique
from servers import Server


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """Name of a new namespace."""
    name = unique("client")
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    server.leave(name)


@pytest.fixture
async def api(server: Server, namespace: str) -> AsyncIterator[Api]:
    """A plain client of the same namespace, to see what the foreign one has done."""
    client = Api(server.url, server.token, namespace=namespace, ca_file=server.ca_file)
    yield client
    await client.close()
