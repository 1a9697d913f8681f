"""What the benchmark of sleepers makes of what it has measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bench.sleepers import bytes_each, late_ms, percentile


def test_memory_is_what_there_is_beyond_what_there_was() -> None:
    """In bytes for each of them, also when it has become less."""
    assert bytes_each(40.0, 41.0, 1024) == 1024
    assert bytes_each(41.0, 40.0, 1024) == -1024


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, expected: int) -> None:
    """The smallest that is at least as large as that share of them, in whatever order they come."""
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_percentile_of_few_values_is_the_largest() -> None:
    """Nothing is interpolated: of three there is no better p99."""
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_each_is_late_by_its_own_time() -> None:
    """In milliseconds; one that nobody has is an error, not a value left out."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    ended = {"a": noon + timedelta(milliseconds=250), "b": noon}
    assert late_ms(ended, {"a": noon, "b": noon}) == [250, 0]
    with pytest.raises(KeyError):
        late_ms(ended, {"c": noon})
