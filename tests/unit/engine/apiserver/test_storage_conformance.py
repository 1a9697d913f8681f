"""What every store promises, over each one: a SQLite file, SQLite in memory, mere memory, one that servers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kontinue_engine.apiserver.storage.memory_storage import MemoryStorage
from kontinue_engine.apiserver.storage.protocol import Change, RevisionMismatchError, Storage, Write
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
from shared_storage import SharedLog, SharedStorage

Make = Callable[[], Storage]


@pytest.fixture(params=["file", "memory", "mere memory", "shared"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Open empty stores."""
    opened: list[Storage] = []

    def begin() -> Storage:
        store: Storage
        if request.param == "shared":
            store = SharedStorage(SharedLog(), lag_s=0.001)
        elif request.param == "mere memory":
            store = MemoryStorage()
        else:
            store = SqliteStorage(MEMORY if request.param == "memory" else tmp_path / f"{len(opened)}.db")
        store.open()
        opened.append(store)
        return store

    yield begin
    for store in opened:
        await store.close()


def follow(store: Storage) -> list[Change]:
    seen: list[Change] = []
    store.tail(0, seen.extend)
    return seen


def brief(changes: Sequence[Change]) -> list[tuple[int, str, bytes | None, int]]:
    return [(change.rev, change.key, change.value, change.previous_rev) for change in changes]


async def test_a_commit_takes_the_next_revisions_and_is_in_the_tail_when_it_is_answered(make: Make) -> None:
    """In order, with what each change replaced; deletes too have a revision."""
    store = make()
    seen = follow(store)
    assert await store.commit([Write("a", 0, b"1"), Write("b", 0, b"2")]) == [1, 2]
    assert len(seen) == 2
    assert await store.commit([Write("a", 1, None)]) == [3]
    assert brief(seen) == [(1, "a", b"1", 0), (2, "b", b"2", 0), (3, "a", None, 1)]
    assert await store.current_rev() == 3


async def test_a_mismatch_changes_nothing_and_is_told_when_its_cause_is_in_the_tail(make: Make) -> None:
    """Whoever reads again after it sees what came between."""
    store = make()
    seen = follow(store)
    outcomes = await asyncio.gather(
        store.commit([Write("a", 0, b"1")]),
        store.commit([Write("b", 0, b""), Write("a", 0, b"2")]),
        return_exceptions=True,
    )
    (won,) = (outcome for outcome in outcomes if isinstance(outcome, list))
    (lost,) = (outcome for outcome in outcomes if isinstance(outcome, RevisionMismatchError))
    assert lost.key == "a"
    assert lost.actual_rev == won[-1]
    assert [change.rev for change in seen] == won


async def test_of_concurrent_writers_one_wins_each_revision(make: Make) -> None:
    """Compare-and-swap over a whole crowd."""
    store = make()
    follow(store)
    await store.commit([Write("a", 0, b"0")])
    outcomes = await asyncio.gather(
        *(store.commit([Write("a", 1, b"%d" % n)]) for n in range(20)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if not isinstance(outcome, RevisionMismatchError)] == [[2]]


async def test_a_tail_may_begin_at_any_revision_that_is_kept(make: Make) -> None:
    """It gives exactly what came after, at once."""
    store = make()
    follow(store)
    for number in range(5):
        await store.commit([Write(f"k{number}", 0, b"x")])
    seen: list[Change] = []
    store.tail(3, seen.extend)
    assert [change.rev for change in seen] == [4, 5]


async def test_a_list_shows_the_past_back_to_the_compaction(make: Make) -> None:
    """Replaced and deleted keys come back as they were."""
    store = make()
    follow(store)
    await store.commit([Write("a", 0, b"1")])
    await store.commit([Write("b", 0, b"2")])
    await store.commit([Write("a", 1, b"3")])
    await store.commit([Write("b", 2, None)])
    assert brief(list(store.list_at(2))) == [(1, "a", b"1", 0), (2, "b", b"2", 0)]
    assert brief(list(store.list_at(3))) == [(2, "b", b"2", 0), (3, "a", b"3", 1)]
    assert brief(list(store.list_at(4))) == [(3, "a", b"3", 1)]
    assert await store.compact(3) == store.compacted_rev() == 3
    assert brief(list(store.list_at(3))) == [(2, "b", b"2", 0), (3, "a", b"3", 1)]
    assert brief(list(store.list_at(4))) == [(3, "a", b"3", 1)]
    assert await store.compact(99) == 4
    assert brief(list(store.list_at(4))) == [(3, "a", b"3", 1)]
    assert await store.commit([Write("b", 0, b"5")]) == [5]


async def test_an_uncommitted_future_revision_is_not_compacted(make: Make) -> None:
    """Compaction never runs ahead of what is committed, nor back."""
    store = make()
    follow(store)
    await store.commit([Write("a", 0, b"1")])
    assert await store.compact(10) == 1
    assert await store.compact(0) == 1


_operations = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "stale", "compact"]), st.sampled_from("abc"), st.binary(max_size=4)),
    max_size=20,
)


@given(operations=_operations)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_sequence_of_operations_equals_a_dictionary_at_every_revision(
    make: Make, operations: list[tuple[str, str, bytes]]
) -> None:
    """The tail over the list at any kept revision gives the state of now, and revisions rise by one."""
    store = make()
    seen = follow(store)
    model: dict[str, tuple[int, bytes]] = {}
    states = {0: dict(model)}
    for kind, key, value in operations:
        rev = model.get(key, (0, b""))[0]
        if kind == "compact":
            await store.compact(max(states) - 1)
        elif kind == "stale":
            with pytest.raises(RevisionMismatchError):
                await store.commit([Write(key, rev + 1, value)])
        elif kind == "put" or rev:
            (made,) = await store.commit([Write(key, rev, value if kind == "put" else None)])
            assert made == max(states) + 1
            model.pop(key, None)
            if kind == "put":
                model[key] = (made, value)
            states[made] = dict(model)
    assert [change.rev for change in seen] == sorted(states)[1:]
    for rev, state in states.items():
        if rev >= store.compacted_rev():
            assert {change.key: (change.rev, change.value) for change in store.list_at(rev)} == state
