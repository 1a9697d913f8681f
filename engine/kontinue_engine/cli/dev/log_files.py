"""Internal. The JSON logs of ``kontinue dev`` (``DATA_DIR/logs/*.jsonl``): written here, read by ``kontinue logs``.

One file per process, appended line by line as the process wrote it. A file past its limit is renamed to ``.1`` (which
is replaced) and started anew, so at most two generations exist and a reader that follows sees the file shrink.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

MAX_LOG_BYTES: Final = 64 * 1024 * 1024
"""Per generation and process; a judgement: days of development, and no surprise on a laptop's disk."""


class LogFile:
    """Appends lines to one file and rotates it."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size_bytes = self._file.tell()

    def write(self, line: bytes) -> None:
        """Append one line (without its newline)."""
        if self._size_bytes and self._size_bytes + len(line) >= self._max_bytes:
            self._rotate()
        self._size_bytes += self._file.write(line + b"\n")

    def close(self) -> None:
        """Close the file; further writes fail."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(rotated_path(self._path))
        self._file = self._path.open("ab", buffering=0)
        self._size_bytes = 0


def rotated_path(path: Path) -> Path:
    """Return where the generation before the current one stands."""
    return path.with_name(path.name + ".1")
