"""One round: strike one process, and measure how long it takes until work goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import signal
import subprocess
import time
from collections.abc import Coroutine
from random import Random

from chaos.ledger import has_gone_on
from chaos.load import Load
from chaos.pods import FENCE_S, LEASE_S, Pod, send_signal
from chaos.world import World, until

RECOVERY_S = 120.0
"""Nothing may take longer: a violation."""
TERM_S = 20.0
"""After SIGTERM and this long comes SIGKILL, as from a kubelet."""


class Victim(enum.StrEnum):
    """What a fault strikes."""

    RUNNER = "runner"
    REPLICA = "replica"
    LEADER = "leader"
    LEADER_TWICE = "leader twice"
    API_SERVER = "API server"
    ETCD = "etcd"


class Strike(enum.StrEnum):
    """What happens to it."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    FREEZE = "frozen"
    LONG_FREEZE = "frozen past Lease"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        victim: what it strikes.
        strike: how.
        new_pod: whether the replica comes back as another pod: its Lease is then not its own any more.
        pause_s: how long what has ended is gone.
        freeze_s: how long it is frozen.
        with_runners: whether a frozen replica's runners are frozen too, as in a frozen machine.
    """

    victim: Victim
    strike: Strike
    new_pod: bool = False
    pause_s: float = 0.0
    freeze_s: float = 0.0
    with_runners: bool = True

    @property
    def ends(self) -> bool:
        """Whether its victim ends."""
        return self.strike in {Strike.KILL, Strike.TERM}

    @property
    def is_gone(self) -> bool:
        """Whether its victim stays away for longer than its Lease."""
        return self.pause_s > LEASE_S and self.victim is not Victim.RUNNER

    @property
    def counts_from_end(self) -> bool:
        """Whether recovery is counted from when the victim is back: nobody else can do its work meanwhile."""
        return self.victim in {Victim.API_SERVER, Victim.ETCD} or (
            self.strike is Strike.FREEZE or (self.victim is Victim.RUNNER and not self.ends)
        )

    @property
    def kind(self) -> str:
        """What figures are kept by."""
        how = ", gone" if self.is_gone else ", new pod" if self.new_pod else ""
        return f"{self.victim} {self.strike}{how}"


def choose_fault(rng: Random, *, has_etcd: bool) -> Fault:
    """Return a fault, each kind as likely as any other."""
    victim = rng.choice([one for one in Victim if has_etcd or one is not Victim.ETCD])
    strike = rng.choice(list(Strike))
    is_long = strike is Strike.LONG_FREEZE
    ends = strike in {Strike.KILL, Strike.TERM}
    return Fault(
        victim,
        strike,
        new_pod=ends and victim in {Victim.REPLICA, Victim.LEADER, Victim.LEADER_TWICE} and rng.random() < 0.5,
        pause_s=rng.choice((0.0, rng.uniform(0.1, 2), rng.uniform(0.1, 2), LEASE_S + 2.0)) if ends else 0.0,
        freeze_s=rng.uniform(LEASE_S + 1, LEASE_S + 4) if is_long else rng.uniform(0.2, FENCE_S + 1),
        with_runners=rng.random() < 0.5,
    )


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How a round went. Times count from the strike; from its end where nothing can go on before (``counts_from_end``).

    Attributes:
        on: shard of the victim, or a program.
        running: how many Executions ran on the victim.
        going_on_s: until each of them had effects again; None if there were none.
        fresh_s: until a new Execution was spawned and had ended.
    """

    on: str
    running: int
    going_on_s: float | None
    fresh_s: float


@dataclasses.dataclass(frozen=True)
class Target:
    """What a fault strikes.

    Attributes:
        on: name for people.
        running: names of the Executions that run on it.
        dead: pids of the runners that end with it.
    """

    on: str
    running: list[str]
    dead: list[int]


async def strike(world: World, load: Load, fault: Fault, rng: Random) -> Recovery:
    """Carry out a fault and wait until its victim's work and new work go on.

    Raises:
        TimeoutError: they do not.
    """
    if fault.victim in {Victim.API_SERVER, Victim.ETCD}:
        program = "etcd" if fault.victim is Victim.ETCD else "apiserver"
        running = [name for pod in world.pods for name in world.observer.running("steady", pod.shard)]
        return await _recover(world, load, fault, Target(program, running, []), _strike_program(world, fault, program))
    pod = await world.leader() if fault.victim in {Victim.LEADER, Victim.LEADER_TWICE} else rng.choice(world.pods)
    running, runners = world.observer.running("steady", pod.shard), pod.runner_pids()
    if fault.victim is Victim.RUNNER:
        runners = [rng.choice(runners)] if runners else []
        running = [name for name in running if world.ledger.runner_of(name) in runners]
        action = _hit(runners, fault)
    elif fault.victim is Victim.LEADER_TWICE:
        action = _strike_leaders(world, pod, fault)
    else:
        action = _strike_pod(pod, fault)
    target = Target(pod.shard, running, runners if fault.ends else [])
    return await _recover(world, load, fault, target, action)


async def _recover(
    world: World, load: Load, fault: Fault, target: Target, action: Coroutine[None, None, None]
) -> Recovery:
    async def going_on(since_s: float) -> float:
        def all_go_on() -> bool:
            left = [name for name in target.running if not world.observer.has_ended(name)]
            return all(has_gone_on(world.ledger.of(name), since_s, dead=target.dead) for name in left)

        await until(all_go_on, RECOVERY_S, f"{target} goes on")
        return time.monotonic() - since_s

    async def fresh(since_s: float) -> float:
        async with asyncio.timeout(RECOVERY_S):
            await load.run_one("trivial", {"n": 1})
        return time.monotonic() - since_s

    async with asyncio.TaskGroup() as tasks:
        acting = tasks.create_task(action)
        if fault.counts_from_end:
            await acting
        now_s = time.monotonic()
        going = tasks.create_task(going_on(now_s))
        new = tasks.create_task(fresh(now_s))
    return Recovery(target.on, len(target.running), going.result() if target.running else None, new.result())


async def _strike_pod(pod: Pod, fault: Fault) -> None:
    pod.next_in_new_pod, pod.pause_s = fault.new_pod, fault.pause_s
    if fault.ends:
        ended = asyncio.ensure_future(pod.ended())
        await _hit([pod.pid], fault)
        try:
            async with asyncio.timeout(TERM_S):
                await ended
        except TimeoutError:
            pod.end()
    else:
        await _hit(pod.all_pids() if fault.with_runners else [pod.pid], fault)


async def _strike_leaders(world: World, first: Pod, fault: Fault) -> None:
    if fault.strike is Strike.FREEZE:  # it still leads afterwards
        await _strike_pod(first, fault)
        await _strike_pod(await world.leader(), fault)
        return
    led = await world.incarnation_of_leader()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_strike_pod(first, fault))
        await asyncio.sleep(0)
        tasks.create_task(_strike_pod(await world.leader(other_than=led), fault))


async def _strike_program(world: World, fault: Fault, program: str) -> None:
    process = world.process_of(program)
    await _hit([process.pid], fault)
    if fault.ends:
        await asyncio.to_thread(_reap, process)
        await asyncio.sleep(fault.pause_s)
        await world.start_program(program)


async def _hit(pids: list[int], fault: Fault) -> None:
    match fault.strike:
        case Strike.KILL:
            send_signal(pids, signal.SIGKILL)
        case Strike.TERM:
            send_signal(pids, signal.SIGTERM)
        case Strike.FREEZE | Strike.LONG_FREEZE:
            send_signal(pids, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.freeze_s)
            finally:
                send_signal(pids, signal.SIGCONT)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(TERM_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
