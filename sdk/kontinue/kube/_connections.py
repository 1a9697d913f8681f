"""The connections to one API server: opened when needed, kept between requests, the last used one first.

The first choice is the connection used last, so that those of a burst grow old and are closed. A stream gets a
connection of its own. Called by ``kontinue.kube.http``; a single connection is ``kontinue.kube._connection``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from kontinue.errors import InvalidState, Unavailable
from kontinue.kube import errors as kube_errors
from kontinue.kube._connection import Connection, StaleConnectionError
from kontinue.kube._endpoint import Endpoint
from kontinue.kube._response import Response

IDLE_S: Final = 75.0
"""Shorter than Go's servers keep idle connections (kube-apiserver: 90 s), so that we close first."""
CONNECT_S: Final = 10.0
"""Limit of connection and TLS handshake. Judgement."""
CLOSE_S: Final = 1.0
"""What a TLS server gets to say goodbye. Judgement."""


class ConnectError(ConnectionError):
    """No connection could be made, so nothing was sent."""


class Connections:
    """A pool. Belongs to the event loop that uses it first.

    Args:
        endpoint: where to connect.
        build_ssl_context: called once, before the first connection with TLS.
        max_idle: how many idle connections are kept.
    """

    def __init__(self, endpoint: Endpoint, *, build_ssl_context: Callable[[], ssl.SSLContext], max_idle: int) -> None:
        self.is_closed = False
        self._endpoint = endpoint
        self._build_ssl_context = build_ssl_context
        self._ssl_context: ssl.SSLContext | None = None
        self._max_idle = max_idle
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._all_lost: asyncio.Event | None = None

    async def exchange(self, data: bytes, *, limit_s: float, is_repeatable: bool) -> Response:
        """Send a request over an idle or a new connection and return the response.

        A request that found its idle connection closed by the server is sent once more over a new one, if that is
        safe.

        Args:
            data: the request as it goes over the wire.
            limit_s: time for everything, connecting included.
            is_repeatable: whether the server may see the request twice.

        Raises:
            ConnectError: nothing was sent.
            OSError: the connection broke, or the time is over (TimeoutError).
            ResponseError: the answer is no response, cut short, or too large.
            InvalidState: the connections are those of another event loop.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        deadline_s = now_s + limit_s
        connection = self._take_idle(loop, now_s)
        if connection is not None:
            try:
                response = await connection.exchange(data, deadline_s=deadline_s)
            except StaleConnectionError:
                if not is_repeatable:
                    raise
            else:
                self._keep(connection)
                return response
        connection = await self.connect(limit_s=deadline_s - asyncio.get_running_loop().time())
        response = await connection.exchange(data, deadline_s=deadline_s)
        self._keep(connection)
        return response

    async def connect(self, *, limit_s: float | None = None) -> Connection:
        """Open a connection, for a stream: whoever asked closes it.

        Raises:
            ConnectError: it was refused, did not answer in time, or is not the server it should be.
            ConfigError: the certificates cannot be used.
            Unavailable: it was closed.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        try:
            if endpoint.tls_server_name and self._ssl_context is None:
                self._ssl_context = self._build_ssl_context()
            async with asyncio.timeout(CONNECT_S if limit_s is None else min(CONNECT_S, limit_s)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, on_lost=self._forget),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._ssl_context,
                    server_hostname=endpoint.tls_server_name or None,
                )
        except OSError as error:
            raise ConnectError(f"{endpoint.authority}: {str(error) or 'no connection in time'}") from error
        if not connection.is_usable:
            raise ConnectError(f"{endpoint.authority}: closed at once")
        try:
            self._check_open()
        except Unavailable:
            connection.abort()
            raise
        self._open.add(connection)
        return connection

    async def close(self) -> None:
        """Close every connection; what waits for an answer fails. Idempotent."""
        self.is_closed = True
        self._idle.clear()
        self._all_lost = self._all_lost or asyncio.Event()
        loop = asyncio.get_running_loop()
        for connection in tuple(self._open):
            if connection.loop is loop:
                connection.close()
            else:  # another loop's, which only that one could close
                self._open.discard(connection)
        if not self._open:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._all_lost.wait()
        except TimeoutError:
            for connection in tuple(self._open):
                connection.abort()

    def _check_open(self) -> None:
        if self.is_closed:
            raise kube_errors.closed()

    def _take_idle(self, loop: asyncio.AbstractEventLoop, now_s: float) -> Connection | None:
        while self._idle:
            connection = self._idle[-1]
            if connection.loop is not loop:
                raise InvalidState(
                    "this client is used on another event loop than before, and its connections belong to the first "
                    "one: make a Client within each asyncio.run(), or use SyncClient, which has a loop of its own"
                )
            self._idle.pop()
            if connection.is_usable and now_s - connection.idle_since_s <= IDLE_S:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        """Keep a connection whose exchange is done; close the one unused for longest if its time is over."""
        if not connection.is_usable:
            return
        if self.is_closed or len(self._idle) >= self._max_idle:
            connection.close()
            return
        now_s = asyncio.get_running_loop().time()
        connection.idle_since_s = now_s
        self._idle.append(connection)
        if now_s - self._idle[0].idle_since_s > IDLE_S:
            self._idle.pop(0).close()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_lost is not None and not self._open:
            self._all_lost.set()
