"""The journal of a later attempt: what it takes over from an earlier one, and what is to blame when one fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue.replay.call import Call, CallState, Outcome
from kontinue.replay.journal import Journal
from kontinue.replay.records import Memo, Record, RecordedError, RecordKind

STEP, CHILD = RecordKind.STEP, RecordKind.CHILD
BOOM = RecordedError(type="builtins.ValueError", message="boom")


class Integer:
    """A request whose results are integers."""

    def decode(self, data: bytes) -> Any:
        return msgspec.json.decode(data, type=int)

    def failure(self, record: Record) -> Exception:
        assert record.error is not None
        return ValueError(record.error.message)


def make_call(id_: str, kind: RecordKind = STEP, *, digest: str = "d1") -> Call:
    call = Call(kind, "work", Integer(), digest=digest)
    call.id = id_
    return call


def make_record(id_: str, seq: int, value: object = 1, error: RecordedError | None = None) -> Record:
    raw = msgspec.UNSET if error else msgspec.Raw(msgspec.json.encode(value))
    return Record(id=id_, seq=seq, value=raw, error=error, kind=STEP, name="work", digest="d1", at_ms=1000 + seq)


def make_journal(*records: Record, **memo: Any) -> Journal:
    return Journal(Memo(build="b1", records=list(records), **memo), created_at_ms=1000)


def started(journal: Journal) -> list[str]:
    return [effect.call.id for effect in journal.take_effects()]


def test_an_equal_call_is_answered_from_the_cache() -> None:
    """It gets the old outcome under a new number, which is recorded like any other; nothing is started."""
    journal = make_journal(cache=[make_record("2", 7, value=42)])
    call = make_call("2")
    journal.request(call)

    assert journal.advance() is call
    assert call.result() == 42
    assert started(journal) == []
    (record,) = journal.finish()
    assert msgspec.json.decode(record[1])["seq"] == 1


def test_a_call_that_asks_for_something_else_is_started() -> None:
    """Equal are id, kind, name and arguments, or it is another call; and its value must still decode."""
    journal = make_journal(cache=[make_record("1", 5), make_record("2", 6, value="no integer")])
    journal.request(make_call("1", digest="d2"))
    journal.request(make_call("2"))

    assert journal.advance() is None
    assert started(journal) == ["1", "2"]


def test_the_size_of_a_memo_counts_what_is_cached_once() -> None:
    """A cached outcome that is used, or superseded, takes its room once."""
    cached = make_record("1", 5)
    journal = make_journal(cache=[cached])
    before = journal.memo_bytes
    journal.request(make_call("1"))
    journal.advance()

    assert journal.memo_bytes == before


def test_children_after_a_cut_have_names_of_their_own() -> None:
    """What is asked for once the record at the cut was delivered may differ from what was asked for before."""
    journal = make_journal(make_record("1", 1), make_record("2", 2), cuts=[(2, 1)])
    early, first, second = make_call("9", CHILD), make_call("1"), make_call("2")
    journal.request(first)
    journal.advance()
    journal.request(early)
    journal.request(second)
    journal.advance()
    late = make_call("10", CHILD)
    journal.request(late)

    assert (journal.generation(early), journal.generation(late)) == (0, 1)


def test_failures_that_nobody_was_told_are_to_blame_too() -> None:
    """They were not handled, so a new attempt tries again what failed."""
    journal = make_journal()
    first, second, third = (make_call(id_) for id_ in "123")
    for call in (first, second, third):
        journal.request(call)
    journal.advance()
    journal.arrive("1", Outcome(at_ms=2000, error=BOOM))
    journal.recorded(1)
    assert journal.advance() is first
    journal.arrive("2", Outcome(at_ms=2000, value=b"1"))
    journal.arrive("3", Outcome(at_ms=2000, error=BOOM))

    assert journal.blame([1]) == [1, 3]
    assert journal.blame([]) == [3], "what the program knows stays"


def test_a_failure_that_was_given_up_before_is_to_blame_if_it_came_later() -> None:
    """Another attempt may wait for it."""
    journal = make_journal(make_record("1", 1), make_record("2", 2, error=BOOM))
    first, second = make_call("1"), make_call("2")
    journal.request(first)
    journal.request(second)
    journal.advance()
    journal.abandon(second)
    journal.advance()

    assert journal.blame([]) == []
    assert journal.blame([1]) == [1, 2]


def test_children_that_no_later_attempt_asks_for_are_orphans() -> None:
    """Those asked for before the failure was delivered are found again by their names; the others are not."""
    journal = make_journal()
    early, failing = make_call("1", CHILD), make_call("2")
    journal.request(early)
    journal.request(failing)
    journal.advance()
    journal.arrive("2", Outcome(at_ms=2000, error=BOOM))
    journal.recorded(1)
    journal.advance()
    late, given_up = make_call("3", CHILD), make_call("4", CHILD)
    journal.request(late)
    journal.request(given_up)
    journal.advance()
    journal.abandon(given_up)

    assert late.state is CallState.STARTED
    assert [call.id for call in journal.orphans([1])] == ["3", "4"]
    assert journal.orphans([]) == []


def test_what_an_earlier_activation_may_have_started_is_an_orphan_too() -> None:
    """A replay that fails with its last record has started nothing itself."""
    journal = make_journal(make_record("1", 1, error=BOOM), make_record("3", 2))
    failing, late, last = make_call("1"), make_call("2", CHILD), make_call("3")
    journal.request(failing)
    journal.advance()
    journal.request(late)
    journal.request(last)
    journal.advance()

    assert late.state is CallState.REQUESTED
    assert [call.id for call in journal.orphans([1])] == ["2"]


def test_what_was_held_is_asked_for_again() -> None:
    """The outcome of an earlier attempt says nothing of what is held now."""
    hold = msgspec.structs.replace(make_record("1", 5), kind=RecordKind.HOLD)
    journal = make_journal(cache=[hold])
    journal.request(make_call("1", RecordKind.HOLD))

    assert journal.advance() is None
    assert started(journal) == ["1"]


def test_a_failure_within_a_hold_is_blamed_on_the_hold() -> None:
    """Also if it was given back since: the next attempt begins before it, and asks for it again."""
    journal = make_journal(make_record("1", 1))
    calls = [make_call("1"), make_call("2", RecordKind.HOLD), make_call("3"), make_call("4", RecordKind.RELEASE)]
    calls[-1].digest = "2"
    outcomes = [Outcome(at_ms=1), Outcome(at_ms=2, error=BOOM), Outcome(at_ms=3)]
    journal.request(calls[0])
    assert journal.advance() is calls[0]
    for call, outcome in zip(calls[1:], outcomes, strict=True):
        outcome.is_durable, outcome.value = True, b"1"
        journal.request(call)
        assert journal.advance() is None
        if (flush := journal.take_flush()) is not None:
            journal.recorded(flush.seq)
            assert journal.advance() is None
        assert started(journal) == [call.id]
        journal.arrive(call.id, outcome)
        assert journal.advance() is call

    assert journal.blame([3]) == [2, 3]
    assert journal.blame([]) == []
    held = [record for step in "1234" if (record := journal.hold_of(step)) is not None]
    assert [(record.id, record.seq) for record in held] == [("2", 2), ("4", 4)]
    assert journal.blame([1]) == [1]


@pytest.mark.parametrize("kind", [CHILD, RecordKind.TIMER, RecordKind.HOLD])
def test_what_cannot_be_repeated_is_asked_once_all_before_is_durable(kind: RecordKind) -> None:
    """So a replay knows: whoever has asked for it has recorded what it was told before, and others have not asked."""
    journal = make_journal()
    before, count = make_call("1", kind), make_call("2")
    count.comes_after_all = True
    journal.request(before)
    assert journal.advance() is None
    assert started(journal) == ["1"]
    journal.arrive("1", Outcome(at_ms=1, value=b"1", is_durable=True))
    assert journal.advance() is before
    journal.request(count)
    assert journal.advance() is None
    assert (started(journal), journal.holds_back) == ([], True)
    flush = journal.take_flush()
    assert flush is not None
    journal.recorded(flush.seq)
    assert journal.advance() is None
    assert (started(journal), journal.may_repeat(count)) == (["2"], False)

    replayed = make_journal(*(msgspec.json.decode(json, type=Record) for _, json in flush.records))
    before, count = make_call("1", kind), make_call("2")
    count.comes_after_all = True
    replayed.request(before)
    assert replayed.advance() is before
    replayed.request(count)
    assert replayed.advance() is None
    assert (started(replayed), replayed.may_repeat(count)) == (["2"], True)


def test_what_waits_for_a_choice_to_be_recorded_is_held_back() -> None:
    """It is asked for once the record is durable: until then its activation must not be taken for asleep."""
    journal = make_journal()
    one, other, next_ = make_call("1", CHILD), make_call("2", CHILD), make_call("3", CHILD)
    journal.request(one)
    journal.request(other)
    assert journal.advance() is None
    assert started(journal) == ["1", "2"]
    journal.arrive("1", Outcome(at_ms=1, value=b"1", is_durable=True))
    assert journal.advance() is one
    journal.request(next_)
    assert journal.advance() is None
    assert (started(journal), journal.holds_back) == ([], True)
    flush = journal.take_flush()
    assert flush is not None
    journal.recorded(flush.seq)
    assert journal.advance() is None
    assert (started(journal), journal.holds_back) == (["3"], False)


def test_a_hold_that_came_too_late_is_given_back() -> None:
    """Its program has given it up between arrival and delivery, and a replay does so again."""
    journal = make_journal()
    winner, loser = make_call("1", RecordKind.HOLD), make_call("2", RecordKind.HOLD)
    journal.request(winner)
    journal.request(loser)
    assert journal.advance() is None
    assert started(journal) == ["1", "2"]
    for call in (winner, loser):
        journal.arrive(call.id, Outcome(at_ms=1, value=b"1", is_durable=True))
    assert journal.advance() is winner
    journal.abandon(loser)
    assert journal.advance() is None
    flush = journal.take_flush()
    assert flush is not None
    journal.recorded(flush.seq)
    assert journal.advance() is None
    assert started(journal) == ["2"]

    records = [msgspec.json.decode(json, type=Record) for _, json in flush.records]
    replayed = make_journal(*records)
    winner, loser = make_call("1", RecordKind.HOLD), make_call("2", RecordKind.HOLD)
    replayed.request(winner)
    replayed.request(loser)
    assert replayed.advance() is winner
    replayed.abandon(loser)
    assert replayed.advance() is None
    assert [(effect.call.id, effect.is_cancel) for effect in replayed.take_effects()] == [("2", True)]
    assert (replayed.hold_of("1"), replayed.hold_of("2")) == (records[0], None)


def test_a_hold_that_is_given_up_while_its_record_is_written_is_given_back_after_that() -> None:
    """So whoever keeps the record knows that it says nothing any more; what fails afterwards is not blamed on it."""
    journal = make_journal()
    winner, loser = make_call("1"), make_call("2", RecordKind.HOLD)
    after, other = make_call("3"), make_call("4")
    journal.request(winner)
    journal.request(loser)
    assert journal.advance() is None
    assert started(journal) == ["1", "2"]
    journal.arrive("1", Outcome(at_ms=1, value=b"1"))
    first = journal.take_flush()
    assert first is not None
    journal.arrive("2", Outcome(at_ms=1, value=b"1", is_durable=True))
    journal.request(other)
    assert journal.advance() is None
    assert started(journal) == ["4"]
    journal.arrive("4", Outcome(at_ms=1, value=b"1"))
    journal.recorded(first.seq)
    second = journal.take_flush()
    assert second is not None
    assert [step for step, _ in second.records] == ["2", "4"]
    assert journal.advance() is winner
    journal.abandon(loser)
    journal.request(after)
    assert journal.advance() is None
    assert (started(journal), journal.holds_back) == (["3"], True)
    journal.recorded(second.seq)
    assert journal.advance() is other
    assert started(journal) == ["2"]
    assert journal.blame([3]) == [3]


def test_what_is_held_is_given_back_once_that_it_was_held_is_durable() -> None:
    """Afterwards nobody could be told the same again: it may be somebody else's, and has another token."""
    journal = make_journal()
    hold, release = make_call("1", RecordKind.HOLD), make_call("2", RecordKind.RELEASE, digest="1")
    journal.request(hold)
    assert journal.advance() is None
    assert started(journal) == ["1"]
    journal.arrive("1", Outcome(at_ms=1, value=b"1", is_durable=True))
    assert journal.advance() is hold
    journal.request(release)
    assert journal.advance() is None
    assert started(journal) == []
    flush = journal.take_flush()
    assert flush is not None
    journal.recorded(flush.seq)
    assert journal.advance() is None
    assert started(journal) == ["2"]
