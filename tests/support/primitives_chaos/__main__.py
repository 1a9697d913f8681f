"""``make chaos-primitives``: a crowd at each primitive, then rounds in which something dies; a ledger judges both.

    make chaos-primitives ROUNDS=200                    on the local API server
    make chaos-primitives ROUNDS=50 API_SERVER=kube     on a real control plane (make kube)
    make chaos-primitives ROUNDS=50 SEED=7              the same faults again; timing still varies

Exit status 0: every promise was kept. 1: not; the last lines say which, and .chaos has the logs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from random import Random, SystemRandom

import kube
from primitives_chaos import crowds
from primitives_chaos.faults import choose_fault
from primitives_chaos.objects import CLIENTS
from primitives_chaos.rounds import run_rounds
from primitives_chaos.world import running_world

HOME = Path(__file__).resolve().parents[3] / ".chaos"
HOLD_S = 0.2
INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--api-server", choices=["local", "kube"], default="local")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if arguments.api_server == "kube" and (missing := kube.missing_programs()):
        parser.error(f"there is no {', '.join(missing)}: run make kube")
    seed = SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    folder = HOME / f"primitives-{arguments.api_server}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.basicConfig(filename=folder / "client.log")
    # A timeout's SIGTERM must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(run(arguments.api_server, arguments.rounds, folder, Random(seed)))
    return INTERRUPTED


async def run(server_kind: str, rounds: int, folder: Path, rng: Random) -> int:
    violations = await run_crowds(server_kind, folder / "crowds")
    choice = Random(rng.random())  # of its own, so that a seed names the faults whatever else draws
    faults = (choose_fault(choice, clients=CLIENTS) for _ in range(rounds))
    verdict = await run_rounds(folder / "rounds", server_kind, faults, rng, say)
    violations += verdict.violations
    for violation in violations:
        print(f"VIOLATION {violation}")
    print(verdict.counts)
    return 1 if violations else 0


async def run_crowds(server_kind: str, folder: Path) -> list[str]:
    """Print what each crowd did; return what must not be."""
    async with running_world(folder, server_kind, clients=crowds.PROCESSES) as world:
        place = crowds.Place(world.client, world.clients, world.ledger)
        dones = await crowds.dones(place, "jobs")
        say(f"{crowds.DONES} dones of {crowds.PROCESSES} processes: {dones.told}")
        strangers = await crowds.dones(place, "others", are_strangers=True)
        say(f"{crowds.DONES} dones of as many clients: {strangers.told}")
        permits = await crowds.permits(place, "db", hold_s=HOLD_S)
        ratio = permits.took_s / crowds.ideal_s(HOLD_S)
        say(
            f"{crowds.CLIENTS} clients, {crowds.PERMITS} permits: {permits.told}, {ratio:.2f} of the ideal time, "
            f"at most {permits.most} at once"
        )
        locks = await crowds.mutex(place, "deploy", clients=20, hold_s=HOLD_S)
        say(f"20 clients at a Mutex: {locks.told}, {locks.took_s / 20 / HOLD_S:.2f} of the ideal time")
        readers = await crowds.readers_and_writers(place, "catalog", clients=30, hold_s=HOLD_S)
        say(f"20 readers and 10 writers: {readers.told}, at most {readers.most} at once")
    return [one for crowd in (dones, strangers, permits, locks, readers) for one in crowd.violations]


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
