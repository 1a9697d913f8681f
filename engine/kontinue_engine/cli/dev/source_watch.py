"""Internal. Which source files of the app changed since the worker loaded them: by looking at their times.

Watched are the app's module, or the whole package that it is in, and what they import from the app's folder: not what
merely stands beside them. Imports are found by their looks, so that a file need be neither whole nor there; one by
``importlib`` is not seen. The session polls and restarts the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

POLL_S: Final = 1.0
"""Between two looks; a change counts once it has been quiet for one of them, so half-saved files are not loaded."""
_IMPORT: Final = re.compile(r"(?:^|[;:])[ \t]*(?:from[ \t]+(\w+)|import[ \t]+(\w[\w., \t]*))", re.MULTILINE)
_Stamp = tuple[int, int]


class SourceWatch:
    """Compares the files with how they were."""

    def __init__(self, app: str, app_dir: Path) -> None:
        self._folder = app_dir
        self._top = re.split("[.:]", app)[0]
        self._imports: dict[Path, tuple[_Stamp, frozenset[str]]] = {}
        self._loaded = self._seen = self._stamps()

    def poll(self) -> list[Path]:
        """Return the files that changed, once they have stopped changing; each change is returned once."""
        now = self._stamps()
        if now != self._seen:
            self._seen = now
            return []
        before, self._loaded = self._loaded, now
        return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))

    def _stamps(self) -> dict[Path, _Stamp]:
        stamps: dict[Path, _Stamp] = {}
        known, left = {self._top}, [self._top]
        while left:
            for path in self._files_of(left.pop()):
                try:
                    stat = path.stat()
                    stamp = stamps[path] = stat.st_mtime_ns, stat.st_size
                    imported = self._imports_of(path, stamp)
                except OSError:
                    continue  # deleted while we looked, or never there
                left += imported - known
                known |= imported
        return stamps

    def _files_of(self, name: str) -> Iterator[Path]:
        if not name:
            return  # of a path instead of a module, which the worker refuses
        yield self._folder / f"{name}.py"
        for path in (self._folder / name).glob("**/*.py"):
            if not path.name.startswith("."):
                yield path

    def _imports_of(self, path: Path, stamp: _Stamp) -> frozenset[str]:
        """Return the first parts of the modules that a file imports; relative ones are of its package."""
        known = self._imports.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        found: set[str] = set()
        for source, several in _IMPORT.findall(path.read_text(encoding="utf-8", errors="replace")):
            found |= {name.split()[0].partition(".")[0] for name in (source, *several.split(",")) if name.strip()}
        self._imports[path] = stamp, frozenset(found)
        return self._imports[path][1]
