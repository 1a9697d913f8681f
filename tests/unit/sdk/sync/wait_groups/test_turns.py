"""When a process writes, and when it lets others write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.sync.wait_groups.turns import (
    FIRST_IN_A_ROW,
    FIRST_PAUSE,
    GAP,
    HANDED_OVER,
    IN_A_ROW,
    IN_A_ROW_ALONE,
    LONGEST_BELIEVED_S,
    LONGEST_PAUSE,
    LONGEST_TURN_S,
    SLOW_WRITE_S,
    STOOD_STILL,
    SURE,
    TURNS_AHEAD,
    UNKNOWN_WRITE_S,
    Turns,
)

WRITE_S = 0.002
TURN_S = (IN_A_ROW + HANDED_OVER) * WRITE_S
COME_S = HANDED_OVER * WRITE_S / 2


class Process:
    """``Turns`` with a clock, beside others whose writes are told to it.

    Attributes:
        now_s: the time.
        writers: what the object remembers.
    """

    def __init__(self) -> None:
        self.turns = Turns("me", random=lambda: 0.5)
        self.now_s = 100.0
        self.writers: list[str] = []
        self.count = 0

    def others_write(self, writer: str, *, goes_on_for_s: float | None = None, times: int = 1) -> None:
        self.count += times
        self.writers = [one for one in self.writers if not one.startswith(f"{writer}.")]
        text = "" if goes_on_for_s is None else f"+{round(goes_on_for_s * 1e6)}"
        self.writers.append(f"{writer}.{self.count}{text}")

    def asks(self) -> float:
        """Return for how long it is left to others; 0 also if our turn goes on."""
        return self.turns.asked(self.now_s) or 0.0

    def goes_on(self, *, after_s: float = 0.0) -> bool:
        """Ask for the next write; tell whether our turn goes on."""
        return self.turns.asked(self.now_s + after_s) is None

    def reads(self) -> float:
        return self.turns.pause_s(self.now_s, self.writers)

    def conflicts(self, *, took_s: float = WRITE_S) -> float:
        self.now_s += took_s
        return self.turns.pause_after_conflict_s(took_s=took_s)

    def writes(self, *, took_s: float = WRITE_S) -> None:
        goes_on_for_s = self.turns.goes_on_for_s()
        self.now_s += took_s
        self.turns.written(self.now_s, took_s=took_s)
        self.others_write("me", goes_on_for_s=goes_on_for_s)

    def writes_at_once(self, times: int) -> None:
        """Write as long as a turn goes on."""
        for _ in range(times):
            if not self.goes_on():
                assert self.asks() == 0.0
                assert self.reads() == 0.0
            self.writes()

    def comes(self) -> None:
        """Have the short turn with which a process comes, the gap after it, and the first write of the next turn."""
        self.writes_at_once(FIRST_IN_A_ROW)
        self.now_s += self.asks()
        assert self.reads() == 0.0
        self.writes()

    def has_turn_among(self, *others: str) -> float:
        """Have a turn after those of others; return what is left to them when the next write is asked for."""
        self.writes_at_once(1)
        for other in others:
            self.others_write(other, goes_on_for_s=0.0, times=IN_A_ROW)
        self.conflicts()
        assert self.asks() == 0.0
        assert self.reads() == 0.0
        self.writes()
        self.writes_at_once(IN_A_ROW - 1)
        return self.asks()


def test_who_is_alone_leaves_a_gap_now_and_then():
    """Somebody who comes must not starve; it is short, as nobody is known to wait."""
    process = Process()
    process.comes()
    process.writes_at_once(IN_A_ROW_ALONE - 1)
    assert process.asks() == pytest.approx(GAP * WRITE_S)
    process.now_s += GAP * WRITE_S
    assert process.reads() == 0.0
    process.writes()
    process.writes_at_once(IN_A_ROW_ALONE - 1)


def test_a_turn_is_announced_as_it_lasts():
    """Whoever writes once announces nothing; whoever goes on is not waited for longer than he has written."""
    process = Process()
    process.comes()
    process.writes_at_once(3)
    assert process.writers == [f"me.8+{round(4 * WRITE_S * 1e6)}"]
    process.writes_at_once(IN_A_ROW_ALONE - 5)
    assert process.writers == [f"me.67+{round(WRITE_S * 1e6)}"]
    process.writes_at_once(1)
    assert process.writers == ["me.68+0"]
    assert Process().turns.goes_on_for_s() is None


def test_who_writes_now_and_then_announces_nothing_and_waits_for_nobody():
    """Others would wait for nothing, and so would he."""
    process = Process()
    for _ in range(5):
        assert process.asks() == 0.0
        process.others_write("other", goes_on_for_s=0.1)
        assert process.reads() == 0.0
        process.writes()
        process.now_s += 1.0
        assert process.writers[-1] == f"me.{process.count}"


def test_what_was_written_a_while_ago_is_read_again_before_the_next_write():
    """It is probably old."""
    process = Process()
    process.writes_at_once(2)
    assert process.goes_on(after_s=LONGEST_TURN_S)
    assert not process.goes_on(after_s=LONGEST_TURN_S + 0.001)


def test_among_others_a_turn_is_shorter_and_left_for_theirs():
    """Nearly as long as theirs last, and for no more than some of them at a time: they may have left."""
    assert Process().has_turn_among("a", "b") == pytest.approx(SURE * 2 * TURN_S)
    many = [f"w{number}" for number in range(2 * TURNS_AHEAD)]
    assert Process().has_turn_among(*many) == pytest.approx(SURE * TURNS_AHEAD * TURN_S)


def test_where_writes_take_long_a_turn_has_fewer_of_them():
    """Others would wait too long for theirs."""
    process = Process()
    process.others_write("a", goes_on_for_s=0.0)
    process.conflicts(took_s=0.05)
    process.reads()
    process.writes(took_s=0.05)
    assert process.goes_on()
    process.writes(took_s=0.05)
    assert not process.goes_on()


@pytest.mark.parametrize("others", [(), ("a",)], ids=["alone", "among others"])
def test_who_comes_has_a_short_turn_first(others: tuple[str, ...]):
    """All who come at the same time soon have had one, and then there is an order."""
    process = Process()
    for other in others:
        process.others_write(other, goes_on_for_s=0.0)
    process.writes_at_once(FIRST_IN_A_ROW)
    assert process.writers[-1] == f"me.{len(others) + FIRST_IN_A_ROW}+0"
    theirs_s = SURE * len(others) * (FIRST_IN_A_ROW + HANDED_OVER) * WRITE_S
    assert process.asks() == pytest.approx(max(GAP * WRITE_S, theirs_s)), "theirs are short, too"
    for other in others:
        process.others_write(other, goes_on_for_s=0.0)
    assert process.reads() == 0.0
    process.writes()
    process.writes_at_once(IN_A_ROW - 1)


def test_a_write_out_of_turn_announces_nothing():
    """Its time was up: it has not had its turn, and nobody of those who are before it has missed theirs."""
    process = Process()
    process.has_turn_among("a", "b")
    process.others_write("a", goes_on_for_s=0.02)
    assert process.reads()
    process.writes()
    assert process.writers[-1] == f"me.{process.count}"


def test_turns_come_in_the_order_of_the_latest_writes():
    """Each of those that wrote before us has its turn before us; then, we have ours."""
    process = Process()
    process.has_turn_among("a", "b", "c")
    assert process.reads() == 0.0, "nobody has written since: there is nobody to wait for"
    for number, other in enumerate("abc"):
        process.others_write(other, goes_on_for_s=0.0, times=IN_A_ROW)
        process.now_s += IN_A_ROW * WRITE_S
        left = SURE * (2 - number) * TURN_S
        assert process.reads() == pytest.approx(left)


def test_the_turn_of_somebody_else_is_waited_for_as_announced():
    """And a little more, so that whoever writes but once may come in between."""
    process = Process()
    process.has_turn_among("a")
    process.others_write("a", goes_on_for_s=0.02)
    assert process.reads() == pytest.approx(0.02 + COME_S)
    process.now_s += 0.02 + COME_S
    process.others_write("a", goes_on_for_s=0.0, times=5)
    assert process.reads() == 0.0


def test_who_has_stopped_in_its_turn_is_not_waited_for():
    """It has announced more, and nobody has written since: its process may have been killed."""
    process = Process()
    process.has_turn_among("a")
    process.others_write("a", goes_on_for_s=0.02)
    process.now_s += process.reads()
    assert process.reads() == 0.0


def test_a_look_that_comes_soon_proves_no_standstill():
    """Whose turn it is has not had the time for a write."""
    process = Process()
    process.has_turn_among("a")
    process.others_write("a", goes_on_for_s=0.02)
    process.reads()
    process.now_s += (STOOD_STILL - 0.5) * WRITE_S
    assert process.reads()


def test_looks_that_come_soon_prove_a_standstill_together():
    """Each is short where little has been announced: who has stopped would be waited for as long as it may."""
    process = Process()
    process.asks()
    process.others_write("gone", goes_on_for_s=WRITE_S / 2)
    process.conflicts()
    begun_s = process.now_s
    while pause_s := process.reads():
        process.now_s += pause_s
        assert process.now_s - begun_s < 10 * WRITE_S
    assert process.now_s - begun_s >= STOOD_STILL * WRITE_S


def test_who_was_interrupted_in_its_turn_has_left_the_order():
    """A process that ended in the middle of its turn would be waited for by all the others, each time."""
    process = Process()
    process.has_turn_among("gone", "a")
    process.others_write("gone", goes_on_for_s=0.05)
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("a", goes_on_for_s=0.0, times=IN_A_ROW)
    assert process.reads() == 0.0


def test_who_does_not_come_for_its_turn_leaves_the_order():
    """As soon as somebody who stood behind it has had one: it would be waited for in vain again and again."""
    process = Process()
    process.has_turn_among("gone", "late", "a", "b")
    for other in ("gone", "late", "a", "b"):
        process.others_write(other, goes_on_for_s=0.0)
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("b", goes_on_for_s=0.0)
    process.reads()
    process.others_write("a", goes_on_for_s=0.0)
    assert process.reads() == 0.0, "gone and late stood before a"
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("late", goes_on_for_s=0.0)
    process.others_write("a", goes_on_for_s=0.0)
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("a", goes_on_for_s=0.0)
    assert process.reads() == pytest.approx(SURE * TURN_S), "late has come, and is waited for again"


def test_who_writes_once_has_overtaken_nobody():
    """It had no turn: those who stood before it are waited for."""
    process = Process()
    process.has_turn_among("a", "b")
    process.others_write("a", goes_on_for_s=0.0)
    process.others_write("b", goes_on_for_s=0.0)
    process.others_write("me", goes_on_for_s=0.0)
    process.reads()
    process.others_write("b")
    process.others_write("c", goes_on_for_s=0.0)
    assert process.reads() == pytest.approx(SURE * TURN_S), "a, but neither b nor, behind us, c"


def test_of_two_who_have_overtaken_the_later_one_counts():
    """Whatever the order in which they have written since."""
    process = Process()
    process.has_turn_among("gone", "a", "lost", "b")
    process.others_write("me", goes_on_for_s=0.0)
    process.reads()
    process.others_write("b", goes_on_for_s=0.0)
    process.others_write("a", goes_on_for_s=0.0)
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("b", goes_on_for_s=0.0)
    assert process.reads() == pytest.approx(SURE * TURN_S), "a; gone stood before it, and lost before b"


def test_in_a_group_that_was_made_again_there_is_an_order_again():
    """Its writes are numbered from 1, lower than those of who waited for a turn, or was overtaken, had."""
    process = Process()
    process.has_turn_among("gone", "a", "b")
    process.others_write("me", goes_on_for_s=0.0)
    process.others_write("a", goes_on_for_s=0.0)
    process.reads()
    for _ in range(2):
        process.count, process.writers = 0, []
        for other in ("a", "b", "me", "a", "c"):
            process.others_write(other, goes_on_for_s=0.0)
        assert process.reads() == pytest.approx(SURE * TURN_S), "b"


def test_who_comes_is_in_more_of_a_hurry_the_more_often_it_came_too_late():
    """The next turn had begun already; a conflict, which it may cause, makes it patient again."""
    process = Process()
    process.asks()
    process.others_write("a", goes_on_for_s=0.02)
    process.conflicts()
    late_s = FIRST_PAUSE / 4 * WRITE_S
    for looks in (1, 2, 3):
        process.others_write("a", goes_on_for_s=0.02)
        assert process.reads() == pytest.approx(0.02 + late_s / looks)
    process.conflicts()
    process.others_write("a", goes_on_for_s=0.02)
    assert process.reads() == pytest.approx(0.02 + 2 * late_s)


def test_a_single_write_of_somebody_else_does_not_end_a_turn():
    """The others have been told that it goes on."""
    process = Process()
    process.comes()
    process.asks()
    process.others_write("once")
    assert process.conflicts() == 0.0
    assert process.reads() == 0.0
    process.writes()
    assert process.goes_on()


def test_a_turn_of_somebody_else_ends_ours():
    """Two would refuse each other's writes."""
    process = Process()
    process.writes_at_once(3)
    process.asks()
    process.others_write("a", goes_on_for_s=0.02)
    process.conflicts()
    assert process.reads() == pytest.approx(0.02 + COME_S)
    assert not process.goes_on()


def test_pauses_after_conflicts_grow_with_their_number_and_with_the_time_of_a_write():
    """Up to a bound, and they begin anew after a success."""
    process = Process()
    process.asks()
    pauses = [process.conflicts() / WRITE_S for _ in range(6)]
    assert pauses == pytest.approx([FIRST_PAUSE / 2 * 2**n for n in range(3)] + [LONGEST_PAUSE / 2] * 3)
    process.reads()
    process.writes()
    process.now_s += 1.0
    process.asks()
    assert process.conflicts() == pytest.approx(FIRST_PAUSE / 2 * WRITE_S)


def test_who_writes_once_and_was_refused_waits_for_the_end_of_the_turn():
    """It comes then at some time, some soon: as soon as those who have turns."""
    process = Process()
    process.asks()
    process.others_write("a", goes_on_for_s=0.02)
    assert process.reads() == 0.0
    process.conflicts()
    assert process.reads() == pytest.approx(0.02 + FIRST_PAUSE / 4 * WRITE_S)


def test_how_long_a_write_takes_is_learnt_from_others_too():
    """A process that began when the machine was busy would come too late for each of its turns."""
    process = Process()
    process.asks()
    process.others_write("a", goes_on_for_s=0.3)
    process.conflicts(took_s=0.05)
    process.reads()
    process.now_s += 0.1
    process.others_write("a", goes_on_for_s=0.2, times=100)
    process.reads()
    assert process.conflicts(took_s=0.001) < FIRST_PAUSE * 0.05 / 2


def test_one_slow_write_is_hardly_believed_and_a_quick_one_soon():
    """Who comes too soon reads once more; who comes too late has left the object to nobody."""
    process = Process()
    process.comes()
    process.writes_at_once(1)
    assert process.turns.goes_on_for_s() == pytest.approx(3 * WRITE_S)
    process.asks()
    process.writes(took_s=9 * WRITE_S)
    assert process.turns.goes_on_for_s() == pytest.approx(4 * 1.5 * WRITE_S)
    process.asks()
    process.writes(took_s=0.5 * WRITE_S)
    assert process.turns.goes_on_for_s() == pytest.approx(5 * WRITE_S)


def test_before_anything_was_measured_a_write_is_taken_to_last_some_milliseconds():
    """The first measured one replaces it."""
    subject = Turns("me", random=lambda: 0.5)
    subject.asked(0.0)
    assert subject.pause_after_conflict_s(took_s=WRITE_S * 2) == pytest.approx(FIRST_PAUSE * WRITE_S)
    assert UNKNOWN_WRITE_S > 0


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "conflict", "look"]),
        st.floats(0, 100),
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from([None, 0.0, 0.01, 1e9]),
    ),
    max_size=60,
)


@given(EVENTS)
def test_nobody_is_ever_kept_from_writing_for_long(events: list[tuple[str, float, str, float | None]]):
    """Whatever has happened, and whatever others announce."""
    process = Process()
    longest_s = LONGEST_BELIEVED_S + (LONGEST_PAUSE + TURNS_AHEAD * (IN_A_ROW + HANDED_OVER)) * SLOW_WRITE_S
    for event, took_s, writer, goes_on_for_s in events:
        pauses = [process.asks()]
        if writer:
            process.others_write(writer, goes_on_for_s=goes_on_for_s)
        if not process.goes_on():
            pauses.append(process.reads())
        if event == "conflict":
            pauses.append(process.conflicts(took_s=took_s))
        elif event == "write":
            process.writes(took_s=took_s)
        process.now_s += took_s
        assert all(0.0 <= pause_s <= longest_s for pause_s in pauses)
