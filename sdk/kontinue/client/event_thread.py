"""An event loop in a thread of its own, so that code without a loop can use what is asynchronous.

Called by ``kontinue.client.sync_client`` and ``kontinue.sync.blocking``. Any number of threads may call at once; they
share the loop, and with it connections and watches. It starts with the first call, never at import or construction: a
process that forks before it has called anything has no thread to lose.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Final, TypeVar

from kontinue import errors

T = TypeVar("T")

_END: Final = object()


class EventThread:
    """Runs coroutines for other threads, until ``close``. A process forked off after the first call has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._is_closed = False
        self._stop = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether the loop runs in this process: it has been called, and was not closed."""
        # When the interpreter ends, daemon threads end before the last generators are closed.
        return self._loop is not None and self._pid == os.getpid() and not sys.is_finalizing()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return what it returns; the calling thread waits.

        When the wait is interrupted, by Ctrl-C for one, the coroutine is cancelled, and the interrupt goes on once it
        has ended; a second interrupt no longer waits for that.

        Raises:
            InvalidState: it is closed, or was closed meanwhile; the caller runs on this very loop and would wait for
                itself; or it was started before this process was forked off.
        """
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def start(loop: asyncio.AbstractEventLoop) -> None:
            tasks.append(loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda task: _tell(task, outcome))

        def give_up(_: asyncio.AbstractEventLoop) -> None:
            if tasks:
                tasks[0].cancel()
            else:  # interrupted before it was scheduled
                coroutine.close()
                outcome.set_exception(errors.InvalidState("interrupted before it was begun"))

        try:
            self._begin(start, coroutine, outcome)
            return outcome.result()
        except BaseException:
            if not outcome.done():
                with suppress(errors.InvalidState):  # closing cancels it as well
                    self._schedule(give_up)
                concurrent.futures.wait([outcome])
            raise

    def _begin(
        self,
        start: Callable[[asyncio.AbstractEventLoop], object],
        coroutine: Coroutine[Any, Any, T],
        outcome: concurrent.futures.Future[T],
    ) -> None:
        try:
            self._schedule(start)
        except Exception:  # not an interrupt: that may come when it runs already
            coroutine.close()
            outcome.cancel()
            raise

    def iterate(self, stream: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield what an asynchronous iterator yields; a generator is closed at the end, whatever ends it."""
        try:
            while True:
                item: Any = self.run(_next(stream))
                if item is _END:
                    return
                yield item
        finally:
            if self.is_running and isinstance(stream, AsyncGenerator):
                self.run(stream.aclose())

    def close(self) -> None:
        """End the loop and its thread; what runs on it is cancelled."""
        with self._lock:
            is_running, self._is_closed = self.is_running, True
            thread, loop = self._thread, self._loop
            self._thread = self._loop = None
        if is_running and thread is not None and loop is not None:
            loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def _schedule(self, callback: Callable[[asyncio.AbstractEventLoop], object]) -> None:
        """Have the loop call back; what is scheduled before ``close`` runs before the loop ends."""
        with self._lock:
            if self._is_closed:
                raise errors.InvalidState("this client is closed: make another one")
            if sys.is_finalizing():
                raise errors.InvalidState("the program is ending, and the thread of this client has ended")
            loop = self._loop
            if loop is None:
                loop = self._start()
            elif self._pid != os.getpid():
                raise errors.InvalidState(
                    f"this client was used by process {self._pid} before it forked process {os.getpid()}, which has "
                    "neither its thread nor its connections: make a client in each process"
                )
            if threading.current_thread() is self._thread:
                raise errors.InvalidState(
                    "a synchronous client was called on its own event loop, where it would wait for itself: "
                    "what encodes and decodes values must not use it"
                )
            loop.call_soon_threadsafe(callback, loop)

    def _start(self) -> asyncio.AbstractEventLoop:
        running: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()

        async def live() -> None:
            running.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        def run() -> None:
            with asyncio.Runner() as runner:  # cancels what is left when it ends, and closes generators and the loop
                loop = runner.get_loop()
                living = loop.create_task(live())
                while not living.done():
                    # What callbacks raise ends a loop if it is one of these; it is told to whoever waits for the task.
                    with suppress(SystemExit, KeyboardInterrupt):
                        loop.run_until_complete(living)

        self._pid = os.getpid()
        self._thread = threading.Thread(target=run, name="kontinue client", daemon=True)
        self._thread.start()
        self._loop = running.result()
        return self._loop


async def _next(stream: AsyncIterator[Any]) -> Any:
    return await anext(stream, _END)


def _tell(task: asyncio.Task[T], outcome: concurrent.futures.Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(errors.InvalidState("the client was closed during this call"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
