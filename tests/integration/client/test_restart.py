"""A client outlives its API server: what it waits for and what it sends survive a restart."""

import asyncio
import json

import pytest

from colours import COLOURS, client_of
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue.client import ClientOptions
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import EXECUTIONS, FUNCTIONS

pytestmark = pytest.mark.slow


@pytest.fixture
async def server(restartable_server):
    """The server, started."""
    await asyncio.to_thread(restartable_server.start)
    return restartable_server


@pytest.fixture
async def kube(server):
    """A transport to it, and a Function to spawn."""
    transport = KubeTransport(load_config(kubeconfig=server.kubeconfig), user_agent="tests")
    function = Function(metadata=ObjectMeta(name="f"), spec=FunctionSpec(name="f", worker_group="g"))
    await transport.send(requests.create(FUNCTIONS, "default", function))
    yield transport
    await transport.close()


@pytest.fixture(params=COLOURS)
async def client(request, server, kube):
    """A client without throttling."""
    async with client_of(request.param, ClientOptions(kubeconfig=str(server.kubeconfig), qps=None)) as subject:
        yield subject


async def complete(kube, name):
    body = json.loads(await kube.send(requests.get(EXECUTIONS, "default", name)))
    body["status"] = {"phase": "Completed", "result": name}
    await kube.send(requests.replace_status(EXECUTIONS, "default", name, json.dumps(body).encode()))


async def test_waits_and_spawns_survive_the_death_of_the_server(server, kube, client):
    """Waits find ends before and after it; a spawn sent meanwhile is created once."""
    handles = [await client.spawn("f", result=str) for _ in range(3)]
    waiting = asyncio.gather(*(handle.result() for handle in handles))
    await asyncio.sleep(0.05)
    await complete(kube, handles[0].name)
    await asyncio.to_thread(server.kill)
    spawning = asyncio.ensure_future(client.spawn("f", result=str))
    await asyncio.sleep(0.1)
    assert not spawning.done()
    await asyncio.to_thread(server.start)
    late = await spawning
    for handle in (*handles[1:], late):
        await complete(kube, handle.name)
    async with asyncio.timeout(60):
        assert await waiting == [handle.name for handle in handles]
        assert await late.result() == late.name
    assert len(await client.list()) == 4


@pytest.mark.parametrize("client", ["async"], indirect=True)  # in threads it would only take longer
async def test_waits_survive_a_server_that_has_forgotten_where_they_were(server, kube, client):
    """A real one answers 410 after a restart, if anything was written since: everything waited for is read again."""
    handles = [await client.spawn("f", result=str) for _ in range(2)]
    waiting = asyncio.gather(*(handle.result() for handle in handles))
    await complete(kube, handles[0].name)
    await asyncio.sleep(0.2)
    for number in range(3):
        config_map = {"metadata": {"name": f"c-{number}"}, "data": {}}
        path = "/api/v1/namespaces/default/configmaps"
        await kube.send(requests.Request("POST", path, body=json.dumps(config_map).encode()))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await complete(kube, handles[1].name)
    async with asyncio.timeout(60):
        assert await waiting == [handle.name for handle in handles]
