"""When a Once is deleted: rules one by one, and any status at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.konductor.onces import Once, OnceSpec, OnceStatus
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.onces import lasting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def once(status: OnceStatus, *, ttl: str = "1h") -> Once:
    return Once(metadata=ObjectMeta(name="migrate", uid="1"), spec=OnceSpec(ttl=ttl), status=status)


def noted(subject: Once, done_at: datetime | None) -> Once:
    return msgspec.structs.replace(subject, status=msgspec.structs.replace(subject.status, done_at=done_at))


def test_its_ttl_counts_from_when_the_coordinator_has_seen_it_executed():
    """Whatever the clock of whoever has done it says, and also if nobody has said when."""
    for executed_at in (NOW - 2 * HOUR, NOW + 2 * HOUR, datetime.max.replace(tzinfo=UTC), None):
        executed = once(OnceStatus(executed=True, executed_at=executed_at))
        assert lasting(executed, now=NOW) == (noted(executed, NOW), NOW + HOUR)
        assert lasting(noted(executed, NOW), now=NOW + HOUR / 2) == (noted(executed, NOW), NOW + HOUR)


def test_one_without_a_ttl_or_that_is_not_executed_is_kept():
    """Also one whose ttl makes no sense; what was noted before is forgotten."""
    for kept in (
        once(OnceStatus(executed=True), ttl=""),
        once(OnceStatus(executed=True), ttl="soon"),
        once(OnceStatus(executor="worker-0")),
        once(OnceStatus(failure="no")),
    ):
        assert lasting(noted(kept, NOW), now=NOW) == (kept, None)


def test_an_end_in_the_future_is_none():
    """A clock was wrong: nothing lives for ever for that."""
    wrong = once(OnceStatus(executed=True, done_at=NOW + 1000 * HOUR))
    assert lasting(wrong, now=NOW) == (noted(wrong, NOW), NOW + HOUR)


DATES = st.none() | st.datetimes(timezones=st.just(UTC))


@given(st.booleans(), DATES, DATES, st.sampled_from(["", "0s", "1ms", "1h", "876000h"]))
def test_one_write_is_enough_for_any_status(executed: bool, executed_at: datetime, done_at: datetime, ttl: str):
    """What was written is looked at again, and deleted not before its ttl is over."""
    written, ends_at = lasting(
        once(OnceStatus(executed=executed, executed_at=executed_at, done_at=done_at), ttl=ttl), now=NOW
    )
    assert lasting(written, now=NOW) == (written, ends_at)
    assert (ends_at is not None) == (executed and ttl not in {"", "0s"})
    if ends_at is not None and done_at is None:
        assert ends_at > NOW
