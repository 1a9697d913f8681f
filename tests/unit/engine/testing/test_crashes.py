"""Which durable calls a test's crashes strike."""

from __future__ import annotations

from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.testing.crashes import Crashes
from kontinue_engine.wire.frames import EncodedRecord


def record(step: str, name: str) -> EncodedRecord:
    written = Record(id=step, kind=RecordKind.STEP, name=name, digest="d", seq=1, at_ms=1)
    return EncodedRecord(step, encode_record(written))


def test_a_named_call_is_struck_as_often_as_was_asked_for() -> None:
    """In all, whatever Execution makes it."""
    crashes = Crashes()
    crashes.add(["charge"], times=2, is_recorded=False)
    struck = [crashes.strike_records(uid, [record("1", "charge")], is_recorded=False) for uid in "abc"]
    assert struck == ["charge", "charge", ""]


def test_without_names_each_call_of_each_execution_is_struck() -> None:
    """Once, when it happens again after the crash it goes through."""
    crashes = Crashes()
    crashes.add([], times=1, is_recorded=False)
    calls = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1")]
    struck = [bool(crashes.strike_records(uid, [record(step, "s")], is_recorded=False)) for uid, step in calls]
    assert struck == [True, False, True, True]


def test_before_and_after_the_record_are_two_occasions() -> None:
    """A plan for one of them leaves the other alone."""
    crashes = Crashes()
    crashes.add(["s"], times=1, is_recorded=True)
    assert not crashes.strike_records("a", [record("1", "s")], is_recorded=False)
    assert crashes.strike_records("a", [record("1", "other"), record("2", "s")], is_recorded=True) == "s"
    assert not crashes.strike_records("a", [], is_recorded=True)


def test_a_child_or_timer_is_recorded_by_itself_and_strikes_when_it_ends() -> None:
    """Whatever the plan says of records; the record that its parent makes of it later is no occasion."""
    crashes = Crashes()
    crashes.add(["pack"], times=1, is_recorded=True)
    made = Record(id="2", kind=RecordKind.CHILD, name="pack", digest="d", seq=2, at_ms=1)
    assert not crashes.strike_records("a", [EncodedRecord("2", encode_record(made))], is_recorded=True)
    assert crashes.missed() == ["pack"]
    assert [crashes.strike("a", "2", "pack"), crashes.strike("a", "2", "pack")] == [True, False]
    assert crashes.missed() == []
