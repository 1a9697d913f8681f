"""Durations, ages, tables and colours read as people write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli import text

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (None, "-"),
        (timedelta(milliseconds=35), "35ms"),
        (timedelta(seconds=1.23), "1.2s"),
        (timedelta(seconds=42.4), "42s"),
        (timedelta(seconds=185), "3m05s"),
        (timedelta(hours=2, minutes=10), "2h10m"),
        (timedelta(seconds=-3), "0ms"),
    ],
)
def test_a_duration_has_the_precision_that_people_want(duration: timedelta | None, shown: str) -> None:
    """Short ones in ms, long ones in two units, clock skew never negative."""
    assert text.format_duration(duration) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (125, "2m5s"), (180, "3m"), (3600, "60m"), (4 * 3600, "4h"), (5 * 86400, "5d")],
)
def test_an_age_reads_as_in_kubectl(seconds: int, shown: str) -> None:
    """One or two units, growing coarser."""
    assert text.format_age(NOW - timedelta(seconds=seconds), NOW) == shown


def test_an_unknown_age_says_so() -> None:
    """Objects without a creation time do not break a table."""
    assert text.format_age(None, NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("given_text", "seconds"), [("30", 30), ("1.5", 1.5), ("90s", 90), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600)]
)
def test_a_duration_is_parsed(given_text: str, seconds: float) -> None:
    """Bare numbers are seconds; units may be combined."""
    assert text.parse_duration(given_text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("given_text", ["", "soon", "5x", "10 s", "-5s", "-5", "1m 30s"])
def test_nonsense_is_no_duration(given_text: str) -> None:
    """The error names what was given and shows how to write it."""
    with pytest.raises(ValueError, match=r"is not a duration: expected .* 1h30m|is negative"):
        text.parse_duration(given_text)


def test_a_table_is_aligned_without_trailing_blanks() -> None:
    """Columns start at the same place in every line, and line feeds in cells do not break rows."""
    table = text.format_table(["NAME", "PHASE"], [["a", "Completed"], ["longer", ""], ["b", "two\nlines"]])
    assert table.split("\n") == ["NAME     PHASE", "a        Completed", "longer", "b        two lines"]


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shortened_text_fits(any_text: str, length: int) -> None:
    """Whatever comes, the result is one line of at most that length."""
    short = text.shorten(any_text, length)
    assert len(short) <= length
    assert "\n" not in short


def test_colours_appear_only_when_wanted() -> None:
    """A pipe gets plain text."""
    assert text.paint_phase("Failed", Phase.FAILED, color=False) == "Failed"
    assert text.paint_phase("Failed", Phase.FAILED, color=True) == "\x1b[31mFailed\x1b[0m"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(300, "in 5m00s"), (0.5, "in 500ms"), (0, "now"), (-0.5, "now"), (-12, "12s ago")]
)
def test_what_is_due_is_told_from_now(seconds: float, shown: str) -> None:
    """What is overdue says since when, and is no negative duration."""
    assert text.format_due(NOW + timedelta(seconds=seconds), NOW) == shown


def test_days_are_told_from_a_hundred_hours_on() -> None:
    """Before that, hours compare better with a limit in hours."""
    assert text.format_duration(timedelta(hours=99, minutes=5)) == "99h05m"
    assert text.format_duration(timedelta(days=30)) == "30d"
    assert text.format_duration(timedelta(days=7, hours=3)) == "7d03h"


def test_a_table_fits_a_terminal_where_it_can() -> None:
    """The widest column gives way, never the first: names are there to be copied."""
    rows = [["a-long-name-of-an-execution", "Suspended", "Suspension that somebody has to resume some day"]]
    table = text.format_table(["NAME", "PHASE", "WAITING-FOR"], rows, width=60)
    assert max(len(line) for line in table.split("\n")) == 60
    assert "a-long-name-of-an-execution   Suspended   Suspension that" in table
    assert table.endswith("…")
    narrow = text.format_table(["NAME", "PHASE", "WAITING-FOR"], rows, width=20)
    assert narrow.endswith("a-long-name-of-an-execution   Suspended   Suspension…")


def test_columns_of_wide_characters_stand_below_each_other() -> None:
    """They take two columns of a terminal each, combining ones none."""
    table = text.format_table(["NAME", "PHASE"], [["名前", "Failed"], ["gro\u0308ße", "Pending"], ["ab", "Failed"]])
    assert table.split("\n") == ["NAME    PHASE", "名前    Failed", "gro\u0308ße   Pending", "ab      Failed"]
    assert text.display_width(text.shorten("名前名前", 5)) == 5


def test_a_cell_cannot_break_its_row_or_the_terminal() -> None:
    """Messages come from somebody's code: escapes and tabs in them are blanks."""
    assert text.format_table(["A", "B"], [["x\x1b[31m", "y\tz\r"]]) == "A        B\nx [31m   y z"


def test_a_growing_table_has_one_header_and_widens() -> None:
    """Rows come one after the other, as changes do."""
    table = text.GrowingTable(["NAME", "PHASE"])
    assert table.lines([["a", "Pending"]]) == ["NAME   PHASE", "a      Pending"]
    assert table.lines([["longer", "Failed"]]) == ["longer   Failed"]
    assert table.lines([["a", "Completed"]]) == ["a        Completed"]


@pytest.mark.parametrize("given_text", ["-5", "-5s", "-0.5"])
def test_a_negative_duration_is_called_negative(given_text: str) -> None:
    """With a unit or without."""
    with pytest.raises(ValueError, match=f"'{given_text}' is negative"):
        text.parse_duration(given_text)
