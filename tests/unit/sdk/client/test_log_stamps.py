"""A log that is cut and asked for again is told once, whole."""

import random
from datetime import datetime

import pytest

from kontinue.client.log_stamps import StampedLog

LINES = [
    (b"2026-11-21T16:30:00Z", b"first\n"),
    (b"2026-11-21T16:30:00.1Z", b"tenth of a second\n"),
    (b"2026-11-21T16:30:00.123456789Z", b"one of\n"),
    (b"2026-11-21T16:30:00.123456789Z", b"three with\n"),
    (b"2026-11-21T16:30:00.123456789Z", b"the same time\n"),
    (b"2026-11-21T17:30:01.5+01:00", b"another zone\n"),
    (b"2026-11-21T16:30:02Z", b"\n"),
    (b"2026-11-21T16:30:02.000000001Z", b"   indented, with a 2026-11-21T16:30:02Z in it\n"),
    (b"2026-11-21T16:30:03Z", b"the last one has no end"),
]
TEXT = b"".join(text for _, text in LINES)


def answer(lines, since=""):
    """Return what a kubelet answers: it looks at the time of each line."""

    def is_asked_for(stamp):
        zone = stamp[19:].lstrip(".0123456789")
        return not since or datetime.fromisoformat(stamp[:19] + zone) >= datetime.fromisoformat(since)

    return b"".join(stamp + b" " + text for stamp, text in lines if is_asked_for(stamp.decode()))


def feed(log, data, size):
    log.begin()
    return b"".join(log.feed(data[at : at + size]) for at in range(0, len(data), size))


STAMPED = answer(LINES)


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
def test_times_are_left_out_however_the_bytes_are_split(size):
    """The text is told as it is."""
    log = StampedLog()
    assert feed(log, STAMPED, size) == TEXT
    assert log.since == "2026-11-21T16:30:02Z"


@pytest.mark.parametrize("cut", range(len(STAMPED) + 1))
def test_what_was_told_before_a_cut_is_not_told_again(cut):
    """Wherever it is cut: within a time, a line, or between lines of the same time."""
    log = StampedLog()
    told = feed(log, STAMPED[:cut], 5)
    assert TEXT.startswith(told)
    assert told + feed(log, answer(LINES, log.since), 11) == TEXT


def test_a_log_may_be_cut_again_and_again():
    """Each time it is asked for from the start of a second on."""
    rng = random.Random(7)
    for _ in range(50):
        log, told = StampedLog(), b""
        for _ in range(5):
            rest = answer(LINES, log.since)
            told += feed(log, rest[: rng.randrange(len(rest))], rng.randrange(1, 30))
        assert told + feed(log, answer(LINES, log.since), 100) == TEXT


def test_nothing_was_told_yet():
    """Then there is no time to ask from."""
    log = StampedLog()
    log.begin()
    assert (log.feed(b"2026-11-21T16"), log.since) == (b"", "")


@pytest.mark.parametrize(
    "line", [b"no time\n", b"2026-11-21 no zone\n", b"x" * 100 + b"\n", b"2026-11-21T16:30:00 a\n"]
)
def test_a_line_without_a_time_is_told_as_it_is(line):
    """A kubelet's own message, for one."""
    log = StampedLog()
    assert feed(log, line + b"2026-11-21T16:30:00Z next\n", 4) == line + b"next\n"


OVERTAKING = [
    (b"2026-11-21T16:30:00.9Z", b"out\n"),
    (b"2026-11-21T16:30:02.000000006Z", b"out, the second\n"),
    (b"2026-11-21T16:30:01.999999995Z", b"err\n"),
    (b"2026-11-21T16:30:02.000000006Z", b"out, of the same time\n"),
    (b"2026-11-21T16:30:01.999999995Z", b"err, of the same time\n"),
    (b"2026-11-21T16:30:02.5Z", b"out, without end"),
]


@pytest.mark.parametrize("cut", range(len(answer(OVERTAKING)) + 1))
def test_lines_whose_times_go_back_are_told_once(cut):
    """Of stdout and stderr each has its own writer, and the later time may stand first."""
    log = StampedLog()
    told = feed(log, answer(OVERTAKING)[:cut], 9)
    told += feed(log, answer(OVERTAKING, log.since), 9)
    assert told == b"".join(text for _, text in OVERTAKING)


def test_a_clock_that_is_set_back_costs_no_line_that_comes_later():
    """It is asked from the last line on, not from the latest time."""
    lines = [(b"2026-11-21T16:30:00Z", b"before\n"), (b"2026-11-21T15:30:00Z", b"an hour back\n")]
    log = StampedLog()
    told = feed(log, answer(lines), 7)
    lines.append((b"2026-11-21T15:30:01Z", b"later\n"))
    assert told + feed(log, answer(lines, log.since), 7) == b"before\nan hour back\nlater\n"


def test_a_line_whose_rest_is_gone_gets_its_end():
    """The log was rotated, or the container killed: what follows is another line."""
    log = StampedLog()
    told = feed(log, b"2026-11-21T16:30:00Z half of", 100)
    assert told + feed(log, b"2026-11-21T16:30:05Z next\n", 100) == b"half of\nnext\n"


@pytest.mark.parametrize("cut", range(0, len(STAMPED), 3))
def test_times_may_be_kept(cut):
    """Each line begins with its own, also after a cut."""
    log = StampedLog(keeps_times=True)
    told = feed(log, STAMPED[:cut], 8)
    assert told + feed(log, answer(LINES, log.since), 8) == STAMPED
