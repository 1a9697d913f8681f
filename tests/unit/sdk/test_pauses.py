"""How long a failed attempt waits before it is repeated."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kontinue import pauses

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("failed", "multiplier", "max_backoff", "expected"),
    [
        (1, 1.0, None, 1.0),
        (5, 1.0, None, 1.0),
        (4, 2.0, None, 8.0),
        (4, 2.0, timedelta(seconds=5), 5.0),
        (100_000, 10.0, None, pauses.LONGEST_S),
        (100_000, 10.0, timedelta(hours=1), 3600.0),
        (100_000, 10.0, timedelta.max, pauses.LONGEST_S),
    ],
)
def test_a_pause_grows_up_to_its_limit(
    failed: int, multiplier: float, max_backoff: timedelta | None, expected: float
) -> None:
    """It is multiplied once for each failure but the first, and never longer than the longest."""
    pause_s = pauses.pause_s(
        failed, backoff=SECOND, multiplier=multiplier, max_backoff=max_backoff, jitter=0.0, share=0.7
    )
    assert pause_s == pytest.approx(expected)


def test_no_backoff_is_no_pause_however_large_the_factor() -> None:
    """Zero stays zero, and nothing overflows."""
    pause_s = pauses.pause_s(9_999, backoff=timedelta(), multiplier=1e9, max_backoff=None, jitter=1.0, share=1.0)
    assert pause_s == 0.0


def test_jitter_only_ever_shortens() -> None:
    """The longest pause is never exceeded, and a jitter of 1 may take all of it away."""
    shares = [pauses.share_of("uid", failed) for failed in range(1, 200)]
    waits_s = [
        pauses.pause_s(1, backoff=SECOND, multiplier=1.0, max_backoff=None, jitter=0.5, share=share) for share in shares
    ]
    assert all(0.5 <= wait_s <= 1.0 for wait_s in waits_s)
    assert max(waits_s) - min(waits_s) > 0.4, "they do spread"


def test_a_share_is_the_same_whenever_it_is_asked_for() -> None:
    """A decision that is made again after a crash is the same decision."""
    assert pauses.share_of("uid", 3) == pauses.share_of("uid", 3)
    assert pauses.share_of("uid", 3) != pauses.share_of("uid", 4) != pauses.share_of("other", 4)
