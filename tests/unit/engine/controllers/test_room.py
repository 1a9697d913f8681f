"""Who is told that it waits for a runner: what has waited for long, and not all at once."""

from __future__ import annotations

import asyncio
import itertools

from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.room import HORIZON_MS, LOOK_S, SPACING_MS, TELL_AFTER_MS, RoomNotices, RoomWait
from kontinue_engine.kube.work_queue import WorkQueue
from virtual_time import elapsed_s, virtual_time


class LoopClock(SystemClock):
    """Wall time is the loop's."""

    def now_ms(self) -> int:
        return round(elapsed_s() * 1000)


class Line:
    """Executions that wait, looked at whenever the queue says so, as the controller does."""

    def __init__(self, count: int) -> None:
        self.queue: WorkQueue[str] = WorkQueue()
        self.room = RoomNotices(self.queue, LoopClock())
        self.waits: dict[str, RoomWait] = {f"e{n}": self.room.begin(f"e{n}") for n in range(count)}
        self.told_s: dict[str, float] = {}
        self.looks = 0

    def end(self, *uids: str) -> None:
        """They run."""
        for uid in uids:
            self.waits.pop(uid).is_over = True

    async def follow(self, seconds: float) -> None:
        """Look at them for some time."""
        task = asyncio.create_task(self._look())
        await asyncio.sleep(seconds)
        task.cancel()

    async def _look(self) -> None:
        while True:
            uid = await self.queue.get()
            self.looks += 1
            if self.room.is_due(uid, self.waits.get(uid), round(elapsed_s() * 1000)):
                self.told_s.setdefault(uid, elapsed_s())
            self.queue.done(uid)


@virtual_time
async def test_one_that_waits_for_long_is_told_and_one_that_does_not_wait_is_not() -> None:
    """Ten seconds of a queue explain themselves."""
    line = Line(2)
    line.end("e1")
    await line.follow(60)
    assert line.told_s == {"e0": TELL_AFTER_MS / 1000}
    assert line.looks == 1


@virtual_time
async def test_thousands_that_run_at_once_cost_nothing() -> None:
    """Neither a look at any of them, nor a timer for each; one that comes later is told in its time."""
    line = Line(10_000)
    line.end(*list(line.waits))
    await line.follow(5)
    line.waits["late"] = line.room.begin("late")
    await line.follow(60)
    assert line.looks == 1
    assert TELL_AFTER_MS / 1000 <= line.told_s["late"] - 5 <= TELL_AFTER_MS / 1000 + LOOK_S


@virtual_time
async def test_of_thousands_some_are_told_each_second() -> None:
    """A storm costs the API server five writes a second, and the supervisor next to nothing."""
    count = 10_000
    line = Line(count)
    await line.follow(600)
    told = sorted(line.told_s.values())
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert min(gaps) > 0.9 * SPACING_MS / 1000
    assert 0.9 * 590 * 1000 / SPACING_MS < len(told) <= 591 * 1000 / SPACING_MS
    assert line.looks < count * (600_000 / HORIZON_MS + 2)


@virtual_time
async def test_places_of_those_that_run_by_now_are_lost_for_a_minute_at_most() -> None:
    """After a storm has passed, whoever waits is told soon."""
    line = Line(10_000)
    await line.follow(11)
    line.end(*list(line.waits))
    now_s = elapsed_s()
    line.waits["late"] = line.room.begin("late")
    await line.follow(200)
    assert line.told_s["late"] - now_s <= (TELL_AFTER_MS + HORIZON_MS) / 1000 + 1
