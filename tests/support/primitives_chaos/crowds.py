"""Many clients at once, without faults: what they may not do, and how long it takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos.figures import percentile
from kontinue.client import Client
from kontinue.sync import Mutex, RWMutex, Semaphore, WaitGroup
from primitives_chaos import judges
from primitives_chaos.book import read_book
from primitives_chaos.orders import Dones, Order, Turns
from primitives_chaos.processes import ClientProcess

PROCESSES = 10
DONES, PERMITS, CLIENTS = 100, 5, 50


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one.

    Attributes:
        calls_s: how long each client's call took, or its waiting.
        took_s: all of them.
        most: how many were inside at the same time.
        violations: empty if all promises were kept.
    """

    calls_s: list[float]
    took_s: float
    most: int = 0
    violations: list[str]

    @property
    def told(self) -> str:
        """How long it took, for people."""
        p50, longest = percentile(self.calls_s, 0.5), max(self.calls_s)
        return f"each p50 {1000 * p50:.0f} ms, longest {1000 * longest:.0f} ms, all {self.took_s:.2f} s"


class Place(msgspec.Struct, frozen=True):
    """Where a crowd is.

    Attributes:
        client: makes the object and reads it.
        processes: of the crowd.
        ledger: where they write.
    """

    client: Client
    processes: Sequence[ClientProcess]
    ledger: Path


async def dones(place: Place, name: str, *, are_strangers: bool = False) -> Crowd:
    """Have a hundred be done at once; the counter must end at exactly 0."""
    group = WaitGroup(name, place.client)
    await group.create()
    await group.add(DONES)
    await _all(place, Dones(name=name, clients=0))  # all processes run
    each = DONES // len(place.processes)
    crowd = await _all(place, Dones(name=name, clients=each, are_strangers=are_strangers))
    wrong = judges.judge_counter(name, await group.status(), added=DONES)
    return msgspec.structs.replace(crowd, violations=crowd.violations + wrong)


async def permits(place: Place, name: str, *, hold_s: float) -> Crowd:
    """Have fifty clients hold five permits in turn."""
    await Semaphore(name, place.client).create(PERMITS)
    return await _turns(place, "semaphore", name, clients=CLIENTS, hold_s=hold_s, room=PERMITS)


async def mutex(place: Place, name: str, *, clients: int, hold_s: float) -> Crowd:
    """Have clients hold a Mutex in turn."""
    await Mutex(name, place.client).create()
    return await _turns(place, "mutex", name, clients=clients, hold_s=hold_s, room=1)


async def readers_and_writers(place: Place, name: str, *, clients: int, hold_s: float) -> Crowd:
    """Have clients read together and write alone."""
    await RWMutex(name, place.client).create()
    return await _turns(place, "rwmutex", name, clients=clients, hold_s=hold_s, room=1)


def ideal_s(hold_s: float) -> float:
    """Return how long fifty clients need for five permits if a hand-over takes no time."""
    return CLIENTS / PERMITS * hold_s


async def _turns(place: Place, kind: str, name: str, *, clients: int, hold_s: float, room: int) -> Crowd:
    each = clients // len(place.processes)
    crowd = await _all(place, Turns(kind=kind, name=name, clients=each, hold_s=hold_s))
    held = judges.judge_held(read_book(place.ledger), f"{kind}/{name}", room=room)
    violations = crowd.violations + held.violations
    if held.times != each * len(place.processes):
        violations.append(f"{kind}/{name} was held {held.times} times by {each * len(place.processes)} clients")
    return msgspec.structs.replace(crowd, most=held.most, violations=violations)


async def _all(place: Place, order: Order) -> Crowd:
    async def order_of() -> Order:
        return order

    begun_s = time.monotonic()
    reports = await asyncio.gather(*(one.carry_out(order_of) for one in place.processes))
    return Crowd(
        calls_s=[call for report in reports for call in report.calls_s],
        took_s=time.monotonic() - begun_s,
        violations=[problem for report in reports for problem in report.problems],
    )
