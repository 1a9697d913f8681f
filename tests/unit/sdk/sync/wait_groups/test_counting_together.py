"""Many processes that count on one WaitGroup, on virtual time: how much of what they send is in vain, and who waits."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.wait_groups import WaitGroupStatus
from kontinue.kube.requests import Request
from kontinue.sync.wait_groups import turns
from kontinue.sync.wait_groups.counter import Counter
from stored_wait_group import StoredWaitGroup
from virtual_time import elapsed_s, virtual_time

DONE = Operation(delta=-1)
WRITE_S = 0.004
PLENTY = 1_000_000


class Slow(StoredWaitGroup):
    """One whose requests take time. All who count on it draw their pauses from the same random numbers."""

    def __init__(self, status: WaitGroupStatus) -> None:
        super().__init__(status)
        self.rng = Random(1)

    async def send(self, request: Request, **options: Any) -> bytes:
        """Carry out a request."""
        await asyncio.sleep(WRITE_S if request.method == "PUT" else WRITE_S / 4)
        return await super().send(request, **options)


def counter_of(stored: Slow, *, retry_for_s: float = 3600.0) -> Counter:
    return Counter(stored, "default", "jobs", retry_for_s=retry_for_s, random=stored.rng.random)


async def count(stored: Slow, times: int, *, retry_for_s: float = 3600.0) -> None:
    counter = counter_of(stored, retry_for_s=retry_for_s)
    for _ in range(times):
        await counter.count(DONE)


@pytest.mark.slow
@virtual_time
async def test_most_of_what_many_processes_send_counts():
    """They take turns; when each just tried again after a while there were more than six requests for each done."""
    stored = Slow(WaitGroupStatus(counter=PLENTY))
    await asyncio.gather(*(count(stored, 60) for _ in range(16)))
    written = 16 * 60
    assert stored.group.counter == PLENTY - written
    assert len(stored.sent) < 2 * written
    assert elapsed_s() < 1.5 * WRITE_S * written


@virtual_time
async def test_processes_that_soon_have_finished_do_not_wait_for_each_other_for_nothing():
    """Each ends in the middle of a turn that it has announced."""
    stored = Slow(WaitGroupStatus(counter=PLENTY))
    await asyncio.gather(*(count(stored, 10) for _ in range(10)))
    assert stored.group.counter == PLENTY - 100
    assert len(stored.sent) < 4 * 100
    assert elapsed_s() < 2.5 * WRITE_S * 100


@pytest.mark.slow
@virtual_time
async def test_processes_that_finish_with_their_turns_are_not_waited_for_again_and_again():
    """It looks as if they came again: those who were left waited for all of them before each turn."""
    stored = Slow(WaitGroupStatus(counter=PLENTY))
    times = turns.FIRST_IN_A_ROW + int(turns.LONGEST_TURN_S / WRITE_S) - 1  # a turn has one less than fit into its time
    await asyncio.gather(*(count(stored, times) for _ in range(24)))
    written = 24 * times
    assert stored.group.counter == PLENTY - written
    assert sum(one.endswith("+0") for one in stored.group.status.writers) >= 4
    assert len(stored.sent) < 3 * written
    assert elapsed_s() < 3 * WRITE_S * written


@pytest.mark.slow
@virtual_time
async def test_nobody_of_many_processes_waits_longer_than_for_a_turn_of_each_other():
    """Turns come in order, whoever began when."""
    stored = Slow(WaitGroupStatus(counter=PLENTY))
    longest_s = 0.0

    async def count_for(ends_s: float) -> None:
        nonlocal longest_s
        counter = counter_of(stored)
        await counter.count(DONE)  # who comes does not know yet when its turn is
        while (begun_s := elapsed_s()) < ends_s:
            await counter.count(DONE)
            longest_s = max(longest_s, elapsed_s() - begun_s)

    await asyncio.gather(*(count_for(6.0) for _ in range(10)))
    assert longest_s < 2 * 10 * turns.LONGEST_TURN_S


@virtual_time
async def test_who_counts_once_does_not_wait_for_who_never_stops_counting():
    """A process that builds each write on its last one would be faster each time: others waited for minutes."""
    stored = Slow(WaitGroupStatus(counter=PLENTY))
    busy = asyncio.create_task(count(stored, PLENTY))
    await asyncio.sleep(100.3 * WRITE_S)
    begun_s = elapsed_s()
    for _ in range(3):
        await counter_of(stored).count(DONE)
    assert elapsed_s() - begun_s < 10.0
    busy.cancel()
    await asyncio.wait([busy])
