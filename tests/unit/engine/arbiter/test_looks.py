"""Objects are looked at several at once, and what goes wrong with one concerns that one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from kontinue import errors
from kontinue_engine.arbiter.looks import LONGEST_PAUSE_S, Key, Looks
from virtual_time import elapsed_s, virtual_time

ODD, FINE = ("default", "odd"), ("default", "fine")


class Looker:
    """Notes when it looked at what, and raises for the odd one what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.looks: list[tuple[str, float]] = []
        self.faults: list[tuple[Key, Exception]] = []
        self.all = Looks("things", self.look, lambda key, error: self.faults.append((key, error)))

    async def look(self, key: Key) -> None:
        self.looks.append((key[1], elapsed_s()))
        if key == ODD and self.error is not None:
            raise self.error

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.all.run())
        try:
            yield
            assert not task.done(), "a fault has ended all looks"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_a_fault_with_one_object_is_told_and_all_others_are_looked_at():
    """More faults than looks at once, too."""
    looker = Looker()
    looker.error = OverflowError("date value out of range")
    async with looker.running():
        for _ in range(20):
            looker.all.queue.add(ODD)
            await asyncio.sleep(0.01)
        looker.all.queue.add(FINE)
        await asyncio.sleep(0.01)
    assert "fine" in [name for name, _ in looker.looks]
    assert (ODD, looker.error) in looker.faults


@virtual_time
async def test_who_has_a_fault_is_looked_at_again_after_growing_pauses():
    """From a second to minutes; once it went well, from a second again."""
    looker = Looker()
    looker.error = ZeroDivisionError()
    async with looker.running():
        looker.all.queue.add(ODD)
        await asyncio.sleep(2_000)
        times = [at for _, at in looker.looks]
        pauses = [round(after - before) for before, after in pairwise(times)]
        assert pauses[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
        assert set(pauses[9:]) == {LONGEST_PAUSE_S}
        looker.error = None
        await asyncio.sleep(LONGEST_PAUSE_S)
        looker.error = ZeroDivisionError()
        looker.looks.clear()
        looker.all.queue.add(ODD)
        await asyncio.sleep(1.5)
    assert len(looker.looks) == 2


@virtual_time
async def test_a_refusal_is_no_fault():
    """The server is asked again after a second each time: it may be away."""
    looker = Looker()
    looker.error = errors.Unavailable("away")
    async with looker.running():
        looker.all.queue.add(ODD)
        await asyncio.sleep(3.5)
    assert [round(at) for _, at in looker.looks] == [0, 1, 2, 3]
    assert looker.faults == []
