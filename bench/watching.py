"""Many watches that count events without decoding them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson

from bench.objects import EXECUTIONS, NAMESPACE
from bench.subjects import Subject
from kontinue.kube import requests

READ_BYTES = 2**18
PATIENCE_S = 60.0
EVENT_END = b"}\n"


class Watchers:
    """How many events each watch has seen."""

    def __init__(self, count: int) -> None:
        self._seen = [0] * count

    @property
    def least(self) -> int:
        """Events that all have seen."""
        return min(self._seen)

    async def count_events(self, number: int, reader: asyncio.StreamReader) -> None:
        """Read a watch until it ends."""
        rest = b""
        while data := await reader.read(READ_BYTES):
            self._seen[number] += (rest + data).count(EVENT_END)
            rest = data[-1:]

    async def have_seen(self, events: int) -> None:
        """Wait until every one has seen so many."""
        async with asyncio.timeout(PATIENCE_S):
            while self.least < events:  # noqa: ASYNC110 - counted by many tasks
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watching(subject: Subject, count: int) -> AsyncIterator[Watchers]:
    """Open watches of what happens from now on."""
    async with subject.transport() as transport:
        listed = orjson.loads(await transport.send(requests.list_objects(EXECUTIONS, NAMESPACE, limit=1)))
    path = f"{EXECUTIONS.path(NAMESPACE)}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
    watchers = Watchers(count)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            reader, writer = await subject.open_get(path)
            stack.callback(writer.close)
            task = asyncio.create_task(watchers.count_events(number, reader), name=f"watcher-{number}")
            stack.push_async_callback(_end, task)
        yield watchers


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
