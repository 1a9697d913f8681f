"""Index the machine's Python standard library: a durable function that fans CPU-bound work out over all cores.

    cd examples
    kontinue dev stdlib_index.app:app
    kontinue execute index -p report_dir=/tmp/stdlib      # in a second shell

While it runs, kill what you like: a runner, the worker, the API server, ``kontinue dev`` itself (and start it again).
What was finished is not done again, and the counts come out the same.
"""

from __future__ import annotations

import json
import os
import platform
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from kontinue import App, ExecutionContext, step
from stdlib_index import chart, report
from stdlib_index.metrics import Counts, measure, total
from stdlib_index.report import Mark, PartStats
from stdlib_index.sources import Part, cut, files_of, find_packages

app = App(group="examples")


@dataclass(frozen=True)
class Library:
    """The sources found on this machine."""

    python: str
    root: str
    parts: list[Part]


@dataclass(frozen=True)
class Index:
    """What ``index`` returns. ``digest`` is equal for two runs exactly if all their counts are."""

    python: str
    packages: int
    totals: Counts
    digest: str
    report: str
    chart: str


# A step runs outside of replay: it may read files or call services. Its result is recorded before the function goes
# on, so a resumed run works on the same list of parts even if files have changed meanwhile.
@step
def discover(part_bytes: int) -> Library:
    """Find the packages and cut large ones into parts."""
    root = Path(sysconfig.get_paths()["stdlib"])
    parts = []
    for package in find_packages(root):
        sizes = [path.stat().st_size for path in files_of(root, package)]
        parts += cut(package, sizes, part_bytes)
    return Library(platform.python_version(), str(root), parts)


@step
def write_report(report_dir: str, python: str, parts: list[PartStats]) -> list[str]:
    """Write ``report.md`` and ``report.svg``; returns their paths. May run twice, and writes the same files then."""
    folder = Path(report_dir)
    folder.mkdir(parents=True, exist_ok=True)
    marks = read_marks(folder / "marks.json")
    paths = [folder / "report.md", folder / "report.svg"]
    paths[0].write_text(report.markdown(parts, marks, python=python, chart="report.svg"), encoding="utf-8")
    paths[1].write_text(chart.draw(parts, marks, python=python), encoding="utf-8")
    return [str(path) for path in paths]


def read_marks(path: Path) -> list[Mark]:
    """Return what ``tools/demo.py`` did to the run, for the timeline; nothing if nobody disturbed it."""
    try:
        return [Mark(**mark) for mark in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


# No context: plain CPU-bound code. It runs in subprocesses, one per core, and each call is an Execution of its own.
@app.function
def index_package(part: Part, root: str, *, passes: int = 1) -> PartStats:
    """Parse the files of one part and count what is in them; more passes only take longer (see ``tools/demo.py``)."""
    started_s, started = time.time(), time.perf_counter()
    files = files_of(Path(root), part.package)[part.first : part.first + part.count]
    for _ in range(passes):
        counts = total(measure(path.read_bytes(), f"{part.package}/{path.name}") for path in files)
    took_ms = round((time.perf_counter() - started) * 1000)
    print(f"{part.package} {part.number}/{part.of}: {counts.files} files, {counts.lines:,} lines in {took_ms} ms")
    return PartStats(part.package, part.number, counts, os.getpid(), round(started_s * 1000), took_ms)


# With a context: this function is replayed after a crash. It waits for its children without holding a runner.
@app.function
async def index(ctx: ExecutionContext, report_dir: str, *, part_kib: int = 400, passes: int = 1) -> Index:
    """Index every package of the standard library and write a report to ``report_dir``."""
    library = await ctx.step(discover, part_kib * 1024)
    # Silent on replay, except here: a run that is resumed during the map goes on after this step, and says so.
    ctx.log.info("indexing %d parts of %s (run %d)", len(library.parts), library.root, ctx.resumption + 1)
    parts = await ctx.map(index_package, library.parts, library.root, passes=passes)
    markdown_path, chart_path = await ctx.step(write_report, report_dir, library.python, parts)
    rows = report.by_package(parts)
    return Index(
        python=library.python,
        packages=len(rows),
        totals=total(row.counts for row in rows),
        digest=report.digest(parts),
        report=markdown_path,
        chart=chart_path,
    )
