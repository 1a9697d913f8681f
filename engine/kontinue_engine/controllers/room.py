"""Internal. Who is told that it waits for a free runner: what has waited for long, and only some each second.

Thousands may wait while others run; a write for each of them would slow down those that run. Who waits for 10 s gets
a place in a line that moves five times a second. ``controllers.execution`` asks, ``decide`` makes a status of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import msgspec

from kontinue_engine.clock import Clock
from kontinue_engine.kube.work_queue import WorkQueue

TELL_AFTER_MS: Final = 10_000
"""A queue that is shorter explains itself. Judgement."""
SPACING_MS: Final = 200
"""Between two writes: half a per cent of what a small API server takes."""
HORIZON_MS: Final = 60_000
"""So far ahead places are given away; who gets none asks again then, and most of them will have run. Judgement."""


LOOK_S: Final = 1.0
"""Between two looks at who has waited for long: a timer for each Execution would cost each some microseconds."""


class RoomWait(msgspec.Struct):
    """A wait for room, in milliseconds since 1970.

    Attributes:
        since_ms: when it began.
        told_from_ms: when it may be told so; None as long as it has no place in the line.
        is_over: it runs, or waits for something else.
    """

    since_ms: int
    told_from_ms: int | None = None
    is_over: bool = False


class RoomNotices:
    """The line of those that are to be told.

    Args:
        queue: looks at an Execution again when it is its turn.
        clock: wall time.
    """

    def __init__(self, queue: WorkQueue[str], clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._waits: deque[tuple[str, RoomWait]] = deque()
        self._next_look: asyncio.TimerHandle | None = None
        self._next_ms = 0

    def begin(self, uid: str) -> RoomWait:
        """Return a wait that begins now."""
        wait = RoomWait(self._clock.now_ms())
        self._waits.append((uid, wait))
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(TELL_AFTER_MS / 1000, self._look)
        return wait

    def _look(self) -> None:
        self._next_look = None
        until_ms = self._clock.now_ms() - TELL_AFTER_MS
        while self._waits and (self._waits[0][1].is_over or self._waits[0][1].since_ms <= until_ms):
            uid, wait = self._waits.popleft()
            if not wait.is_over:
                self._queue.add(uid)
        if self._waits:
            left_s = (self._waits[0][1].since_ms - until_ms) / 1000
            self._next_look = asyncio.get_running_loop().call_later(max(LOOK_S, left_s), self._look)

    def is_due(self, uid: str, wait: RoomWait | None, now_ms: int) -> bool:
        """Tell whether it is to be told now; otherwise it is looked at again."""
        if wait is None:
            return False
        again_ms = wait.since_ms + TELL_AFTER_MS
        if now_ms >= again_ms and wait.told_from_ms is None:
            place_ms = max(now_ms, self._next_ms)
            if place_ms <= now_ms + HORIZON_MS:
                wait.told_from_ms, self._next_ms = place_ms, place_ms + SPACING_MS
            else:
                again_ms = now_ms + HORIZON_MS
        if wait.told_from_ms is not None:
            again_ms = wait.told_from_ms
        if now_ms < again_ms:
            self._queue.add_after(uid, (again_ms - now_ms) / 1000)
        return wait.told_from_ms is not None and now_ms >= wait.told_from_ms
