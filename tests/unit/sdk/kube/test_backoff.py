"""Delays grow to their cap, are spread by jitter and start over after a success."""

from kontinue.kube.backoff import Backoff


def test_delays_double_up_to_the_cap():
    """With the largest draw the bounds show."""
    backoff = Backoff(first_s=1, cap_s=5, random=lambda: 1.0)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_jitter_is_full():
    """The smallest draw means at once."""
    assert Backoff(first_s=1, cap_s=5, random=lambda: 0.0).next_s() == 0


def test_retry_after_is_never_undercut():
    """Jitter comes on top of what the server asked for."""
    assert Backoff(first_s=1, cap_s=5, random=lambda: 0.5).next_s(at_least_s=10) == 10.5


def test_reset_starts_over():
    """A success forgets the failures before."""
    backoff = Backoff(first_s=1, cap_s=5, random=lambda: 1.0)
    backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_a_thousand_failures_do_not_overflow():
    """The exponent is bounded too."""
    backoff = Backoff(random=lambda: 1.0)
    assert [backoff.next_s() for _ in range(2000)][-1] == 5
