"""Internal. A wait that any number of Executions share, and so its watch: it lives as long as one of them waits.

Only for what is waited for as it is, not since when. What a watch under way shows next may be older than who asks now,
and over again by then: so he looks himself once, and believes nothing that is older than what he has found. Called by
``kube.primitive_operations``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from kontinue import errors
from kontinue.kube.reflector import HasMetadata
from kontinue.sync.objects.watching import version

T = TypeVar("T", bound=HasMetadata)

Progress = Callable[[str], object]


class SharedWait(Generic[T]):
    """Waits for one object.

    Args:
        wait: lists and watches it until it is over; returns it as it was then, and tells meanwhile why it has to wait.
        look: returns it as it is now; raises if there is none.
    """

    def __init__(self, wait: Callable[[Progress], Coroutine[Any, Any, T]], look: Callable[[], Awaitable[T]]) -> None:
        self._wait = wait
        self._look = look
        self._why: str | None = None
        self._waiting: list[Progress] = []
        self._task: asyncio.Task[T] | None = None
        self._has_asked = False
        """Whether the list of the wait under way may be older than who comes now."""

    async def join(self, on_progress: Progress) -> None:
        """Wait until it is over; raises what the wait raises.

        Args:
            on_progress: called with why it has to wait, for people.
        """
        self._waiting.append(on_progress)
        try:
            while not await self._is_over(on_progress):
                pass  # it was, before he asked
        finally:
            self._waiting.remove(on_progress)
            if not self._waiting and self._task is not None:
                self._task.cancel()
                self._task = None  # who comes before it has ended must not be cancelled with it

    async def _is_over(self, on_progress: Progress) -> bool:
        """Wait for what the wait under way comes to, or a new one; return whether that is not older than this call."""
        is_late = self._task is not None and not self._task.done() and self._has_asked
        least = version(await self._look()) if is_late else 0
        if self._task is None or self._task.done():
            self._why, self._has_asked = None, False
            self._task = asyncio.create_task(self._run(), name="kontinue waits for a primitive")
        elif self._why is not None:
            on_progress(self._why)
        try:
            return version(await asyncio.shield(self._task)) >= least
        except errors.KontinueError:
            if is_late:
                return False  # an earlier object of the name may have failed, or have been deleted
            raise

    async def _run(self) -> T:
        self._has_asked = True
        return await self._wait(self._tell)

    def _tell(self, why: str) -> None:
        self._why = why
        for on_progress in self._waiting:
            on_progress(why)
