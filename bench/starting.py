"""How long somebody waits for the command line: `kontinue version`, and a verb that has loaded its client.

Each start is paired with one of an empty Python, just before it: the ratio says more of another machine than the
milliseconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from bench.figures import Figure, figure

STARTS = 15
"""Of each; the median of as many hardly moves."""
_CLI = ("-m", "kontinue_engine.cli")
COMMANDS = {
    "cli_start": ("`kontinue version`", (*_CLI, "version")),
    "cli_verb_start": ("`kontinue get`, until it has found no server", (*_CLI, "get")),
}
NAMES = tuple(f"{name}{kind}" for name in COMMANDS for kind in ("_ms", "_vs_python"))


def measure(wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Start each command and an empty Python, by turns."""
    del rounds
    for name, (what, arguments) in COMMANDS.items():
        if not any(one.startswith(f"{name}_") for one in wanted):
            continue
        with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as nowhere:
            pairs = [(_start_s(("-c", "pass"), nowhere), _start_s(arguments, nowhere)) for _ in range(STARTS)]
        bare_s, start_s = (statistics.median(times) for times in zip(*pairs, strict=True))
        conditions = f"{what}, median of {STARTS}; `python -c pass` by turns with it: {bare_s * 1e3:.0f} ms"
        yield figure(f"{name}_ms", start_s * 1e3, conditions)
        yield figure(f"{name}_vs_python", start_s / bare_s, conditions)


def _start_s(arguments: Sequence[str], nowhere: str) -> float:
    """Run Python in an empty folder, where no server can be found."""
    environment = {"PATH": os.environ["PATH"], "HOME": nowhere}
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=Path(nowhere), env=environment, capture_output=True, check=False)
    return time.perf_counter() - begun
