"""Internal. A data file out of a backup, and a backup out of a data file that no server has open.

A restored file takes the old one's place in one step, once it is whole and on disk. Its revisions begin far beyond any
that either of them, or a lost one between them, can have handed out, and all of what came before counts as compacted:
no client meets a revision that means something else than it remembers, and every watch from before gets 410.
Called by ``kontinue apiserver backup`` and ``restore``; the format stands in ``backup``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from kontinue_engine.apiserver.backup import backup
from kontinue_engine.apiserver.backup.backup import Progress, Stored
from kontinue_engine.apiserver.storage import sqlite_file
from kontinue_engine.apiserver.storage.protocol import StorageFailedError
from kontinue_engine.errors import EngineError

REVISION_GAP: Final = 1_000_000_000
"""What a lost data file may have handed out after the backup: 3 years of 10 writes/s. As etcd advises."""
INSERT_ROWS: Final = 500
_FROM_LIVE: Final = (
    "FROM log WHERE val IS NOT NULL"
    " AND rev NOT IN (SELECT prev FROM log WHERE rev > (SELECT val FROM meta WHERE key = 'compacted_rev'))"
)
"""Live objects: up to the compacted revision a key has one row; only later ones can have replaced another."""


class DataPresentError(EngineError):
    """The data folder already has objects, and nobody said that they may be replaced."""


class Restored(NamedTuple):
    """Outcome of a restore."""

    objects: int
    revision: int


def restore(file: Path, database: Path, *, replaces: bool, progress: Progress) -> Restored:
    """Make ``database`` hold what ``file`` holds; killed at any moment, it is the old one or the new one.

    Raises:
        BackupDamagedError: the file is not whole.
        DataPresentError: there are objects, and ``replaces`` is false.
        StorageError: a server has the database open, or it is damaged.
        OSError: a file cannot be read or written.
    """
    header = backup.check(file, progress)
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(database):
        old_rev, old_objects = _settle(database)
        if old_objects and not replaces:
            raise DataPresentError(
                f"{database} holds {old_objects} objects up to revision {old_rev}; nothing was changed. "
                "Say --replace to put the backup in their place, or choose another --data-dir"
            )
        revision = max(header.revision, old_rev) + REVISION_GAP
        made = database.with_name(f"{database.name}.restoring")
        made.unlink(missing_ok=True)
        try:
            _write(made, file, header, revision, progress)
            made.replace(database)
        except sqlite3.DatabaseError as error:
            raise sqlite_file.opening_error(str(made), error) from error
        finally:
            made.unlink(missing_ok=True)
        _sync(database.parent)
    return Restored(header.objects, revision)


def read_closed(database: Path) -> tuple[int, list[Stored]]:
    """Return the revision and the live objects of a data file that no server has open.

    Raises:
        StorageError: a server has it open, or it is damaged.
        OSError: it cannot be read.
    """
    with _locked(database), _opened(database) as connection:
        revision = _last_revision(connection)
        rows = connection.execute(f"SELECT rev, key, val {_FROM_LIVE} ORDER BY rev")
        return revision, [Stored(*row) for row in rows]


@contextlib.contextmanager
def _locked(database: Path) -> Iterator[None]:
    fd = sqlite_file.lock(str(database))
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite_file.connect(str(database))) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise sqlite_file.opening_error(str(database), error) from error


def _settle(database: Path) -> tuple[int, int]:
    """Return revision and number of objects of the old file; its log is in it and gone afterwards.

    A log left beside the new file would be taken for its own.
    """
    if not database.exists() or not database.stat().st_size:
        Path(f"{database}-wal").unlink(missing_ok=True)
        return 0, 0
    with _opened(database) as connection:
        objects = connection.execute(f"SELECT count(*) {_FROM_LIVE}").fetchone()[0]
        found = _last_revision(connection), int(objects)
    log = Path(f"{database}-wal")
    if log.exists() and log.stat().st_size:
        raise StorageFailedError(f"{log} cannot be moved into {database}: is the disk full? Nothing was changed")
    return found


def _last_revision(connection: sqlite3.Connection) -> int:
    newest = connection.execute("SELECT max(rev) FROM log").fetchone()[0]
    return max(int(newest or 0), sqlite_file.read_meta(connection, "compacted_rev"))


def _write(made: Path, file: Path, header: backup.Header, revision: int, progress: Progress) -> None:
    os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")  # until it takes its place, nobody misses it
        connection.execute("PRAGMA synchronous = OFF")
        sqlite_file.create_tables(connection)
        connection.execute("BEGIN")
        objects, done = backup.read(file), 0
        while rows := list(islice(objects, INSERT_ROWS)):
            connection.executemany("INSERT INTO log (rev, prev, key, val) VALUES (?, 0, ?, ?)", rows)
            done += len(rows)
            progress(done, header.objects)
        connection.execute("UPDATE meta SET val = ? WHERE key = 'compacted_rev'", (revision,))
        connection.execute("COMMIT")
    _sync(made)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
