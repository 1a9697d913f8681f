"""A plain HTTP client for any Kubernetes API server: bodies in, (status, JSON) out. It knows nothing of our code."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATIENCE_S = 60.0
"""How long something asynchronous (garbage collection, a namespace's end) may take on a busy machine."""


class Api:
    """Sends requests and reads watches, as one user, mostly in one namespace.

    Attributes:
        url: address of the server.
        token: what it shows who it is by.
        namespace: what ``path`` puts objects into.
        headers: those of the last answer.
    """

    def __init__(self, url: str, token: str, *, namespace: str = "default", ca_file: Path | None = None) -> None:
        self.url = url
        self.token = token
        self.namespace = namespace
        context: Any = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(limit=0, ssl=context)
        )
        self.headers: Any = {}

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def path(self, plural: str, name: str = "", subresource: str = "", *, namespace: str | None = None) -> str:
        """Return the path of a namespaced collection or object.

        Args:
            plural: ``configmaps``, or with group and version for others than v1:
                ``kontinue.cloud/v1alpha1/executions``.
            name: of the object; none: the collection.
            subresource: ``status`` and the like.
            namespace: another one than that of this client; "": all of them.
        """
        prefix, _, last = plural.rpartition("/")
        base = f"/apis/{prefix}" if prefix else "/api/v1"
        where = self.namespace if namespace is None else namespace
        parts = [base, f"namespaces/{where}" if where else "", last, name, subresource]
        return "/".join(part for part in parts if part)

    async def send(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """Send a request; bytes go out as they are, anything else as JSON. Keywords become headers."""
        # A file, because aiohttp warns of large bytes.
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
        sent = {**({"Content-Type": content_type} if content_type else {}), **headers}
        async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
            text = await response.read()
            if await _waited_for_cache(response):
                return await self.send(method, path, body, content_type=content_type, **headers)
            self.headers = response.headers
            is_json = text and response.content_type == "application/json"  # a HEAD has no text
            return response.status, orjson.loads(text) if is_json else text

    async def watch(self, path: str, **headers: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it; ``path`` carries ``watch=true`` and the rest."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self.url + path, timeout=timeout, read_bufsize=2**22, headers=headers) as response:
            if await _waited_for_cache(response):
                async for event in self.watch(path, **headers):
                    yield event
                return
            assert response.status == 200, await response.text()
            try:
                async for line in response.content:
                    yield orjson.loads(line)
            finally:
                # Left before its end: an orderly end of TLS would outlast the event loop of a test.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    async def eventually(
        self, path: str, wanted: int | Callable[[Any], bool], *, patience_s: float = PATIENCE_S
    ) -> Any:
        """Poll until ``path`` answers with the status ``wanted``, or with 200 and a body for which it is true."""
        status, body = 0, None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while True:
                    status, body = await self.send("GET", path)
                    if status == wanted if isinstance(wanted, int) else status == 200 and wanted(body):
                        return body
                    await asyncio.sleep(0.02)
        raise AssertionError(f"GET {path} never answered as wanted, last {status} {body}")


async def _waited_for_cache(response: aiohttp.ClientResponse) -> bool:
    """Tell whether a real server starts its cache anew, as after a change of a CRD; wait as long as it asks for."""
    if response.status != 429 or b"(re)initializing" not in await response.read():
        return False
    await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
    return True


def execution(name: str = "", *, metadata: Any = None, spec: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a small Execution."""
    return {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "metadata": {**({"name": name} if name else {}), **(metadata or {})},
        "spec": {"function": "hello", **(spec or {})},
        **fields,
    }


def unique(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


async def cells(api: Api, path: str) -> dict[str, Any]:
    """Return what a table shows of an object, without its name, age and wide columns."""
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    columns = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    return {
        column["name"]: cell
        for column, cell in columns
        if not column["priority"] and column["name"] not in {"Name", "Age"}
    }
