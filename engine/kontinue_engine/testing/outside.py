"""Internal. What async user code of a test environment runs on: bodies on the engine's loop, all else on the test's.

Whatever runs outside of the engine's loop is counted by the driver, which moves time only when nothing of it is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from kontinue_engine.runner.threads import Job, Threads
from kontinue_engine.testing.driver import Driver

T = TypeVar("T")


class OuterLoop:
    """``kontinue_engine.runner.deterministic_loop.HostLoop``: turns on the engine's loop, tasks on the test's."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> object:
        """Run ``callback`` soon."""
        return self._driver.loop.call_soon(callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> object:
        """Run ``callback`` soon; from any thread."""
        return self._driver.loop.call_soon_threadsafe(callback, *args)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Run a step, or a function without a context, on the test's loop."""
        self._driver.begin()
        # Not by the loop's own factory: an eager one would begin it here, within the engine's turn.
        task = asyncio.Task(coro, loop=self._driver.host, name=name, context=context)
        task.add_done_callback(lambda _: self._driver.end(), context=Context())
        return task


class CountedThreads(Threads):
    """Threads for steps; the driver knows of each job that is under way.

    Args:
        driver: told.
        threads: which they are; they outlive the environment.
    """

    def __init__(self, driver: Driver, threads: Threads) -> None:
        super().__init__()
        self._driver = driver
        self._threads = threads

    def start(self, job: Job) -> None:
        """Run ``job`` in a thread."""

        def run() -> None:
            try:
                job()
            finally:
                self._driver.end()

        self._driver.begin()
        self._threads.start(run)
