"""Internal. The store of the local API server: one append-only SQLite table, written by one thread.

A write is one row of ``log``; what is live is the newest row of each key, and compaction deletes rows that a newer
one replaced. So a batch is a single INSERT: one fsync (WAL, synchronous=FULL), and the interpreter lock is handed over
once per batch and not once per row. Revisions are assigned by the writer thread, in commit order; events and answers
leave only after the INSERT has returned. Not here: the file itself, its lock, its format and its faults
(``sqlite_file``), and what keys and values mean. Used through ``kontinue_engine.apiserver.storage.protocol.Storage``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from kontinue_engine.apiserver.storage import sqlite_file
from kontinue_engine.apiserver.storage.protocol import (
    Change,
    RevisionMismatchError,
    Sink,
    StorageFailedError,
    StorageLostError,
    Write,
)
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY

_log: Final = logging.getLogger(__name__)
MAX_BATCH_WRITES: Final = 256
"""Commits that share one fsync; four columns each stay far below SQLite's limit of 32,766 parameters."""
IDLE_BEFORE_CHECKPOINT_S: Final = 2.0
COMPACTION_STEP_REVS: Final = 2000
"""Judgement: revisions compacted per transaction, so that writers wait a few milliseconds at most."""
LOOK_PERIOD_S: Final = 1.0
"""Judgement: how often a look is taken whether the data file is still in its place."""
_Row = tuple[int, int, str, bytearray | None]


class _Commit(msgspec.Struct):
    """A commit on its way through the writer thread."""

    writes: Sequence[Write]
    future: asyncio.Future[list[int]]
    changes: list[Change] = []
    error: Exception | None = None


class _Job(msgspec.Struct):
    """Anything else that the writer thread does between batches."""

    run: Callable[[], int]
    future: asyncio.Future[int]


class _Stop:
    """Ends the writer thread once everything before it is done."""


_Item = list[_Commit] | _Job | _Stop


class SqliteStorage:
    """``Storage`` on a SQLite file, or in memory with the path ``":memory:"``; of one process alone."""

    is_shared = False

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._is_memory = self._path == MEMORY
        self._lock_fd = -1
        self._is_refusing = False  # the writer thread's, for its log
        self._connection: sqlite3.Connection  # these two: from open() on
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._collected: list[_Commit] = []
        self._sink: Sink = _drop
        self._broken: asyncio.Future[None]
        self._current_rev = 0
        self._compacted_rev = 0
        # Owned by the writer thread once it runs.
        self._revs: dict[str, int] = {}
        self._last_rev = 0
        self._is_checkpoint_due = False

    def open(self) -> None:
        """Lock, open and check the file, create it when absent, and start the writer thread.

        Raises:
            StorageBusyError: another process holds it.
            StorageCorruptError: it is damaged or not ours; it was not written to.
            StorageFailedError: it cannot be written, or another program has it open.
            OSError: its folder cannot be written.
        """
        if not self._is_memory:
            self._lock_fd = sqlite_file.lock(self._path)
        try:
            self._connection = sqlite_file.connect(self._path)
            self._load_revisions()
        except sqlite3.DatabaseError as error:
            self._release()
            raise sqlite_file.opening_error(self._path, error) from error
        except BaseException:
            self._release()
            raise
        self._loop = asyncio.get_running_loop()
        self._broken = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
        self._thread.start()

    def list_at(self, rev: int) -> Iterable[Change]:
        """Return what was live at ``rev``, in order of revision; before anything is committed."""
        # Up to compacted_rev there is one row of each key; only later ones can have replaced another.
        return self._read(
            "SELECT rev, prev, key, val FROM log WHERE rev <= :rev AND val IS NOT NULL"
            " AND rev NOT IN (SELECT prev FROM log WHERE rev > :compacted AND rev <= :rev AND prev > 0) ORDER BY rev",
            rev=rev,
            compacted=self._compacted_rev,
        )

    def tail(self, after_rev: int, sink: Sink) -> None:
        """Give ``sink`` the kept changes after ``after_rev`` at once, then each batch as it becomes durable."""
        changes = self._read("SELECT rev, prev, key, val FROM log WHERE rev > :rev ORDER BY rev", rev=after_rev)
        while batch := list(islice(changes, MAX_BATCH_WRITES)):
            sink(batch)
        self._sink = sink

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[list[int]]:
        """Commit all ``writes`` or none; see the Protocol. Commits of one turn of the loop share a batch."""
        commit = _Commit(writes, self._loop.create_future())
        if not self._collected:
            self._loop.call_soon(self._hand_over)
        self._collected.append(commit)
        return commit.future

    async def current_rev(self) -> int:
        """Return the newest durable revision."""
        return self._current_rev

    def compacted_rev(self) -> int:
        """Return the revision up to which history is forgotten."""
        return self._compacted_rev

    async def compact(self, rev: int) -> int:
        """Forget history up to ``rev`` in small transactions between batches; live objects stay."""
        while self._compacted_rev < (target := min(rev, self._current_rev)):
            step = min(target, self._compacted_rev + COMPACTION_STEP_REVS)
            self._compacted_rev = await self._on_writer(lambda step=step: self._compact_step(step))  # type: ignore[misc]
        return self._compacted_rev

    async def read_pragma(self, name: str) -> int:
        """Return an integer PRAGMA of the connection that writes, for example ``synchronous``."""
        return await self._on_writer(lambda: sqlite_file.read_pragma(self._connection, name))

    async def watch_over(self) -> None:
        """Wait until the store is unusable, and raise why."""
        while not self._broken.done():
            await asyncio.wait([self._broken], timeout=None if self._is_memory else LOOK_PERIOD_S)
            self._check_place()
        self._broken.result()

    def _check_place(self) -> None:
        """The lock is what another server would find."""
        if self._is_memory or sqlite_file.is_locked_by(self._lock_fd, self._path):
            return
        raise StorageLostError(
            f"{self._path} was removed, moved or replaced while the server ran; what was written since is lost. "
            "Stop the server before its data folder is changed"
        )

    async def close(self) -> None:
        """Finish accepted commits, checkpoint, close the file and release the lock; idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._hand_over()
            self._inbox.put(_Stop())
            await asyncio.to_thread(thread.join)
            await asyncio.sleep(0)  # lets the last batch's answers out
        self._release()

    # -- the one place where writes become durable ---------------------------------------------------------------

    def _make_durable(self, rows: Sequence[_Row]) -> None:
        """Insert ``rows`` as one transaction and return once they are on disk. Runs on the writer thread.

        A seam: tests override it to hold a commit back or to fail it.
        """
        values = ",".join(("(?,?,?,?)",) * len(rows))
        parameters = [column for row in rows for column in row]
        self._connection.execute(f"INSERT INTO log (rev, prev, key, val) VALUES {values}", parameters)  # noqa: S608

    # -- event loop side -----------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        collected, self._collected = self._collected, []
        for start in range(0, len(collected), MAX_BATCH_WRITES):
            self._inbox.put(collected[start : start + MAX_BATCH_WRITES])

    def _publish(self, batch: list[_Commit]) -> None:
        changes = [change for commit in batch if commit.error is None for change in commit.changes]
        if changes:
            self._current_rev = changes[-1].rev
            try:
                self._sink(changes)
            except Exception as error:  # noqa: BLE001 - whatever it was, what is durable is answered as such
                self._break(error)
        for commit in batch:
            if commit.future.cancelled():
                continue
            if commit.error is None:
                commit.future.set_result([change.rev for change in commit.changes])
            else:
                commit.future.set_exception(commit.error)

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    def _on_writer(self, run: Callable[[], int]) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        self._inbox.put(_Job(run, future))
        return future

    # -- writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_all()
        except BaseException as error:  # noqa: BLE001 - told to the loop: this thread has nobody else
            failure = error
            self._call_loop(lambda: self._break(failure))

    def _write_all(self) -> None:
        held: _Item | None = None
        while True:
            try:
                item = held or self._inbox.get(timeout=IDLE_BEFORE_CHECKPOINT_S if self._is_checkpoint_due else None)
            except queue.Empty:
                self._checkpoint()
                continue
            held = None
            if isinstance(item, _Stop):
                self._checkpoint()
                return
            if isinstance(item, _Job):
                self._run_job(item)
                continue
            batch = item
            while len(batch) < MAX_BATCH_WRITES and not self._inbox.empty():
                held = self._inbox.get()
                if not isinstance(held, list) or len(batch) + len(held) > MAX_BATCH_WRITES:
                    break
                batch, held = batch + held, None
            self._commit_batch(batch)

    def _commit_batch(self, batch: list[_Commit]) -> None:
        rows: list[_Row] = []
        undo: list[tuple[str, int]] = []
        first_rev = self._last_rev
        for commit in batch:
            self._stage(commit, rows, undo)
        if rows:
            try:
                self._make_durable(rows)
            except Exception as error:  # noqa: BLE001 - whatever it was, nothing is durable and the thread must live on
                self._roll_back(undo, first_rev)
                if not self._is_refusing:
                    _log.error("writes are refused until the disk takes them", extra={"error": str(error)})
                self._is_refusing = True
                for commit in batch:
                    if commit.error is None:
                        commit.error = StorageFailedError(f"write to {self._path} was not stored: {error}")
            else:
                self._is_checkpoint_due = True
                if self._is_refusing:
                    _log.warning("writes are stored again")
                self._is_refusing = False
        self._call_loop(lambda: self._publish(batch))

    def _stage(self, commit: _Commit, rows: list[_Row], undo: list[tuple[str, int]]) -> None:
        revs = self._revs
        for write in commit.writes:
            actual = revs.get(write.key, 0)
            if actual != write.expected_rev:
                commit.error = RevisionMismatchError(write.key, actual)
                return
        for write in commit.writes:
            self._last_rev += 1
            rev, previous = self._last_rev, write.expected_rev
            undo.append((write.key, previous))
            if write.value is None:
                revs.pop(write.key, None)
            else:
                revs[write.key] = rev
            # sqlite3 looks for an adapter of every bytes, which costs more than a copy; a bytearray it takes as it is.
            value = None if write.value is None else bytearray(write.value)
            rows.append((rev, previous, write.key, value))
            commit.changes.append(Change(rev, write.key, write.value, previous, write.note))

    def _roll_back(self, undo: list[tuple[str, int]], first_rev: int) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for key, previous in reversed(undo):
            if previous:
                self._revs[key] = previous
            else:
                self._revs.pop(key, None)
        self._last_rev = first_rev

    def _run_job(self, job: _Job) -> None:
        try:
            result = job.run()
        except sqlite3.Error as error:
            failure = StorageFailedError(str(error))
            self._call_loop(lambda: job.future.set_exception(failure))
        else:
            self._call_loop(lambda: job.future.set_result(result))

    def _compact_step(self, rev: int) -> int:
        """Delete rows replaced at or before ``rev``, and deletions up to it; only primary-key look-ups."""
        connection = self._connection
        old = sqlite_file.read_meta(connection, "compacted_rev")
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                "DELETE FROM log WHERE rev IN (SELECT prev FROM log WHERE rev > ? AND rev <= ? AND prev > 0)",
                (old, rev),
            )
            connection.execute("DELETE FROM log WHERE rev > ? AND rev <= ? AND val IS NULL", (old, rev))
            connection.execute("UPDATE meta SET val = ? WHERE key = 'compacted_rev'", (rev,))
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._is_checkpoint_due = True
        return rev

    def _checkpoint(self) -> None:
        self._is_checkpoint_due = False
        if self._is_memory:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            # Nothing is lost: the WAL keeps every commit, and the next checkpoint tries again.
            return

    def _call_loop(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed without close(): nobody is left to be told.
            return

    # -- opening and closing -------------------------------------------------------------------------------------

    def _load_revisions(self) -> None:
        self._compacted_rev = self._last_rev = sqlite_file.read_meta(self._connection, "compacted_rev")
        for rev, key, is_deleted in self._connection.execute("SELECT rev, key, val IS NULL FROM log ORDER BY rev"):
            if is_deleted:
                self._revs.pop(key, None)
            else:
                self._revs[key] = rev
            self._last_rev = max(self._last_rev, rev)
        self._current_rev = self._last_rev

    def _read(self, sql: str, **parameters: int) -> Iterator[Change]:
        # One row after the other: all of them at once would leave the process twice as large for good.
        keys = {key: key for key in self._revs}
        try:
            for rev, previous, key, value in self._connection.execute(sql, parameters):
                yield Change(rev, keys.get(key, key), value, previous)
        except sqlite3.DatabaseError as error:
            raise sqlite_file.opening_error(self._path, error) from error

    def _release(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _drop(_changes: Sequence[Change]) -> None:
    """Stand in for the sink until there is one."""
