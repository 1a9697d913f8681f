"""Which files there are: packages of the standard library, cut into parts of about equal size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SKIPPED = frozenset({"__pycache__"})  # site-packages and the like are no identifiers: they cannot be imported
TOP_LEVEL = "(modules)"
"""Stands for the modules that are in no package."""


@dataclass(frozen=True)
class Part:
    """Some of the files of one package: ``count`` of them, from number ``first`` in the order of names."""

    package: str
    number: int
    of: int
    first: int
    count: int


def find_packages(root: Path) -> list[str]:
    """Return every folder below ``root`` that holds Python files, as dotted names, sorted."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name.isidentifier() and name not in SKIPPED)
        if any(name.endswith(".py") for name in files):
            found.append(".".join(Path(folder).relative_to(root).parts) or TOP_LEVEL)
    return sorted(found)


def files_of(root: Path, package: str) -> list[Path]:
    """Return the Python files of a package, sorted by name."""
    folder = root if package == TOP_LEVEL else root.joinpath(*package.split("."))
    return sorted(folder.glob("*.py"))


def cut(package: str, sizes: list[int], limit: int) -> list[Part]:
    """Cut a package, given the sizes of its files in order, into parts of up to ``limit`` bytes (or one file)."""
    starts: list[int] = []
    filled = 0
    for number, size in enumerate(sizes):
        if not starts or filled + size > limit:
            starts.append(number)
            filled = 0
        filled += size
    ends = [*starts[1:], len(sizes)] if starts else []
    return [
        Part(package, number, len(starts), first, end - first)
        for number, (first, end) in enumerate(zip(starts, ends, strict=True), 1)
    ]
