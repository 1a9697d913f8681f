"""Delays between tries: exponential, capped, with full jitter. Used by the transport, the informer and waits.

Full jitter (a uniform draw from zero to the bound) spreads many clients that lost one server at one moment, see
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kontinue.kube import jitter

FIRST_S: Final = 0.05
CAP_S: Final = 5.0


class Backoff:
    """Counts failures in a row and says how long to wait before the next try."""

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        cap_s: float = CAP_S,
        random: Callable[[], float] = jitter.rng.random,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._random = random
        self._failures = 0

    def next_s(self, *, at_least_s: float | None = None) -> float:
        """Return the next delay. ``at_least_s`` is the server's Retry-After: never undercut, jitter comes on top."""
        bound: float = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return (at_least_s or 0.0) + bound * self._random()

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0
