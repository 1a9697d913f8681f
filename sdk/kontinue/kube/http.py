"""The one module of the SDK that sends: an asynchronous transport to one API server over aiohttp.

Knows requests, answers, retries and limits; knows nothing of kinds. A write costs about 55 us of CPU here, so the hot
path parses no URL, follows no redirect, keeps no cookie, unpacks no body and logs nothing.
Called through ``kontinue.kube.transport.Transport`` by the client and by everything in the engine that talks to the
API; answers of 400 and above become ``kontinue.errors`` by ``kontinue.kube.errors``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from kontinue import errors
from kontinue.kube import errors as kube_errors
from kontinue.kube.backoff import Backoff
from kontinue.kube.config import KubeConfig
from kontinue.kube.requests import Request
from kontinue.kube.watch import LineSplitter

MAX_IN_FLIGHT: Final = 64
REQUEST_S: Final = 30.0
"""Limit of one try: kube-apiserver itself gives up on a request after 60 s, ours is faster. Judgement."""
CONNECT_S: Final = 10.0
TOKEN_REFRESH_S: Final = 60.0
"""How often a token source is asked again; service account tokens live for an hour."""
_READ_BYTES: Final = 256 * 1024

_log = logging.getLogger(__name__)


class KubeTransport:
    """Sends requests to the API server of ``config``. Belongs to the event loop that sends first; close it there."""

    def __init__(
        self,
        config: KubeConfig,
        *,
        user_agent: str,
        max_in_flight: int = MAX_IN_FLIGHT,
        impersonate: str = "",
    ) -> None:
        self.config = config
        self._base = config.server.rstrip("/")
        self._server_hostname = config.tls_server_name or None
        self._slots = asyncio.Semaphore(max_in_flight)
        self._static_headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        if impersonate:
            self._static_headers["Impersonate-User"] = impersonate
        self._token = config.token
        self._token_read_at: float | None = None
        self._token_lock = asyncio.Lock()
        self._headers: dict[tuple[str, str], dict[str, str]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=REQUEST_S, sock_connect=CONNECT_S)

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
        deadline = None if retry_for_s is None else asyncio.get_running_loop().time() + retry_for_s
        renewed = False
        while True:
            token = self._token
            try:
                return await self._send_once(request, timeout_s)
            except errors.Unauthorized:
                if renewed or self.config.token_source is None:
                    raise
                renewed = True
                await self._renew_token(stale=token)
                continue
            except errors.Unavailable as error:
                if not retries or not kube_errors.is_worth_retrying(error):
                    raise
                if not repeatable and not kube_errors.was_not_processed(error):
                    raise
                backoff = backoff or Backoff()
                delay_s = backoff.next_s(at_least_s=error.retry_after_s)
                if deadline is not None and asyncio.get_running_loop().time() + delay_s > deadline:
                    raise
                _log.debug("retrying in %.2f s: %s", delay_s, error)
            await asyncio.sleep(delay_s)

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch and yield its lines until the server ends it; see ``Transport.stream``."""
        session = self._session or self._open()
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        splitter = LineSplitter()
        try:
            async with session.get(
                URL(self._base + request.target, encoded=True),
                headers=await self._headers_of(request),
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._server_hostname,
            ) as response:
                if response.status >= 300:
                    raise self._error(request, response, await response.read())
                async for chunk in response.content.iter_any():
                    for line in splitter.feed(chunk):
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise kube_errors.no_answer(f"watch {request.path}", error) from error

    async def close(self) -> None:
        """Close all connections. What is in flight fails with ``Unavailable``."""
        if self._session is not None:
            await self._session.close()

    async def _send_once(self, request: Request, timeout_s: float | None) -> bytes:
        session = self._session or self._open()
        headers = await self._headers_of(request)
        timeout = self._timeout if timeout_s is None else aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with (
                self._slots,
                session.request(
                    request.method,
                    URL(self._base + request.target, encoded=True),
                    data=request.body or None,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    server_hostname=self._server_hostname,
                ) as response,
            ):
                body = await response.read()
                if response.status >= 300:
                    raise self._error(request, response, body)
                return body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise kube_errors.no_answer(f"{request.method} {request.path}", error, sent=sent) from error

    def _error(self, request: Request, response: aiohttp.ClientResponse, body: bytes) -> errors.ApiError:
        return kube_errors.from_response(
            response.status,
            body,
            retry_after=response.headers.get("Retry-After", ""),
            request=f"{request.method} {request.path}",
        )

    async def _headers_of(self, request: Request) -> dict[str, str]:
        """Return the headers, built once per pair of media types and token."""
        if self.config.token_source is not None:
            now_s = asyncio.get_running_loop().time()
            if self._token_read_at is None and self._token:
                self._token_read_at = now_s
            elif self._token_read_at is None or now_s - self._token_read_at > TOKEN_REFRESH_S:
                await self._renew_token(stale=self._token)
        key = (request.content_type if request.body else "", request.accept)
        headers = self._headers.get(key)
        if headers is None:
            headers = {**self._static_headers, "Accept": request.accept}
            if request.body:
                headers["Content-Type"] = request.content_type
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            self._headers[key] = headers
        return headers

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

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # requests are limited by our slots, watches are not
            ssl=_ssl_context(self.config) if self._base.startswith("https:") else False,
            keepalive_timeout=75.0,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        return self._session


def _ssl_context(config: KubeConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=config.ca_data or None)
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.client_cert_data:
        # ssl loads certificates only from files; this one is private to us and lives for an instant.
        with tempfile.TemporaryDirectory(prefix="kontinue-") as folder:
            certificate = Path(folder) / "client.pem"
            certificate.touch(mode=0o600)
            certificate.write_text(f"{config.client_cert_data}\n{config.client_key_data}\n", encoding="ascii")
            context.load_cert_chain(certificate)
    return context
