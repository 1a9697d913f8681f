"""The memo as the supervisor keeps it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.lifecycle.memo import MAX_BEGUN, MemoBytes, mark_of, parse_memo
from kontinue_engine.wire.frames import EncodedRecord

RECORDS = st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), max_size=5)


@given(RECORDS, st.dictionaries(st.text(max_size=3), st.integers(0, 2**53), max_size=3), st.text(max_size=5))
def test_a_memo_read_back_is_the_memo_that_was_written(
    records: list[dict[str, int]], timers: dict[str, int], build: str
) -> None:
    """Records come back byte for byte, whatever they contain."""
    encoded = [EncodedRecord(str(n), msgspec.json.encode(record)) for n, record in enumerate(records)]
    memo = MemoBytes().extended(build=build, records=encoded).extended(build=build, started=timers)
    assert parse_memo(memo.encode()) == memo


def test_a_record_ends_the_timer_of_its_step() -> None:
    """A timer without a record is running; one with a record has fired."""
    memo = MemoBytes().extended(build="b", started={"1": 5, "2": 6})
    memo = memo.extended(build="b", records=[EncodedRecord("1", b"{}")], forgotten=["2"])
    assert memo.timers == {}


def test_a_record_ends_what_is_known_of_its_step() -> None:
    """What was begun and has no record can be missed; it is read back as it was written."""
    memo = MemoBytes().extended(build="b", begun={"1": mark_of("Job", "a"), "2": mark_of("Execution", "b")})
    assert parse_memo(memo.encode()) == memo
    memo = memo.extended(build="b", records=[EncodedRecord("1", b"{}")])
    assert memo.begun == {"2": mark_of("Execution", "b")}
    assert MemoBytes().extended(build="b", records=[EncodedRecord("1", b"{}")], begun={"1": "x"}).begun == {}


def test_a_new_attempt_misses_nothing() -> None:
    """It starts anew what has been deleted, and what has ended is not asked for again."""
    memo = MemoBytes().extended(build="b", records=records("0", "1"), begun={"2": "x"})
    assert memo.cut([]).begun == memo.cut([2]).begun == memo.emptied().begun == memo.without_cache().begun == {}


def test_what_is_known_to_be_there_stays_short() -> None:
    """Each write has it: the first ones count."""
    begun = {str(number): "x" for number in range(MAX_BEGUN + 7)}
    memo = MemoBytes().extended(build="b", begun=begun).extended(build="b", begun={"late": "x"})
    assert list(memo.begun) == list(begun)[:MAX_BEGUN]


def test_no_state_is_an_empty_memo() -> None:
    """A fresh Execution has none."""
    assert parse_memo(msgspec.UNSET).is_empty


@pytest.mark.parametrize("text", [b"[]", b'{"records":1}', b'{"timers":{"a":"b"}}'])
def test_a_state_edited_into_nonsense_is_named(text: bytes) -> None:
    """Somebody edited it by hand, or a newer version wrote it."""
    with pytest.raises(MemoUnreadableError, match=r"status\.state is not a memo"):
        parse_memo(msgspec.Raw(text))


def records(*steps: str) -> list[EncodedRecord]:
    return [EncodedRecord(step, msgspec.json.encode({"id": step, "n": n})) for n, step in enumerate(steps)]


def test_a_cut_keeps_what_was_before_and_remembers_what_came_later() -> None:
    """The first record to blame and the others to blame are gone; timers begin anew; the cut counts as a generation."""
    memo = MemoBytes().extended(build="b", records=records("a", "b", "c", "d"), started={"t1": 5}, arguments=b"{}")
    cut = memo.cut([2, 4])

    assert [msgspec.json.decode(record)["id"] for record in cut.records] == ["a"]
    assert list(cut.cache) == ["c"]
    assert (cut.timers, cut.cuts, cut.arguments) == ({}, ((2, 1),), b"{}")


def test_with_nobody_to_blame_every_record_stays() -> None:
    """An exception that comes from no step or child says nothing about them."""
    memo = MemoBytes().extended(build="b", records=records("a", "b"), started={"t1": 5})
    assert memo.cut([]).records == memo.records
    assert memo.cut([]).timers == {}


def test_an_earlier_cut_hides_later_ones_and_generations_still_rise() -> None:
    """No two attempts ask for children of one generation after different histories."""
    memo = MemoBytes().extended(build="b", records=records("a", "b", "c"))
    twice = memo.cut([3]).extended(build="b", records=records("c")).cut([2])
    assert twice.cuts == ((2, 2),)
    assert list(twice.cache) == ["c"]
    assert MemoBytes().extended(build="b", records=records("a")).cut([1]).cuts == ((1, 1),)


def test_a_new_outcome_takes_the_place_of_a_cached_one() -> None:
    """The memo does not grow by what is taken over from the cache."""
    memo = MemoBytes().extended(build="b", records=records("a", "b", "c")).cut([1])
    again = memo.extended(build="b", records=records("a", "b"))
    assert list(again.cache) == ["c"]
    assert again.size_bytes == sum(len(record) + 1 for record in (*again.records, *again.cache.values()))


@given(st.lists(st.integers(1, 8), max_size=4), st.integers(1, 8), st.lists(st.integers(1, 8), max_size=4))
def test_a_memo_that_was_cut_is_read_back_as_it_was(blamed: list[int], length: int, again: list[int]) -> None:
    """Cache, cuts and who is to blame survive a restart, and sizes add up."""
    memo = MemoBytes().extended(build="b", records=records(*(str(n) for n in range(length))))
    cut = memo.cut([seq for seq in blamed if seq <= length]).extended(build="b", records=records("new"))
    stored = cut.blaming([seq for seq in again if seq <= len(cut.records)])

    assert parse_memo(stored.encode()) == stored
    assert parse_memo(stored.cut(stored.blamed).encode()) == stored.cut(stored.blamed)
    assert stored.size_bytes == sum(len(record) + 1 for record in (*stored.records, *stored.cache.values()))
