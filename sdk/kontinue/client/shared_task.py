"""A task whose work several wait for: a watch, writes, renewals. Called by ``ended_watch`` and ``kontinue.sync``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SharedTask:
    """Works until it has finished or is stopped.

    Programs cancel all tasks of their loop, as by ``for task in asyncio.all_tasks(): task.cancel()``, but perhaps not
    those that wait for this one, which they know nothing of: these would wait for ever. So it begins again where
    somebody else than its owner has cut it off, as long as it is needed.

    Args:
        work: what it does.
        name: of the task.
        is_needed: tells whether somebody waits for it.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str, is_needed: Callable[[], bool]
    ) -> None:
        self._work = work
        self._name = name
        self._is_needed = is_needed
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither finished nor been stopped or cancelled."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin, in the loop that runs."""
        self._task = asyncio.create_task(self._work(), name=self._name)
        self._task.add_done_callback(self._begin_again)

    def stop(self) -> asyncio.Task[None] | None:
        """Cancel it; return the task, to be awaited, or None if it was not started since."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        if ended is self._task and was_cut_off(ended) and self._is_needed():
            self.start()


def was_cut_off(ended: asyncio.Task[Any]) -> bool:
    """Tell whether it was cancelled, or a Ctrl-C has hit one of its steps, after which a loop may be run again."""
    return ended.cancelled() or isinstance(ended.exception(), KeyboardInterrupt)
