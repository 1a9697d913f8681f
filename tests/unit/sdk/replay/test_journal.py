"""The journal: order of delivery, abandonment, effects after replay, durability of choices, mismatches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue.errors import ResultDecodeError
from kontinue.replay.call import Call, CallState, Mismatch, Outcome, Parallelism
from kontinue.replay.journal import Journal
from kontinue.replay.records import ChildOutcome, Memo, Record, RecordedError, RecordKind, decode_memo

STEP, CHILD, TIMER = RecordKind.STEP, RecordKind.CHILD, RecordKind.TIMER


class Integer:
    """A request whose results are integers."""

    def decode(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data, type=int)
        except msgspec.ValidationError as error:
            raise ResultDecodeError(str(error)) from error

    def failure(self, record: Record) -> Exception:
        assert record.error is not None
        return ValueError(record.error.message)


def make_call(id_: str, kind: RecordKind = STEP, **fields: Any) -> Call:
    call = Call(kind, fields.pop("name", "work"), Integer(), digest=fields.pop("digest", "d1"), **fields)
    call.id = id_
    return call


def make_record(id_: str, seq: int, value: object = 1, **fields: Any) -> Record:
    error = fields.get("error")
    raw = msgspec.UNSET if error else msgspec.Raw(msgspec.json.encode(value))
    fields = {"kind": STEP, "name": "work", "digest": "d1", "at_ms": 1000 + seq, **fields}
    return Record(id=id_, seq=seq, value=raw, **fields)


def make_journal(*records: Record) -> Journal:
    return Journal(Memo(build="b1", records=list(records)), created_at_ms=1000)


def request(journal: Journal, *calls: Call) -> None:
    for call in calls:
        journal.request(call)


def started(journal: Journal) -> list[tuple[str, bool]]:
    return [(effect.call.id, effect.is_cancel) for effect in journal.take_effects()]


def done(value: int = 1, *, at_ms: int = 2000, is_durable: bool = False) -> Outcome:
    return Outcome(at_ms=at_ms, value=str(value).encode(), is_durable=is_durable)


def test_a_step_is_delivered_after_its_record_is_durable() -> None:
    """The outcome of a step exists nowhere but in its record, so nobody may see it before."""
    journal = make_journal()
    call = make_call("1")
    request(journal, call)

    assert journal.advance() is None
    assert started(journal) == [("1", False)]
    assert journal.arrive("1", done(7, at_ms=2500))
    flush = journal.take_flush()
    assert flush is not None
    assert flush.seq == 1
    assert journal.is_flushing
    assert not journal.can_advance
    assert journal.advance() is None
    journal.recorded(1)
    assert journal.can_advance
    assert journal.advance() is call
    assert (call.result(), call.is_finished, call.is_failed, journal.now_ms) == (7, True, False, 2500)
    assert journal.finish() == []


def test_records_round_trip_through_a_memo() -> None:
    """What is flushed is what the next activation replays."""
    journal = make_journal()
    request(journal, make_call("1", line="app.py:3"))
    journal.advance()
    journal.arrive("1", done(7))
    flush = journal.take_flush()
    assert flush is not None

    memo = decode_memo(b'{"records":[' + b",".join(json for _, json in flush.records) + b"]}")
    again = Journal(memo, created_at_ms=1000)
    call = make_call("1")
    again.request(call)

    assert again.is_replaying
    assert again.advance() is call
    assert call.result() == 7
    assert not again.is_replaying
    assert started(again) == []


def test_children_and_timers_are_delivered_at_once() -> None:
    """Their outcomes are durable elsewhere; the records ride on the end of the function."""
    journal = make_journal()
    child, timer = make_call("1", CHILD), make_call("t1", TIMER)
    request(journal, child, timer)
    journal.advance()
    journal.arrive("t1", done(0, is_durable=True))
    journal.arrive("1", Outcome(at_ms=2, value=b"5", child=ChildOutcome(name="c"), is_durable=True))

    assert journal.take_flush() is None
    assert [journal.advance(), journal.advance(), journal.advance()] == [timer, child, None]
    assert [step for step, _ in journal.finish()] == ["t1", "1"]


def test_outcomes_are_delivered_in_the_order_of_the_memo_not_of_the_requests() -> None:
    """Two workers on one queue would swap their values otherwise."""
    first, second = make_call("1"), make_call("2")
    journal = make_journal(make_record("2", 1), make_record("1", 2))
    request(journal, first, second)

    assert [journal.advance(), journal.advance()] == [second, first]


def test_nothing_starts_before_the_memo_is_exhausted() -> None:
    """A call that the next record makes the program give up must not run again."""
    loser = make_call("2", CHILD)
    journal = make_journal(make_record("1", 1))
    request(journal, make_call("1"), loser)
    journal.advance()
    assert started(journal) == []

    journal.abandon(loser)
    journal.advance()

    assert started(journal) == [("2", True)]  # an earlier activation may have created it


def test_abandoned_before_anything_was_delivered_was_never_started() -> None:
    """Then there is nothing to cancel either."""
    journal = make_journal()
    call = make_call("1", CHILD)
    request(journal, call)
    journal.abandon(call)
    journal.advance()

    assert started(journal) == []
    assert call.state is CallState.ABANDONED
    assert not journal.arrive("1", done())


def test_an_abandoned_call_with_a_record_is_passed_over() -> None:
    """It had arrived, and the program gave it up before delivery: the record has no effect, now as then."""
    loser, after = make_call("2"), make_call("3")
    journal = make_journal(make_record("1", 1), make_record("2", 2, at_ms=9000), make_record("3", 3))
    request(journal, make_call("1"), loser)
    journal.advance()
    journal.abandon(loser)
    request(journal, after)

    assert journal.advance() is after
    assert journal.now_ms == 1003


def test_arrived_but_abandoned_keeps_its_place_in_the_memo() -> None:
    """Numbers have no gaps: the record is written although nobody gets it."""
    winner, loser = make_call("1", CHILD), make_call("2", CHILD)
    journal = make_journal()
    request(journal, winner, loser)
    journal.advance()
    journal.arrive("1", done(is_durable=True))
    journal.arrive("2", done(is_durable=True))
    journal.advance()
    journal.abandon(loser)

    assert journal.advance() is None
    assert [step for step, _ in journal.finish()] == ["1", "2"]


def test_abandoned_twice_or_after_delivery_changes_nothing() -> None:
    """Contexts abandon in ``finally``, whatever happened."""
    call = make_call("1")
    journal = make_journal(make_record("1", 1))
    request(journal, call)
    journal.advance()
    journal.abandon(call)

    assert call.result() == 1


def test_what_follows_a_choice_waits_until_it_is_durable() -> None:
    """After a crash the other call could be answered first, and lead elsewhere."""
    winner, rival, following = make_call("1", CHILD), make_call("2", CHILD), make_call("3")
    journal = make_journal()
    request(journal, winner, rival)
    journal.advance()
    journal.arrive("1", done(is_durable=True))
    started(journal)
    journal.advance()
    request(journal, following)
    journal.abandon(rival)

    assert journal.advance() is None
    assert started(journal) == []
    assert not journal.can_advance
    flush = journal.take_flush()
    assert flush is not None
    assert flush.seq == 1
    journal.recorded(1)
    assert journal.can_advance
    journal.advance()
    assert started(journal) == [("3", False), ("2", True)]


def test_what_had_no_alternative_needs_no_write() -> None:
    """One call after the other: a crash repeats the same way, so children cost no writes of the parent."""
    journal = make_journal()
    for number in ("1", "2", "3"):
        request(journal, make_call(number, CHILD))
        journal.advance()
        assert started(journal) == [(number, False)]
        journal.arrive(number, done(is_durable=True))
        assert journal.advance() is not None
        assert journal.take_flush() is None


def test_arrivals_during_a_flush_share_the_next_one() -> None:
    """Concurrent branches share writes."""
    journal = make_journal()
    request(journal, *(make_call(str(number)) for number in range(3)))
    journal.advance()
    journal.arrive("0", done())
    first = journal.take_flush()
    journal.arrive("1", done())
    journal.arrive("2", done())
    assert journal.has_unflushed
    assert journal.take_flush() is None
    journal.recorded(1)
    second = journal.take_flush()

    assert first is not None
    assert second is not None
    assert [len(first.records), len(second.records), second.seq] == [1, 2, 3]
    journal.recorded(2)
    assert journal.is_flushing
    assert not journal.has_unflushed


def test_only_started_calls_have_outcomes() -> None:
    """A second answer, and one for an unknown step, are dropped."""
    journal = make_journal()
    call = make_call("1")
    request(journal, call)
    assert not journal.arrive("1", done())
    journal.advance()
    assert journal.arrive("1", done())

    assert not journal.arrive("1", done())
    assert not journal.arrive("9", done())
    assert list(journal.outstanding) == [call]


def test_failures_are_raised_anew_each_time() -> None:
    """The recorded failure is described, not carried."""
    call = make_call("1")
    journal = make_journal(make_record("1", 1, error=RecordedError(type="E", message="broken")))
    request(journal, call)
    journal.advance()

    assert call.is_failed
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            call.result()


def test_a_live_result_of_the_wrong_type_is_a_recorded_failure() -> None:
    """It must be the same on replay, where a value that does not decode would block the Execution."""
    journal = make_journal()
    call = make_call("1", CHILD)
    request(journal, call)
    journal.advance()
    journal.arrive("1", Outcome(at_ms=2, value=b'"text"', is_durable=True))
    journal.advance()

    assert call.record is not None
    assert call.record.error is not None
    assert call.record.error.type == "kontinue.errors.ResultDecodeError"


def test_canceled_child_is_still_awaited() -> None:
    """A handle's cancel asks; the outcome comes from the child."""
    journal = make_journal()
    call = make_call("1", CHILD)
    request(journal, call)
    journal.advance()
    started(journal)
    journal.cancel(call, "enough")
    journal.advance()

    (effect,) = journal.take_effects()
    assert (effect.is_cancel, effect.message) == (True, "enough")
    assert journal.arrive("1", done(is_durable=True))


def test_parallelism_limits_what_is_started() -> None:
    """The next of the group starts when one has arrived or is given up; what is given up unstarted never does."""
    group = Parallelism(2)
    calls = [make_call(str(number), CHILD, parallelism=group) for number in range(5)]
    journal = make_journal()
    request(journal, *calls)
    journal.advance()
    assert started(journal) == [("0", False), ("1", False)]

    journal.abandon(calls[2])
    journal.arrive("0", done(is_durable=True))
    journal.advance()
    assert started(journal) == [("3", False)]
    journal.abandon(calls[1])
    journal.abandon(calls[3])
    journal.abandon(calls[4])
    assert group.taken == 0


def test_parallelism_counts_replayed_calls_as_done() -> None:
    """After replay the group is as full as it was."""
    group = Parallelism(1)
    calls = [make_call(str(number), CHILD, parallelism=group) for number in range(3)]
    records = [make_record("0", 1, kind=CHILD), make_record("1", 2, kind=CHILD)]
    journal = make_journal(*records)
    request(journal, *calls)
    while journal.advance() is not None:
        pass

    assert started(journal) == [("2", False)]


@pytest.mark.parametrize("changed", [{"name": "other"}, {"digest": "d2"}, {"kind": CHILD}])
def test_another_call_at_a_recorded_step_is_a_mismatch(changed: dict[str, Any]) -> None:
    """Kind, name and arguments must be what was recorded; both sides are described."""
    journal = make_journal(make_record("1", 1, line="app.py:3"))
    fields = {"kind": STEP, **changed}
    request(journal, make_call("1", line="app.py:4", **fields))

    with pytest.raises(Mismatch) as caught:
        journal.advance()
    assert caught.value.step == "1"
    assert caught.value.recorded == "step work (arguments digest d1) at app.py:3, recorded by build b1"
    assert caught.value.requested.endswith(" at app.py:4")


@pytest.mark.parametrize(
    ("changed", "expected"), [({}, True), ({"name": "other"}, False), ({"line": "app.py:4"}, False)]
)
def test_a_mismatch_says_whether_only_the_arguments_differ(changed: dict[str, Any], expected: bool) -> None:
    """Then the function is probably not deterministic, whereas another call tells of changed code."""
    journal = make_journal(make_record("1", 1, line="app.py:3"))
    request(journal, make_call("1", **{"line": "app.py:3", "digest": "d2", **changed}))

    with pytest.raises(Mismatch) as caught:
        journal.advance()
    assert caught.value.only_arguments is expected


def test_a_record_that_nobody_asks_for_is_a_mismatch() -> None:
    """The message says what the program waits for instead."""
    journal = make_journal(make_record("1", 1))
    request(journal, make_call("2"))

    with pytest.raises(Mismatch) as caught:
        journal.advance()
    assert "2: step work (arguments digest d1)" in caught.value.requested
    with pytest.raises(Mismatch, match="waits for nothing"):
        make_journal(make_record("1", 1)).advance()


def test_records_left_at_the_end_are_a_mismatch_unless_asked_for() -> None:
    """A spawned child that nobody awaited may have a record; a call that was never made may not."""
    with pytest.raises(Mismatch, match="ended without this call"):
        make_journal(make_record("1", 1)).finish()

    journal = make_journal(make_record("1", 1, kind=CHILD))
    request(journal, make_call("1", CHILD))
    assert journal.finish() == []


def test_a_value_that_no_longer_decodes_is_a_mismatch() -> None:
    """The declared type has changed under a running Execution."""
    journal = make_journal(make_record("1", 1, "text"))
    request(journal, make_call("1"))

    with pytest.raises(Mismatch, match="int"):
        journal.advance()


def test_a_memo_with_gaps_is_refused() -> None:
    """Something else has written it."""
    with pytest.raises(Mismatch, match="no gaps"):
        make_journal(make_record("1", 2))


def test_descriptions_leave_out_what_is_unknown() -> None:
    """A timer has no digest, an old record perhaps no line."""
    timer = Call(TIMER, "", Integer())

    assert timer.describe() == "timer"


def test_a_journal_that_only_replays_stops_where_the_records_end() -> None:
    """Nothing is started, neither what is new nor what an earlier attempt has left in the cache."""
    memo = Memo(build="b1", records=[make_record("1", 1)], cache=[make_record("2", 2)])
    journal = Journal(memo, created_at_ms=1000, only_replays=True)
    first, second, third = make_call("1"), make_call("2"), make_call("3", CHILD)
    request(journal, first)
    assert journal.advance() is first
    request(journal, second, third)

    assert not journal.can_advance
    assert journal.advance() is None
    assert (journal.take_effects(), journal.take_flush()) == ([], None)
    assert list(journal.outstanding) == [second, third]
    assert journal.is_replaying, "logging stays silent"


def test_a_record_that_nobody_asks_for_is_told_beside_the_first_few_calls_that_are_waited_for() -> None:
    """A fan-out of a thousand children must not end up in a status."""
    journal = make_journal(make_record("9", 1))
    request(journal, *(make_call(str(number), name=f"call{number}") for number in range(5)))
    with pytest.raises(Mismatch, match=r"no such call; the program waits for 0: .*, 1: .*, 2: .* and 2 more$"):
        journal.advance()


def test_a_record_that_was_never_delivered_must_fit_its_call_all_the_same() -> None:
    """The program ended without waiting for it, or gave it up: it asked for something else than was done."""
    for gives_up in (False, True):
        journal = make_journal(make_record("1", 1, digest="other"))
        call = make_call("1")
        request(journal, call)
        if gives_up:
            journal.abandon(call)
        with pytest.raises(Mismatch, match=r"digest other.*digest d1"):
            journal.finish()
