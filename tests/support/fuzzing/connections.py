"""HTTP as it comes from a socket: heads, bodies, chunks, several requests at once."""

from __future__ import annotations

import asyncio

import httptools

from fuzzing.target import target
from kontinue_engine.apiserver.http.http_protocol import (
    Answer,
    HttpProtocol,
    Refusals,
    Request,
    Response,
    Stream,
    StreamResponse,
    chunk,
)

REFUSALS = Refusals(Response(413, b"large"), Response(400, b"bad"), Response(408, b"late"), Response(429, b"many"))
_loop = asyncio.new_event_loop()


class Transport(asyncio.Transport):
    """Takes everything, and delivers nothing once it is paused or closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_open = True
        self.is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.is_open
        self.sent += bytes(data)

    def close(self) -> None:
        self.is_open = False

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Answers:
    """Counts whole answers."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_message_complete(self) -> None:
        self.ended += 1


def _answer(request: Request) -> Answer:
    if request.path.endswith("watch"):
        return StreamResponse(_stream)
    return Response(200, request.path.encode() + request.body)


def _stream(stream: Stream) -> None:
    stream.send_initial(iter([chunk(b"first")]))
    stream.send(chunk(b"then"))
    stream.end()


async def _talk(pieces: list[bytes]) -> bytes:
    transport = Transport()
    connections: set[HttpProtocol] = set()
    protocol = HttpProtocol(_answer, connections=connections, refusals=REFUSALS)
    protocol.connection_made(transport)
    for piece in pieces:
        if transport.is_open and transport.is_read:
            protocol.data_received(piece)
    protocol.connection_lost(None)
    assert not connections
    return transport.sent


@target(
    b"\x03GET /api?a=b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"\x10POST /api HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"\x20PATCH / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n"
    b"GET /watch HTTP/1.1\r\n\r\n",
    b"\x01GET /watch HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"\x01GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
    b"\x05CONNECT x:1 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nA:\r\n b\r\n\r\n",
)
def connection(data: bytes) -> None:
    """However the bytes are cut, the answers are the same, and all but the last one are whole."""
    size, request = (data[0] if data else 0) + 1, data[1:]
    pieces = [request[at : at + size] for at in range(0, len(request), size)]
    at_once = _loop.run_until_complete(_talk([request]))
    assert _loop.run_until_complete(_talk(pieces)) == at_once
    answers = Answers()
    if b"HTTP/1.1 100" not in at_once and b"HEAD" not in request and b"CONNECT" not in request:
        httptools.HttpResponseParser(answers).feed_data(at_once)
        assert answers.begun == answers.ended
