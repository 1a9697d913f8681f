"""What a crash cuts short is told from what was damaged."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from kontinue_engine.apiserver.storage import sqlite_wal

FRAME = 24 + 4096
HEADER = 32


@pytest.fixture
def log(tmp_path: Path) -> bytearray:
    """The log of a database with five commits, the second over several pages, and what a rollback left."""
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA cache_size = 4")
    connection.execute("CREATE TABLE t (val)")
    for size in (20_000, 10, 10, 10):
        connection.execute("INSERT INTO t VALUES (zeroblob(?))", (size,))
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (zeroblob(200000))")
    connection.execute("ROLLBACK")
    shutil.copy(tmp_path / "a.db-wal", tmp_path / "copy")
    connection.close()
    return bytearray((tmp_path / "copy").read_bytes())


def commits(log: bytearray) -> list[int]:
    return [at for at in range(HEADER, len(log) - FRAME + 1, FRAME) if any(log[at + 4 : at + 8])]


def test_a_whole_log_has_lost_nothing(log: bytearray) -> None:
    """Nor has one whose rolled back part is damaged: nobody needs it."""
    assert len(commits(log)) >= 5
    assert sqlite_wal.count_lost_commits(log) == 0
    log[commits(log)[-1] + FRAME + 100] ^= 1
    assert sqlite_wal.count_lost_commits(log) == 0


def test_every_commit_from_the_first_broken_frame_on_is_lost(log: bytearray) -> None:
    """SQLite would silently end there."""
    found = commits(log)
    for index, at in enumerate(found):
        damaged = log.copy()
        damaged[at + 200] ^= 1
        assert sqlite_wal.count_lost_commits(damaged) == len(found) - index


def test_a_log_cut_short_has_lost_at_most_what_was_being_written(log: bytearray) -> None:
    """Wherever a crash stopped the last write."""
    last = commits(log)[-1]
    for length in (0, 10, HEADER, last, last + 100, last + FRAME - 1):
        assert sqlite_wal.count_lost_commits(log[:length]) == 0


@pytest.mark.parametrize("at", [0, 4, 8, 16, 20, 24, 28])
def test_a_log_without_a_header_is_lost_as_a_whole(log: bytearray, at: int) -> None:
    """SQLite would take it for empty."""
    log[at] ^= 0x5A
    assert sqlite_wal.count_lost_commits(log) > 1


def test_a_log_of_zeros_is_empty(tmp_path: Path) -> None:
    """A file that was made longer, and then the power failed."""
    assert sqlite_wal.count_lost_commits(bytes(100_000)) == 0
    sqlite_wal.check(str(tmp_path / "none"))


def test_damage_is_told_with_the_file(tmp_path: Path, log: bytearray) -> None:
    """As SQLite tells of it."""
    log[commits(log)[0] + 200] ^= 1
    (tmp_path / "b-wal").write_bytes(log)
    with pytest.raises(sqlite3.DatabaseError, match="b-wal is damaged"):
        sqlite_wal.check(str(tmp_path / "b-wal"))
