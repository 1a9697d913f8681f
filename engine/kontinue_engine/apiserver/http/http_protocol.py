"""Internal. HTTP/1.1 on an asyncio.Protocol and httptools: requests in, answers and watch streams out.

Knows nothing of Kubernetes. Requests of one connection are answered in their order, however they were pipelined; a
body past the limit is refused while it arrives; a stream is chunked and bounded: a reader that is too slow sees its
stream end cleanly. Called by asyncio; calls the ``Application`` given to it (``kontinue_engine.apiserver.server``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import msgspec

from kontinue_engine.apiserver.values import MAX_BODY_BYTES

MAX_PIPELINED_REQUESTS: Final = 64
"""Judgement: requests of one connection that may wait before its socket is no longer read."""
MAX_DROPPED_BYTES: Final = 64 * 1024 * 1024
"""Judgement: how much of an oversize body is read for the sake of a readable refusal."""
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_STREAM_BACKLOG_BYTES: Final = 16 * 1024 * 1024
"""Judgement: what a watcher may lag behind before its stream is ended; it resumes from its last revision."""
STREAM_BUFFER_BYTES: Final = 256 * 1024
MAX_CONNECTIONS: Final = 10_000
"""Judgement: each open watch is one. The next one is told to try again later."""
RECEIVE_TIMEOUT_S: Final = 60.0
"""Judgement: what a request may take from its first byte, or the connection, to its last byte."""
STUCK_TIMEOUT_S: Final = 60.0
"""Judgement: how long a client may read nothing of an answer, or of a stream that was ended because it read nothing."""
MAX_BACKLOGS_BYTES: Final = 256 * 1024 * 1024
"""Judgement: what all watchers together may lag behind."""
JSON: Final = "application/json"

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Request(msgspec.Struct):
    """One request as it arrived; header names are lower-case."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes
    keeps_alive: bool


class Response(msgspec.Struct):
    """A complete answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class StreamResponse(msgspec.Struct):
    """An answer without end: ``start`` is called with the open Stream, and its ``on_closed`` when it is over."""

    start: Callable[[Stream], None]
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Refusals(msgspec.Struct, frozen=True):
    """Answers to what never reaches the application."""

    too_large: Response
    bad_request: Response
    timed_out: Response
    too_many: Response


Answer = Response | StreamResponse
Application = Callable[[Request], Answer | Coroutine[Any, Any, Answer]]
"""Answers at once or by a coroutine; turns its own errors into answers."""


def chunk(payload: bytes) -> bytes:
    """Frame ``payload`` as one chunk; shared by all streams that send it."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Stream:
    """The sending side of one chunked answer. ``initial`` is pulled as fast as the reader reads; the rest is pushed."""

    __slots__ = ("_backlog", "_backlog_bytes", "_initial", "_protocol", "is_open", "on_closed")

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._initial: Iterator[bytes] | None = None
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self.is_open = True
        self.on_closed: Callable[[], None] = _nothing

    def send_initial(self, chunks: Iterator[bytes]) -> None:
        """Send framed chunks before anything that ``send`` is given; never ends the stream for being slow."""
        self._initial = chunks
        self.pump()

    def send(self, framed: bytes) -> None:
        """Send one framed chunk; ends the stream when its reader is too far behind."""
        if not self.is_open:
            return
        if self._initial is None and not self._backlog and self._protocol.is_writable:
            self._protocol.write(framed)
            return
        self._backlog.append(framed)
        self._backlog_bytes += len(framed)
        if self._backlog_bytes > MAX_STREAM_BACKLOG_BYTES:
            self.drop()

    @property
    def backlog_bytes(self) -> int:
        """What waits for the reader."""
        return self._backlog_bytes

    @property
    def is_beginning(self) -> bool:
        """Whether there is something left of the initial chunks, which hold on to all that they will tell of."""
        return self._initial is not None

    def drop(self) -> None:
        """End the answer without what waits; the client resumes from what it has seen."""
        self._backlog.clear()
        self.end()

    def end(self) -> None:
        """End the answer cleanly after what was already handed to the socket; idempotent."""
        if self.is_open:
            while self._initial is None and self._backlog:
                self._protocol.write(self._backlog.popleft())
            self._protocol.write(_LAST_CHUNK)
            self.close()
            self._protocol.finish_stream()

    def pump(self) -> None:
        """Send what is waiting, as far as the socket takes it."""
        while self.is_open and self._protocol.is_writable:
            if self._initial is not None:
                framed = next(self._initial, None)
                if framed is None:
                    self._initial = None
                    continue
            elif self._backlog:
                framed = self._backlog.popleft()
                self._backlog_bytes -= len(framed)
            else:
                return
            self._protocol.write(framed)

    def close(self) -> None:
        """Stop sending; told by the protocol when the connection is gone."""
        if self.is_open:
            self.is_open = False
            self._backlog.clear()
            self._initial = None
            self.on_closed()


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, application: Application, *, connections: set[HttpProtocol], refusals: Refusals) -> None:
        self._application = application
        self._connections = connections
        self._refusals = refusals
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request | Response] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._is_closing = False
        self._is_reading = True
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._untold_bytes = 0
        self._refused: Response | None = None
        self._receiving_since_s = self._loop.time()  # 0: between requests
        self._stuck_since_s = 0.0
        self._stuck_bytes = 0
        self.is_writable = True

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self._task is None and self._stream is None and not self._queue

    @property
    def backlog_bytes(self) -> int:
        """What waits to be sent by a stream."""
        return self._stream.backlog_bytes if self._stream is not None else 0

    def shed(self) -> None:
        """End the stream, without what waits, for want of memory."""
        if self._stream is not None:
            self._stream.drop()

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket."""
        self._transport.write(data)

    def close_when_idle(self) -> None:
        """End a stream, let requests in flight finish, then close."""
        self._is_closing = True
        if self._stream is not None:
            self._stream.end()
        elif self.is_idle:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def expire(self, now_s: float) -> None:
        """Close the connection of a client that does not finish its request, or does not read its answer.

        Called every few seconds. A watch is not meant once it has told what there was: it is bounded by what may wait.
        """
        if not self.is_writable and (self._stream is None or self._stream.is_beginning):
            waiting_bytes = self._transport.get_write_buffer_size()
            if waiting_bytes != self._stuck_bytes:
                self._stuck_bytes, self._stuck_since_s = waiting_bytes, now_s
            elif now_s - self._stuck_since_s > STUCK_TIMEOUT_S:
                self.abort()
        elif self._receiving_since_s and self.is_idle and now_s - self._receiving_since_s > RECEIVE_TIMEOUT_S:
            self._answer_last(self._refusals.timed_out)

    # -- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start reading."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES)
        self._connections.add(self)
        if len(self._connections) > MAX_CONNECTIONS:
            self._answer_last(self._refusals.too_many)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a write in flight is finished all the same, only its answer goes nowhere."""
        self._connections.discard(self)
        self._is_closing = True
        self._queue.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def pause_writing(self) -> None:
        """Remember that the socket is full."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Go on sending the stream, or with the requests that wait."""
        self.is_writable = True
        self._stuck_bytes = 0
        if self._stream is not None:
            self._stream.pump()
        elif self._task is None:
            self._serve_queued()

    def data_received(self, data: bytes) -> None:
        """Parse; whole requests are queued and answered."""
        told_bytes = self._told_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # not done here; the request has been queued, as the last one
            self._transport.pause_reading()
            self._is_reading = True
            return
        except httptools.HttpParserCallbackError:
            # Raised by one of the callbacks below: a refusal, or a bug of ours that the loop shall tell of.
            if self._refused is None:
                raise
            self._refuse_rest(self._refused)
            return
        except httptools.HttpParserError:
            self._refuse_rest(self._refusals.bad_request)
            return
        is_silent = self._receiving_since_s > 0 and self._told_bytes == told_bytes
        self._untold_bytes = self._untold_bytes + len(data) if is_silent else 0
        if self._untold_bytes > MAX_HEADER_BYTES:
            self._refuse_rest(self._refusals.bad_request)
            return
        if len(self._queue) > MAX_PIPELINED_REQUESTS and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    @property
    def _told_bytes(self) -> int:
        """What the parser has handed over of a request; the rest, as of a header without end, it keeps for itself."""
        return len(self._url) + self._header_bytes + self._body_bytes

    def _refuse_rest(self, response: Response) -> None:
        """Answer ``response`` after what was asked before, and read no further."""
        self._queue.append(response)
        self._transport.pause_reading()
        self._is_reading = True
        self._serve_queued()

    # -- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._receiving_since_s = self._loop.time()
        self._url = b""
        self._headers = {}
        self._header_bytes = 0
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the target; it may come in pieces."""
        self._url += url
        if len(self._url) > MAX_HEADER_BYTES:
            self._refuse(self._refusals.bad_request)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(self._refusals.bad_request)

    def on_headers_complete(self) -> None:
        """Answer ``Expect: 100-continue``, unless the body is announced to be too large."""
        if self._headers.get(b"expect", b"").lower() != b"100-continue":
            return
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            self._refuse(self._refusals.too_large)
        if self.is_idle:
            self.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect the body up to the limit; the rest is read and dropped, or the client would not see the refusal."""
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(body)
        elif self._body_bytes > MAX_DROPPED_BYTES:
            self._refuse(self._refusals.too_large)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        """Queue the request and answer it when its turn has come."""
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(self._refusals.too_large)
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        request = Request(
            method,
            path,
            query,
            self._headers,
            b"".join(self._body) if len(self._body) != 1 else self._body[0],
            keeps_alive=self._parser.should_keep_alive() and not self._parser.should_upgrade(),
        )
        self._receiving_since_s = 0.0
        self._queue.append(request)
        if self._task is None and self._stream is None:
            self._serve_queued()

    # -- answering -----------------------------------------------------------------------------------------------

    def finish_stream(self) -> None:
        """Go on with the connection after a stream has ended."""
        self._stream = None
        if self._is_closing:
            self._transport.close()
        else:
            self._serve_queued()

    def _refuse(self, response: Response) -> None:
        self._refused = response
        raise ValueError("request refused")

    def _serve_queued(self) -> None:
        while self._queue and self._task is None and self._stream is None and self.is_writable:
            request = self._queue.popleft()
            if isinstance(request, Response):
                self._answer_last(request)
                return
            answer = self._application(request)
            if isinstance(answer, Answer):
                self._send(request, answer)
            else:
                self._task = self._loop.create_task(self._serve(request, answer))
        if not self._is_reading and len(self._queue) <= MAX_PIPELINED_REQUESTS // 2:
            self._is_reading = True
            self._transport.resume_reading()

    async def _serve(self, request: Request, answer: Coroutine[Any, Any, Answer]) -> None:
        result = await answer
        self._task = None
        self._send(request, result)
        if self._queue or not self._is_reading:
            self._serve_queued()

    def _send(self, request: Request, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        is_last = not request.keeps_alive or (self._is_closing and not self._queue)
        if isinstance(answer, StreamResponse):
            self._start_stream(answer, keeps_alive=request.keeps_alive)
            return
        body = answer.body
        head = _head(answer, len(body), is_last=is_last)
        self._transport.write(head if request.method == "HEAD" else head + body)
        if is_last:
            self._transport.close()

    def _answer_last(self, response: Response) -> None:
        self._queue.clear()
        if self._transport.is_closing():
            return  # the client had asked for no more answers
        self._transport.write(_head(response, len(response.body), is_last=True) + response.body)
        self._transport.close()

    def _start_stream(self, answer: StreamResponse, *, keeps_alive: bool) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        if not keeps_alive:
            more += "Connection: close\r\n"
        head = f"{_STATUS_LINES[200]}Content-Type: {answer.content_type}\r\nTransfer-Encoding: chunked\r\n{more}\r\n"
        self._transport.write(head.encode())
        stops = self._is_closing
        self._is_closing = stops or not keeps_alive
        stream = self._stream = Stream(self)
        answer.start(stream)
        if stops:
            stream.end()


_heads: Final[dict[tuple[int, str], bytes]] = {}


def _head(response: Response, length: int, *, is_last: bool) -> bytes:
    key = (response.status, response.content_type)
    fixed = _heads.get(key)
    if fixed is None:
        line = _STATUS_LINES.get(response.status, f"HTTP/1.1 {response.status} Status\r\n")
        fixed = _heads[key] = f"{line}Content-Type: {response.content_type}\r\nContent-Length: ".encode()
    if not response.headers and not is_last:
        return b"%b%d\r\n\r\n" % (fixed, length)
    more = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    if is_last:
        more += "Connection: close\r\n"
    return b"%b%d\r\n%b\r\n" % (fixed, length, more.encode())


def _nothing() -> None:
    """Stand in for ``on_closed`` until a stream has an owner."""


def close_slow(connections: Iterable[HttpProtocol], now_s: float) -> None:
    """Close connections whose clients do not go on, and end the streams that lag most while all lag too much."""
    total_bytes = 0
    streams = []
    for connection in list(connections):
        connection.expire(now_s)
        if connection.backlog_bytes:
            total_bytes += connection.backlog_bytes
            streams.append(connection)
    streams.sort(key=lambda connection: connection.backlog_bytes)
    while total_bytes > MAX_BACKLOGS_BYTES:
        connection = streams.pop()
        total_bytes -= connection.backlog_bytes
        connection.shed()
