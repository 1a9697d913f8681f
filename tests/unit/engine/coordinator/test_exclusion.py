"""Replicas with --sharding and replicas without never run one group at the same time, and never wait for ever."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import Lease
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.exclusion import Exclusion
from kontinue_engine.kube.lease import HeldLease, LeaseHeld, LeaseLost
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from virtual_time import elapsed_s, virtual_time

TIMES = LeaseTimes()


class LoopClock:
    """Time of the test's loop."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=elapsed_s())

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def monotonic_s(self) -> float:
        return elapsed_s()


class Server:
    """Leases with optimistic locking; requests and answers take their time."""

    def __init__(self, rng: random.Random | None = None, latency_s: float = 0.0) -> None:
        self.leases: dict[str, Lease] = {}
        self._version = 0
        self._rng = rng or random.Random(0)
        self._latency_s = latency_s

    async def send(self, request: Request, **_: Any) -> bytes:
        await asyncio.sleep(self._rng.uniform(0, self._latency_s))
        answer = self._answer(request)
        await asyncio.sleep(self._rng.uniform(0, self._latency_s))
        return answer

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> Any:
        raise AssertionError(f"a watch may be late: {request}, {timeout_s}")
        yield b""

    def _answer(self, request: Request) -> bytes:
        name = request.path.partition("/leases")[2].removeprefix("/")
        if request.method == "GET" and not name:
            items = json.loads(msgspec.json.encode(list(self.leases.values())))
            return json.dumps({"metadata": {}, "items": items}).encode()
        known = self.leases.get(name)
        if request.method == "GET":
            if known is None:
                raise errors.NotFound("no such Lease", status=404)
            return msgspec.json.encode(known)
        new = msgspec.json.decode(request.body, type=Lease)
        name = new.metadata.name
        if request.method == "POST" and name in self.leases:
            raise errors.AlreadyExists("exists", status=409)
        if request.method == "PUT" and new.metadata.resource_version != self.leases[name].metadata.resource_version:
            raise errors.Conflict("changed", status=409)
        self._version += 1
        meta = msgspec.structs.replace(new.metadata, resource_version=str(self._version))
        self.leases[name] = msgspec.structs.replace(new, metadata=meta)
        return msgspec.json.encode(self.leases[name])

    def holder(self, name: str) -> str:
        """Return who holds a Lease; nothing if nobody does."""
        return self.leases[name].spec.holder_identity if name in self.leases else ""


class Replica:
    """Takes its Lease as ``worker.replica`` does, and runs the group while it may: then it stands in ``running``."""

    def __init__(self, server: Server, name: str, running: set[Replica], *, sharding: bool) -> None:
        self.name = name
        self.sharding = sharding
        self.has_run = False
        self.is_standing_by = False
        self._running = running
        of = leases.shard_lease_name("g", name) if sharding else leases.leader_lease_name("g")
        identity = ReplicaIdentity(shard=name, incarnation=f"i-{name}")
        clock = LoopClock()
        self.lease = HeldLease(server, "ns", of, identity, group="g", clock=clock, times=TIMES)
        self._exclusion = Exclusion(server, self.lease, namespace="ns", group="g", sharding=sharding, clock=clock)

    async def start(self) -> None:
        """Take the Lease."""
        await self._exclusion.acquire(waits=lambda holder: holder.shard != self.name, on_wait=self._stand_by)

    async def live(self, *, starts_in_s: float = 0, frozen_s: float = 0, for_s: float, dies: bool = False) -> None:
        """Do what a replica does; ``frozen_s`` after it has decided that it may run, and before it does."""
        await asyncio.sleep(starts_in_s)
        await self.start()
        await asyncio.sleep(frozen_s)
        renewing = asyncio.create_task(self.lease.run(on_fence=self._pause, on_resume=self._go_on))
        if self.lease.remaining_s > 0:
            self._go_on()
        await asyncio.wait([renewing], timeout=for_s)
        self._pause()
        renewing.cancel()
        with suppress(asyncio.CancelledError, LeaseLost):
            await renewing
        if not dies:
            await self.lease.release()

    def _go_on(self) -> None:
        self._running.add(self)
        self.has_run = True
        both = {one.sharding for one in self._running}
        assert len(both) == 1, f"both kinds run: {[one.name for one in self._running]}"

    def _pause(self) -> None:
        self._running.discard(self)

    def _stand_by(self) -> None:
        self.is_standing_by = True


@pytest.fixture
def running() -> set[Replica]:
    """Those that run the group."""
    return set()


@pytest.mark.parametrize("sharding", [True, False])
def test_a_replica_stands_by_without_its_lease_while_a_rival_lives(running: set[Replica], sharding: bool) -> None:
    """And begins soon after that one has ended in order."""

    @virtual_time
    async def scene() -> None:
        server = Server()
        first = Replica(server, "first", running, sharding=not sharding)
        second = Replica(server, "second", running, sharding=sharding)
        ending = asyncio.create_task(first.live(for_s=300))
        await asyncio.sleep(1)
        starting = asyncio.create_task(second.start())
        await asyncio.sleep(290)
        assert second.is_standing_by
        assert server.holder(second.lease.name) == ""
        assert not starting.done()
        await ending
        await starting
        assert elapsed_s() < 310
        assert not second.lease.dead_predecessor

    scene()


@pytest.mark.parametrize("sharding", [True, False])
def test_a_dead_rival_is_waited_for_until_its_lease_runs_out_and_cannot_come_back(
    running: set[Replica], sharding: bool
) -> None:
    """Its Lease is taken away: a process that was only frozen, and wakes, is told so by its renewal."""

    @virtual_time
    async def scene() -> None:
        server = Server()
        frozen = Replica(server, "frozen", running, sharding=not sharding)
        second = Replica(server, "second", running, sharding=sharding)
        await frozen.start()
        await second.start()
        assert TIMES.duration_s <= elapsed_s() < TIMES.duration_s + 5
        assert server.holder(frozen.lease.name) in {"", "second"}
        with pytest.raises(LeaseLost):
            await frozen.lease.run()

    scene()


@virtual_time
async def test_sharded_replicas_do_not_wait_for_a_sharded_leader() -> None:
    """Nor for a predecessor that was leader, too, for longer than for its Leases."""
    server = Server()
    leader = Replica(server, "leader", set(), sharding=True)
    await leader.start()
    leadership = HeldLease(
        server,
        "ns",
        leases.leader_lease_name("g"),
        leader.lease.holder,
        group="g",
        clock=LoopClock(),
        times=TIMES,
    )
    await leadership.acquire()
    second = Replica(server, "second", set(), sharding=True)
    await second.start()
    assert not second.is_standing_by
    assert elapsed_s() < 1
    successor = Replica(server, "leader", set(), sharding=True)
    successor.lease._me = ReplicaIdentity(shard="leader", incarnation="another")
    await successor.start()
    assert elapsed_s() < TIMES.duration_s + 5


@virtual_time
async def test_a_second_holder_of_a_shard_id_is_still_refused() -> None:
    """That is a mistake, not a rival."""
    server = Server()
    first = Replica(server, "twin", set(), sharding=True)
    await first.start()
    keeping = asyncio.create_task(first.lease.run())
    second = Replica(server, "twin", set(), sharding=True)
    second.lease._me = ReplicaIdentity(shard="twin", incarnation="another")
    with pytest.raises(LeaseHeld):
        await second.start()
    keeping.cancel()


@virtual_time
async def test_of_two_that_begin_in_lockstep_the_sharded_one_comes_first() -> None:
    """Each finds the other's Lease at its second look and gives way; then they do not meet again."""
    server = Server()
    running: set[Replica] = set()
    sharded = Replica(server, "w-0", running, sharding=True)
    alone = Replica(server, "alone", running, sharding=False)
    lives = [asyncio.create_task(one.live(for_s=60)) for one in (sharded, alone)]
    await asyncio.sleep(10)
    assert running == {sharded}
    assert alone.is_standing_by
    await asyncio.gather(*lives)
    assert alone.has_run


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_order_of_requests_never_both_kinds_run_and_each_comes_to_run(seed: int) -> None:
    """Slow requests, replicas that die, or freeze between their second look and their first act."""

    @virtual_time
    async def scene() -> None:
        rng = random.Random(seed)
        server = Server(rng, rng.choice([0.0, 0.05, 1.0, 3.0]))
        running: set[Replica] = set()
        crowd = [
            Replica(server, f"r-{number}", running, sharding=rng.random() < 0.5) for number in range(rng.randint(2, 6))
        ]
        frozen = {one for one in crowd if rng.random() < 0.3}
        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            for one in crowd:
                life = one.live(
                    starts_in_s=rng.choice([0, 0, rng.uniform(0, 5), rng.uniform(0, 200)]),
                    frozen_s=rng.uniform(20, 100) if one in frozen else 0,
                    for_s=rng.uniform(1, 200),
                    dies=rng.random() < 0.3,
                )
                tasks.create_task(life)
        assert all(one.has_run for one in crowd if one not in frozen)

    scene()
