"""Internal. The event loop of a test environment's engine: its time moves only when it is told to.

It has no selector and no thread of its own: ``kontinue_engine.testing.driver`` runs what is ready, in a callback of the
test's own loop, and moves time. So whether anything is left to do now is known exactly. Timers of housekeeping
(``housekeeping``: compaction, the ends of watches, ...) never move time: they fire, once, with the next one that does,
as they do on a laptop that has slept.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context, ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from kontinue_engine.runner.refused_io import LoopWithoutIO

T = TypeVar("T")

TURN: Final = 2_000
"""Callbacks per turn. Judgement: some 20 ms, then the test's loop gets its turn."""

_NEVER: Final = (math.inf, 0)

_is_housekeeping: Final[ContextVar[bool]] = ContextVar("kontinue_housekeeping", default=False)


@contextlib.contextmanager
def housekeeping() -> Iterator[None]:
    """Timers that are made within, and by tasks that are made within, never move time."""
    token = _is_housekeeping.set(True)
    try:
        yield
    finally:
        _is_housekeeping.reset(token)


class _Timers:
    """Timers in the order in which they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, asyncio.TimerHandle]] = []

    def add(self, timer: asyncio.TimerHandle, number: int) -> None:
        heapq.heappush(self._heap, (timer.when(), number, timer))

    @property
    def first(self) -> tuple[float, int]:
        """When the first one is due, and its number; ``_NEVER`` if there is none."""
        while self._heap and self._heap[0][2].cancelled():
            heapq.heappop(self._heap)
        return self._heap[0][:2] if self._heap else _NEVER

    def pop(self) -> asyncio.TimerHandle:
        return heapq.heappop(self._heap)[2]


class VirtualLoop(LoopWithoutIO):
    """See the module. Only ``call_soon_threadsafe`` may be called from other threads.

    Args:
        wake: called, from any thread, when something may have become ready: ``run`` should be called soon.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.failures: list[BaseException] = []
        """Exceptions that nobody took: bugs of the engine."""
        self._wake = wake
        self._now_s = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers = _Timers()
        self._housekeeping = _Timers()
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_running = False

    # For the driver.

    @property
    def has_ready(self) -> bool:
        """Whether something can run now."""
        return bool(self._ready)

    def run(self) -> None:
        """Run what is ready, for one turn. Not within a task of another loop."""
        previous, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(None, None)  # the other loop would take our generators for its own
        self._is_running = True
        try:
            for _ in range(TURN):
                if not self._ready:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            self._is_running = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(previous)

    def next_time_s(self) -> float | None:
        """Return when the next timer is due that moves time; None if there is none."""
        when_s, _ = self._timers.first
        return None if when_s == math.inf else when_s

    def move_to(self, when_s: float) -> None:
        """Move time; what has become due is ready then, in order."""
        self._now_s = max(self._now_s, when_s)
        while True:
            timers = min(self._timers, self._housekeeping, key=lambda timers: timers.first)
            if timers.first[0] > self._now_s:
                return
            self._ready.append(timers.pop())

    def cancel_tasks(self) -> None:
        """Cancel every task that has not ended."""
        for task in list(self._tasks):
            task.cancel()

    # What asyncio asks a loop.

    def time(self) -> float:
        """Return the seconds since it began."""
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` after those that are ready."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._is_running:
            self._wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` after those that are ready."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._wake()
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` after ``delay`` seconds of virtual time."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when``."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timers = self._housekeeping if _is_housekeeping.get() else self._timers
        timers.add(timer, next(self._numbers))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        """Return a new task."""
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def get_debug(self) -> bool:
        """Return False: debug mode measures real time."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Do nothing."""

    def is_running(self) -> bool:
        """Tell whether a turn is being run."""
        return self._is_running

    def is_closed(self) -> bool:
        """Return False: there is nothing to close."""
        return False

    def get_task_factory(self) -> None:
        """Return None."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody took."""
        error = context.get("exception")
        self.failures.append(error if isinstance(error, BaseException) else RuntimeError(str(context.get("message"))))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays where it is, and is passed over when its time comes."""


class VirtualClock:
    """``kontinue_engine.clock.Clock`` over a ``VirtualLoop``."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._start = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return the virtual time, aware, in UTC."""
        return self._start + timedelta(seconds=self._loop.time())

    def now_ms(self) -> int:
        """Return the virtual time in milliseconds since 1970."""
        return round(self.now().timestamp() * 1000)

    def monotonic_s(self) -> float:
        """Return the virtual seconds since the environment began."""
        return self._loop.time()
