"""Go duration strings."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("5s", 5),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h0m5s", 3605),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("10us", 0.00001),
        ("10µs", 0.00001),
        ("1500ns", 0.000002),
        ("-2m", -120),
        ("+2m", 120),
    ],
)
def test_parse_reads_what_go_writes(text: str, seconds: float) -> None:
    """Every spelling that Go's time.ParseDuration accepts is read."""
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "1d", "five", "1h-5m", "5s ", "--5s", "."])
def test_parse_refuses_other_text_and_says_what_it_expects(text: str) -> None:
    """An error shows the text and examples of the right form."""
    with pytest.raises(ValueError, match=r"is not a duration: expected .* 1h30m"):
        durations.parse(text)


def test_parse_refuses_a_duration_that_python_cannot_hold() -> None:
    """A number past timedelta's range is a ValueError, not an OverflowError."""
    with pytest.raises(ValueError, match="is too long"):
        durations.parse("99999999999999h")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=5), "5s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(hours=1, seconds=5), "1h5s"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(microseconds=1250), "1.25ms"),
        (timedelta(microseconds=7), "7us"),
        (timedelta(days=2), "48h"),
        (timedelta(minutes=-1), "-1m"),
    ],
)
def test_format_is_short(duration: timedelta, text: str) -> None:
    """The shortest exact form is written."""
    assert durations.format_(duration) == text


@given(st.timedeltas())
def test_parse_returns_what_format_wrote(duration: timedelta) -> None:
    """No duration changes on its way through text, to the microsecond."""
    assert durations.parse(durations.format_(duration)) == duration
