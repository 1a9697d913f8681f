"""A log that is cut and asked for again is told once, whole."""

import random

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
STAMPED = b"".join(stamp + b" " + text for stamp, text in LINES)
TEXT = b"".join(text for _, text in LINES)


def feed(log, data, size):
    log.begin()
    return b"".join(log.feed(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
def test_times_are_left_out_however_the_bytes_are_split(size):
    """The text is told as it is."""
    log = StampedLog()
    assert feed(log, STAMPED, size) == TEXT
    assert log.since == "2026-11-21T16:30:03Z"


@pytest.mark.parametrize("cut", range(len(STAMPED) + 1))
def test_what_was_told_before_a_cut_is_not_told_again(cut):
    """Wherever it is cut: within a time, a line, or between lines of the same time."""
    log = StampedLog()
    told = feed(log, STAMPED[:cut], 5)
    assert TEXT.startswith(told)
    assert told + feed(log, STAMPED, 11) == TEXT


def test_a_log_may_be_cut_again_and_again():
    """Each time it is asked for from the start of a second on."""
    rng = random.Random(7)
    for _ in range(50):
        log, told = StampedLog(), b""
        for _ in range(5):
            told += feed(log, STAMPED[: rng.randrange(len(STAMPED))], rng.randrange(1, 30))
        assert told + feed(log, STAMPED, 100) == TEXT


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
