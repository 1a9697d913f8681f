"""A rolling restart under load, as of a StatefulSet: how much longer Executions wait, and how many are moved."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from random import Random

from chaos.faults import TERM_S
from chaos.figures import Figures, percentile
from chaos.load import Load
from chaos.pods import Pod, send_signal
from chaos.rounds import SETTLED_S, Verdict, is_busy, judge
from chaos.world import World, running_world, until

PER_S = 15
"""New Executions per second, however those before fare."""
MIXED = 2
"""Few of the rest of the load: what is measured is not how the replicas share two cores."""
CALM_S = 30.0
GOAL_S = 2.0


async def run_rolling(
    folder: Path, server_kind: str, restarts: int, rng: Random, say: Callable[[str], None]
) -> Verdict:
    """Restart all replicas one after the other, the last one first; compare the waiting with that before.

    Args:
        folder: for data and logs.
        server_kind: ``local`` or ``kube``.
        restarts: how often.
        rng: for the load.
        say: told of each restart.
    """
    disturbed: list[float] = []
    async with running_world(folder, server_kind) as world:
        load = Load(world.client, rng, mixed=MIXED)
        async with load.running():
            await until(lambda: is_busy(world), SETTLED_S, "every replica works")
            calm = await waits_during(load, asyncio.sleep(CALM_S))
            say(f"calm: {describe(calm)}")
            before = world.observer.relabels
            for number in range(1, restarts + 1):
                waits = await waits_during(load, restart_all(world))
                say(f"restart {number}: {describe(waits)}; {world.observer.relabels - before} relabels so far")
                disturbed += waits
            relabels = world.observer.relabels - before
        violations = await judge(world, load)
    added_s = percentile(disturbed, 0.99) - percentile(calm, 0.99)
    if added_s >= GOAL_S:
        violations.append(f"the 99th percentile of waiting grew by {added_s:.2f} s: the goal is {GOAL_S:g} s")
    counts = (
        f"{restarts} rolling restarts of {len(world.pods)} replicas, {len(disturbed)} new Executions meanwhile: "
        f"waiting p99 {percentile(disturbed, 0.99):.2f} s, {added_s:.2f} s more than before; {relabels} relabels, "
        f"{world.ledger.refused} refused, {len(violations)} violations"
    )
    return Verdict(counts, Figures(), violations)


async def waits_during(load: Load, action: Coroutine[None, None, None]) -> list[float]:
    """Spawn trivial Executions at a fixed rate until ``action`` is done; return the seconds until each had ended."""
    waits: list[float] = []

    async def spawn_one() -> None:
        begun_s = time.monotonic()
        await load.run_one("trivial", {"n": 1})
        waits.append(time.monotonic() - begun_s)

    async with asyncio.TaskGroup() as tasks:
        acting = tasks.create_task(action)
        while not acting.done():
            tasks.create_task(spawn_one())
            await asyncio.sleep(1 / PER_S)
    return waits


async def restart_all(world: World) -> None:
    """SIGTERM one replica, wait until it is back in a new pod, and go on with the next."""
    for pod in reversed(world.pods):
        await restart(pod)


async def restart(pod: Pod) -> None:
    """Replace a pod as a rolling update does."""
    pod.next_in_new_pod = True
    ended = asyncio.ensure_future(pod.ended())
    send_signal([pod.pid], signal.SIGTERM)
    await asyncio.wait_for(ended, TERM_S)
    await until(lambda: not pod.is_ready, SETTLED_S, f"{pod.shard} is down")
    await until(lambda: pod.is_ready, SETTLED_S, f"{pod.shard} is ready again")


def describe(waits: Sequence[float]) -> str:
    """Say how long they waited."""
    p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
    return f"{len(waits)} Executions waited p50 {p50:.3f} s, p99 {p99:.3f} s, max {max(waits):.3f} s"
