"""Addresses behind which nobody answers: where connections are taken, and where they are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import yaml

_QUEUED = 8
"""More connections than an address without a queue takes."""


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Take everything at a port, and say nothing."""
    writers: list[asyncio.StreamWriter] = []
    listening = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    for writer in writers:
        writer.transport.abort()


@contextlib.contextmanager
def unreachable_port() -> Iterator[int]:
    """Have a port whose queue of connections is full: who connects now waits."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(_QUEUED):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                queued.connect(listening.getsockname())
        yield listening.getsockname()[1]


def kubeconfig_of(port: int, folder: Path) -> Path:
    """Write a kubeconfig that leads to a port of this machine."""
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    file.chmod(0o600)
    return file
