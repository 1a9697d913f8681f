"""What the coordinator does about a WaitGroup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.konductor.group import HolderKind
from kontinue.api.konductor.wait_groups import (
    WaitGroup,
    WaitGroupHolder,
    WaitGroupPhase,
    WaitGroupSpec,
    WaitGroupStatus,
)
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.wait_groups import Plan, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DONE = WaitGroupStatus(counter=0, phase=WaitGroupPhase.DONE, added=2, rounds=1)


def group(status: WaitGroupStatus, *, ttl: str = "") -> WaitGroup:
    return WaitGroup(metadata=ObjectMeta(name="jobs"), spec=WaitGroupSpec(ttl=ttl), status=status)


def holder(uid: str, count: int) -> WaitGroupHolder:
    return WaitGroupHolder(kind=HolderKind.POD, name=f"pod-{uid}", uid=uid, count=count)


def waiting(counter: int, *holders: WaitGroupHolder) -> WaitGroupStatus:
    return WaitGroupStatus(counter=counter, phase=WaitGroupPhase.WAITING, added=counter, holders=list(holders))


def test_a_fresh_group_is_said_to_be_done():
    """So that kubectl shows what is documented: counter 0, phase Done."""
    plan = decide(group(WaitGroupStatus()), gone=(), now=NOW)
    assert plan == Plan(status=WaitGroupStatus(counter=0, phase=WaitGroupPhase.DONE))


def test_what_is_in_order_is_left_alone():
    """No write, and nothing to come back for."""
    assert decide(group(waiting(2, holder("a", 1))), gone=(), now=NOW) == Plan()
    assert decide(group(DONE), gone=(), now=NOW) == Plan()


def test_an_edited_counter_gets_its_phase():
    """Whoever edits it need not know what follows from it."""
    edited = msgspec.structs.replace(waiting(2), counter=0)
    plan = decide(group(edited), gone=(), now=NOW)
    assert plan.status is not None
    assert plan.status.phase is WaitGroupPhase.DONE


def test_counts_of_holders_that_are_gone_are_released():
    """With them, who they were: an Event tells."""
    plan = decide(group(waiting(6, holder("a", 2), holder("b", 3))), gone={"a", "x"}, now=NOW)
    assert plan.status is not None
    assert (plan.status.counter, plan.status.holders) == (4, [holder("b", 3)])
    assert plan.released == (holder("a", 2),)


def test_the_ttl_counts_from_the_end():
    """First it is noted, then it is waited for, then the group goes."""
    plan = decide(group(DONE, ttl="1h"), gone=(), now=NOW)
    assert plan.status is not None
    assert (plan.status.done_at, plan.look_again_at) == (NOW, NOW + HOUR)
    noted = group(plan.status, ttl="1h")
    assert decide(noted, gone=(), now=NOW + HOUR / 2) == Plan(look_again_at=NOW + HOUR)
    assert decide(noted, gone=(), now=NOW + HOUR) == Plan(delete=True)


def test_a_changed_ttl_counts_from_the_same_end():
    """Also one that is taken away."""
    noted = msgspec.structs.replace(DONE, done_at=NOW)
    assert decide(group(noted, ttl="2h"), gone=(), now=NOW + HOUR) == Plan(look_again_at=NOW + 2 * HOUR)
    assert decide(group(noted), gone=(), now=NOW + HOUR) == Plan(status=DONE)


def test_what_is_waiting_or_was_never_used_is_not_deleted():
    """However old it is; what was Done before is forgotten."""
    reopened = msgspec.structs.replace(waiting(1), done_at=NOW)
    assert decide(group(reopened, ttl="1s"), gone=(), now=NOW + HOUR) == Plan(status=waiting(1))
    fresh = WaitGroupStatus(counter=0, phase=WaitGroupPhase.DONE)
    assert decide(group(fresh, ttl="1s"), gone=(), now=NOW + HOUR) == Plan()


def test_an_end_in_the_future_is_none():
    """A clock was wrong: nothing lives for ever for that."""
    wrong = msgspec.structs.replace(DONE, done_at=NOW + 1000 * HOUR)
    plan = decide(group(wrong, ttl="1h"), gone=(), now=NOW)
    assert plan.look_again_at == NOW + HOUR


def test_a_ttl_that_is_none_keeps_the_group_and_is_told():
    """The schema refuses most; what a looser one let in must not end the coordinator."""
    plan = decide(group(DONE, ttl="soon"), gone=(), now=NOW)
    assert plan.status is None
    assert "is not a duration" in plan.bad_ttl


STATUSES = st.builds(
    WaitGroupStatus,
    counter=st.none() | st.integers(0, 6),
    phase=st.sampled_from([None, *WaitGroupPhase]),
    added=st.integers(0, 6),
    rounds=st.integers(0, 2),
    done_at=st.none() | st.sampled_from([NOW - HOUR, NOW, NOW + HOUR]),
    holders=st.lists(
        st.builds(holder, st.sampled_from("abc"), st.integers(0, 4)), max_size=3, unique_by=lambda h: h.uid
    ),
)


@given(STATUSES, st.sets(st.sampled_from("abc")), st.sampled_from(["", "30m", "1h"]))
def test_one_write_brings_any_status_in_order(status: WaitGroupStatus, gone: set[str], ttl: str):
    """What it leaves is consistent and needs no second write; no holder that is gone is left, no other one is lost."""
    plan = decide(group(status, ttl=ttl), gone=gone, now=NOW)
    if plan.delete:
        assert ttl
        assert not status.counter
        return
    left = plan.status or status
    assert left.counter is not None
    assert (left.phase is WaitGroupPhase.DONE) == (left.counter == 0)
    assert sum(one.count for one in left.holders) <= left.counter
    assert not gone & {one.uid for one in left.holders}
    assert left.done_at is None or left.counter == 0
    again = decide(group(left, ttl=ttl), gone=gone, now=NOW)
    assert again.status is None
    freed = sum(one.count for one in status.holders if one.uid in gone)
    assert left.counter >= max(0, (status.counter or 0) - freed)
