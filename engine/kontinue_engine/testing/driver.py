"""Internal. Runs the engine's virtual loop within the test's own loop, and knows when nothing is left to do.

The engine takes its turns as callbacks of whatever asyncio loop the test runs on, so it goes on whenever the test
awaits something. What runs elsewhere on its behalf, steps as tasks of the test's loop and threads, is counted: time
moves only once all of that has ended. There are no pauses and no polling.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

from kontinue_engine.testing.errors import EngineFailed, Stuck
from kontinue_engine.testing.virtual_loop import VirtualLoop

T = TypeVar("T")

MAX_JUMPS: Final = 100_000
"""Times that time moves for one ``result()``: more is a function that polls for ever. Judgement: a minute or so."""


COURTESY: Final = 50
"""Turns of the test's loop that code with a client may need from an answer to its next request. Judgement: a few do."""


class Driver:
    """Drives one ``VirtualLoop``.

    Attributes:
        loop: the engine's.
        has_clients: the test's own tasks get some turns before time moves, so that one that has just got an answer
            from the engine can say what it wants next.
        is_busy_elsewhere: asked whether threads run something that is not counted.
    """

    def __init__(self) -> None:
        self.loop = VirtualLoop(self.wake)
        self.has_clients = False
        self.is_busy_elsewhere: Callable[[], bool] = lambda: False
        self._host: asyncio.AbstractEventLoop | None = None
        self._host_thread = 0
        self._is_scheduled = False
        self._outside = 0
        self._lock = threading.Lock()
        self._settled: list[asyncio.Future[None]] = []
        self._context = Context()

    @property
    def host(self) -> asyncio.AbstractEventLoop:
        """The test's loop, which runs steps."""
        assert self._host is not None  # noqa: S101 - every public call attaches first
        return self._host

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do before time moves.

        Threads are asked first: what one has to say when it ends is ready before it has ended.
        """
        return not (self.is_busy_elsewhere() or self._outside or self.loop.has_ready)

    def attach(self) -> None:
        """Take the running loop as the test's. It may be another one than before, if nothing runs on that any more.

        Raises:
            EngineFailed: steps of this environment still run on another loop.
        """
        running = asyncio.get_running_loop()
        if running is self._host:
            return
        if self._host is not None and self._outside:
            raise EngineFailed("this environment is used on another event loop, while steps still run on the first one")
        self._host, self._host_thread = running, threading.get_ident()
        self._is_scheduled = False
        self.wake()

    def detach(self) -> None:
        """Take no more turns on the test's loop."""
        self._host = None

    def run_ready(self) -> None:
        """Run what is ready now, outside of the test's loop."""
        while self.loop.has_ready:
            self.loop.run()

    # From anywhere.

    def wake(self) -> None:
        """Take a turn soon; from any thread."""
        with self._lock:
            host = self._host
            if host is None or self._is_scheduled or host.is_closed():
                return
            self._is_scheduled = True
        if threading.get_ident() == self._host_thread:
            host.call_soon(self._turn, context=self._context)
        else:
            host.call_soon_threadsafe(self._turn, context=self._context)

    def begin(self) -> None:
        """Something of ours runs outside of the virtual loop from now on; from any thread."""
        with self._lock:
            self._outside += 1

    def end(self) -> None:
        """It has ended, and has said what it had to say; from any thread."""
        with self._lock:
            self._outside -= 1
        self.wake()

    def _turn(self) -> None:
        with self._lock:
            self._is_scheduled = False
        self.loop.run()
        if self.loop.has_ready:
            self.wake()
            return
        if self.is_settled or self.loop.failures:
            self._tell_waiting()

    # In the test's tasks.

    async def call(self, work: Coroutine[Any, Any, T], *, explain: Callable[[], str]) -> T:
        """Have the engine's loop run a coroutine; time moves as often as nothing else is left to do.

        Args:
            work: the coroutine.
            explain: says what everything waits for.

        Raises:
            Stuck: nothing is left to do, and no time to wait for; or it goes on for ever.
        """
        task = self._start(work)
        jumps = 0
        try:
            while not task.done():
                await self._until(task)
                if task.done() or not await self._may_move():
                    continue
                when_s = self.loop.next_time_s()
                if when_s is None:
                    raise Stuck(f"nothing will happen any more by itself, however late it gets.\n{explain()}")
                jumps += 1
                if jumps > MAX_JUMPS:
                    raise Stuck(f"no end, although time has moved {MAX_JUMPS:,} times by now.\n{explain()}")
                self.loop.move_to(when_s)
        finally:
            task.cancel()
        return task.result()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the engine's loop run a coroutine, however long that takes; time does not move for it."""
        task = self._start(work)
        ended: asyncio.Future[None] = self.host.create_future()
        task.add_done_callback(lambda _: _set_done(ended))
        try:
            await ended
        finally:
            task.cancel()
        return task.result()

    async def advance(self, by_s: float) -> None:
        """Move time, from one timer to the next; what becomes due has ended or waits again before it moves on."""
        self.attach()
        target_s = self.loop.time() + by_s
        while True:
            await self._until_settled()
            if not await self._may_move():
                continue
            when_s = self.loop.next_time_s()
            if when_s is None or when_s > target_s:
                break
            self.loop.move_to(when_s)
        self.loop.move_to(target_s)
        await self._until_settled()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            self.attach()
        except EngineFailed:
            work.close()
            raise
        task = self.loop.create_task(work)
        task.add_done_callback(lambda _: self._tell_waiting())
        self.wake()
        return task

    def _tell_waiting(self) -> None:
        """Have those who wait look again. They do so on the test's loop, not within the engine's turn."""
        waiting, self._settled = self._settled, []
        for future in waiting:
            _set_done(future)

    async def _until(self, task: asyncio.Task[Any]) -> None:
        """Wait until the task has ended, or nothing is left to do."""
        if not task.done() and not self.is_settled:
            await self._news()
        self._check()

    async def _may_move(self) -> bool:
        """Give the test's own tasks their turns; then tell whether there is still nothing left to do."""
        for _ in range(COURTESY if self.has_clients else 0):
            await asyncio.sleep(0)
            if not self.is_settled:
                return False
        return self.is_settled

    async def _until_settled(self) -> None:
        while not self.is_settled:
            await self._news()
            self._check()

    async def _news(self) -> None:
        future: asyncio.Future[None] = self.host.create_future()
        self._settled.append(future)
        self.wake()
        await future

    def _check(self) -> None:
        if self.loop.failures:
            raise EngineFailed("the test environment's engine failed; this is a bug of kontinue") from (
                self.loop.failures[0]
            )


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
