"""One test for both clients: ``Threaded`` makes a ``SyncClient`` look like a ``Client`` by calling it from threads.

Only the calls differ: what is asked, returned and raised is the synchronous client's own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from kontinue.client import (
    Client,
    ClientOptions,
    ExecutionHandle,
    JobLogs,
    SyncClient,
    SyncExecutionHandle,
    SyncJobLogs,
    SyncTreeWatcher,
    TreeWatcher,
)
from kontinue.client.sync_client import SyncTransport
from kontinue.kube.http import KubeTransport

COLOURS = ("async", "sync")
_TWINS: dict[type, type] = {
    SyncClient: Client,
    SyncExecutionHandle: ExecutionHandle,
    SyncTreeWatcher: TreeWatcher,
    SyncJobLogs: JobLogs,
    SyncTransport: KubeTransport,
}
_AWAITED_BUT_NO_COROUTINE = ("spawn",)
"""Overloads of one method that returns coroutines."""
_END = object()


def client_of(colour: str, options: ClientOptions) -> Any:
    """Return a client of a colour, which is used as a ``Client`` is."""
    return Client(options) if colour == "async" else Threaded(SyncClient(options), ThreadPoolExecutor(64))


class Threaded:
    """Something synchronous in the form of its asynchronous twin; each call has a thread."""

    def __init__(self, subject: Any, threads: ThreadPoolExecutor) -> None:
        self.subject = subject
        self._threads = threads
        self._twin = _TWINS[type(subject)]

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.subject, name)
        if not inspect.ismethod(member):
            return self._wrapped(member)
        twin = getattr(self._twin, name)
        if inspect.iscoroutinefunction(twin) or name in _AWAITED_BUT_NO_COROUTINE:
            return self._awaited(member)
        if inspect.isasyncgenfunction(twin):
            return lambda *args, **kwargs: self._iterate(iter(member(*map(_bare, args), **kwargs)))
        return lambda *args, **kwargs: self._wrapped(member(*map(_bare, args), **kwargs))

    async def __aenter__(self) -> Self:
        await self._in_thread(self.subject.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._in_thread(self.subject.__exit__, None, None, None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterate(iter(self.subject))

    def _awaited(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return self._wrapped(await self._in_thread(member, *map(_bare, args), **kwargs))

        return call

    async def _iterate(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        while (item := await self._in_thread(next, items, _END)) is not _END:
            yield item

    async def _in_thread(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def _wrapped(self, value: Any) -> Any:
        return Threaded(value, self._threads) if type(value) in _TWINS else value


def _bare(value: Any) -> Any:
    return value.subject if isinstance(value, Threaded) else value
