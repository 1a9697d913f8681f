"""What Pods print, where nothing runs them: a node that a real kube-apiserver asks, or the files of the local server.

``FakeKubelet`` serves ``/containerLogs`` over HTTPS as a kubelet does, to kube-apiserver, which finds it by a Node; it
runs nothing. ``LogFiles`` writes what ``kontinue dev`` writes. Both have the same methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from api import unique
from api_server import ApiServer
from kontinue.errors import Conflict
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.apiserver.main import POD_LOGS
from kontinue_engine.apiserver.pod_logs import file_name, stamped
from kontinue_engine.apiserver.server import LocalServer

NODES = requests.Resource("", "v1", "nodes", "Node", namespaced=False)


class LogFiles:
    """Logs of Pods of the local server."""

    def __init__(self, server: ApiServer, local: LocalServer | None) -> None:
        self._folder = server.kubeconfig.parent / POD_LOGS
        self._namespace = server.namespace
        self._local = local

    async def take(self, pod: str) -> None:
        """Have a Pod: its log is there, and empty."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / file_name(self._namespace, pod)).touch()

    async def print(self, pod: str, *lines: str) -> None:
        """Print lines."""
        with (self._folder / file_name(self._namespace, pod)).open("ab") as file:
            file.writelines(stamped(line.encode(), datetime.now(UTC)) + b"\n" for line in lines)

    async def cut(self) -> None:
        """Break off every connection to the server, which is one of this process."""
        assert self._local is not None
        for connection in tuple(self._local._connections):
            connection.abort()


class FakeKubelet:
    """A node of a real control plane."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self.node = unique("node")
        self.connections = 0
        """Logs that are being followed."""
        self._transport = transport
        self._namespace = namespace
        self._lines: defaultdict[str, list[bytes]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._cuts = 0

    async def take(self, pod: str) -> None:
        """Have a Pod: it is bound to this node."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod},
            "target": {"kind": "Node", "name": self.node},
        }
        with contextlib.suppress(Conflict):
            await self._transport.send(
                requests.create(requests.PODS, self._namespace, body, subresource="binding", name=pod)
            )

    async def print(self, pod: str, *lines: str) -> None:
        """Print lines."""
        async with self._changed:
            self._lines[pod] += [stamped(line.encode(), datetime.now(UTC)) + b"\n" for line in lines]
            self._changed.notify_all()

    async def cut(self) -> None:
        """Break off every log that is followed."""
        async with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[FakeKubelet]:
        """Be a Node until the block is left."""
        context = await asyncio.to_thread(_certificate, folder)
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        await self._transport.send(requests.create(NODES, "", {"metadata": {"name": self.node}}))
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        await self._transport.send(requests.merge_patch(NODES, "", self.node, {"status": status}, subresource="status"))
        try:
            yield self
        finally:
            await self._transport.send(requests.delete(NODES, "", self.node))
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        pod, query = request.match_info["pod"], request.query
        lines = self._lines[pod]
        start = 0
        if since := query.get("sinceTime"):
            begin = stamped(b"", datetime.fromisoformat(since))
            start = next((at for at, line in enumerate(lines) if line >= begin), len(lines))
        if tail := query.get("tailLines"):
            start = max(start, len(lines) - int(tail))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        cuts = self._cuts
        self.connections += 1
        try:
            while True:
                for line in lines[start:]:
                    await response.write(line if query.get("timestamps") == "true" else line.partition(b" ")[2])
                start = len(lines)
                if query.get("follow") != "true" or await self._has_ended(pod):
                    return response
                if request.transport is None:  # whoever has asked is gone
                    return response
                if self._cuts > cuts:
                    request.transport.abort()
                    return response
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2), self._changed:
                        await self._changed.wait()
        finally:
            self.connections -= 1

    async def _has_ended(self, pod: str) -> bool:
        found: dict[str, Any] = json.loads(
            await self._transport.send(requests.get(requests.PODS, self._namespace, pod))
        )
        return found["status"]["phase"] in {"Succeeded", "Failed"}


@contextlib.asynccontextmanager
async def pod_printer(
    server: ApiServer, transport: Transport, folder: Path, *, local: LocalServer | None = None
) -> AsyncIterator[LogFiles | FakeKubelet]:
    """Return what Pods of the server print through; ``local`` is the local server itself, if it is to be cut off."""
    if server.ca_file is None:
        yield LogFiles(server, local)
        return
    async with FakeKubelet(transport, server.namespace).serving(folder) as kubelet:
        yield kubelet


def _certificate(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kubelet", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
