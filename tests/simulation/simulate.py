"""Play simulated worlds from the command line: ``python tests/simulation/simulate.py --pure --seeds 0:2000``.

There are two kinds, and a seed chooses everything in either. *Pure* worlds (``pure/``) play what decides: leases,
leaders, placement, claims, mutexes, limits, in replicas without tasks, bytes or sockets; hundreds in a second. *Whole*
worlds play ``run_replica`` as it is, down to the transport, with parents and children; about ten in a second.

- ``timeline``: virtual time of both, and the asyncio loop of a whole replica.
- ``pure/game``: a pure world, what goes wrong in it, ``run(seed)``; ``pure/rules``: what must hold.
- ``pure/cluster``: its objects with resourceVersions, its watches, and the way there. ``pure/replica``: replicas and
  their Leases; ``pure/leader``: the leader's duties; ``pure/work``: Executions, and the runners that they are in.
- ``world``: a whole world, ``run(seed)``; ``faults``: what goes wrong in it; ``invariants``: what must hold.
- ``server``, ``network``: its API server, and the network below the product's transport.
- ``processes``: ``run_replica`` on a loop of its own; ``runners``, ``programs``: user code, and what it does outside.
- ``mutants``: planted bugs, which must be noticed.

``--seed N --trace`` plays one and tells what happens in it. The same seed is the same world in every process, which
needs Python's hashes to be the same: the program starts itself again with PYTHONHASHSEED=0.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
import warnings
from collections import Counter


def main() -> int:
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # of replicas that stop
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    import faults
    import mutants
    import world
    from pure import game

    parser = argparse.ArgumentParser(description="Play simulated worlds.")
    parser.add_argument("--pure", action="store_true", help="without tasks, bytes and sockets: hundreds in a second")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0:200", metavar="FROM:TO")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    known = sorted({*faults.KINDS, *game.KINDS})
    parser.add_argument("--faults", metavar="KIND,KIND", help=f"only these: {', '.join(known)}")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="plant this bug first")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split(":"))
    if arguments.mutant:
        mutants.MUTANTS[arguments.mutant]()
    seeds = range(first, last) if arguments.seed is None else [arguments.seed]
    play, kinds = (game.run, game.KINDS) if arguments.pure else (world.run, faults.KINDS)
    if arguments.faults:
        kinds = tuple(arguments.faults.split(","))
    logging.disable(logging.NOTSET if arguments.trace else logging.CRITICAL)
    gc.freeze()  # a world is small: looking through all modules for garbage would take a third of the time
    gc.set_threshold(50_000)
    began_s = time.process_time()
    counts: Counter[str] = Counter()
    virtual_s, failed, played = 0.0, 0, 0
    for seed in seeds:
        report = play(seed, kinds=kinds, trace=arguments.trace)
        played += 1
        counts += report.counts
        virtual_s += report.virtual_s
        if report.problem:
            failed += 1
            print(f"seed {seed} at {report.at_s:.3f} s: {report.problem}")
            print(f"again: {_command(seed, arguments)}")
            if not arguments.keep_going:
                break
    took_s = time.process_time() - began_s
    print(
        f"{played} worlds, {virtual_s:.0f} s in {took_s:.1f} s of CPU: {played / took_s:.1f} a second, {failed} failed"
    )
    print(dict(sorted(counts.items())))
    return 1 if failed else 0


def _command(seed: int, arguments: argparse.Namespace) -> str:
    """Return what plays this world again, and tells what happens in it."""
    told = [f"--mutant {arguments.mutant}"] if arguments.mutant else []
    told += [f"--faults {arguments.faults}"] if arguments.faults else []
    told += ["--pure"] if arguments.pure else []
    return " ".join(["python", sys.argv[0], *told, f"--seed {seed}", "--trace"])


if __name__ == "__main__":
    sys.exit(main())
