"""Internal. A very small HTTP server: pages by path, for kubelets (``health``) and Prometheus (``metrics_page``).

One request per connection, GET or HEAD. Nothing is read but the first line, and nothing of it is repeated in an answer;
whoever sends too much or too slowly is cut off. ``replica`` serves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from kontinue_engine.errors import StartupError
from kontinue_engine.telemetry.logs import get_logger

LOOPBACK: Final = "127.0.0.1"
MAX_REQUEST_BYTES: Final = 8192
"""A kubelet sends less than 200, Prometheus less than 400. Judgement."""
REQUEST_S: Final = 5.0
"""Who connects and says nothing is cut off. Judgement."""
PLAIN: Final = "text/plain; charset=utf-8"

_REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

_log = get_logger(__name__)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where pages are served.

    Attributes:
        port: 0 for any free one.
        host: address to listen on; a kubelet needs the pod's.
    """

    port: int
    host: str = LOOPBACK


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """An answer."""

    text: str
    status: int = 200
    content_type: str = PLAIN


Pages = Mapping[str, Callable[[], Page]]
"""Path -> what gives its page."""


@asynccontextmanager
async def serving(pages: Pages, address: Address | None, *, what: str, option: str) -> AsyncIterator[int]:
    """Serve pages meanwhile, if there is an address; gives the port, or 0.

    Args:
        pages: what to serve.
        address: where; None for nowhere.
        what: what is served, for people.
        option: what options of the command line begin with that choose the address.

    Raises:
        StartupError: the address cannot be listened on.
    """
    if address is None:
        yield 0
        return
    writers: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(respond(head, pages))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no request, or nobody waits for the answer
        finally:
            writers.discard(writer)
            writer.close()

    try:
        server = await asyncio.start_server(answer, address.host, address.port, limit=MAX_REQUEST_BYTES)
    except OSError as error:
        raise StartupError(
            f"cannot answer {what} on {address.host} port {address.port}: {error}. "
            f"Choose another {option}-port or {option}-host"
        ) from error
    port: int = server.sockets[0].getsockname()[1]
    _log.info(f"answering {what}", host=address.host, port=port)
    try:
        yield port
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def respond(head: bytes, pages: Pages) -> bytes:
    """Return the answer to a request, of which ``head`` is everything before the body."""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if path not in pages:
        return _response(Page(status=404, text=f"there is {' and '.join(pages)}\n"), method)
    if method not in {"GET", "HEAD"}:
        return _response(Page(status=405, text="only GET and HEAD\n"), method)
    return _response(pages[path](), method)


def _response(page: Page, method: str) -> bytes:
    body = page.text.encode()
    lines = [
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *(["Allow: GET, HEAD"] if page.status == 405 else []),
        "Connection: close",
        "",
        "",
    ]
    head = "\r\n".join(lines).encode()
    return head if method == "HEAD" else head + body
