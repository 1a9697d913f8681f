"""Which times a cron expression names, also when clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.schedules.cron import MACROS, Cron, CronError


def times(expression: str, zone: str, start: str, count: int) -> list[str]:
    """Return the next local times, with their offset."""
    cron, found, at = Cron(expression, zone), [], datetime.fromisoformat(start)
    for _ in range(count):
        next_ = cron.next_after(at)
        assert next_ is not None
        found.append(next_.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
        at = next_
    return found


def test_a_fixed_time_that_does_not_exist_comes_right_after_the_gap():
    """Berlin, 2026-03-29: 02:00 becomes 03:00."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00+01:00", 3) == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_several_fixed_times_in_the_gap_are_one():
    """Both would come right after it."""
    assert times("0,30 2 * * *", "Europe/Berlin", "2026-03-28T02:30+01:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
    ]


def test_a_fixed_time_that_exists_twice_comes_once():
    """Berlin, 2026-10-25: 03:00 becomes 02:00."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


def test_a_fixed_time_is_not_repeated_for_who_asks_within_the_second_hour():
    """Its first one is past by then."""
    assert times("45 2 * * *", "Europe/Berlin", "2026-10-25T02:30+01:00", 1) == ["2026-10-26T02:45+01:00"]


def test_an_expression_with_stars_goes_by_the_time_that_passes():
    """Each half hour stays a half hour when the clock is set back, and forward."""
    back = times("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:59+02:00", 5)
    assert back == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]
    forward = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:29+01:00", 3)
    assert forward == ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]


def test_a_zone_whose_clock_moves_by_half_an_hour():
    """Lord Howe Island, 2026-10-04: 02:00 becomes 02:30."""
    assert times("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00+10:30", 2) == [
        "2026-10-04T02:30+11:00",
        "2026-10-05T02:15+11:00",
    ]


def test_a_zone_that_skips_a_whole_day():
    """Samoa had no 30 December 2011: what was due in it comes right after it."""
    assert times("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00-10:00", 2) == [
        "2011-12-31T00:00+14:00",
        "2011-12-31T12:00+14:00",
    ]


def test_without_a_zone_it_is_utc():
    """Not that of whichever machine leads."""
    assert Cron("0 12 * * *").next_after(datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("macro", MACROS)
def test_the_macros_of_cronjobs_are_understood(macro):
    """In any case."""
    assert Cron(macro.upper()).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "has 0 fields: expected five"),
        ("* * * *", "has 4 fields: expected five"),
        ("0 0 * * * *", "has 6 fields: expected five"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * fun", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("@fortnightly", "is unknown: there are @yearly"),
        ("TZ=UTC 0 0 * * *", "has 6 fields"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_place(expression, message):
    """Its author reads it in the status."""
    with pytest.raises(CronError, match=message):
        Cron(expression)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "/etc/localtime", "../../etc/passwd", "Europe", "posixrules/x"])
def test_what_is_no_time_zone_is_refused(zone):
    """Paths and folders included."""
    with pytest.raises(CronError, match="use a name of the IANA database"):
        Cron("0 0 * * *", zone)


def test_the_last_of_many_missed_times_is_found_without_counting_them():
    """A leader may have been away for years."""
    now = datetime(2026, 5, 5, 5, 5, 30, tzinfo=UTC)
    assert Cron("* * * * *").last_until(now, since=now - timedelta(days=3650)) == datetime(2026, 5, 5, 5, 5, tzinfo=UTC)
    leap = Cron("0 0 29 2 *").last_until(now, since=now - timedelta(days=3650))
    assert leap == datetime(2024, 2, 29, tzinfo=UTC)


expressions = st.sampled_from(
    ["*/7 * * * *", "30 2 * * *", "0,15,45 1-3 * * *", "5 */5 * * *", "0 0 1 * *", "0 3 * * sun", "* 2 * * *"]
)
zones = st.sampled_from(
    ["", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza"]
)
moments = st.integers(0, 10 * 365 * 24 * 60).map(
    lambda minutes: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(expressions, zones, moments)
def test_times_only_go_forward_and_the_last_one_is_that_before_the_next(expression, zone, start):
    """Whoever asks from any moment in between gets the same ones."""
    cron = Cron(expression, zone)
    found = [start]
    for _ in range(6):
        next_ = cron.next_after(found[-1])
        assert next_ is not None
        found.append(next_)
    for earlier, later in pairwise(found):
        assert earlier < later
        middle = earlier + (later - earlier) / 2
        assert cron.next_after(middle) == later
        assert cron.last_until(later, since=start) == later
    assert cron.last_until(found[1] - timedelta(seconds=1), since=start) is None
