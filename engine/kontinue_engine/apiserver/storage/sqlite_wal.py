"""Internal. Whether a write-ahead log that a crash left behind is whole.

SQLite ends its recovery at the first frame whose checksum is wrong. That is right for the last transaction, which a
crash may have cut short, and wrong for a damaged one: what was committed after it would silently be gone, and its
revisions handed out again. A transaction is written only after the one before it is on disk, so two commits after the
break mean damage. Pure but for the reading; called by ``sqlite_file`` before SQLite opens the file.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">8I")
"""Magic (its lowest bit tells the byte order of checksums), format, page size, number, two salts, two checksums."""
_FRAME: Final = struct.Struct(">6I")
"""Page, size of the database if this ends a transaction or 0, two salts, two checksums."""
_UNKNOWN_PAGE: Final = 4096
_WORD: Final = 0xFFFFFFFF


def check(path: str) -> None:
    """Raise sqlite3.DatabaseError if the log at ``path`` has lost what was committed; no log is fine."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return
    lost = count_lost_commits(content)
    if lost > 1:
        raise sqlite3.DatabaseError(f"its write-ahead log {path} is damaged, {lost} commits in it cannot be recovered")


def count_lost_commits(content: bytes) -> int:
    """Return how many commits stand after the first broken frame."""
    if len(content) < _HEADER.size:
        return 0
    magic, _, page_size, _, salt1, salt2, sum1, sum2 = _HEADER.unpack_from(content)
    order = ">" if magic & 1 else "<"
    if (sum1, sum2) != _checksum(content[: _HEADER.size - 8], order, (0, 0)):
        # A header is on disk before what it belongs to is written: nobody can tell what is lost with it.
        return len(content) // _UNKNOWN_PAGE if any(content[: _HEADER.size]) else 0
    size = _FRAME.size + page_size
    frames = range(_HEADER.size, len(content) - size + 1, size)
    # What a rolled back transaction left behind has no commit: nothing after the last one matters.
    commits = [at for at in frames if _is_commit(content, at, (salt1, salt2))]
    state = (sum1, sum2)
    for at in frames:
        if not commits or at > commits[-1]:
            return 0
        _, _, found1, found2, expected1, expected2 = _FRAME.unpack_from(content, at)
        state = _checksum(content[at : at + 8], order, state)
        state = _checksum(content[at + _FRAME.size : at + size], order, state)
        if (found1, found2) != (salt1, salt2) or state != (expected1, expected2):
            return sum(commit >= at for commit in commits)
    return 0


def _is_commit(content: bytes, at: int, salts: tuple[int, int]) -> bool:
    _, size, salt1, salt2, _, _ = _FRAME.unpack_from(content, at)
    return size > 0 and (salt1, salt2) == salts


def _checksum(data: bytes, order: str, state: tuple[int, int]) -> tuple[int, int]:
    sum1, sum2 = state
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for first in words:
        sum1 = (sum1 + first + sum2) & _WORD
        sum2 = (sum2 + next(words) + sum1) & _WORD
    return sum1, sum2
