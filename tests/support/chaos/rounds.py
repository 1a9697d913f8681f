"""The rounds of one run, from the first fault to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from chaos.app import LIMITS
from chaos.checks import check_all
from chaos.faults import Fault, strike
from chaos.figures import Figures
from chaos.load import Load
from chaos.pods import tracebacks, unexpected_ends
from chaos.world import World, running_world, until
from kontinue_engine.kube.memo_pages import with_whole_memo

ALL_READY_SHARE = 0.8
"""Of the rounds begin with every replica ready; the others strike while the last fault is being mended."""
SETTLED_S, BUSY_S = 120.0, 5.0


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a run.

    Attributes:
        counts: for people.
        figures: recovery times.
        violations: empty if all promises were kept.
    """

    counts: str
    figures: Figures
    violations: list[str]


async def run_rounds(
    folder: Path, server_kind: str, faults: Iterable[Fault], rng: Random, say: Callable[[str], None]
) -> Verdict:
    """Strike with one fault after the other under load, then check every Execution.

    Args:
        folder: for data and logs.
        server_kind: ``local`` or ``kube``.
        faults: in order.
        rng: for what a fault leaves open, the load and pauses.
        say: told of every round.
    """
    figures, violations, rounds = Figures(), [], 0
    async with running_world(folder, server_kind) as world:
        load = Load(world.client, rng)
        begun_s = time.monotonic()
        async with load.running():
            await until(lambda: is_busy(world), SETTLED_S, "every replica works")
            for rounds, fault in enumerate(faults, 1):
                try:
                    recovery = await strike(world, load, fault, rng)
                except (TimeoutError, ExceptionGroup) as error:
                    violations.append(f"round {rounds}, {fault}: {causes_of(error)}")
                    break
                figures.add(fault, recovery)
                going_on = "" if recovery.going_on_s is None else f"{recovery.going_on_s:5.1f} s"
                say(
                    f"{rounds:4} {fault.kind:32} {recovery.on:9} {recovery.running} go on {going_on:7} "
                    f"new {recovery.fresh_s:5.1f} s  ended {load.ended}, refused {world.ledger.refused}"
                )
                if rng.random() < ALL_READY_SHARE:
                    await world.all_ready()
                    with contextlib.suppress(TimeoutError):
                        await until(lambda: is_busy(world), BUSY_S, "every replica works")
                await asyncio.sleep(rng.uniform(0.1, 1))
        took_s = time.monotonic() - begun_s
        violations += await judge(world, load)
    counts = (
        f"{rounds} rounds in {took_s:.0f} s, {len(world.observer)} Executions, {len(world.ledger)} effects, "
        f"{world.ledger.refused} refused, {world.observer.relabels} relabels, "
        f"{world.ledger.slots_taken} slots of a limit of {LIMITS['limited']} taken with at most "
        f"{world.ledger.most_at_once} at once, {len(violations)} violations"
    )
    return Verdict(counts, figures, violations)


def causes_of(error: Exception) -> str:
    """Return what went wrong in tasks that ran beside each other."""
    return "; ".join(map(causes_of, error.exceptions)) if isinstance(error, ExceptionGroup) else repr(error)


async def judge(world: World, load: Load) -> list[str]:
    """Return everything that is wrong, now that all work has ended."""
    transport = world.client.kube
    executions = [await with_whole_memo(transport, one) async for one in world.client.iterate()]
    violations = [*load.violations, *world.ledger.violations, *world.observer.violations]
    violations += check_all(executions, world.ledger)
    for pod in world.pods:
        violations += [*unexpected_ends(pod), *tracebacks(pod.log)]
    return violations


def is_busy(world: World) -> bool:
    """Tell whether every replica runs something that shows when it is interrupted."""
    return all(world.observer.running("steady", pod.shard) for pod in world.pods)
