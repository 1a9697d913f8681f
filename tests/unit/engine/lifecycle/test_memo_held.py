"""What a memo says of what is held, and where it is cut for a new attempt because of that."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.replay.holds import held_since
from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.wire.frames import EncodedRecord

KINDS = {"+": RecordKind.HOLD, "-": RecordKind.RELEASE, ".": RecordKind.STEP}


def history(text: str) -> list[Record]:
    """Return records of ``+a`` (a is held), ``-a`` (it is given back) and ``.b`` (a step)."""
    return [
        Record(
            id=word if word[0] == "-" else word[1:], kind=KINDS[word[0]], name="n", digest=word[1:], seq=seq, at_ms=0
        )
        for seq, word in enumerate(text.split(), 1)
    ]


def encoded(record: Record) -> EncodedRecord:
    is_release = record.kind is RecordKind.RELEASE
    return EncodedRecord(
        record.id,
        encode_record(record),
        holds=record.kind is RecordKind.HOLD,
        frees=record.digest if is_release else "",
    )


def memo_of(text: str) -> MemoBytes:
    memo = MemoBytes()
    for record in history(text):
        memo = memo.extended(build="b", records=[encoded(record)])
    return memo


@pytest.mark.parametrize(
    ("text", "blamed", "kept"),
    [
        (".x +a .y", (), 1),
        (".x +a .y -a", (), 4),
        (".x +a .y -a", (3,), 2),
        ("+a -a .x +b +c -c .y", (), 3),
        ("+a +b -a .x", (), 0),
        (".x +a .y", (1,), 0),
        (".x +a .y", (3,), 1),
    ],
)
def test_a_new_attempt_holds_nothing_at_its_beginning(text: str, blamed: tuple[int, ...], kept: int) -> None:
    """It begins before what is still held; what the runner blames includes what was held there."""
    cut = memo_of(text).cut(blamed)
    assert len(cut.records) == kept
    assert (cut.held, cut.held_since) == ((), 0)


def test_what_is_held_is_stored() -> None:
    """Whoever cuts it later need not read records; a new run holds nothing."""
    memo = memo_of(".x +a .y")
    assert b'"held":["a"],"heldSince":2' in bytes(memo.encode())
    assert parse_memo(memo.encode()) == memo
    assert b"held" not in bytes(memo_of(".x +a -a").encode())
    assert memo.emptied().held == ()


def test_what_is_held_outlives_a_page() -> None:
    """The record of the hold is in a page that nobody reads: the cut reaches into it."""
    memo = memo_of("+a " + " ".join(f".{number}" for number in range(40)))
    assert memo.pages is not None
    assert (memo.held, memo.held_since) == (("a",), 1)
    assert memo.cut(()).page_cut == (1,)


def test_what_was_given_up_unheard_is_not_held() -> None:
    """Although a record says that it was granted; also if that is reported together with it."""
    (last,) = history("+b")
    memo = memo_of(".x +a .y")
    assert memo.extended(build="b", forgotten=["a"]).held_since == 0
    both = memo.extended(build="b", records=[encoded(last)], forgotten=["a"])
    assert (both.held, both.cut(()).records) == (("b",), memo.records[:1])
    assert memo.extended(build="b", records=[encoded(last)], forgotten=["a", "b"]).held == ()


@given(st.lists(st.sampled_from(["+a", "+b", "+c", "-a", "-b", "-c", ".x"]), max_size=12))
def test_the_memo_counts_as_the_journal_does(words: list[str]) -> None:
    """Both say since when something is held, of any history in which only what is held is given back."""
    held: set[str] = set()
    possible = []
    for word in words:
        if word[0] == "+" and word[1] not in held:
            held.add(word[1])
        elif word[0] == "-" and word[1] in held:
            held.remove(word[1])
        elif word[0] != ".":
            continue
        possible.append(word)
    text = " ".join(possible)
    records = [one for one in history(text) if one.kind is not RecordKind.STEP]
    assert memo_of(text).held_since == held_since(records, before=len(possible) + 1)
    assert msgspec.json.decode(memo_of(text).encode()).get("held", []) == list(memo_of(text).held)
