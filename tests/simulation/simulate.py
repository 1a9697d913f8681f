"""Play simulated worlds from the command line: ``python tests/simulation/simulate.py --seeds 0:1000``.

``--seed N --trace`` plays one and tells what happens in it. The same seed is the same world in every process, which
needs Python's hashes to be the same: the program starts itself again with PYTHONHASHSEED=0.
"""

from __future__ import annotations

import argparse
import gc
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

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0:200", metavar="FROM:TO")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    parser.add_argument("--faults", metavar="KIND,KIND", help=f"only these: {', '.join(sorted(set(faults.KINDS)))}")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="plant this bug first")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split(":"))
    if arguments.mutant:
        mutants.MUTANTS[arguments.mutant]()
    seeds = range(first, last) if arguments.seed is None else [arguments.seed]
    kinds = arguments.faults.split(",") if arguments.faults else faults.KINDS
    gc.freeze()  # a world is small: looking through all modules for garbage would take a third of the time
    gc.set_threshold(50_000)
    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    virtual_s, failed, played = 0.0, 0, 0
    for seed in seeds:
        report = world.run(seed, kinds=kinds, trace=arguments.trace)
        played += 1
        counts += report.counts
        virtual_s += report.virtual_s
        if report.problem:
            failed += 1
            print(f"seed {seed} at {report.at_s:.3f} s: {report.problem}")
            if not arguments.keep_going:
                break
    took_s = time.monotonic() - began_s
    print(f"{played} worlds, {virtual_s:.0f} s in {took_s:.1f} s: {played / took_s:.1f} a second, {failed} failed")
    print(dict(sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
