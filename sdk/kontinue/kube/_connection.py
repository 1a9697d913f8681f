"""One HTTP/1.1 connection: an asyncio.Protocol that sends a request and waits for its response.

Belongs to ``kontinue.kube._connections``, which opens it and keeps it between requests. Parsing is
``kontinue.kube._response``; what is here is time, back-pressure and the end of connections. One request at a time: a
connection whose request got no whole answer is closed, never used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from kontinue.kube._response import Response, ResponseError, ResponseParser

STREAM_BUFFER_BYTES: Final = 256 * 1024
"""Judgement: how much of a stream may wait for its reader before the socket is no longer read; one read of asyncio."""


class StaleConnectionError(ConnectionError):
    """A connection that had served before ended before the first byte of this answer: most likely a closed idle one.

    The server probably never saw the request, but nobody knows.
    """


class Connection(asyncio.Protocol):
    """One connection; made by the event loop. ``on_lost`` is called once, when it is closed for good."""

    __slots__ = (
        "_deadline_s",
        "_error",
        "_heard",
        "_is_paused",
        "_is_pending",
        "_is_streaming",
        "_on_lost",
        "_parser",
        "_served",
        "_timer",
        "_timer_s",
        "_transport",
        "_waiter",
        "idle_since_s",
        "loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, *, on_lost: Callable[[Connection], None]) -> None:
        self.idle_since_s = 0.0
        self.loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._parser = ResponseParser()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._deadline_s = 0.0
        self._error: Exception | None = None
        self._is_pending = False
        self._is_streaming = False
        self._is_paused = False
        self._heard = False
        self._served = False

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent: nothing is pending, the last answer was whole and the socket is open."""
        return not self._is_pending and self._error is None and not self._transport.is_closing()

    async def exchange(self, data: bytes, *, deadline_s: float) -> Response:
        """Send a request and return the whole response. Without one (also when cancelled), the connection is closed.

        Args:
            data: the request as it goes over the wire.
            deadline_s: time of the loop's clock at which to give up.

        Raises:
            StaleConnectionError: see there.
            OSError: the connection broke, or the time is over (TimeoutError).
            ResponseError: the answer is no response, cut short, or too large.
        """
        parser = self._parser
        self._limit(deadline_s)
        self._send(data)
        try:
            while not parser.is_complete:
                await self._wait()
        except BaseException:
            self.abort()
            raise
        self._is_pending = False
        self._served = True
        if not parser.is_reusable or self._transport.get_write_buffer_size():
            self.close()
        return Response(parser.status, parser.take_body(), parser.retry_after)

    async def open_stream(self, data: bytes, *, limit_s: float | None, deadline_s: float | None) -> int:
        """Send a request and return the status of its response, as soon as that is known; ``read`` comes next.

        ``limit_s`` is how long that may take, ``deadline_s`` the end of the whole stream; None: for ever. The caller
        closes the connection in any case.

        Raises:
            OSError: the connection broke, or the time is over (TimeoutError).
            ResponseError: the answer is no response.
        """
        self._is_streaming = True
        opened_by_s = deadline_s if limit_s is None else self.loop.time() + limit_s
        if opened_by_s is not None:
            self._limit(opened_by_s if deadline_s is None else min(opened_by_s, deadline_s))
        self._send(data)
        while not self._parser.status:
            await self._wait()
        if deadline_s is not None:
            self._limit(deadline_s)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._parser.status

    async def read(self) -> bytes:
        """Return what arrived of a stream's body; empty at its end.

        Raises:
            OSError: the connection broke, or the time is over (TimeoutError).
            ResponseError: the stream was cut.
        """
        parser = self._parser
        while not parser.untaken_bytes and not parser.is_complete:
            await self._wait()
        body = parser.take_body()
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():  # uvloop refuses then
                self._transport.resume_reading()
        return body

    async def read_response(self) -> Response:
        """Return the whole response of a stream that the server refused; raises as ``read`` does."""
        self._is_streaming = False
        while not self._parser.is_complete:
            await self._wait()
        return Response(self._parser.status, self._parser.take_body(), self._parser.retry_after)

    def close(self) -> None:
        """Close in good order; of a connection that waits for an answer, break it off."""
        if self._is_pending:
            self._fail(ConnectionAbortedError("the connection was closed here"))
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once. What waits fails."""
        self._fail(ConnectionAbortedError("the connection was closed here"))

    # -- called by the event loop --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse, and wake whoever waits once there is enough."""
        if not self._is_pending:
            self._fail(ConnectionAbortedError("the server spoke without being asked"))
            return
        self._heard = True
        parser = self._parser
        try:
            parser.feed(data)
        except ResponseError as error:
            self._fail(error)
            return
        if parser.is_complete:
            self._wake()
        elif self._is_streaming:
            if parser.untaken_bytes > STREAM_BUFFER_BYTES and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response, if that is how it ends; otherwise fail it."""
        self._on_lost(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_pending or self._error is not None or self._parser.is_complete:
            return
        if self._served and not self._heard:
            self._fail(StaleConnectionError(str(exc or "the server closed an idle connection")))
        elif exc is not None:
            self._fail(exc)
        else:
            try:
                self._parser.feed_eof()
            except ResponseError as error:
                self._fail(error)
            else:
                self._wake()

    # -- within --------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._is_pending = True
        self._heard = False
        self._parser.begin()
        self._transport.write(data)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        """Break the connection off; the first error is the one that is told."""
        if self._error is None:
            self._error = error
        self._transport.abort()
        self._wake()

    def _limit(self, deadline_s: float) -> None:
        """Break off what is pending at that time. A timer per request costs more than one that looks again."""
        self._deadline_s = deadline_s
        if self._timer is not None:
            if self._timer_s <= deadline_s:
                return
            self._timer.cancel()
        self._timer_s = deadline_s
        self._timer = self.loop.call_at(deadline_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._is_pending:
            return
        if self._timer_s < self._deadline_s:  # set for an earlier request
            self._limit(self._deadline_s)
        else:
            self._fail(TimeoutError("it took too long"))
