"""A replica's part in leadership, with a Lease that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.campaign import Campaign
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.lease import LeaseLost
from kontinue_engine.sharding import taking
from kontinue_engine.sharding.lease_book import LeaseBook


class FreeLease:
    """Is there for the taking, and lost when the test says so."""

    name = "kontinue-leader.g"
    reference = None
    holder = SimpleNamespace(shard="w-0")

    def __init__(self) -> None:
        self.is_lost = asyncio.Event()
        self.is_released = False

    def judge(self, *_: object, **__: object) -> taking.Decision:
        return taking.Take(released=True)

    async def take(self, _: object) -> bool:
        return True

    async def run(self, **_: object) -> None:
        await self.is_lost.wait()
        self.is_lost.clear()
        raise LeaseLost("somebody else has it")

    async def release(self) -> None:
        self.is_released = True


def campaign(lease: FreeLease, lead: Callable[[], Coroutine[None, None, None]]) -> Campaign:
    clock = SystemClock()
    watch = LeaseWatch(LeaseBook("g"), clock)
    events = SimpleNamespace(record=lambda *_: None)
    return Campaign(cast("Any", lease), watch, clock, cast("Any", events), lead)


async def test_who_has_lost_leadership_leads_again_when_the_lease_is_free() -> None:
    """A group must not be without a leader because one was slow."""
    lease, reigns = FreeLease(), asyncio.Queue[None]()

    async def lead() -> None:
        reigns.put_nowait(None)
        await asyncio.Event().wait()

    task = asyncio.create_task(campaign(lease, lead).run())
    for _ in range(3):
        await asyncio.wait_for(reigns.get(), 60)
        lease.is_lost.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lease.is_released


async def test_a_replica_that_is_stopped_while_it_loses_leadership_stops() -> None:
    """Both happen at once to one that was frozen past its Leases: it must not campaign on as a replica without one."""
    lease, is_leading, is_ending = FreeLease(), asyncio.Event(), asyncio.Event()

    async def lead() -> None:
        is_leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            for _ in range(5):
                await asyncio.sleep(0)

    task = asyncio.create_task(campaign(lease, lead).run())
    await is_leading.wait()
    lease.is_lost.set()
    await is_ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 60)
    assert lease.is_released
