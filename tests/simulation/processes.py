"""One replica as a process: ``run_replica`` as it is, on a loop and a machine of its own.

``installed`` replaces what a replica takes from its operating system: clocks, identity, runners, sockets, and the
randomness of delays. Nothing else of the product is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from network import SimulatedConnections
from runners import SimulatedPool
from timeline import ProcessLoop, Timeline

from kontinue.errors import KontinueError
from kontinue.kube import http, jitter
from kontinue.kube.config import KubeConfig
from kontinue_engine.errors import StartupError
from kontinue_engine.kube.lease import HeldLease, LeaseLost
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.leases import ReplicaIdentity
from kontinue_engine.worker import replica
from kontinue_engine.worker.options import WorkerOptions

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EXPECTED_ENDS = (StartupError, LeaseLost, KontinueError)
"""What ``kontinue_engine.worker.main`` turns into an exit status."""


class Machine:
    """Clocks, and which processes live.

    Attributes:
        skew_s: how wrong its wall clock is.
        base_s: what its monotonic clocks showed at the beginning.
        rate: how fast they go.
        alive: pid -> when the process started.
    """

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.skew_s = rng.choice([0.0, rng.uniform(-2, 2), rng.uniform(-120, 120)])
        self.base_s = rng.uniform(0, 1e6)
        self.rate = 1 + rng.uniform(-2e-4, 2e-4)
        self.alive: dict[int, str] = {}


class SimulatedClock:
    """``kontinue_engine.clock.Clock`` of the process that runs."""

    def __init__(self) -> None:
        self._process: Process = asyncio.get_running_loop().process  # type: ignore[attr-defined]

    def now(self) -> datetime:
        process = self._process
        return EPOCH + timedelta(seconds=process.timeline.now_s + process.machine.skew_s)

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def monotonic_s(self) -> float:
        return self._process.loop.boot_time()


class Process:
    """One incarnation of one replica, from start to exit or death."""

    def __init__(
        self, world: Any, shard: str, machine: Machine, *, pod_uid: str, number: int, is_sharded: bool
    ) -> None:
        self.world = world
        self.is_sharded = is_sharded
        self.build = f"b{world.builds}"
        self.timeline: Timeline = world.timeline
        self.shard = shard
        self.machine = machine
        self.pod_uid = pod_uid
        self.pid = 100 + number
        self.incarnation = f"{shard}#{number}"
        self.boot_id = f"{machine.name}/{number}" if pod_uid else machine.name
        self.pool: SimulatedPool | None = None
        self.leases: list[HeldLease] = []
        self.frozen_until_s = -1.0
        self.is_over = False
        self.ended_by = ""
        self.loop = ProcessLoop(self.timeline, self, base_s=machine.base_s, rate=machine.rate)
        self._stop: asyncio.Event | None = None
        machine.alive[self.pid] = str(number)

    def __str__(self) -> str:
        return self.incarnation

    @property
    def may_write(self) -> bool:
        """Whether it holds the Lease of what it runs, as far as it knows."""
        return any(lease.name == self.own_lease_name and lease.remaining_s > 0 for lease in self.leases)

    @property
    def fenced_for_s(self) -> float:
        """For how long it may not write any more under the Lease that it had; 0 if it may."""
        own = [lease.remaining_s for lease in self.leases if lease.name == self.own_lease_name]
        return max(0.0, -max(own, default=0.0))

    @property
    def own_lease_name(self) -> str:
        group = self.world.GROUP
        return leases.shard_lease_name(group, self.shard) if self.is_sharded else leases.leader_lease_name(group)

    def runs(self, uid: str) -> bool:
        """Tell whether code of an Execution runs in it, or is parked."""
        return self.pool is not None and any(run.activate.uid == uid for run in self.pool.begun())

    def start(self) -> None:
        self.loop.deliver(self._start)

    def _start(self) -> None:
        self._stop = asyncio.Event()
        options = WorkerOptions(app="app:app", shard=self.shard, sharding=self.is_sharded, lease=self.world.times)
        self._main = self.loop.create_task(replica.run_replica(options, self._stop), name="main")
        self._main.add_done_callback(self._on_end)

    def identity(self, shard: str, *, build: str) -> ReplicaIdentity:
        return ReplicaIdentity(
            shard=shard,
            incarnation=self.incarnation,
            host=self.machine.name,
            boot_id=self.boot_id,
            pid=self.pid,
            process_started=self.machine.alive[self.pid],
            pod_uid=self.pod_uid,
            build=build,
        )

    def process_start(self, pid: int) -> str | None:
        return self.machine.alive.get(pid)

    def terminate(self) -> None:
        """SIGTERM."""
        if self._stop is not None:
            self.loop.deliver(self._stop.set)

    def freeze(self, duration_s: float, *, machine_sleeps: bool) -> None:
        """SIGSTOP of the supervisor, or the whole machine sleeps; its runners go on in the first case."""
        if self.is_over or self.loop.is_frozen:
            return
        self.loop.freeze(machine_sleeps=machine_sleeps)
        if machine_sleeps and self.pool is not None:
            self.pool.freeze_process()
        self.timeline.after(duration_s, self.thaw)

    def thaw(self) -> None:
        """SIGCONT, or the machine wakes."""
        if self.is_over or not self.loop.is_frozen:
            return
        self.frozen_until_s = self.timeline.now_s
        if self.pool is not None:
            self.pool.thaw_process()
        self.loop.thaw()

    def kill(self) -> None:
        """SIGKILL: its runners die with it."""
        if self.is_over:
            return
        self._end("killed")
        self.loop.unwind()

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        if self.is_over:
            if not task.cancelled():
                task.exception()
            return
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or (error is not None and not isinstance(error, EXPECTED_ENDS)):
            self.world.fail(f"{self} ended with an unexpected error: {error!r}", error)
        self._end(f"{type(error).__name__}: {error}" if error is not None else "exit 0")

    def _end(self, how: str) -> None:
        self.is_over = True
        self.ended_by = how
        self.machine.alive.pop(self.pid, None)
        if self.pool is not None:
            self.pool.die()
        self.world.on_process_end(self)


def _running() -> Process:
    process: Process = asyncio.get_running_loop().process  # type: ignore[attr-defined]
    return process


def _held_lease(*arguments: Any, **named: Any) -> HeldLease:
    process = _running()
    lease = HeldLease(*arguments, **named, process_start=process.process_start)
    process.leases.append(lease)
    return lease


@contextlib.contextmanager
def installed(seed: int) -> Iterator[None]:
    """Replace the operating system of replicas, for as long as a world exists."""
    jitter.rng.seed(seed)
    config = KubeConfig(server="http://simulated", namespace="ns")
    identity = functools.partial(lambda shard, *, build: _running().identity(shard, build=build))
    with contextlib.ExitStack() as stack:
        for module, name, substitute in (
            (replica, "Pool", SimulatedPool),
            (replica, "SystemClock", SimulatedClock),
            (replica, "HeldLease", _held_lease),
            (replica, "load_config", lambda **_: config),
            (replica, "local_identity", identity),
            (replica, "gc", mock.Mock()),
            (http, "Connections", SimulatedConnections),
        ):
            stack.enter_context(mock.patch.object(module, name, substitute))
        yield
