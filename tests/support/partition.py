"""A wire between a client and an API server that a test can cut: nothing is refused, nothing arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import yaml


class Wire:
    """Passes bytes on while it is not cut.

    Attributes:
        kubeconfig: reaches the server through the wire.
        connected: set once somebody has.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._whole = asyncio.Event()
        self._whole.set()
        self.connected = asyncio.Event()

    def cut(self) -> None:
        """Let nothing through; connections stay open."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through that has waited."""
        self._whole.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction of one connection."""
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def wire(kubeconfig: Path, folder: Path) -> AsyncIterator[Wire]:
    """Lay a wire to the server of a kubeconfig."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    parts = urlsplit(cluster["server"])
    one = Wire(folder / "through-the-wire")

    connections: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(this := cast("asyncio.Task[None]", asyncio.current_task()))
        one.connected.set()
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(one.carry(reader, back), one.carry(there, writer))
        finally:
            connections.discard(this)
            for end in (writer, back):
                end.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster["server"] = urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))
    one.kubeconfig.write_text(yaml.safe_dump(config))
    one.kubeconfig.chmod(0o600)
    try:
        yield one
    finally:
        one.mend()
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections)
