"""HTTP/1.1 responses without I/O: bytes of one connection in, status and body out.

Used by ``kontinue.kube._connections``, which owns the sockets. However the bytes are split, the same response comes
out. Nothing here grows without a limit: not the header, not the part of a body that nobody has taken yet.
Only what the API needs is kept: status, body and Retry-After. httptools knows the grammar and the framing.
"""

from __future__ import annotations

from typing import Final

import httptools
import msgspec

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Judgement: a page of 500 Executions of the largest size that anybody should see; a whole list in the worst case."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""Several times what servers and proxies send."""
_MAX_FRAMING_BYTES: Final = 4 * MAX_HEADER_BYTES
"""Bytes in a row without any body: what an endless header line, trailer or chunk extension may take."""


class ResponseError(Exception):
    """The server's bytes are no response, or not one that is read."""


class ResponseTooLargeError(ResponseError):
    """The body is larger than the limit; asking again would not help. ``status`` is that of the answer."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Response(msgspec.Struct, frozen=True, gc=False):
    """A whole response. ``retry_after`` is the header as it came, or empty."""

    status: int
    body: bytes
    retry_after: str


class ResponseParser:
    """Reads the responses of one connection, one after another.

    Call ``begin`` before each request is sent, then ``feed`` with what arrives and ``feed_eof`` when nothing more
    will. ``take_body`` may be called at any time, and must be for bodies without a limit.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_ends_with_connection",
        "_framing_bytes",
        "_header_bytes",
        "_max_body_bytes",
        "_parser",
        "_refusal",
        "is_complete",
        "is_reusable",
        "retry_after",
        "status",
    )

    def __init__(self, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the response to the next request."""
        self.status = 0
        """Zero until the header is complete."""
        self.retry_after = ""
        self.is_complete = False
        self.is_reusable = False
        """Whether the connection may carry another request once this response is complete."""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._header_bytes = 0
        self._framing_bytes = 0
        self._ends_with_connection = True
        self._refusal: ResponseError | None = None

    def feed(self, data: bytes) -> None:
        """Parse what arrived; look at ``status`` and ``is_complete`` next.

        Raises:
            ResponseError: this is no response, or larger than the limits. The connection must be closed.
        """
        body_bytes = self._body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise ResponseError("the server switched to another protocol") from error
        except httptools.HttpParserError as error:
            if self._refusal is not None:
                raise self._refusal from None
            if self.is_complete:
                self.is_reusable = False  # the response is whole; what follows it makes no sense
                return
            raise ResponseError(f"the answer is not HTTP/1.1: {error}") from error
        if self.is_complete:
            return
        if self._body_bytes != body_bytes:
            self._framing_bytes = 0
            return
        self._framing_bytes += len(data)
        if self._framing_bytes > _MAX_FRAMING_BYTES:
            raise ResponseError(f"more than {_MAX_FRAMING_BYTES} bytes of header or framing")

    def feed_eof(self) -> None:
        """Complete a body that lasts until the end of the connection.

        Raises:
            ResponseError: the connection ended before the response did.
        """
        if self.is_complete:
            return
        if self.status and self._ends_with_connection:
            self.is_complete = True
            return
        where = "in the middle of the answer" if self.status else "before an answer"
        raise ResponseError(f"the connection was closed {where}")

    def take_body(self) -> bytes:
        """Return the body that has arrived since the last call."""
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._body_bytes = 0
        return body

    @property
    def untaken_bytes(self) -> int:
        """How much of the body waits to be taken."""
        return self._body_bytes

    # -- called by httptools -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice a response that nobody asked for."""
        if self.is_complete:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is needed; trailers come here too."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(ResponseError(f"the header is longer than {MAX_HEADER_BYTES} bytes"))
        if self.status or self.is_complete:
            return
        match name.lower():
            case b"content-length":
                self._ends_with_connection = False
                if int(value) > self._max_body_bytes:
                    self._refuse_body()
            case b"transfer-encoding":
                # Any other coding than chunked comes last only in a body that ends with the connection.
                self._ends_with_connection = not value.lower().rstrip().endswith(b"chunked")
            case b"retry-after":
                self.retry_after = value.decode("latin-1")
            case _:
                pass

    def on_headers_complete(self) -> None:
        """Learn the status, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.is_complete:
            self.status = status

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        if self.is_complete:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:
            self._refuse_body()

    def on_message_complete(self) -> None:
        """Finish, or wait for the response after an interim one."""
        if not self.status:
            self.begin()
            return
        if not self.is_complete:
            self.is_complete = True
            self.is_reusable = self._parser.should_keep_alive()

    def _refuse_body(self) -> None:
        message = f"the answer is larger than {self._max_body_bytes} bytes"
        self._refuse(ResponseTooLargeError(message, status=self._parser.get_status_code()))

    def _refuse(self, error: ResponseError) -> None:
        """Stop the parser: what a callback raises ends ``feed_data``, which hides it behind an error of its own."""
        self._refusal = error
        raise error
