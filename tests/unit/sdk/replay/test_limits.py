"""How much a run may record: what is refused, with which words, and that a replay is told the same."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from kontinue.api.v1alpha1 import MAX_CALLS, MAX_HISTORY_BYTES, MAX_RECORD_BYTES
from kontinue.errors import LimitExceeded
from kontinue.replay import limits
from kontinue.replay.call import Call, Exhausted, Outcome
from kontinue.replay.journal import Journal
from kontinue.replay.records import EMPTY_MEMO, Memo, Record, RecordKind


class Anything:
    """A request whose results may be anything."""

    def decode(self, data: bytes) -> Any:
        return msgspec.json.decode(data)

    def failure(self, record: Record) -> Exception:
        assert record.error is not None
        return LimitExceeded(record.error.message)


def make_call(id_: str) -> Call:
    call = Call(RecordKind.STEP, "work", Anything())
    call.id = id_
    return call


@pytest.mark.parametrize(("calls", "size"), [(0, 0), (MAX_CALLS - 1, MAX_HISTORY_BYTES - 1)])
def test_what_fits_is_started(calls: int, size: int) -> None:
    """Up to the limit, and not one less."""
    assert limits.refusal(calls, size) is None
    assert limits.outcome_refusal(MAX_RECORD_BYTES, size) is None


@pytest.mark.parametrize(
    ("calls", "size", "says"),
    [(MAX_CALLS, 0, "20,000 durable calls, the limit is 20,000"), (0, MAX_HISTORY_BYTES, "33,554,432")],
)
def test_a_call_past_the_limits_is_refused_with_sizes_and_remedy(calls: int, size: int, says: str) -> None:
    """Nothing of it is started."""
    error = limits.refusal(calls, size)
    assert error is not None
    assert says in error.message
    assert "ctx.continue_as_new()" in error.message
    assert error.types[0] == "kontinue.errors.LimitExceeded"


@pytest.mark.parametrize(
    ("size", "others", "says"),
    [
        (MAX_RECORD_BYTES + 1, 0, "the outcome is 1,048,577 bytes, the limit is 1,048,576"),
        (MAX_RECORD_BYTES, MAX_HISTORY_BYTES + 1, "the records of this run are 34,603,009 bytes"),
    ],
)
def test_an_outcome_that_is_too_large_is_replaced(size: int, others: int, says: str) -> None:
    """What has been started has an outcome all the same: that it was too large."""
    error = limits.outcome_refusal(size, others)
    assert error is not None
    assert says in error.message


def test_a_large_outcome_is_recorded_as_an_error_and_replayed_as_one() -> None:
    """User code is told once, and again in every replay; the record is small."""
    journal = Journal(EMPTY_MEMO, created_at_ms=1)
    call = make_call("1")
    journal.request(call)
    journal.advance()
    journal.take_effects()
    journal.arrive("1", Outcome(at_ms=2, value=b'"' + b"x" * MAX_RECORD_BYTES + b'"'))
    flush = journal.take_flush()
    assert flush is not None
    ((_, encoded),) = flush.records
    assert len(encoded) < 1_000
    journal.recorded(flush.seq)
    assert journal.advance() is call
    with pytest.raises(LimitExceeded, match="store it elsewhere"):
        call.result()

    again, replay = make_call("1"), Journal(Memo(records=[msgspec.json.decode(encoded, type=Record)]), created_at_ms=1)
    replay.request(again)
    assert replay.advance() is again
    with pytest.raises(LimitExceeded):
        again.result()


def test_calls_count_from_when_they_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand at once no more are started than the limit says; those of the memo count."""
    monkeypatch.setattr(limits, "MAX_CALLS", 5)
    done = [Record(id=str(seq), kind=RecordKind.STEP, name="work", digest="", seq=seq, at_ms=1) for seq in (1, 2)]
    journal = Journal(Memo(records=done), created_at_ms=1)
    calls = [make_call(str(number)) for number in range(1, 9)]
    for call in calls:
        journal.request(call)
    while journal.advance() is not None:
        pass
    assert [effect.call.id for effect in journal.take_effects()] == ["3", "4", "5"]
    flush = journal.take_flush()
    assert flush is not None
    assert [step for step, _ in flush.records] == ["6", "7", "8"]


def test_who_does_not_heed_refusals_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history has an end, whatever the program does; a replay comes to it at the same place."""
    monkeypatch.setattr(limits, "MAX_CALLS", 0)

    def play(journal: Journal) -> int:
        """Ask until the end, and return how often an answer came."""
        for number in itertools.count(1):
            journal.request(make_call(str(number)))
            try:
                journal.advance()
            except Exhausted:
                return number - 1
            flush = journal.take_flush()
            if flush is not None:
                records.extend(msgspec.json.decode(encoded, type=Record) for _, encoded in flush.records)
                journal.recorded(flush.seq)
                assert journal.advance() is not None
        raise AssertionError("it never ends")

    records: list[Record] = []
    assert play(Journal(EMPTY_MEMO, created_at_ms=1)) == len(records) == limits.MAX_REFUSALS
    assert play(Journal(Memo(records=list(records)), created_at_ms=1)) == limits.MAX_REFUSALS


def test_a_refused_call_is_told_when_the_refusal_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like the outcome of a step; nothing is started."""
    monkeypatch.setattr(limits, "MAX_CALLS", 0)
    journal = Journal(EMPTY_MEMO, created_at_ms=1)
    call = make_call("1")
    journal.request(call)
    assert journal.advance() is None
    assert journal.take_effects() == []
    flush = journal.take_flush()
    assert flush is not None
    assert journal.advance() is None
    journal.recorded(flush.seq)
    assert journal.advance() is call
    assert call.is_failed
