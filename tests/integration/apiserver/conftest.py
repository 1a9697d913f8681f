"""A plain HTTP client for the local API server: bodies in, (status, JSON) out."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from server_process import ServerProcess


class Api:
    """Sends requests and reads watches."""

    executions = "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions"
    configmaps = "/api/v1/namespaces/default/configmaps"
    json_patch = "application/json-patch+json"
    merge_patch = "application/merge-patch+json"
    strategic_patch = "application/strategic-merge-patch+json"

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(limit=0)
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """Send a request; bytes go out as they are."""
        # A file, because aiohttp warns of large bytes.
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
        sent = {**({"Content-Type": content_type} if content_type else {}), **headers}
        async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
            text = await response.read()
            self.headers = response.headers
            return response.status, orjson.loads(text) if response.content_type == "application/json" else text

    async def watch(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self.url + path, timeout=timeout) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                yield orjson.loads(line)

    async def eventually(self, path: str, wanted: int) -> Any:
        """Poll until ``path`` answers with the status ``wanted``."""
        for _ in range(500):
            status, body = await self.send("GET", path)
            if status == wanted:
                return body
            await asyncio.sleep(0.01)
        pytest.fail(f"GET {path} never answered {wanted}, last {status} {body}")

    @staticmethod
    def execution(name: str, *, metadata: Any = None, spec: Any = None, **fields: Any) -> dict[str, Any]:
        """Return a small Execution."""
        return {
            "apiVersion": "kontinue.cloud/v1alpha1",
            "kind": "Execution",
            "metadata": {"name": name, **(metadata or {})},
            "spec": {"function": "hello", **(spec or {})},
            **fields,
        }


@pytest.fixture
async def api(local_server: Any) -> AsyncIterator[Api]:
    client = Api(local_server.url, local_server.token)
    yield client
    await client.close()


@pytest.fixture
def connect() -> Any:
    """Make clients of other servers than ``local_server``."""
    return Api


@pytest.fixture
def start() -> Iterator[Callable[[Path], ServerProcess]]:
    """Start servers as processes, which the test need not end."""
    running: list[ServerProcess] = []

    def begin(data_dir: Path) -> ServerProcess:
        running.append(ServerProcess(data_dir))
        return running[-1]

    yield begin
    for server in running:
        if server.is_running:
            server.stop(signal.SIGKILL)
