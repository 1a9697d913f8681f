"""``make bench``: start API servers and workers, measure, print a table, write ``.bench/latest.json``.

    make bench ARGS='trivial_c64_per_s steps10_c64_per_s'     only these
    make bench ARGS='engine'                                  only this group
    make bench ARGS='load'                                    what else is too long to run unnamed
    make bench ARGS='--rounds 5'

Durable (SQLite, synchronous=FULL; etcd with fsync), all processes and the clients on one machine. Throughputs of the
engine are medians of rounds. What needs a real control plane is left out, and said so, until ``make kube`` has built
one.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import kube
from bench import (
    archiving,
    engine,
    history,
    holding,
    long_load,
    primitives,
    sharded,
    sleepers,
    starting,
    tree_watch,
    waiters,
    writes,
)
from bench.figures import Figure, print_table, store

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Part:
    """Figures that are measured together.

    Attributes:
        group: by which it is chosen with others.
        names: of the figures.
        measure: given those wanted and the number of rounds; may measure others too.
        needs_kube: whether it needs a real control plane.
        is_named_only: whether it is left out unless it is named.
    """

    group: str
    names: tuple[str, ...]
    measure: Callable[[Collection[str], int], Iterator[Figure]]
    needs_kube: bool = False
    is_named_only: bool = False


def _on(server: str, group: str, names: Collection[str], measure: Callable[..., Iterator[Figure]]) -> Part:
    return Part(group, tuple(names), functools.partial(measure, server), needs_kube=server == "kube")


PARTS = (
    _on("local", "engine", engine.ON["local"], engine.measure),
    _on("kube", "engine", engine.ON["kube"], engine.measure),
    _on("local", "writes", writes.names("local"), writes.measure),
    _on("kube", "writes", writes.names("kube"), writes.measure),
    _on("local", "sharded", sharded.NAMES["local"], sharded.measure),
    _on("kube", "sharded", sharded.NAMES["kube"], sharded.measure),
    _on("local", "history", history.NAMES["local"], history.measure),
    _on("kube", "history", history.NAMES["kube"], history.measure),
    _on("local", "history", archiving.NAMES["local"], archiving.measure),
    _on("kube", "history", archiving.NAMES["kube"], archiving.measure),
    _on("local", "primitives", primitives.names("local"), primitives.measure),
    _on("kube", "primitives", primitives.names("kube"), primitives.measure),
    _on("local", "primitives", waiters.names("local"), waiters.measure),
    _on("kube", "primitives", waiters.names("kube"), waiters.measure),
    Part("memory", holding.NAMES, holding.measure),
    Part("starting", starting.NAMES, starting.measure),
    Part("sleepers", sleepers.NAMES, sleepers.measure),
    Part("tree_watch", tree_watch.NAMES, tree_watch.measure),
    Part("load", long_load.NAMES, long_load.measure, is_named_only=True),
)


def main() -> int:
    known = {name for part in PARTS for name in (part.group, *part.names)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = ", ".join(dict.fromkeys(part.group for part in PARTS))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"figures, or groups of them: {groups}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - known:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    # A timeout's SIGTERM must stop the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    figures = list(measure_parts(set(arguments.names), arguments.rounds))
    if not figures:
        return 1
    print_table(figures)
    store(figures, ROOT / ".bench" / "latest.json")
    return 0 if all(one.is_enough for one in figures) else 1


def measure_parts(chosen: set[str], rounds: int) -> Iterator[Figure]:
    """Measure what is chosen, or without a choice everything that is not too long; tell of each as it is done."""
    for part in PARTS:
        is_whole = part.group in chosen or not (chosen or part.is_named_only)
        wanted = [name for name in part.names if is_whole or name in chosen]
        if not wanted:
            continue
        if part.needs_kube and kube.missing_programs():
            print(f"left out for want of a control plane (make kube): {', '.join(wanted)}", file=sys.stderr)
            continue
        begun = time.monotonic()
        for one in part.measure(wanted, rounds):
            if one.name in wanted:
                print(f"{time.monotonic() - begun:5.0f} s  {one.name} {one.value:,g}", file=sys.stderr, flush=True)
                yield one


if __name__ == "__main__":
    sys.exit(main())
