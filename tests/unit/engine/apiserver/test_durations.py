from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kontinue_engine.apiserver.durations import human_duration, parse_time

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3600, "<invalid>"),
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (1.9, "1s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + 3600, "2d1h"),
        (8 * DAY, "8d"),
        (729 * DAY, "729d"),
        (730 * DAY, "2y"),
        (731 * DAY, "2y1d"),
        (8 * 365 * DAY, "8y"),
    ],
)
def test_ages_read_as_kubectl_prints_them(seconds: float, text: str):
    """At every border between units."""
    assert human_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("text", ["2026-11-20T04:11:19Z", "2026-11-20T06:11:19.000000+02:00"])
def test_times_of_any_offset_are_read(text: str):
    """Python clients send offsets, Go clients send Z."""
    assert parse_time(text) == datetime(2026, 11, 20, 4, 11, 19, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20", "2026-11-20T04:11:19"])
def test_other_texts_are_no_time(text: str):
    """A time without offset could be any."""
    assert parse_time(text) is None
