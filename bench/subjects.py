"""An API server as a process of its own, the CPU and memory that it takes, and the cheapest ways to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import kube
from kontinue.kube import config
from kontinue.kube.http import KubeTransport
from startable import KubeStartable, StartableServer, startable

IN_FLIGHT = 32
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LINE_BYTES = 2**18


class Subject:
    """A server that has been started, and what it uses: of a real control plane kube-apiserver and etcd together."""

    def __init__(self, server: StartableServer) -> None:
        self.kubeconfig = server.kubeconfig
        self._access = kube.read_kubeconfig(server.kubeconfig)
        self._tls = ssl.create_default_context(cadata=self._access.ca_pem) if self._access.ca_pem else None
        self._pids = [server.pid]
        if isinstance(server, KubeStartable) and server.plane is not None:
            self._pids.append(server.plane.processes["etcd"].pid)

    @property
    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        return sum(sum(map(int, stat(pid)[11:13])) for pid in self._pids) / TICKS_PER_S

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        return sum(int(stat(pid)[21]) for pid in self._pids) * PAGE_BYTES

    @contextlib.asynccontextmanager
    async def transport(self) -> AsyncIterator[KubeTransport]:
        """The engine's own client."""
        transport = KubeTransport(config.load_config(kubeconfig=str(self.kubeconfig)), user_agent="kontinue-bench")
        try:
            yield transport
        finally:
            await transport.close()

    async def open_get(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask for ``path`` on a connection of its own; what follows is the answer's body, which nobody decodes."""
        parts = urllib.parse.urlsplit(self._access.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=self._tls, limit=LINE_BYTES)
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._access.token}\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        return reader, writer


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Subject]:
    """Start the ``local`` or the real (``kube``) server on a data folder, with kontinue's CRDs, and stop it."""
    server = startable(kind, folder)
    try:
        server.start()
        yield Subject(server)
    finally:
        server.stop()


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the program's name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def at_once(tasks: int, act: Callable[[int], Awaitable[object]], count: int) -> None:
    """Call ``act`` with each number below ``count``, so many at a time."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for number in left:
            await act(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(one_after_another())
