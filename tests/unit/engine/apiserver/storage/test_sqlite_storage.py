"""The store: revisions, compare-and-swap, durability before visibility, faults, restarts, compaction."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.protocol import (
    Change,
    RevisionMismatchError,
    StorageBusyError,
    StorageCorruptError,
    StorageFailedError,
    Write,
)
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage


class HeldStorage(SqliteStorage):
    """Holds every commit back, just before it would become durable, until it is released; or fails it."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.reached = threading.Event()
        self.released = threading.Event()
        self.failure: Exception | None = None

    def _make_durable(self, rows: Sequence[tuple[int, int, str, bytes | None]]) -> None:
        self.reached.set()
        assert self.released.wait(60)
        if self.failure is not None:
            raise self.failure
        super()._make_durable(rows)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    yield store
    await store.close()


async def test_an_empty_data_file_that_was_there_before_begins_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that was killed while it created it leaves one; so does whoever truncates it. A new file is no news."""
    for name in ("new.db", "truncated.db"):
        if name == "truncated.db":
            (tmp_path / name).touch()
        store = SqliteStorage(tmp_path / name)
        store.open()
        await store.close()
    (line,) = caplog.records
    assert line.message == "the data file was empty, and begins anew: if it held objects, restore a backup"
    assert line.__dict__["path"] == str(tmp_path / "truncated.db")


def _state(store: SqliteStorage) -> dict[str, tuple[int, bytes]]:
    """Return what a reader that follows the tail holds."""
    state: dict[str, tuple[int, bytes]] = {}

    def take(changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is None:
                state.pop(change.key, None)
            else:
                state[change.key] = (change.rev, change.value)

    take(list(store.list_at(store.compacted_rev())))
    store.tail(store.compacted_rev(), take)
    return state


async def test_commits_get_increasing_revisions_in_order_of_commit(storage: SqliteStorage) -> None:
    """Each write takes the next revision, those of one commit consecutive ones."""
    first, second = await asyncio.gather(
        storage.commit([Write("a", 0, b"1"), Write("b", 0, b"2")]), storage.commit([Write("c", 0, b"3")])
    )
    assert (first, second) == ([1, 2], [3])
    assert await storage.current_rev() == 3


async def test_a_commit_that_expects_another_revision_changes_nothing(storage: SqliteStorage) -> None:
    """Compare-and-swap is all or nothing over the writes of a commit, and names the key."""
    await storage.commit([Write("a", 0, b"1")])
    state = _state(storage)
    with pytest.raises(RevisionMismatchError) as caught:
        await storage.commit([Write("b", 0, b"2"), Write("a", 7, b"3")])
    assert (caught.value.key, caught.value.actual_rev) == ("a", 1)
    assert state == {"a": (1, b"1")}


async def test_one_of_many_concurrent_writers_wins_each_revision(storage: SqliteStorage) -> None:
    """Of commits that expect the same revision in one batch exactly one succeeds."""
    await storage.commit([Write("a", 0, b"0")])
    outcomes = await asyncio.gather(
        *(storage.commit([Write("a", 1, str(n).encode())]) for n in range(20)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if not isinstance(outcome, RevisionMismatchError)] == [[2]]


async def test_the_writer_connection_runs_with_full_synchronous_in_wal_mode(storage: SqliteStorage) -> None:
    """Every commit is synced: a lost one would make the server hand out a revision twice."""
    assert await storage.read_pragma("synchronous") == 2
    connection = storage._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_neither_the_answer_nor_the_tail_sees_a_commit_before_it_is_durable(tmp_path: Path) -> None:
    """While a commit is held back, its future is pending and no reader knows of it."""
    store = HeldStorage(tmp_path / "data.db")
    store.open()
    state = _state(store)
    future = store.commit([Write("a", 0, b"1")])
    assert await asyncio.to_thread(store.reached.wait, 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not future.done()
    assert state == {}
    assert await store.current_rev() == 0
    store.released.set()
    assert await future == [1]
    assert state == {"a": (1, b"1")}
    await store.close()


async def test_a_failed_commit_fails_its_whole_batch_and_leaves_no_trace(tmp_path: Path) -> None:
    """After an I/O error memory equals disk, revisions go on without a gap and later commits work."""
    store = HeldStorage(tmp_path / "data.db")
    store.open()
    store.released.set()
    await store.commit([Write("a", 0, b"1")])
    state = _state(store)
    store.failure = sqlite3.OperationalError("disk I/O error")
    outcomes = await asyncio.gather(
        store.commit([Write("a", 1, b"2")]), store.commit([Write("b", 0, b"3")]), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StorageFailedError, StorageFailedError]
    assert state == {"a": (1, b"1")}
    store.failure = None
    assert await store.commit([Write("a", 1, b"2")]) == [2]
    assert state == {"a": (2, b"2")}
    await store.close()


async def test_a_full_disk_fails_commits_and_the_store_lives_on(tmp_path: Path) -> None:
    """SQLite's own 'database is full' comes back as StorageFailedError; with room again, commits work."""
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    pages = await store.read_pragma("page_count")
    await store.read_pragma(f"max_page_count={pages + 2}")
    with pytest.raises(StorageFailedError, match="full"):
        await store.commit([Write("big", 0, b"x" * 100_000)])
    await store.read_pragma("max_page_count=1000000")
    assert await store.commit([Write("big", 0, b"x" * 100_000)]) == [1]
    await store.close()


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let databases have 6 pages."""
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 6")
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)


@pytest.mark.usefixtures("small_disk")
async def test_a_nearly_full_disk_is_opened_all_the_same(tmp_path: Path) -> None:
    """There is no room for a WAL of its full size, but for reads, and for writes as long as they fit."""
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    assert await store.commit([Write("a", 0, b"1")]) == [1]
    with pytest.raises(StorageFailedError, match="full"):
        await store.commit([Write("b", 0, b"x" * 100_000)])
    assert await store.commit([Write("c", 0, b"1")]) == [2]
    await store.close()


@pytest.mark.usefixtures("small_disk")
async def test_a_server_without_room_for_its_definitions_says_so(tmp_path: Path) -> None:
    """An error of the storage, which names the file, and not of a request."""
    with pytest.raises(StorageFailedError, match=r"data\.db.*full"):
        async with LocalServer(SqliteStorage(tmp_path / "data.db"), token="t"):
            pass


async def test_a_file_that_another_program_has_open_is_not_called_corrupt(tmp_path: Path) -> None:
    """The remedy is another one."""
    path = tmp_path / "data.db"
    store = SqliteStorage(path)
    store.open()
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageFailedError, match=r"locked.*no other program"):
            SqliteStorage(path).open()


async def test_a_second_server_on_the_same_file_is_refused_and_told_who_holds_it(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    """The error names the process that has the file, and the remedy."""
    other = SqliteStorage(tmp_path / "data.db")
    with pytest.raises(StorageBusyError, match="--data-dir") as caught:
        other.open()
    assert caught.value.holder_pid == os.getpid()
    await other.close()
    assert await storage.commit([Write("a", 0, b"1")]) == [1]


async def test_only_its_owner_can_read_the_files(storage: SqliteStorage, tmp_path: Path) -> None:
    """Secrets may be stored: data, WAL and lock have mode 0600."""
    await storage.commit([Write("a", 0, b"1")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"data.db": 0o600, "data.db-wal": 0o600, "data.db.lock": 0o600}


async def test_the_lock_ends_with_the_store(tmp_path: Path) -> None:
    """A closed file can be opened again at once."""
    for _ in range(2):
        store = SqliteStorage(tmp_path / "data.db")
        store.open()
        await store.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_corrupt_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """The error says what to do; not a byte changes."""
    path = tmp_path / "data.db"
    path.write_bytes(content)
    with pytest.raises(StorageCorruptError, match="nothing was changed"):
        SqliteStorage(path).open()
    assert path.read_bytes() == content


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A SQLite file that is not ours gets no table of ours."""
    path = tmp_path / "data.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageCorruptError, match="another program"):
        SqliteStorage(path).open()
    assert path.read_bytes() == before


async def test_a_restart_restores_revisions_values_and_history(tmp_path: Path) -> None:
    """After a restart the tail replays what was kept, and the next revision follows the last."""
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    await store.commit([Write("a", 0, b"1")])
    await store.commit([Write("b", 0, b"2")])
    await store.commit([Write("a", 1, b"3")])
    await store.commit([Write("b", 2, None)])
    await store.close()

    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    changes: list[Change] = []
    store.tail(0, changes.extend)
    assert [(change.rev, change.key, change.value, change.previous_rev) for change in changes] == [
        (1, "a", b"1", 0),
        (2, "b", b"2", 0),
        (3, "a", b"3", 1),
        (4, "b", None, 2),
    ]
    assert await store.commit([Write("a", 3, b"5")]) == [5]
    await store.close()


async def test_compaction_forgets_history_but_no_object_and_no_revision(tmp_path: Path) -> None:
    """Live values stay at their revisions; a revision is not handed out again even when its row is gone."""
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    await store.commit([Write("a", 0, b"1")])
    await store.commit([Write("b", 0, b"2")])
    await store.commit([Write("a", 1, b"3")])
    await store.commit([Write("b", 2, None)])
    assert await store.compact(4) == 4
    await store.close()

    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    assert store.compacted_rev() == 4
    assert _state(store) == {"a": (3, b"3")}
    assert await store.commit([Write("c", 0, b"5")]) == [5]
    await store.close()


async def test_commits_of_one_turn_of_the_loop_share_a_transaction(tmp_path: Path) -> None:
    """Group commit: 300 writes at once take two fsyncs, as at most 256 share one."""
    batches: list[int] = []

    class Counting(SqliteStorage):
        def _make_durable(self, rows: Sequence[tuple[int, int, str, bytes | None]]) -> None:
            batches.append(len(rows))
            super()._make_durable(rows)

    store = Counting(tmp_path / "data.db")
    store.open()
    await asyncio.gather(*(store.commit([Write(f"k{n}", 0, b"x")]) for n in range(300)))
    assert batches == [256, 44]
    await store.close()


async def test_a_writer_thread_that_fails_is_told_of(tmp_path: Path) -> None:
    """Nothing would be answered any more; the store still closes."""

    class BrokenStorage(SqliteStorage):
        def _stage(self, *_: object) -> None:
            raise LookupError("a bug")

    store = BrokenStorage(tmp_path / "data.db")
    store.open()
    watching = asyncio.create_task(store.watch_over())
    commit = store.commit([Write("a", 0, b"1")])
    with pytest.raises(LookupError, match="a bug"):
        await asyncio.wait_for(watching, 60)
    assert not commit.done()
    await store.close()


async def test_a_sink_that_fails_is_told_of_and_the_commit_is_answered(storage: SqliteStorage) -> None:
    """It is durable, whatever its reader made of it."""

    def fail(changes: Sequence[Change]) -> None:
        if changes:
            raise LookupError("a bug")

    storage.tail(0, fail)
    assert await storage.commit([Write("a", 0, b"1")]) == [1]
    with pytest.raises(LookupError, match="a bug"):
        await asyncio.wait_for(storage.watch_over(), 60)


async def test_close_finishes_what_was_accepted(tmp_path: Path) -> None:
    """Commits that are under way at close are durable and answered."""
    store = SqliteStorage(tmp_path / "data.db")
    store.open()
    futures = [store.commit([Write(f"k{n}", 0, b"x")]) for n in range(600)]
    await store.close()
    assert [future.result() for future in futures] == [[n + 1] for n in range(600)]


_operations = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "stale", "compact"]), st.sampled_from("abc"), st.binary(max_size=4)),
    max_size=30,
)


@given(operations=_operations)
@settings(max_examples=40, deadline=None)
async def test_any_sequence_of_writes_and_compactions_equals_a_dictionary(
    operations: list[tuple[str, str, bytes]],
) -> None:
    """The tail, the live rows and a plain dictionary agree after any sequence, wherever it was compacted."""
    store = SqliteStorage(MEMORY)
    store.open()
    followed = _state(store)
    model: dict[str, tuple[int, bytes]] = {}
    for kind, key, value in operations:
        rev = model.get(key, (0, b""))[0]
        if kind == "compact":
            await store.compact(await store.current_rev())
        elif kind == "stale":
            with pytest.raises(RevisionMismatchError):
                await store.commit([Write(key, rev + 1, value)])
        elif kind == "put":
            model[key] = ((await store.commit([Write(key, rev, value)]))[0], value)
        elif rev:
            await store.commit([Write(key, rev, None)])
            del model[key]
    await store.compact(await store.current_rev())
    assert followed == model
    assert {change.key: (change.rev, change.value) for change in store.list_at(store.compacted_rev())} == model
    await store.close()
