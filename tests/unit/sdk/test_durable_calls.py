"""What is wrong with a durable call is said where the call stands."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kontinue import durable_calls
from kontinue.durable_timeout import LONGEST, DurableTimeout
from kontinue.errors import ContextError

TOO_LONG = LONGEST + timedelta(microseconds=1)


@pytest.mark.parametrize("duration", [TOO_LONG, timedelta.max])
def test_a_wait_that_has_no_date_is_refused(duration: timedelta) -> None:
    """Whoever means for ever is told how to say it."""
    with pytest.raises(ContextError, match=r"ctx\.sleep takes at most 365,000 days.*without a time limit"):
        durable_calls.timer_call(duration, is_sleep=True)
    with pytest.raises(ContextError, match=r"ctx\.suspend\(timeout=\.\.\.\) takes at most"):
        durable_calls.suspend_call(None, display_name="", description="", timeout=duration)
    with pytest.raises(ContextError, match="a time limit takes at most"):
        DurableTimeout(duration)


def test_the_longest_wait_has_a_date() -> None:
    """A thousand years."""
    request = durable_calls.timer_call(LONGEST, is_sleep=True).request
    assert request == durable_calls.TimerRequest(365_000 * 86_400_000, is_sleep=True)


def test_a_wait_that_is_over_takes_no_time() -> None:
    """A negative one is none."""
    assert durable_calls.timer_call(-timedelta(days=1)).request == durable_calls.TimerRequest(0)
