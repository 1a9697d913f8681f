"""``make bench``: start API servers and workers, measure, print a table, write ``.bench/latest.json``.

    make bench ARGS='trivial_c64_per_s steps10_c64_per_s'     only these
    make bench ARGS='--rounds 5'

Durable (SQLite, synchronous=FULL; etcd with fsync), the client in this process, two sync runners. Throughputs are
medians of rounds. What needs a real control plane is left out, and said so, until ``make kube`` has built one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import uvloop

import kube
from bench import engine
from bench.figures import TARGETS, Figure, print_table, store
from cluster import Cluster

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    names = arguments.names or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    figures = [
        *measure("local", engine.ON_LOCAL, names, arguments.rounds),
        *measure("kube", engine.ON_KUBE, names, arguments.rounds),
    ]
    print_table(figures)
    store(figures, ROOT / ".bench" / "latest.json")
    return 0 if all(one.verdict in {"ok", "goal reached"} for one in figures) else 1


def measure(server: str, measures: dict[str, engine.Measure], names: Iterable[str], rounds: int) -> list[Figure]:
    """Measure those of ``names`` that need a cluster on this kind of server."""
    wanted = [name for name in names if name in measures]
    if not wanted:
        return []
    if server == "kube" and not all((kube.program_folder() / program).exists() for program in kube.PROGRAMS):
        print(f"left out for want of a control plane (make kube): {', '.join(wanted)}", file=sys.stderr)
        return []
    options = ("--sync-runners", "2")
    with (
        tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder,
        Cluster(Path(folder), "bench.app:app", app_dir=ROOT, server=server, worker_options=options) as cluster,
    ):
        figures = []
        for name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            figures.append(uvloop.run(measures[name](cluster, rounds)))
        return figures


if __name__ == "__main__":
    sys.exit(main())
