"""Delays between the tries of a step."""

from datetime import timedelta

import pytest

from kontinue.options import RetryPolicy
from kontinue_engine.runner.step_calls import next_delay_s

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("policy", "attempt", "expected_s"),
    [
        (RetryPolicy(retries=2, backoff=timedelta(seconds=3), multiplier=2), 1, 3),
        (RetryPolicy(retries=2, backoff=timedelta(seconds=3), multiplier=2), 2, 6),
        (RetryPolicy(retries=2, backoff=timedelta(seconds=3), multiplier=2), 3, None),
        (RetryPolicy(retries=9, backoff=timedelta(seconds=3), multiplier=2, max_backoff=HOUR), 9, 768),
        (RetryPolicy(retries=5000, backoff=timedelta(seconds=3), multiplier=2, max_backoff=HOUR), 5000, 3600),
        (RetryPolicy(retries=5000, backoff=timedelta(0), multiplier=2), 5000, 0),
        (RetryPolicy(retries=5000, backoff=timedelta(seconds=3), multiplier=2), 5000, 1e9),
    ],
)
def test_delays_grow_up_to_their_limit(policy: RetryPolicy, attempt: int, expected_s: float | None) -> None:
    """Also where a power is larger than a float can be."""
    assert next_delay_s(policy, attempt, ValueError(), "uid:1") == expected_s
