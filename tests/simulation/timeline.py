"""Virtual time: one timeline for the whole world, and an asyncio loop of its own for each simulated process.

Everything that happens is an entry of the timeline, so a seed decides the order of it all. A process can be frozen (no
code of it runs; what becomes due waits, and runs at once when it wakes), its machine can sleep (its monotonic clock
stands still, that of boot time does not), and it can die (what is left of its tasks is unwound where nobody sees it).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

SPINS = 100_000
"""Callbacks that one process may run without time passing: more is an endless loop."""
UNWINDING = 5_000
"""Timers that a dead process may need until its tasks have ended."""


class Timeline:
    """What happens next, and when. Time is in seconds since the beginning."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, when_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do it then, after everything that was asked for earlier for the same moment."""
        heapq.heappush(self._due, (max(when_s, self.now_s), next(self._numbers), action, arguments))

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do it a little later."""
        self.at(self.now_s + delay_s, action, *arguments)

    def run(self, until: Callable[[], bool]) -> None:
        """Let time pass until the condition holds; it is looked at after each step."""
        while not until():
            self.now_s, _, action, arguments = heapq.heappop(self._due)
            action(*arguments)


class NumberedTask(asyncio.Task[Any]):
    """A task with a place of its own in sets: asyncio cancels in their order, which must not depend on addresses."""

    _numbers = itertools.count()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*arguments, **named)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process.

    Args:
        timeline: of the world.
        process: whose loop it is; simulated I/O finds it by the running loop.
        base_s: what its monotonic clock showed at the beginning.
        rate: how fast that clock goes.
    """

    def __init__(self, timeline: Timeline, process: Any, *, base_s: float, rate: float) -> None:
        self.process = process
        self.complaints: list[str] = []
        self.is_frozen = False
        self.is_dead = False
        self._timeline = timeline
        self._base_s = base_s
        self._rate = rate
        self._slept_s = 0.0
        self._asleep_since_s: float | None = None
        self._ready: deque[asyncio.Handle] = deque()
        self._parked_io: list[asyncio.Handle] = []
        self._parked_timers: list[asyncio.TimerHandle] = []
        self._afterlife: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._tasks: dict[int, NumberedTask] = {}

    # What asyncio needs.

    def time(self) -> float:
        slept_s = self._slept_s
        if self._asleep_since_s is not None:
            slept_s += self._timeline.now_s - self._asleep_since_s
        return self._base_s + (self._timeline.now_s - slept_s) * self._rate

    def boot_time(self) -> float:
        """Seconds since the machine was started, sleep included."""
        return self._base_s + self._timeline.now_s * self._rate

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self.is_dead:
            heapq.heappush(self._afterlife, (when, len(self._afterlife), handle))
        else:
            self._schedule(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **named: Any) -> NumberedTask:
        task = NumberedTask(coro, loop=self, **named)
        self._tasks[hash(task)] = task
        task.add_done_callback(self._forget)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.complaints.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays where it is, and is passed over when its time comes."""

    # What the world does with it.

    def deliver(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Something arrives from outside: run what it causes, now or when the process wakes."""
        if self.is_dead:
            return
        handle = asyncio.Handle(callback, arguments, self)
        if self.is_frozen:
            self._parked_io.append(handle)
        else:
            self._ready.append(handle)
            self.run()

    def freeze(self, *, machine_sleeps: bool) -> None:
        """Run nothing from now on."""
        self.is_frozen = True
        if machine_sleeps:
            self._asleep_since_s = self._timeline.now_s

    def thaw(self) -> None:
        """Run everything that has become due: as after a ``select``, what has arrived comes before timers."""
        self.is_frozen = False
        if self._asleep_since_s is not None:
            self._slept_s += self._timeline.now_s - self._asleep_since_s
            self._asleep_since_s = None
        self._ready.extend(self._parked_io)
        for timer in self._parked_timers:
            self._fire(timer, is_alone=False)
        self._parked_io, self._parked_timers = [], []
        self.run()

    def run(self) -> None:
        """Run until nothing is ready."""
        spins = 0
        events._set_running_loop(self)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                spins += 1
                if spins > SPINS:
                    raise RuntimeError(f"{self.process} runs without an end: {handle}")
        finally:
            events._set_running_loop(None)

    def unwind(self) -> None:
        """The process was killed: end its tasks. What they still do reaches nobody."""
        self.is_dead = True
        self.is_frozen = False
        self._ready.clear()
        self._parked_io, self._parked_timers = [], []
        for _ in range(UNWINDING):
            for task in list(self._tasks.values()):
                task.cancel()
            self.run()
            if not self._tasks:
                return
            if self._afterlife:
                self._ready.append(heapq.heappop(self._afterlife)[2])
        raise RuntimeError(f"{self.process} cannot be unwound: {list(self._tasks.values())}")

    def _forget(self, task: NumberedTask) -> None:
        del self._tasks[hash(task)]

    def _schedule(self, timer: asyncio.TimerHandle) -> None:
        self._timeline.at((timer.when() - self._base_s) / self._rate + self._slept_s, self._fire, timer)

    def _fire(self, timer: asyncio.TimerHandle, *, is_alone: bool = True) -> None:
        if timer.cancelled() or self.is_dead:
            return
        if self.is_frozen:
            self._parked_timers.append(timer)
        elif timer.when() > self.time() + 1e-6:
            self._schedule(timer)  # its machine has slept meanwhile
        else:
            self._ready.append(timer)
            if is_alone:
                self.run()
