"""The report: per package sums, a digest to compare runs by, and Markdown. Pure; the picture is ``chart``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stdlib_index.metrics import Counts, total


@dataclass(frozen=True)
class PartStats:
    """What one child found, and when and where it ran (the only things that differ between two runs)."""

    package: str
    number: int
    counts: Counts
    runner: int
    started_ms: int
    took_ms: int


@dataclass(frozen=True)
class Mark:
    """Something that happened to the run: ``kind`` is kill or resume."""

    at_ms: int
    kind: str
    label: str


@dataclass(frozen=True)
class PackageRow:
    """One package, its parts added up."""

    package: str
    counts: Counts
    took_ms: int


def by_package(parts: Sequence[PartStats]) -> list[PackageRow]:
    """Add up the parts of each package; the most expensive package comes first."""
    rows = []
    for package in sorted({part.package for part in parts}):
        own = [part for part in parts if part.package == package]
        rows.append(PackageRow(package, total(part.counts for part in own), sum(part.took_ms for part in own)))
    return sorted(rows, key=lambda row: (-row.took_ms, row.package))


def digest(parts: Sequence[PartStats]) -> str:
    """Return a short text that is equal for two runs exactly if every count of every package is."""
    counted = {row.package: asdict(row.counts) for row in by_package(parts)}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


def busy_s(parts: Sequence[PartStats]) -> float:
    """Return the time that all parts took together."""
    return sum(part.took_ms for part in parts) / 1000


def wall_s(parts: Sequence[PartStats]) -> float:
    """Return the time from the start of the first part to the end of the last one."""
    if not parts:
        return 0.0
    return (max(part.started_ms + part.took_ms for part in parts) - min(part.started_ms for part in parts)) / 1000


def markdown(parts: Sequence[PartStats], marks: Sequence[Mark], *, python: str, chart: str) -> str:
    """Return the report; ``chart`` is the file name of the picture."""
    rows = by_package(parts)
    sums = total(row.counts for row in rows)
    start_ms = min((part.started_ms for part in parts), default=0)
    lines = [
        f"# The standard library of Python {python}",
        "",
        f"{sums.files:,} files, {sums.lines:,} lines, {sums.functions:,} functions, {sums.classes:,} classes.",
        "",
        f"- {wall_s(parts):.1f} s for {busy_s(parts):.1f} s of work, cut into {len(parts)} parts.",
        f"- {sums.async_functions:,} functions are async; {sums.imports:,} imports, {sums.branches:,} branches.",
        f"- Largest function: `{sums.largest_function}`, {sums.max_function_lines:,} lines.",
        f"- Most complex function: `{sums.most_complex}`, cyclomatic complexity {sums.max_complexity}.",
        f"- {share(sums.documented, sums.functions + sums.classes)} of functions and classes have a docstring.",
        f"- {sums.unparsed} files are no valid Python, on purpose: tests of the parser.",
        f"- Digest of all counts: `{digest(parts)}`.",
        *(f"- {(mark.at_ms - start_ms) / 1000:.1f} s: {mark.label}" for mark in marks),
        "",
        f"![Where time went]({chart})",
        "",
        "| package | files | lines | functions | classes | imports | branches | max complexity | largest | time |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        counts = row.counts
        lines.append(
            f"| {row.package} | {counts.files:,} | {counts.lines:,} | {counts.functions:,} | {counts.classes:,} "
            f"| {counts.imports:,} | {counts.branches:,} | {counts.max_complexity} | {counts.max_function_lines:,} "
            f"| {row.took_ms / 1000:.2f} s |"
        )
    return "\n".join(lines) + "\n"


def share(part: int, whole: int) -> str:
    """Return a percentage."""
    return f"{100 * part / whole:.0f} %" if whole else "-"
