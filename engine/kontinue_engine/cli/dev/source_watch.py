"""Internal. Which source files of the app changed since the worker loaded them: by looking at their times.

Watched are the ``*.py`` files of the package that the app's module is in, or of the folder of a single module; what
the app imports from elsewhere is not. The session polls and restarts the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

POLL_S: Final = 1.0
"""Between two looks; a change counts once it has been quiet for one of them, so half-saved files are not loaded."""


class SourceWatch:
    """Compares the files with how they were."""

    def __init__(self, app: str, app_dir: Path) -> None:
        parts = app.partition(":")[0].split(".")
        package = app_dir / parts[0]
        self._folder, self._pattern = (package, "**/*.py") if package.is_dir() else (app_dir, "*.py")
        self._loaded = self._seen = dict(self._stamps())

    def poll(self) -> list[Path]:
        """Return the files that changed, once they have stopped changing; each change is returned once."""
        now = dict(self._stamps())
        if now != self._seen:
            self._seen = now
            return []
        before, self._loaded = self._loaded, now
        return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))

    def _stamps(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in self._folder.glob(self._pattern):
            try:
                stat = path.stat()
            except OSError:
                continue  # deleted while we looked
            if not path.name.startswith("."):
                yield path, (stat.st_mtime_ns, stat.st_size)
