"""Two API servers, one behaviour: every test here runs against the local server and a real kube-apiserver.

Each runs as processes of its own for the whole session; a test gets a namespace of its own and must leave nothing
cluster-wide behind that another test could meet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api import Api, unique
from servers import Server


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client of the server in a new namespace."""
    client = Api(server.url, server.token, namespace=unique("test"), ca_file=server.ca_file)
    status, body = await client.send("POST", "/api/v1/namespaces", {"metadata": {"name": client.namespace}})
    assert status == 201, body
    yield client
    await client.close()
    server.leave(client.namespace)
