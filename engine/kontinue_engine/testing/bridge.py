"""Internal. A transport for clients on the test's own loop, to the API server on the engine's loop.

``TestEnvironment.client`` is made of it. Requests need no time, so they never move it, and neither does a watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue_engine.testing.driver import Driver

_Item = bytes | BaseException | None


class BridgeTransport:
    """``kontinue.kube.transport.Transport`` from the test's loop.

    Args:
        driver: of the engine's loop.
        server: returns the transport on that loop, of a server that has been started.
    """

    def __init__(self, driver: Driver, server: Callable[[], Coroutine[Any, Any, Transport]]) -> None:
        self._driver = driver
        self._server = server

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send one request; see ``Transport.send``."""
        del retries, repeatable, retry_for_s, timeout_s
        server = await self._server()
        return await self._driver.run(server.send(request))

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch and yield its lines until the server ends it; see ``Transport.stream``."""
        async with aclosing(self._pumped(lambda server: server.stream(request, timeout_s=timeout_s))) as lines:
            async for line in lines:
                yield line

    async def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield an answer as it comes; see ``Transport.chunks``."""
        async with aclosing(self._pumped(lambda server: server.chunks(request, timeout_s=timeout_s))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _pumped(self, open_: Callable[[Transport], AsyncGenerator[bytes, None]]) -> AsyncGenerator[bytes, None]:
        server = await self._server()
        self._driver.attach()
        items: asyncio.Queue[_Item] = asyncio.Queue()
        pumping = self._driver.loop.create_task(_pump(open_(server), items.put_nowait))
        try:
            while (item := await items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            pumping.cancel()


async def _pump(source: AsyncGenerator[bytes, None], put: Callable[[_Item], None]) -> None:
    """On the engine's loop, which has the same thread: a queue of the test's loop may be filled from here."""
    try:
        async with aclosing(source) as parts:
            async for part in parts:
                put(part)
    except Exception as error:  # noqa: BLE001 - raised on the other side
        put(error)
    else:
        put(None)
