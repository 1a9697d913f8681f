"""Internal. The local API server in memory, and a transport to it that needs no socket.

The server is the product's own (``kontinue_engine.apiserver``), from its router down; only HTTP and the disk are left
out. Everything here belongs to the engine's virtual loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, cast

import msgspec

from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.kube import errors as kube_errors
from kontinue.kube.requests import Request
from kontinue.kube.watch import LineSplitter
from kontinue_engine.apiserver.http import http_protocol
from kontinue_engine.apiserver.http.http_protocol import HttpProtocol, Response, Stream, StreamResponse
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.memory_storage import MemoryStorage
from kontinue_engine.clock import Clock
from kontinue_engine.testing.virtual_loop import housekeeping

_TOKEN: Final = "test"  # noqa: S105 - nobody else can reach it
_CREDENTIALS: Final = f"Bearer {_TOKEN}".encode()
_PRIMITIVES: Final = f"/apis/{group.GROUP}/"
_UNCOUNTED: Final = frozenset({"events", "leases", "functions"})
"""Resources whose objects belong to no Execution, and Leases and Events, which are counted apart from it everywhere."""


class _Owner(msgspec.Struct, frozen=True):
    name: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    labels: dict[str, str] = {}
    owner_references: tuple[_Owner, ...] = ()


class _Written(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


_decode_written: Final = msgspec.json.Decoder(_Written).decode


async def start_server(clock: Clock) -> LocalServer:
    """Start a server on the running loop, which is the engine's; it ends with that."""
    server = LocalServer(MemoryStorage(), token=_TOKEN, port=None, clock=clock)
    with housekeeping():
        await server.__aenter__()
    return server


class InProcessTransport:
    """``kontinue.kube.transport.Transport`` to a server of the same process.

    Args:
        server: which one.
        on_primitive: called with each request that concerns an object of ``konductor.io``.

    Attributes:
        writes: accepted writes by the root of the tree that the object belongs to: the value of its label.
    """

    def __init__(self, server: LocalServer, *, on_primitive: Callable[[], None] = lambda: None) -> None:
        self._on_primitive = on_primitive
        self.writes: Counter[str] = Counter()
        self._roots: dict[str, str] = {}
        self._application = server.application

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send one request; there is nothing that could be retried. See ``Transport.send``."""
        del retries, repeatable, retry_for_s, timeout_s
        answer = await self._ask(request)
        assert isinstance(answer, Response)  # noqa: S101 - a stream only answers a watch
        if answer.status >= 300:
            raise _refusal(request, answer)
        if request.method not in ("GET", "DELETE") and _plural(request.path) not in _UNCOUNTED:
            self._count(_decode_written(answer.body).metadata)
        return answer.body

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch and yield its lines until the server ends it; see ``Transport.stream``."""
        splitter = LineSplitter()
        async with aclosing(self.chunks(request, timeout_s=timeout_s)) as chunks:
            async for chunk in chunks:
                for line in splitter.feed(chunk):
                    yield line

    async def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield an answer as it comes; see ``Transport.chunks``."""
        del timeout_s
        answer = await self._ask(request)
        if isinstance(answer, Response):
            raise _refusal(request, answer)
        pipe = _Pipe()
        stream = Stream(cast("HttpProtocol", pipe))
        with housekeeping():
            answer.start(stream)
        try:
            while payload := await pipe.read():
                yield payload
        finally:
            stream.close()

    def _count(self, written: _Metadata) -> None:
        """Count a write for the tree that the object is part of: by its label, else by what owns it."""
        owners = (self._roots.get(owner.name, "") for owner in written.owner_references)
        own = labels.label_value(written.name)
        root = written.labels.get(labels.ROOT) or next(filter(None, owners), own)
        self._roots[written.name] = root
        self.writes[root] += 1

    async def _ask(self, request: Request) -> http_protocol.Answer:
        if request.path.startswith(_PRIMITIVES):
            self._on_primitive()
        headers = {b"authorization": _CREDENTIALS, b"accept": request.accept.encode()}
        if request.body:
            headers[b"content-type"] = request.content_type.encode()
        asked = http_protocol.Request(
            request.method, request.path, request.query, headers, request.body, keeps_alive=True
        )
        answer = self._application(asked)
        return answer if isinstance(answer, Response | StreamResponse) else await answer


class _Pipe:
    """What a ``Stream`` writes to, instead of a socket: its chunks, unframed."""

    is_writable = True

    def __init__(self) -> None:
        self._payloads: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, framed: bytes) -> None:
        """Take chunks; that of the end is empty."""
        while framed:
            size, _, rest = framed.partition(b"\r\n")
            length = int(size, 16)
            self._payloads.put_nowait(rest[:length])
            framed = rest[length + 2 :]

    def finish_stream(self) -> None:
        """The end has been written."""

    async def read(self) -> bytes:
        """Return the next chunk; nothing at the end."""
        return await self._payloads.get()


def _refusal(request: Request, answer: Response) -> Exception:
    return kube_errors.from_response(
        answer.status, answer.body, retry_after="", request=f"{request.method} {request.path}"
    )


def _plural(path: str) -> str:
    """Return the resource that a path of a namespaced object names."""
    _, _, rest = path.partition("/namespaces/")
    return rest.split("/")[1] if "/" in rest else ""
