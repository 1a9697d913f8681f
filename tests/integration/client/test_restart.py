"""A client outlives its API server: what it waits for and what it sends survive a restart."""

import asyncio
import json

import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import EXECUTIONS, FUNCTIONS
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.sqlite_storage import SqliteStorage

TOKEN = "test-token"


@pytest.fixture
async def start(tmp_path, unused_tcp_port):
    """Start the server, or start it again: always on one port and one file."""

    def server():
        return LocalServer(SqliteStorage(tmp_path / "state.db"), token=TOKEN, port=unused_tcp_port)

    return server


async def complete(kube, name):
    body = json.loads(await kube.send(requests.get(EXECUTIONS, "default", name)))
    body["status"] = {"phase": "Completed", "result": name}
    await kube.send(requests.replace_status(EXECUTIONS, "default", name, json.dumps(body).encode()))


async def test_waits_and_spawns_survive_a_restart_of_the_server(start):
    """Waits find ends before and after it; a spawn sent meanwhile is created once."""
    async with start() as server:
        config = KubeConfig(server=server.url, token=TOKEN)
    kube = KubeTransport(config, user_agent="tests")
    async with Client.from_kube(kube, "default") as client:
        async with start():
            function = Function(metadata=ObjectMeta(name="f"), spec=FunctionSpec(name="f", worker_group="g"))
            await kube.send(requests.create(FUNCTIONS, "default", function))
            handles = [await client.spawn("f", result=str) for _ in range(3)]
            waiting = asyncio.gather(*(handle.result() for handle in handles))
            await asyncio.sleep(0.05)
            await complete(kube, handles[0].name)
        spawning = asyncio.ensure_future(client.spawn("f", result=str))
        await asyncio.sleep(0.1)
        assert not spawning.done()
        async with start():
            late = await spawning
            for handle in (*handles[1:], late):
                await complete(kube, handle.name)
            async with asyncio.timeout(20):
                assert await waiting == [handle.name for handle in handles]
                assert await late.result() == late.name
            assert len(await client.list()) == 4
            # Before the server goes: its stop waits for connections in use.
            await client.close()
            await kube.close()
