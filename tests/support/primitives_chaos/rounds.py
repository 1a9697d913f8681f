"""Rounds: in each, all clients use every primitive at once, one process dies, and what came of it is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import msgspec

from chaos.figures import percentile
from chaos.pods import Pod, tracebacks, unexpected_ends
from primitives_chaos import judges
from primitives_chaos.book import Event, Line
from primitives_chaos.episode import LATE_S
from primitives_chaos.executions import execute, running_worker
from primitives_chaos.faults import Fault, Victim, strike
from primitives_chaos.objects import ADDED, CLIENTS, EXECUTIONS, PERMITS, Objects
from primitives_chaos.orders import Episode, Report
from primitives_chaos.world import World, running_world

ROUND_S = 280.0
"""Nothing may take longer: a violation."""
SETTLED_S = 60.0
POLL_S = 0.1
TRACEBACK = "Traceback (most recent call last)"
SUBJECTS = (
    ("mutex/deploy", 1),
    ("rwmutex/catalog", 1),
    ("lease/leader", 1),
    ("once/migrate", 1),
    ("semaphore/db", PERMITS),
)
"""What is held, and how many may hold it."""


class Verdict(msgspec.Struct, frozen=True):
    """What came of a run.

    Attributes:
        counts: for people.
        violations: empty if all promises were kept.
    """

    counts: str
    violations: list[str]


async def run_rounds(
    folder: Path, server_kind: str, faults: Iterable[Fault], rng: Random, say: Callable[[str], None]
) -> Verdict:
    """Play a round for each fault, and judge each.

    Args:
        folder: for data and logs.
        server_kind: ``local`` or ``kube``.
        faults: in order.
        rng: for what a fault leaves open, and pauses.
        say: told of every round.
    """
    violations: list[str] = []
    took_s: list[float] = []
    lines = late = number = 0
    async with (
        running_world(folder, server_kind, clients=CLIENTS) as world,
        running_worker(folder, world) as worker,
    ):
        begun_s = time.monotonic()
        for number, fault in enumerate(faults, 1):
            round_ = Round(world, worker, f"r{number}", rng)
            found = await round_.play(fault)
            took_s.append(round_.took_s)
            lines += round_.lines
            late += round_.late
            violations += [f"round {number}, {fault.kind}: {one}" for one in found]
            died = deaths(world, worker)
            say(f"{number:4} {fault.kind:32} {round_.took_s:6.1f} s  deaths {died}  {len(found)} violations")
            for one in found:
                say(f"     {one}")
            if not round_.has_ended:
                break
        violations += world.coordinator.unexpected
        violations += tracebacks(world.coordinator.log)
        violations += [one for client in world.clients for one in _raised(client.log)]
        violations += unexpected_ends(worker) + tracebacks(worker.log)
        whole_s, died = time.monotonic() - begun_s, deaths(world, worker)
    counts = (
        f"{number} rounds in {whole_s:.0f} s, {percentile(took_s, 0.5):.1f} s each (p99 {percentile(took_s, 0.99):.1f} "
        f"s), {lines} lines in the ledger, deaths {died}, {late} of who had lost a lock and were late to hear it, "
        f"{len(violations)} violations"
    )
    return Verdict(counts, violations)


def deaths(world: World, worker: Pod) -> str:
    """Return how often clients, the coordinator and the worker have died so far."""
    return f"{sum(one.deaths for one in world.clients)} + {world.coordinator.deaths} + {worker.ends.total()}"


class Round:
    """One round; names end with ``suffix``.

    Attributes:
        took_s: from the first order to the last report.
        has_ended: whether all have reported.
        lines: of the ledger.
        late: see ``judges.Held``.
    """

    def __init__(self, world: World, worker: Pod, suffix: str, rng: Random) -> None:
        self.took_s = 0.0
        self.has_ended = False
        self.lines = 0
        self.late = 0
        self._world = world
        self._worker = worker
        self._suffix = suffix
        self._seed = rng.randrange(2**32)
        self._quorum = rng.choice((None, *range(2, CLIENTS + 1)))

    async def play(self, fault: Fault) -> list[str]:
        """Play it; return what must not be."""
        world = self._world
        world.forget()
        await Objects(world.client, self._suffix).create(self._quorum)
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(ROUND_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(strike(fault, world, self._worker))
                executed = [tasks.create_task(execute(world, self._suffix, number)) for number in range(EXECUTIONS)]
                reports = [tasks.create_task(self._report_of(number)) for number in range(CLIENTS)]
        except (TimeoutError, ExceptionGroup) as error:
            return [f"it does not end: {error!r}"]
        self.has_ended = True
        self.took_s = time.monotonic() - begun_s
        problems = [one for report in reports for one in report.result().problems]
        problems += [one for execution in executed for one in execution.result()]
        return problems + await self._judge(LATE_S if fault.victim is Victim.API_SERVER else 0.0)

    async def _report_of(self, number: int) -> Report:
        client = self._world.clients[number]

        async def order() -> Episode:
            pod = await self._world.new_pod(client.name)
            return Episode(suffix=self._suffix, seed=self._seed, pod=pod.name, pod_uid=pod.uid)

        return await client.carry_out(order)

    async def _judge(self, late_s: float) -> list[str]:
        """Judge it by the ledger, and by the objects; ``late_s``: as of ``judges.judge_held``."""
        suffix = self._suffix
        lines = self._world.lines()
        self.lines = len(lines)
        violations: list[str] = []
        for subject, room in SUBJECTS:
            held = judges.judge_held(lines, f"{subject}-{suffix}", room=room, late_s=late_s)
            self.late += held.late
            violations += held.violations
        violations += [f"{one.subject} was lost though its Pod lives" for one in lines if _is_bound_and_lost(one)]
        gate, jobs, barrier = f"gate/go-{suffix}", f"waitgroup/jobs-{suffix}", f"barrier/start-{suffix}"
        for subject, required, waiting, opened in (
            (jobs, ADDED, CLIENTS + EXECUTIONS, jobs),
            (jobs, ADDED, CLIENTS, gate),
            (barrier, self._quorum or CLIENTS, CLIENTS, barrier),
            (barrier, self._quorum or CLIENTS, CLIENTS, gate),
        ):
            violations += judges.judge_opening(lines, subject, required=required, waiting=waiting, opened=opened)
        once = await Objects(self._world.client, suffix).once.get()
        violations += judges.judge_once(lines, f"once/migrate-{suffix}", once.status)
        return violations + await self._what_is_left()

    async def _what_is_left(self) -> list[str]:
        """Return what is wrong with the objects once nothing changes any more, and delete them."""
        objects = Objects(self._world.client, self._suffix)
        ends_s = time.monotonic() + SETTLED_S
        while (left := await objects.left()) and time.monotonic() < ends_s:
            await asyncio.sleep(POLL_S)
        await objects.delete()
        return left


def _raised(log: Path) -> list[str]:
    found = log.read_text(errors="replace")
    return [f"{log.name} has a traceback: {found[found.index(TRACEBACK) :][:2000]}"] if TRACEBACK in found else []


def _is_bound_and_lost(line: Line) -> bool:
    return line.event is Event.LOST and line.subject.startswith("rwmutex/")
