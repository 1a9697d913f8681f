"""Pages for kubelets and Prometheus, and what is said to those who ask for anything else."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kontinue_engine.errors import StartupError
from kontinue_engine.worker.pages import LOOPBACK, Address, Page, respond, serving
from ports import free_port

PAGES = {
    "/livez": lambda: Page(text="ok\n"),
    "/readyz": lambda: Page(text="not yet\n", status=503),
    "/metrics": lambda: Page(text="up 1\n", content_type="text/plain; version=0.0.4"),
}


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /livez HTTP/1.1", 200),
        ("GET /livez?verbose HTTP/1.1", 200),
        ("HEAD /livez HTTP/1.1", 200),
        ("GET /readyz HTTP/1.1", 503),
        ("GET /metrics HTTP/1.1", 200),
        ("POST /livez HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /../livez HTTP/1.1", 404),
        ("", 404),
        ("\xff\xfe", 404),
    ],
)
def test_a_request_is_answered_by_its_first_line(request_line: str, status: int) -> None:
    """Nothing of it is ever repeated in the answer."""
    head = f"{request_line}\r\nHost: x\r\n\r\n".encode("latin-1")
    answer = respond(head, PAGES).decode()
    status_line, _, rest = answer.partition("\r\n")
    body = rest.partition("\r\n\r\n")[2]
    assert status_line.split(" ")[:2] == ["HTTP/1.1", str(status)]
    assert bool(body) == (not request_line.startswith("HEAD"))


def test_a_page_says_what_it_is() -> None:
    """Prometheus refuses a page without the type of its format."""
    assert b"Content-Type: text/plain; version=0.0.4\r\n" in respond(b"GET /metrics HTTP/1.1\r\n\r\n", PAGES)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_each_request_is_answered_by_what_holds_then() -> None:
    """A page is made when it is asked for."""
    said = ["first\n", "second\n"]
    pages = {"/page": lambda: Page(text=said.pop(0))}
    async with serving(pages, Address(port=0), what="pages", option="--pages") as port:
        for expected in (b"\r\n\r\nfirst\n", b"\r\n\r\nsecond\n"):
            answer = await ask(port, b"GET /page HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(expected)


async def test_a_request_without_an_end_is_cut_off() -> None:
    """It cannot take memory for itself, nor keep the others waiting."""
    async with serving(PAGES, Address(port=0), what="pages", option="--pages") as port:
        assert await ask(port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000) == b""
        assert b" 200 " in await ask(port, b"GET /livez HTTP/1.1\r\n\r\n")


async def test_an_idle_connection_does_not_delay_the_end() -> None:
    """Whoever connects and says nothing is left when the replica stops."""
    async with serving(PAGES, Address(port=0), what="pages", option="--pages") as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert b" 200 " in await ask(port, b"GET /livez HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_nothing_listens_unless_asked() -> None:
    """Probes and metrics are off by default."""
    async with serving(PAGES, None, what="pages", option="--pages") as port:
        assert port == 0


async def test_an_address_that_is_taken_is_an_error_at_start() -> None:
    """It names the option to change."""
    port = free_port()
    async with serving(PAGES, Address(port=port), what="probes", option="--health"):
        with pytest.raises(StartupError, match=f"probes on .* port {port}: .*--health-port"):
            async with serving(PAGES, Address(port=port), what="probes", option="--health"):
                pass
