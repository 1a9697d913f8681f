"""A transport without a network: answers are functions, watches are scripts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from kontinue.kube.requests import Request


class ScriptedTransport:
    """Implements ``kontinue.kube.transport.Transport``.

    Attributes:
        sent: every request sent, in order.
        watched: every watch opened, in order.
        answer: called for each request; returns the body or raises.
        watches: scripts of the watches to come: lines to yield, exceptions to raise; None keeps the watch open.
            Watches past the last script stay open and silent.
    """

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.watched: list[Request] = []
        self.answer: Callable[[Request], bytes] = _refuse
        self.watches: deque[Sequence[bytes | Exception | None]] = deque()
        self._live: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Answer at once, one turn of the loop later."""
        self.sent.append(request)
        await asyncio.sleep(0)
        return self.answer(request)

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Play the next script."""
        self.watched.append(request)
        script = self.watches.popleft() if self.watches else [None]
        for item in script:
            if isinstance(item, Exception):
                raise item
            if item is not None:
                yield item
                continue
            while True:
                yield await self._live.get()

    def emit(self, line: bytes) -> None:
        """Send a line over a watch that is kept open."""
        self._live.put_nowait(line)


def _refuse(request: Request) -> bytes:
    raise AssertionError(f"unexpected request {request}")
