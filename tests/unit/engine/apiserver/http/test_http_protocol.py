"""HTTP on a fake transport: framing, order, limits, streams and their back-pressure."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.http import http_protocol
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

TOO_LARGE = Response(413, b"too large")
BAD_REQUEST = Response(400, b"bad request")
REFUSALS = Refusals(TOO_LARGE, BAD_REQUEST, timed_out=Response(408, b"timed out"), too_many=Response(429, b"too many"))


class FakeTransport(asyncio.Transport):
    """Collects what is written; never full unless the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_closed = False
        self.is_paused = False
        self.waiting_bytes = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def connect(
    application: Callable[[Request], Answer | Coroutine[Any, Any, Answer]],
) -> tuple[HttpProtocol, FakeTransport]:
    protocol = HttpProtocol(application, connections=set(), refusals=REFUSALS)
    transport = FakeTransport()
    protocol.connection_made(transport)
    return protocol, transport


def echo(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path}?{request.query} ".encode() + request.body, "text/plain")


def bodies(sent: bytes) -> list[bytes]:
    """Split a run of answers with Content-Length into their bodies."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append(rest[:length])
        sent = rest[length:]
    return found


_REQUESTS = (
    b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n"
)


@given(cuts=st.lists(st.integers(0, len(_REQUESTS)), max_size=8))
@settings(max_examples=60, deadline=None)
async def test_any_split_of_the_bytes_gives_the_same_answers(cuts: list[int]) -> None:
    """Requests are understood however the network cuts them, chunked bodies included."""
    protocol, transport = connect(echo)
    edges = [0, *sorted(cuts), len(_REQUESTS)]
    for start, end in itertools.pairwise(edges):
        protocol.data_received(_REQUESTS[start:end])
    assert bodies(transport.sent) == [b"POST /a?b=c hello", b"PUT /chunked? abcde", b"GET /last? "]


async def test_pipelined_requests_are_answered_in_order_however_long_the_first_takes() -> None:
    """A slow first request holds back the answers of those behind it."""
    released = asyncio.Event()

    async def slow(request: Request) -> Answer:
        await released.wait()
        return echo(request)

    def application(request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        return slow(request) if request.path == "/slow" else echo(request)

    protocol, transport = connect(application)
    protocol.data_received(b"GET /slow HTTP/1.1\r\n\r\nGET /fast HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0)
    assert transport.sent == b""
    released.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert bodies(transport.sent) == [b"GET /slow? ", b"GET /fast? "]


async def test_too_many_waiting_requests_stop_the_reading() -> None:
    """A client that pipelines without end is no longer read until its requests are answered."""
    released = asyncio.Event()

    async def slow(request: Request) -> Answer:
        await released.wait()
        return echo(request)

    protocol, transport = connect(slow)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n" * (http_protocol.MAX_PIPELINED_REQUESTS + 2))
    assert transport.is_paused
    released.set()
    for _ in range(500):
        await asyncio.sleep(0)
    assert not transport.is_paused
    assert len(bodies(transport.sent)) == http_protocol.MAX_PIPELINED_REQUESTS + 2


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_oversize_body_is_refused_and_the_connection_closed(is_chunked: bool, monkeypatch: Any) -> None:
    """The refusal comes once the body was read and dropped, so the client sees it; no handler is called."""
    monkeypatch.setattr(http_protocol, "MAX_BODY_BYTES", 10)
    protocol, transport = connect(lambda _request: pytest.fail("must not be called"))
    body = b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n" if is_chunked else b"x" * 11
    header = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 11"
    protocol.data_received(b"POST / HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
    assert transport.sent.startswith(b"HTTP/1.1 413 ")
    assert bodies(transport.sent) == [b"too large"]
    assert transport.is_closed


async def test_an_announced_oversize_body_is_refused_before_it_is_sent() -> None:
    """With Expect: 100-continue the client learns at once that its body would be refused."""
    protocol, transport = connect(echo)
    protocol.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 413 ")


async def test_expect_continue_is_answered() -> None:
    """A client that waits for 100 Continue gets it, then its answer."""
    protocol, transport = connect(echo)
    protocol.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    protocol.data_received(b"ok")
    assert b"POST /? ok" in transport.sent


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00 TLS hello", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_not_http_gets_400_and_the_connection_is_closed(garbage: bytes) -> None:
    """Bytes that cannot be parsed are answered once and end the connection."""
    protocol, transport = connect(echo)
    protocol.data_received(garbage)
    assert bodies(transport.sent) == [b"bad request"]
    assert transport.is_closed


async def test_head_is_answered_without_a_body() -> None:
    """The length is that of the body that GET would have."""
    protocol, transport = connect(lambda _request: Response(200, b"12345"))
    protocol.data_received(b"HEAD / HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 5\r\n" in transport.sent
    assert transport.sent.endswith(b"\r\n\r\n")


async def test_connection_close_is_obeyed() -> None:
    """A client that asks for it finds the connection closed after its answer."""
    protocol, transport = connect(echo)
    protocol.data_received(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Connection: close" in transport.sent
    assert transport.is_closed


async def test_nothing_is_said_after_the_last_answer() -> None:
    """What follows a request for the last answer is no request, and so is not refused."""
    protocol, transport = connect(echo)
    protocol.data_received(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert transport.sent.count(b"HTTP/1.1 ") == 1
    assert transport.is_closed


async def test_a_stream_is_chunked_and_the_connection_goes_on_after_its_end() -> None:
    """A watch that ends cleanly leaves the connection usable for the next request."""
    streams: list[Stream] = []
    protocol, transport = connect(lambda r: StreamResponse(streams.append) if r.path == "/watch" else echo(r))
    protocol.data_received(b"GET /watch HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n")
    streams[0].send(chunk(b"line\n"))
    streams[0].end()
    head, _, rest = transport.sent.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert rest.startswith(b"5\r\nline\n\r\n0\r\n\r\nHTTP/1.1 200 OK")


async def test_a_stream_goes_on_for_a_client_that_wants_its_connection_closed_afterwards() -> None:
    """As Python's urllib wants of every one; at the end of the stream it is closed."""
    streams: list[Stream] = []
    protocol, transport = connect(lambda _request: StreamResponse(streams.append))
    protocol.data_received(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    streams[0].send(chunk(b"line\n"))
    assert b"Connection: close\r\n" in transport.sent
    assert transport.sent.endswith(b"\r\n\r\n5\r\nline\n\r\n")
    assert not transport.is_closed
    streams[0].end()
    assert transport.is_closed


async def test_a_stream_that_begins_while_the_server_stops_ends_at_once() -> None:
    """A watch asked for behind a write that a stop waits for."""
    released = asyncio.Event()

    async def slow(_request: Request) -> Answer:
        await released.wait()
        return StreamResponse(lambda _stream: None)

    protocol, transport = connect(slow)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    protocol.close_when_idle()
    released.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.sent.endswith(b"\r\n\r\n0\r\n\r\n")
    assert transport.is_closed


async def test_a_full_socket_pauses_a_stream_and_nothing_is_lost_or_reordered() -> None:
    """Initial chunks and pushed ones wait in order until the reader reads on."""
    streams: list[Stream] = []
    protocol, transport = connect(lambda _request: StreamResponse(streams.append))
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    before = transport.sent
    protocol.pause_writing()
    streams[0].send_initial(iter([b"1", b"2"]))
    streams[0].send(b"3")
    streams[0].send(b"4")
    assert transport.sent == before
    protocol.resume_writing()
    assert transport.sent == before + b"1234"


async def test_a_reader_that_is_too_slow_sees_its_stream_end_cleanly(monkeypatch: Any) -> None:
    """Past the limit the stream ends with its last chunk; its owner is told once."""
    monkeypatch.setattr(http_protocol, "MAX_STREAM_BACKLOG_BYTES", 10)
    streams: list[Stream] = []
    protocol, transport = connect(lambda _request: StreamResponse(streams.append))
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    closed: list[bool] = []
    streams[0].on_closed = lambda: closed.append(True)
    protocol.pause_writing()
    streams[0].send(b"x" * 8)
    streams[0].send(b"x" * 8)
    streams[0].send(b"x" * 8)
    assert transport.sent.endswith(b"0\r\n\r\n")
    assert closed == [True]


async def test_a_lost_connection_tells_the_streams_owner() -> None:
    """Watches do not outlive their connection."""
    streams: list[Stream] = []
    protocol, _ = connect(lambda _request: StreamResponse(streams.append))
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    closed: list[bool] = []
    streams[0].on_closed = lambda: closed.append(True)
    protocol.connection_lost(None)
    streams[0].send(b"ignored")
    assert closed == [True]


async def test_closing_waits_for_the_request_in_flight() -> None:
    """At a stop, a request that has begun gets its answer before its connection closes."""
    released = asyncio.Event()

    async def slow(request: Request) -> Answer:
        await released.wait()
        return echo(request)

    protocol, transport = connect(slow)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    protocol.close_when_idle()
    assert not transport.is_closed
    released.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert bodies(transport.sent) == [b"GET /? "]
    assert transport.is_closed


async def test_a_request_that_never_ends_is_refused_after_a_while() -> None:
    """Half a header or half a body, or nothing at all on a new connection; a connection between requests may rest."""
    for sent in (b"", b"GET / HTT", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"):
        protocol, transport = connect(echo)
        protocol.data_received(b"GET / HTTP/1.1\r\n\r\n" if sent else b"")
        if sent:
            protocol.data_received(sent)
        begun_s = asyncio.get_running_loop().time()
        protocol.expire(begun_s + http_protocol.RECEIVE_TIMEOUT_S - 5)
        assert not transport.is_closed
        protocol.expire(begun_s + http_protocol.RECEIVE_TIMEOUT_S + 5)
        assert transport.is_closed
        assert b"HTTP/1.1 408" in transport.sent
    protocol, transport = connect(echo)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    protocol.expire(asyncio.get_running_loop().time() + 100_000)
    assert not transport.is_closed


async def test_a_client_that_does_not_read_its_answers_gets_no_more_and_is_cut_off() -> None:
    """However many requests it sends; one that reads slowly is served all the same."""
    protocol, transport = connect(echo)
    protocol.pause_writing()
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n" * 5)
    assert transport.sent == b""
    protocol.resume_writing()
    assert transport.sent.count(b"HTTP/1.1 200") == 5
    protocol.pause_writing()
    for now_s, transport.waiting_bytes in enumerate(range(500, 0, -1)):
        protocol.expire(now_s)
    assert not transport.is_closed
    protocol.expire(1000)
    assert transport.is_closed


async def test_a_connection_too_many_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others stay."""
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 2)
    connections: set[HttpProtocol] = set()
    transports = []
    for _ in range(3):
        transports.append(FakeTransport())
        HttpProtocol(echo, connections=connections, refusals=REFUSALS).connection_made(transports[-1])
    assert [transport.is_closed for transport in transports] == [False, False, True]
    assert transports[2].sent.startswith(b"HTTP/1.1 429")


async def test_when_all_lag_too_much_the_ones_that_lag_most_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for stuck watchers is bounded in all, not only for each."""
    monkeypatch.setattr(http_protocol, "MAX_BACKLOGS_BYTES", 100)
    streams: list[Stream] = []
    connections = []
    for size in (10, 60, 80, 0):
        protocol, transport = connect(lambda _: StreamResponse(streams.append))
        protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
        protocol.pause_writing()
        if size:
            streams[-1].send(b"x" * size)
        connections.append(protocol)
    http_protocol.close_slow(connections, asyncio.get_running_loop().time())
    assert [stream.is_open for stream in streams] == [True, True, False, True]
    assert transport.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "begun",
    [b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: "],
)
async def test_a_header_without_end_is_refused_while_it_arrives(begun: bytes) -> None:
    """The parser keeps it until it ends: memory of whoever connects must be bounded before it does."""
    protocol, transport = connect(echo)
    protocol.data_received(begun)
    for _ in range(http_protocol.MAX_HEADER_BYTES // 4096 + 1):
        protocol.data_received(b"a" * 4096)
    assert bodies(transport.sent) == [b"bad request"]
    assert transport.is_closed


async def test_a_long_body_in_small_pieces_is_no_header_without_end() -> None:
    """What arrives as a body is bounded as one."""
    protocol, transport = connect(echo)
    length = http_protocol.MAX_HEADER_BYTES * 2
    protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length)
    for _ in range(length // 64):
        protocol.data_received(b"a" * 64)
    assert bodies(transport.sent) == [b"POST /? " + b"a" * length]


async def test_an_upgrade_is_not_done_and_the_request_is_answered_once() -> None:
    """As by curl --http2: its first request is answered as usual; what follows is of a protocol not spoken here."""
    protocol, transport = connect(echo)
    protocol.data_received(b"GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n")
    assert bodies(transport.sent) == [b"GET /a? "]
    assert transport.is_closed


async def test_a_bug_of_ours_is_not_blamed_on_the_client() -> None:
    """The loop logs it and closes the connection."""

    def fail(_stream: Stream) -> None:
        raise LookupError("bug")

    protocol, transport = connect(lambda _request: StreamResponse(fail))
    with pytest.raises(httptools.HttpParserCallbackError) as raised:
        protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(raised.value.__context__, LookupError)
    assert b"400" not in transport.sent


async def test_a_client_that_does_not_read_how_a_stream_begins_is_cut_off() -> None:
    """It would hold on to all objects as they were; a watch that has told what there was may rest."""
    streams: list[Stream] = []
    protocol, transport = connect(lambda _request: StreamResponse(streams.append))
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    protocol.pause_writing()
    transport.waiting_bytes = 500
    for now_s in (1.0, 1000.0):
        protocol.expire(now_s)
    assert not transport.is_closed
    streams[0].send_initial(iter([b"1", b"2"]))
    for now_s in (2000.0, 3000.0):
        protocol.expire(now_s)
    assert transport.is_closed


async def test_a_client_that_was_slow_before_has_its_time_again() -> None:
    """However much it has to read each time."""
    protocol, transport = connect(echo)
    transport.waiting_bytes = 500
    for now_s in (1.0, 1000.0):
        protocol.pause_writing()
        protocol.expire(now_s)
        protocol.resume_writing()
    assert not transport.is_closed
