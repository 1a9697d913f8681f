"""When a wait for a WaitGroup has ended."""

from __future__ import annotations

from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue.sync.following import is_over


def group(**status: int) -> WaitGroup:
    return WaitGroup(metadata=ObjectMeta(name="jobs"), status=WaitGroupStatus(**status))


def test_a_wait_ends_at_0():
    """Of a fresh group at once."""
    assert is_over(group(), start=group(), for_first_add=False)
    assert is_over(group(counter=0, added=2, rounds=1), start=group(counter=2, added=2), for_first_add=False)
    assert not is_over(group(counter=1, added=2), start=group(counter=2, added=2), for_first_add=False)


def test_waiting_for_the_first_add_takes_one_that_was_used_before():
    """Only one that nothing was ever added to is not done yet."""
    assert not is_over(group(counter=0), start=group(), for_first_add=True)
    assert is_over(group(counter=0, added=1, rounds=1), start=group(), for_first_add=True)


def test_an_end_that_was_over_again_before_it_was_seen_ends_a_wait():
    """A watch that was cut shows only what stands there then."""
    assert is_over(group(counter=3, added=5, rounds=1), start=group(counter=2, added=2), for_first_add=False)
    assert not is_over(group(counter=3, added=5, rounds=1), start=group(counter=1, rounds=1), for_first_add=False)
