"""Internal. The data file: its lock, its format, how it is opened, and what is said when it cannot be.

Two servers on one file are kept apart by a lock file. Nothing is written before the file is known to be ours and whole
as far as that can be told without reading all of it. Called by ``kontinue_engine.apiserver.storage.sqlite_storage`` and
``backup``; what stands in the table is theirs.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kontinue_engine.apiserver.storage import sqlite_wal
from kontinue_engine.apiserver.storage.protocol import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFailedError,
)

MEMORY: Final = ":memory:"
WAL_PAGES: Final = 2048
"""Judgement: pages (4 KiB each) after which SQLite checkpoints even under load. The WAL has that size from the start: a
commit into a part of the file that exists takes 134 us, one that makes the file longer 218 us (measured)."""
APPLICATION_ID: Final = 0x4B6F6E74
"""``Kont`` in the file header: tells our file from any other SQLite database."""
SCHEMA_VERSION: Final = 1
PAGE_CACHE_KIB: Final = 256
"""SQLite's own is 2,000; what is read is in memory anyway, and rows are appended, or deleted in their order."""
CACHED_STATEMENTS: Final = 300
"""One INSERT for each size of a batch, and the few others."""

_SCHEMA: Final = (
    "CREATE TABLE log (rev INTEGER PRIMARY KEY, prev INTEGER NOT NULL, key TEXT NOT NULL, val BLOB)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, val) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('compacted_rev', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_DISK_ERRORS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""What says nothing about the file's content."""

_log = logging.getLogger(__name__)


def lock(path: str) -> int:
    """Lock the data file for this process, and return the descriptor that holds the lock.

    Raises:
        StorageBusyError: another process holds it.
        OSError: the lock file cannot be written.
    """
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        text = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        holder = int(text) if text.isdigit() else None
        raise StorageBusyError(
            f"data file {path} is in use by another server (process {text or 'unknown'}); "
            "stop that one, or choose another --data-dir",
            holder_pid=holder,
        ) from error
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_locked_by(fd: int, path: str) -> bool:
    """Tell whether who asks for the lock of ``path`` now would meet the one that ``fd`` holds."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(f"{path}.lock"))
    except OSError:
        return False


def connect(path: str) -> sqlite3.Connection:
    """Open the data file, which is locked, or create it; ``":memory:"`` needs no lock.

    Raises:
        sqlite3.DatabaseError: it cannot be used; ``opening_error`` says what that means.
    """
    is_new = path == MEMORY or not os.path.exists(path)
    if path != MEMORY:
        # Secrets are stored too: private from the first byte on.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sqlite_wal.check(f"{path}-wal")
        _check(path)
    # Opened on the loop's thread, used by the writer thread alone once that runs.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
    )
    try:
        was_empty = _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    if was_empty and not is_new:
        # So it is left by a server that was killed while it created it; or by whoever has truncated it.
        _log.warning(
            "the data file was empty, and begins anew: if it held objects, restore a backup", extra={"path": path}
        )
    if path != MEMORY:
        Path(f"{path}-shm").unlink(missing_ok=True)  # left by the check; of no use to whoever has the file alone
    return connection


def opening_error(path: str, error: sqlite3.DatabaseError) -> StorageError:
    """Return what to tell of an error of SQLite: whether the disk is at fault or the file."""
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _DISK_ERRORS:
        return StorageFailedError(
            f"data file {path} cannot be opened: {error}; make sure that the disk has room, that the "
            "file can be written, and that no other program has it open"
        )
    return StorageCorruptError(
        f"data file {path} cannot be read: {error}; nothing was changed. "
        "Move it away, then restore a backup or start with an empty one"
    )


def read_meta(connection: sqlite3.Connection, key: str) -> int:
    """Return a number that the file keeps about itself."""
    row = connection.execute("SELECT val FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row[0])


def read_pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return an integer PRAGMA."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty database ours."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")


def _check(path: str) -> None:
    """Read the whole file as it is, 0.16 s for 100,000 objects.

    Opened for reading only, because a connection that may write moves the log into the file when it closes: a file that
    is refused stays as it was found.
    """
    with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _prepare(connection: sqlite3.Connection, path: str) -> bool:
    """Make a connection ready for use; returns whether there was nothing in the file."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and read_pragma(connection, "application_id") != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is a SQLite file of another program")
    version = read_pragma(connection, "user_version")
    if tables and version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"its format is {version}, this version reads {SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    if not tables:
        create_tables(connection)
    if path != MEMORY:
        _lengthen_wal(connection, path)
    return not tables


def _lengthen_wal(connection: sqlite3.Connection, path: str) -> None:
    """Bring the WAL to its working size, or what the disk has room for.

    By a transaction that is rolled back after it went to disk.
    """
    size = (WAL_PAGES - 64) * read_pragma(connection, "page_size")
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size >= size:
        return
    cache_size = read_pragma(connection, "cache_size")
    connection.execute("PRAGMA cache_size = 16")  # pages beyond it are written to the WAL at once
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE filler (val BLOB)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (size,))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF != sqlite3.SQLITE_FULL:
            raise
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    connection.execute(f"PRAGMA cache_size = {cache_size}")
