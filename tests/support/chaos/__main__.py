"""``make chaos``: strike processes at random under load, and judge what came of it.

    make chaos ROUNDS=50                            faults on the local API server
    make chaos ROUNDS=50 API_SERVER=kube            on a real control plane (make kube), etcd included
    make chaos ROUNDS=50 SEED=7                     the same faults again; the load and the timing still vary
    make chaos ROLLING=5                            five rolling restarts instead: how much longer work waits

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
from chaos.faults import choose_fault
from chaos.rolling import run_rolling
from chaos.rounds import Verdict, run_rounds

HOME = Path(__file__).resolve().parents[3] / ".chaos"
SHOWN = 20
INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rolling", type=int, default=0, metavar="N", help="rolling restarts instead of faults")
    parser.add_argument("--api-server", choices=["local", "kube"], default="local")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if arguments.api_server == "kube" and (missing := kube.missing_programs()):
        parser.error(f"there is no {', '.join(missing)}: run make kube")
    seed = SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    folder = HOME / arguments.api_server
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.basicConfig(filename=folder / "client.log")
    # A timeout's SIGTERM must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(run(arguments, folder, Random(seed)))
    return INTERRUPTED


async def run(arguments: argparse.Namespace, folder: Path, rng: Random) -> int:
    if arguments.rolling:
        return tell(await run_rolling(folder, arguments.api_server, arguments.rolling, rng, say))
    choice = Random(rng.random())  # of its own, so that a seed names the faults whatever the load draws
    has_etcd = arguments.api_server == "kube"
    faults = (choose_fault(choice, has_etcd=has_etcd) for _ in range(arguments.rounds))
    verdict = await run_rounds(folder, arguments.api_server, faults, rng, say)
    print(f"\n{verdict.figures.table()}\n")
    return tell(verdict)


def tell(verdict: Verdict) -> int:
    for violation in verdict.violations[:SHOWN]:
        print(f"VIOLATION {violation}")
    print(f"{verdict.counts}. {verdict.figures.summary()}")
    return 1 if verdict.violations else 0


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
