"""What Barriers and Gates share: they are created, watched until they are open, and may fail. Called by both."""

from __future__ import annotations

import abc
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import TypeVar

from kontinue import errors
from kontinue.api import durations
from kontinue.client.client import Client
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.sync.objects.stored import Stored
from kontinue.sync.objects.waiting import unanswered, until_over, wait_limit
from kontinue.sync.objects.watching import Gone, missing, not_looked_after, states

T = TypeVar("T", bound=HasMetadata)


class Opening(Stored[T], abc.ABC):
    """One object of an API server that opens. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the object.
        namespace: of the object.
        timeout: limit of each call, that of the client; ``wait`` may have one of its own.
    """

    def __init__(
        self, name: str, client: Client, resource: Resource, object_type: type[T], *, namespace: str | None
    ) -> None:
        super().__init__(name, client, resource, object_type, namespace=namespace)
        self._object_type = object_type

    @abc.abstractmethod
    def _is_open(self, found: T) -> bool: ...

    @abc.abstractmethod
    def _failure(self, found: T) -> str:
        """Return in which way it has failed; empty while it has not."""

    @abc.abstractmethod
    def _progress(self, found: T) -> str:
        """Return what is still waited for; empty while no coordinator has looked after it."""

    async def wait(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        on_progress: Callable[[T], object] | None = None,
    ) -> T:
        """Wait until it is open, and return it.

        Args:
            timeout: no longer than this, 0: look once; None: as long as the client's timeout, or for ever.
            on_progress: called with each state that it is seen in meanwhile.

        Raises:
            WaitTimeout: it was not open in time; the message tells what is missing.
            InvalidState: it has failed: its own timeout is over.
            NotFound: it does not exist, or was deleted meanwhile.
            Unavailable: the server has not shown it in time.
            ApiError: the server refuses.
        """
        return await self.wait_until(self._is_open, timeout=timeout, on_progress=on_progress)

    async def wait_until(
        self,
        is_over: Callable[[T], bool],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        on_progress: Callable[[T], object] | None = None,
    ) -> T:
        """Wait until something is so of it; see ``wait``."""
        limit = wait_limit(timeout, self.timeout)
        seen: T | None = None
        if limit is not None and not limit:
            seen = await self.get()
            if self._is_over(seen, is_over):
                return seen
            raise self._timed_out(seen, limit)
        following = states(self._transport, self._resource, self.namespace, self.name, self._object_type)
        timed_out = lambda: self._timed_out(seen, limit or timedelta())  # noqa: E731 - what is seen by then
        async with until_over(limit, timed_out), aclosing(following) as found:
            async for state in found:
                if isinstance(state, Gone):
                    break
                seen = state
                if self._is_over(seen, is_over):
                    return seen
                if on_progress is not None:
                    on_progress(seen)
        raise missing(self._resource, self.namespace, self.name)

    def _is_over(self, found: T, is_over: Callable[[T], bool]) -> bool:
        if is_over(found):
            return True
        self._refuse_failed(found)
        return False

    def _refuse_failed(self, found: T) -> None:
        if failure := self._failure(found):
            raise errors.InvalidState(f"{self._what} has failed: {failure}")

    def _timed_out(self, seen: T | None, limit: timedelta) -> errors.KontinueError:
        if seen is None:
            return unanswered(self._what, limit)
        if not (missing := self._progress(seen)):
            return not_looked_after(self._what, self.namespace)
        return errors.WaitTimeout(f"{self._what} is not open after {durations.format_(limit)}: {missing}")
