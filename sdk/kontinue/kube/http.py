"""The one module of the SDK that sends: an asynchronous transport to one API server, HTTP/1.1 on httptools.

Knows requests, answers, retries and limits; knows nothing of kinds. A request costs about 20 us of CPU here: the hot
path builds one piece of bytes from a prepared header and hands it to ``kontinue.kube._connections``; it follows no
redirect, keeps no cookie, asks no proxy, unpacks no body and logs nothing (docs/adr/0006-own-http-client.md).
Called through ``kontinue.kube.transport.Transport`` by the client and by everything in the engine that talks to the
API; answers of 300 and above become ``kontinue.errors`` by ``kontinue.kube.errors``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from kontinue import errors
from kontinue.kube import errors as kube_errors
from kontinue.kube._connections import ConnectError, Connections
from kontinue.kube._endpoint import build_ssl_context, is_target, parse_endpoint
from kontinue.kube._response import Response, ResponseError, ResponseTooLargeError
from kontinue.kube.backoff import Backoff
from kontinue.kube.config import KubeConfig
from kontinue.kube.requests import JSON, Request
from kontinue.kube.watch import LineSplitter

MAX_IN_FLIGHT: Final = 64
REQUEST_S: Final = 30.0
"""Limit of one try: kube-apiserver itself gives up on a request after 60 s, ours is faster. Judgement. A watch has to
begin in that time, too: a server sends the header of its answer at once."""
SAY_AFTER: Final = 6
"""Failures of one request in a row, a second or two, before the log says what it waits for. Judgement."""
TOKEN_REFRESH_S: Final = 60.0
"""How often a token source is asked again; service account tokens live for an hour."""

_log = logging.getLogger(__name__)


class KubeTransport:
    """Sends requests to the API server of ``config``. Belongs to the event loop that sends first; close it there.

    Args:
        config: which server, and who asks.
        user_agent: as the server logs it.
        max_in_flight: requests at a time; watches are not counted.
        impersonate: act as this user, and not as the configuration says.
        before_write: awaited before each try of a request that may change something, also when it is tried again.

    Raises:
        ConfigError: the server's URL, or what is to become a header, cannot be sent.
    """

    def __init__(
        self,
        config: KubeConfig,
        *,
        user_agent: str,
        max_in_flight: int = MAX_IN_FLIGHT,
        impersonate: str = "",
        before_write: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.config = config
        self._before_write = before_write
        endpoint = parse_endpoint(config)
        self._base_path = endpoint.base_path
        self._connections = Connections(
            endpoint, build_ssl_context=functools.partial(build_ssl_context, config), max_idle=max_in_flight
        )
        self._slots = asyncio.Semaphore(max_in_flight)
        self._static_headers = {
            "Host": endpoint.authority,
            "User-Agent": user_agent,
            "Accept-Encoding": "identity",
        }
        self._impersonation = (("Impersonate-User", impersonate),) if impersonate else config.impersonation
        self._token = config.token
        self._token_read_at: float | None = None
        self._token_lock = asyncio.Lock()
        self._headers: dict[tuple[str, str], bytes] = {}
        self._header_lines("", "")  # tells at once what cannot be sent

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send one request and return the body of a successful answer; see ``Transport.send``."""
        if repeatable is None:
            repeatable = request.method != "POST"
        backoff: Backoff | None = None
        failures = 0
        deadline = None if retry_for_s is None else asyncio.get_running_loop().time() + retry_for_s
        renewed = False
        while True:
            if self._before_write is not None and request.method != "GET":
                await self._before_write()
            token = self._token
            try:
                return await self._send_once(request, timeout_s, repeatable=repeatable)
            except errors.Unauthorized:
                if renewed or self.config.token_source is None:
                    raise
                renewed = True
                await self._renew_token(stale=token)
                continue
            except errors.Unavailable as error:
                if not retries or self._connections.is_closed or not kube_errors.is_worth_retrying(error):
                    raise
                if not repeatable and not kube_errors.was_not_processed(error):
                    raise
                backoff = backoff or Backoff()
                delay_s = backoff.next_s(at_least_s=error.retry_after_s)
                if deadline is not None and asyncio.get_running_loop().time() + delay_s > deadline:
                    raise
                failures += 1
                if failures == SAY_AFTER:
                    _log.info("%s %s fails and is retried: %s", request.method, request.path, error)
            await asyncio.sleep(delay_s)

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch and yield its lines until the server ends it; see ``Transport.stream``."""
        splitter = LineSplitter()
        async with aclosing(self._read(request, timeout_s=timeout_s, begin_s=REQUEST_S)) as chunks:
            async for chunk in chunks:
                for line in splitter.feed(chunk):
                    yield line

    async def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield an answer as it comes until the server ends it; see ``Transport.chunks``."""
        # A log that is followed may begin at any time: a kubelet sends the header with the first line.
        async with aclosing(self._read(request, timeout_s=timeout_s, begin_s=None)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _read(
        self, request: Request, *, timeout_s: float | None, begin_s: float | None
    ) -> AsyncGenerator[bytes, None]:
        if self.config.token_source is not None:
            await self._refresh_token()
        data = self._encode(request)
        what = f"{request.method} {request.path}"
        deadline_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        try:
            connection = await self._connections.connect(limit_s=timeout_s)
        except OSError as error:
            raise kube_errors.no_answer(what, error, sent=False) from error
        try:
            if await connection.open_stream(data, limit_s=begin_s, deadline_s=deadline_s) >= 300:
                raise _refusal(request, await connection.read_response())
            while chunk := await connection.read():
                yield chunk
        except (OSError, ResponseError) as error:
            if self._connections.is_closed:
                raise kube_errors.closed() from error
            raise kube_errors.no_answer(what, error) from error
        finally:
            connection.abort()

    async def close(self) -> None:
        """Close all connections. What is in flight fails with ``Unavailable``, and so does what is sent later."""
        await self._connections.close()

    async def _send_once(self, request: Request, timeout_s: float | None, *, repeatable: bool) -> bytes:
        if self.config.token_source is not None:
            await self._refresh_token()
        data = self._encode(request)
        limit_s = REQUEST_S if timeout_s is None else timeout_s
        try:
            async with self._slots:
                response = await self._connections.exchange(data, limit_s=limit_s, is_repeatable=repeatable)
        except ResponseTooLargeError as error:
            # With a status, so that it is not taken for an answer that got lost: it would be as large again.
            message = f"{request.method} {request.path}: {error}"
            raise errors.Unavailable(message, status=error.status) from error
        except (OSError, ResponseError) as error:
            sent = not isinstance(error, ConnectError)
            raise kube_errors.no_answer(f"{request.method} {request.path}", error, sent=sent) from error
        if response.status >= 300:
            raise _refusal(request, response)
        if request.accept.startswith(JSON):
            kube_errors.check_json(f"{request.method} {request.path}", response.body)
        return response.body

    async def _refresh_token(self) -> None:
        """Ask the source for a token if there is none, or if it is due."""
        now_s = asyncio.get_running_loop().time()
        if self._token_read_at is None and self._token:
            self._token_read_at = now_s
        elif self._token_read_at is None or now_s - self._token_read_at > TOKEN_REFRESH_S:
            await self._renew_token(stale=self._token)

    def _encode(self, request: Request) -> bytes:
        """Return the request as it goes over the wire; its header is built once per pair of media types and token."""
        body = request.body
        key = (request.content_type if body else "", request.accept)
        headers = self._headers.get(key)
        if headers is None:
            headers = self._headers[key] = self._header_lines(*key)
        target = request.target
        if not is_target(target):
            raise ValueError(f"not a request target: {target!r}")
        line = f"{request.method} {self._base_path}{target} HTTP/1.1\r\n".encode("ascii")
        if not body and request.method == "GET":
            return b"%b%b\r\n" % (line, headers)
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (line, headers, len(body), body)

    def _header_lines(self, content_type: str, accept: str) -> bytes:
        headers = [*self._static_headers.items(), *self._impersonation, ("Accept", accept)]
        if content_type:
            headers.append(("Content-Type", content_type))
        if self._token:
            headers.append(("Authorization", f"Bearer {self._token}"))
        for name, value in headers:
            if any(ord(character) < 32 or character == "\x7f" for character in value):
                raise errors.ConfigError(f"the header {name} would contain a line end or another control character")
        return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()

    async def _renew_token(self, *, stale: str) -> None:
        """Ask the source for a token, unless somebody else replaced ``stale`` meanwhile."""
        source = self.config.token_source
        async with self._token_lock:
            if source is None or self._token != stale:
                return
            self._token_read_at = asyncio.get_running_loop().time()
            try:
                token = await asyncio.to_thread(source)  # it may run a plugin or read a file
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises; the old token may still do
                _log.warning("no fresh token from %s: %s", self.config.source, error)
                return
            if token != self._token:
                self._token = token
                self._headers.clear()


def _refusal(request: Request, response: Response) -> errors.ApiError:
    return kube_errors.from_response(
        response.status,
        response.body,
        retry_after=response.retry_after,
        request=f"{request.method} {request.path}",
    )
