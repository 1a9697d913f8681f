"""An API server that stops answering at a chosen request, without a network: for tests on a virtual clock.

Requests are tried, and tried again, as ``KubeTransport`` does it, since it is one; only that what it sends goes to a
server of the same process, or to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from kontinue.kube import errors as kube_errors
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import REQUEST_S, KubeTransport
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport

_NOWHERE = KubeConfig(server="http://127.0.0.1:1", namespace="default")


class SilentTransport(KubeTransport):
    """A transport that is answered until ``is_silent`` says otherwise.

    Args:
        inner: answers.

    Attributes:
        asked: every try of every request, answered or not, in order.
        is_silent: tells of each of them, by its number from 0, whether nobody answers.
        carries_out: what is not answered is carried out none the less.
    """

    def __init__(self, inner: Transport) -> None:
        super().__init__(_NOWHERE, user_agent="tests")
        self._inner = inner
        self.asked: list[Request] = []
        self.is_silent: Callable[[int, Request], bool] = lambda _number, _request: False
        self.carries_out = False

    async def _send_once(self, request: Request, timeout_s: float | None, *, repeatable: bool) -> bytes:
        del repeatable
        if not self._note(request):
            return await self._inner.send(request)
        if self.carries_out:
            await self._inner.send(request)
        await asyncio.sleep(REQUEST_S if timeout_s is None else timeout_s)
        raise kube_errors.no_answer(f"{request.method} {request.path}", TimeoutError("no answer in time"))

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch, or wait for one to begin."""
        if self._note(request):
            await asyncio.sleep(REQUEST_S)
            raise kube_errors.no_answer(f"WATCH {request.path}", TimeoutError("no answer in time"))
        async with aclosing(self._inner.stream(request, timeout_s=timeout_s)) as lines:
            async for line in lines:
                yield line

    def answer(self, first: int) -> None:
        """Answer the first requests from now on, and no other."""
        self.asked.clear()
        self.is_silent = lambda number, _: number >= first

    def answer_all_but(self, one: int) -> None:
        """Do not answer one request from now on, by its number from 0."""
        self.asked.clear()
        self.is_silent = lambda number, _: number == one

    def _note(self, request: Request) -> bool:
        self.asked.append(request)
        return self.is_silent(len(self.asked) - 1, request)
