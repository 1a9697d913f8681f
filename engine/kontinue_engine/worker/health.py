"""Internal. Answers a kubelet's probes over HTTP: ``/livez`` and ``/readyz``, 200 or 503, and why in one line.

Live: the loop answers, and the Lease is not somebody else's. A worker that cannot reach the API server is fenced, but
lives: to start it anew would lose what it has in memory and help nobody. Ready: it works on Executions, or stands by
while others run what it would run; otherwise a rolling update would wait for it for ever.
``replica`` serves it and says how far it is. Nothing is read but the request's path, and nothing else is told.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec

from kontinue_engine.errors import StartupError
from kontinue_engine.sharding.tenure import Standing
from kontinue_engine.telemetry.logs import get_logger

LOOPBACK: Final = "127.0.0.1"
MAX_REQUEST_BYTES: Final = 8192
"""A kubelet sends less than 200. Judgement."""
REQUEST_S: Final = 5.0
"""Who connects and says nothing is cut off. Judgement."""

_log = get_logger(__name__)


class HealthOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where probes are answered.

    Attributes:
        port: 0 for any free one.
        host: address to listen on; a kubelet needs the pod's.
    """

    port: int
    host: str = LOOPBACK


class Stage(enum.Enum):
    """How far a replica is. The value says it to people."""

    STARTING = "it is starting: loading the app, taking its Lease, or listing its Executions"
    STANDING_BY = "it stands by: another replica of the group runs everything"
    WORKING = "it works"
    DRAINING = "it is stopping"


class Holder(Protocol):
    """Somebody with a Lease."""

    @property
    def standing(self) -> Standing:
        """What it may do now."""
        ...


class Health:
    """What a replica knows about itself: ``stage``, and once it wants one, ``lease``."""

    def __init__(self) -> None:
        self.stage = Stage.STARTING
        self.lease: Holder | None = None

    @property
    def standing(self) -> Standing:
        """What it may do by its Lease."""
        return Standing.WAITING if self.lease is None else self.lease.standing


def why_not_live(standing: Standing) -> str:
    """Return why the process should be started anew; empty if it should not."""
    return "its Lease is lost" if standing is Standing.LOST else ""


def why_not_ready(stage: Stage, standing: Standing) -> str:
    """Return why it does no work; empty if it does, or stands by as it should."""
    if stage is Stage.STANDING_BY:
        return ""
    if stage is not Stage.WORKING:
        return str(stage.value)
    if standing is Standing.FENCED:
        return "it is fenced: its Lease could not be renewed in time"
    return "" if standing is Standing.WRITING else "it holds no Lease"


@asynccontextmanager
async def serving(health: Health, options: HealthOptions | None) -> AsyncIterator[int]:
    """Answer probes meanwhile, if there are options; gives the port, or 0.

    Raises:
        StartupError: the address cannot be listened on.
    """
    if options is None:
        yield 0
        return
    writers: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(respond(head, health))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no request, or nobody waits for the answer
        finally:
            writers.discard(writer)
            writer.close()

    try:
        server = await asyncio.start_server(answer, options.host, options.port, limit=MAX_REQUEST_BYTES)
    except OSError as error:
        raise StartupError(
            f"cannot answer probes on {options.host} port {options.port}: {error}. "
            "Choose another --health-port or --health-host"
        ) from error
    port: int = server.sockets[0].getsockname()[1]
    _log.info("answering probes", host=options.host, port=port)
    try:
        yield port
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def respond(head: bytes, health: Health) -> bytes:
    """Return the answer to a request, of which ``head`` is everything before the body."""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if path not in _QUESTIONS:
        return _response(404, f"there are {' and '.join(_QUESTIONS)}", method)
    if method not in {"GET", "HEAD"}:
        return _response(405, "only GET and HEAD", method)
    problem = _QUESTIONS[path](health)
    return _response(503 if problem else 200, problem or "ok", method)


_QUESTIONS: Final[Mapping[str, Callable[[Health], str]]] = {
    "/livez": lambda health: why_not_live(health.standing),
    "/readyz": lambda health: why_not_ready(health.stage, health.standing),
}
_REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def _response(status: int, text: str, method: str) -> bytes:
    body = f"{text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *(["Allow: GET, HEAD"] if status == 405 else []),
        "Connection: close",
        "",
        "",
    ]
    head = "\r\n".join(lines).encode()
    return head if method == "HEAD" else head + body
