"""Internal. A wait that any number of Executions share, and so its watch: it lives as long as one of them waits.

Only for what is waited for as it is, not since when: who joins hears what the wait under way comes to. Called by
``kube.primitive_operations``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Progress = Callable[[str], object]


class SharedWait:
    """Waits for one thing.

    Args:
        wait: waits, and tells meanwhile why it has to.
    """

    def __init__(self, wait: Callable[[Progress], Coroutine[Any, Any, object]]) -> None:
        self._wait = wait
        self._why: str | None = None
        self._waiting: list[Progress] = []
        self._task: asyncio.Task[object] | None = None

    async def join(self, on_progress: Progress) -> None:
        """Wait until it is over; raises what the wait raises.

        Args:
            on_progress: called with why it has to wait, for people.
        """
        if self._task is None or self._task.done():
            self._why = None
            self._task = asyncio.create_task(self._wait(self._tell), name="kontinue waits for a primitive")
        elif self._why is not None:
            on_progress(self._why)
        self._waiting.append(on_progress)
        try:
            await asyncio.shield(self._task)
        finally:
            self._waiting.remove(on_progress)
            if not self._waiting and self._task is not None:
                self._task.cancel()
                self._task = None  # who comes before it has ended must not be cancelled with it

    def _tell(self, why: str) -> None:
        self._why = why
        for on_progress in self._waiting:
            on_progress(why)
