"""When a process writes, and when it lets others write."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.sync.wait_groups import turns
from kontinue.sync.wait_groups.turns import ALONE_AFTER, GAP, IN_A_ROW, IN_A_ROW_ALONE, LONGEST_WAIT_S, Turns

WRITE_S = 0.004


def turns_of() -> Turns:
    return Turns(random=lambda: 0.5)


def note(subject: Turns, now_s: float, count: int, *, took_s: float = WRITE_S) -> None:
    subject.written(now_s, took_s=took_s, before=count - 1, count=count)


def write(subject: Turns, now_s: float, numbers: itertools.count[int], times: int = 1) -> float:
    """Write several times without a pause; return the time after that."""
    for _ in range(times):
        assert not subject.pause_s(now_s)
        now_s += WRITE_S
        note(subject, now_s, next(numbers))
    return now_s


def meet(subject: Turns, numbers: itertools.count[int], *, waits_s: float = 0.0) -> float:
    """Have it lose against somebody else, and write after that long; return the time."""
    assert subject.pause_s(0.0) == 0.0
    subject.pause_after_conflict_s(0.0)
    next(numbers)  # theirs
    note(subject, waits_s, next(numbers))
    return waits_s


def test_who_is_alone_leaves_a_gap_now_and_then():
    """Somebody who comes must not starve; it is short, as nobody is known to wait."""
    subject = turns_of()
    now_s = write(subject, 0.0, itertools.count(1), IN_A_ROW_ALONE)
    assert subject.pause_s(now_s) == pytest.approx(GAP * WRITE_S)
    assert subject.pause_s(now_s) == 0.0


def test_who_comes_first_to_a_used_one_is_alone_until_somebody_is_seen():
    """What was counted before says nothing of now; and a write of several operations counts several times."""
    subject = turns_of()
    now_s = write(subject, 0.0, itertools.count(500), IN_A_ROW_ALONE - 1)
    assert subject.pause_s(now_s) is None
    subject.written(now_s, took_s=WRITE_S, before=562, count=567)
    now_s += subject.pause_s(now_s) or 0.0
    assert write(subject, now_s, itertools.count(568), IN_A_ROW_ALONE - 1)


def test_among_others_a_turn_is_short():
    """Then it is left to them, and read anew."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, meet(subject, numbers), numbers, IN_A_ROW - 1)
    assert subject.pause_s(now_s)


def test_where_writes_take_long_a_turn_has_fewer_of_them():
    """Others would wait too long for theirs."""
    subject, numbers = turns_of(), itertools.count(1)
    meet(subject, numbers)
    for _ in range(100):
        note(subject, 0.0, next(numbers), took_s=0.05)
    assert subject.pause_s(0.0)
    note(subject, 0.0, next(numbers), took_s=0.05)
    assert subject.pause_s(0.0) is None
    note(subject, 0.0, next(numbers), took_s=0.05)
    assert subject.pause_s(0.0)


def test_who_had_to_wait_sleeps_nearly_as_long_before_the_next_turn():
    """So most of those who wait do not disturb whose turn it is."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, meet(subject, numbers, waits_s=0.4), numbers, IN_A_ROW - 1)
    assert subject.pause_s(now_s) == pytest.approx(0.3)


def test_what_passes_between_two_writes_was_left_to_others_already():
    """A process that writes now and then is not held up by what was long ago."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, meet(subject, numbers, waits_s=0.4), numbers, IN_A_ROW - 1)
    assert subject.pause_s(now_s + 0.2) == pytest.approx(0.1)
    write(subject, now_s + 1.0, numbers, IN_A_ROW - 1)


def test_who_writes_now_and_then_among_others_reads_first():
    """What its last write left is old by then; where nobody else was seen, it is probably not."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, 0.0, numbers)
    assert subject.pause_s(now_s + 60) is None
    subject = turns_of()
    now_s = meet(subject, numbers)
    assert subject.pause_s(now_s + 60) == 0.0


def test_a_server_that_was_away_was_not_waited_for_among_others():
    """The next turn is not put off because of it."""
    subject, numbers = turns_of(), itertools.count(1)
    meet(subject, numbers)
    subject.pause_after_conflict_s(1.0)
    subject.unanswered(60.0)
    next(numbers)  # theirs
    note(subject, 60.1, next(numbers))
    now_s = write(subject, 60.1, numbers, IN_A_ROW - 1)
    assert subject.pause_s(now_s) == pytest.approx(0.075)


def test_time_in_which_nothing_was_asked_for_is_no_wait():
    """A turn that came at once is not left for longer than a gap."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, meet(subject, numbers), numbers, IN_A_ROW - 1)
    assert subject.pause_s(now_s + 100) == 0.0
    now_s = write(subject, now_s + 100, numbers, IN_A_ROW)
    assert subject.pause_s(now_s) == pytest.approx(GAP * WRITE_S)


def test_who_sees_nobody_for_some_turns_takes_longer_ones():
    """The others have finished."""
    subject, numbers = turns_of(), itertools.count(1)
    now_s = write(subject, meet(subject, numbers), numbers, IN_A_ROW - 1)
    for _ in range(ALONE_AFTER):
        now_s += subject.pause_s(now_s)
        now_s = write(subject, now_s, numbers, IN_A_ROW)
    now_s = write(subject, now_s, numbers, IN_A_ROW_ALONE - IN_A_ROW)
    assert subject.pause_s(now_s)


def test_pauses_after_conflicts_grow_with_their_number_and_with_the_time_of_a_write():
    """Up to a bound, and they begin anew after a success."""
    subject = turns_of()
    pauses = [subject.pause_after_conflict_s(0.0) / WRITE_S for _ in range(6)]
    assert pauses == pytest.approx([2, 4, 8, 16, 16, 16])
    for number in range(200):
        note(subject, 0.0, number, took_s=0.001)
    assert subject.pause_after_conflict_s(0.0) == pytest.approx(2 * 0.001)


@given(st.lists(st.tuples(st.sampled_from(["write", "conflict", "no answer"]), st.floats(0, 100)), max_size=60))
def test_nobody_is_ever_kept_from_writing_for_long(events: list[tuple[str, float]]):
    """Whatever has happened: no pause is longer than the longest wait that is believed, and a little."""
    subject = Turns()
    now_s = 0.0
    for number, (event, took_s) in enumerate(events):
        pause_s = subject.pause_s(now_s) or 0.0
        if event == "conflict":
            pause_s = max(pause_s, subject.pause_after_conflict_s(now_s))
        elif event == "no answer":
            subject.unanswered(now_s)
        else:
            note(subject, now_s + took_s, number, took_s=took_s)
        assert 0.0 <= pause_s <= max(LONGEST_WAIT_S, turns.LONGEST_PAUSE * turns.SLOW_WRITE_S)
        now_s += took_s
