"""The objects of one round: made before it, looked at after it."""

from __future__ import annotations

import asyncio

from kontinue.api.konductor.barriers import BarrierPhase
from kontinue.client import Client
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from primitives_chaos import judges
from primitives_chaos.episode import DONES

CLIENTS = 4
EXECUTIONS = 2
ADDED = CLIENTS * DONES + EXECUTIONS
"""To the WaitGroup for which all wait: each Execution is done once."""
PERMITS = 2


class Objects:
    """Those of one round, whose names end with its suffix."""

    def __init__(self, client: Client, suffix: str) -> None:
        self.jobs = WaitGroup(f"jobs-{suffix}", client)
        self.bound = WaitGroup(f"bound-{suffix}", client)
        self.mutex = Mutex(f"deploy-{suffix}", client)
        self.rw_mutex = RWMutex(f"catalog-{suffix}", client)
        self.lease = Lease(f"leader-{suffix}", client)
        self.once = Once(f"migrate-{suffix}", client)
        self.semaphore = Semaphore(f"db-{suffix}", client)
        self.barrier = Barrier(f"start-{suffix}", client)
        self.gate = Gate(f"go-{suffix}", client)

    async def create(self, quorum: int | None) -> None:
        """Create them all, with all the work to be done."""
        await asyncio.gather(
            self.jobs.create(),
            self.bound.create(),
            self.mutex.create(),
            self.rw_mutex.create(),
            self.lease.create(),
            self.once.create(),
            self.semaphore.create(PERMITS),
            self.barrier.create(CLIENTS, quorum=quorum),
        )
        await self.jobs.add(ADDED)
        await self.gate.create([f"WaitGroup/{self.jobs.name}=Done", f"Barrier/{self.barrier.name}=Open"])

    async def left(self) -> list[str]:
        """Return what is not as it is to be in the end: everything counted, open and free, and nobody waiting."""
        jobs, bound, permits = await asyncio.gather(self.jobs.status(), self.bound.status(), self.semaphore.permits())
        left = judges.judge_counter(self.jobs.name, jobs, added=ADDED)
        if bound.counter or bound.holders:
            left.append(f"{self.bound.name} keeps what belonged to Pods that are gone: {bound}")
        semaphore = await self.semaphore.status()
        if permits or semaphore.in_use or semaphore.granted or semaphore.waiting:
            left.append(f"{self.semaphore.name} is not free: {semaphore}, {permits}")
        lease, asking = await asyncio.gather(self.lease.get(), self.lease.requests())
        if lease.status.holder or lease.status.waiting or asking:
            left.append(f"{self.lease.name} is not free: {lease}, {asking}")
        mutex, rw_mutex, once = await asyncio.gather(self.mutex.get(), self.rw_mutex.get(), self.once.get())
        for name, is_held, waiters in (
            (self.mutex.name, mutex.status.holder, mutex.status.waiters),
            (self.rw_mutex.name, rw_mutex.status.locks, rw_mutex.status.waiters),
            (self.once.name, False, once.status.waiters),
        ):
            if is_held or waiters:
                left.append(f"{name} is not free: held by {is_held}, {waiters} wait")
        barrier = await self.barrier.status()
        if (barrier.phase, barrier.arrived, len(set(barrier.arrivals))) != (BarrierPhase.OPEN, CLIENTS, CLIENTS):
            left.append(f"{self.barrier.name} is not open to all: {barrier}")
        if not await self.gate.check():
            left.append(f"{self.gate.name} is not open: {await self.gate.status()}")
        return left

    async def delete(self) -> None:
        """Delete them all."""
        held = (self.mutex, self.rw_mutex, self.lease, self.once, self.semaphore)
        opened = (self.jobs, self.bound, self.barrier, self.gate)
        await asyncio.gather(*(one.delete() for one in held), *(one.delete() for one in opened))
