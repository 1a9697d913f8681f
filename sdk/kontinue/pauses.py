"""How long to wait before a failed attempt or try is repeated. Pure: what is random is an argument.

Called by ``kontinue_engine.lifecycle`` for attempts of Executions, and by runners for tries of steps.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

LONGEST_S: Final = 1e9
"""30 years: more than a wait can take is not a delay but an error."""


def pause_s(
    failed: int, *, backoff: timedelta, multiplier: float, max_backoff: timedelta | None, jitter: float, share: float
) -> float:
    """Return the seconds to wait after ``failed`` failures in a row: ``backoff`` times ``multiplier`` for each further.

    Args:
        failed: how many attempts have failed; at least 1.
        backoff: pause after the first.
        multiplier: factor for each further one.
        max_backoff: longest pause; None means no limit.
        jitter: share by which the pause is shortened at most.
        share: how much of that, from 0 to 1: see ``share_of``.
    """
    pause = backoff.total_seconds()
    if pause:
        try:
            pause *= multiplier ** (failed - 1)
        except OverflowError:
            pause = LONGEST_S
    longest = LONGEST_S if max_backoff is None else max_backoff.total_seconds()
    return min(pause, longest, LONGEST_S) * (1 - jitter * share)


def share_of(identity: str, failed: int) -> float:
    """Return a number from 0 to 1 that looks random and is the same whenever it is asked for again."""
    digest = hashlib.blake2b(f"{identity}\0{failed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
