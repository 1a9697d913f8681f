from __future__ import annotations

import pytest

from kontinue_engine.apiserver.builtin import times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.999999Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00", None),
        ("2026-13-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("yesterday", None),
    ],
)
def test_times_become_utc_by_seconds(text: str, expected: str | None) -> None:
    """As Go's metav1.Time writes them."""
    assert times.canonical_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T01:00:00.500000+01:00", "2026-01-01T00:00:00.500000Z"),
        ("2026-01-01T00:00:00.5Z", None),
        ("2026-01-01T00:00:00Z", None),
    ],
)
def test_micro_times_have_six_digits(text: str, expected: str | None) -> None:
    """As Go's metav1.MicroTime reads and writes them."""
    assert times.canonical_micro_time(text) == expected


def test_times_of_the_wire_are_seconds_and_nanoseconds() -> None:
    """One that no calendar has is none."""
    assert times.from_epoch(1, 2000, is_micro=True) == "1970-01-01T00:00:01.000002Z"
    assert times.from_epoch(-1, 0, is_micro=False) == "1969-12-31T23:59:59Z"
    assert times.from_epoch(2**62, 0, is_micro=False) is None
