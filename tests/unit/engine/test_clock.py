"""The system's clock gives aware wall time and monotonic seconds."""

from datetime import UTC, timedelta

from kontinue_engine.clock import SystemClock


def test_wall_time_is_aware_and_agrees_with_its_milliseconds():
    """Both tell the same moment."""
    clock = SystemClock()
    now, now_ms = clock.now(), clock.now_ms()
    assert now.tzinfo is UTC
    assert abs(now.timestamp() * 1000 - now_ms) < timedelta(seconds=5).total_seconds() * 1000


def test_monotonic_time_does_not_go_back():
    """Two readings in a row."""
    clock = SystemClock()
    assert clock.monotonic_s() <= clock.monotonic_s()
