"""The newest state of one object, by a watch that all who look share, and which lives as long as they do.

Called by ``kontinue.sync.holding.locker`` and ``renewing``, and by ``kontinue.sync.granted.semaphore``.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Generic, TypeVar

from kontinue import errors
from kontinue.client.shared_task import SharedTask
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.sync.objects.watching import Gone, gone, states, version

T = TypeVar("T", bound=HasMetadata)


class Followed(Generic[T]):
    """Watches one object while somebody has entered it (``async with``).

    Args:
        transport: to the API server.
        resource: its kind.
        object_type: what it is decoded as.
        namespace: where it is.
        name: what it is called.
    """

    def __init__(
        self, transport: Transport, resource: Resource, object_type: type[T], namespace: str, name: str
    ) -> None:
        self._transport = transport
        self._resource = resource
        self._object_type = object_type
        self._namespace = namespace
        self._name = name
        self._users = 0
        self._task = SharedTask(self._follow, name=f"kontinue follows {name}", is_needed=lambda: self._users > 0)
        self._latest: T | None = None
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> None:
        """Watch from now on."""
        if self._users == 0 or self._failure is not None:
            self._latest = self._failure = None
            self._task.start()
        self._users += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching unless others do."""
        self._users -= 1
        if self._users == 0:
            self._task.stop()

    async def newer(self, than: T, *, within_s: float | None) -> T:
        """Return the first state that is newer than ``than``; ``than`` itself if there is none in time.

        Raises:
            NotFound: it was deleted, or made again under its name.
            ApiError: the server refuses to show it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    news = self._news
                    if self._failure is not None:
                        raise self._failure
                    latest = self._latest
                    if latest is not None and latest.metadata.uid != than.metadata.uid and _is_newer(latest, than):
                        raise self._gone("was deleted and made again")
                    if latest is not None and _is_newer(latest, than):
                        return latest
                    await news.wait()
        return than

    async def _follow(self) -> None:
        following = states(self._transport, self._resource, self._namespace, self._name, self._object_type)
        try:
            async with aclosing(following) as found:
                async for state in found:
                    if isinstance(state, Gone):  # who looks has seen it before
                        raise self._gone("was deleted")
                    self._latest = state
                    self._wake()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who look must hear of it
            self._failure = error
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _gone(self, how: str) -> errors.NotFound:
        return gone(self._resource, self._namespace, self._name, how)


def _is_newer(one: HasMetadata, other: HasMetadata) -> bool:
    return version(one) > version(other)
