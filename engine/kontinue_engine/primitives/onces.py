"""Internal. When a Once is deleted. Pure; what else the coordinator does about one is what it does about all locks."""

from __future__ import annotations

from datetime import datetime

import msgspec

from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.onces import Once
from kontinue_engine.primitives import timeouts


def lasting(once: Once, *, now: datetime) -> tuple[Once, datetime | None]:
    """Return a Once that says since when its ttl counts, and when it is over; None: it is kept.

    Its ttl counts from when the coordinator has seen it Executed: when it was, is said by another machine's clock.
    """
    ttl, status = ttl_of(once.spec.ttl), once.status
    done_at = status.done_at
    if ttl is None or not status.executed:
        done_at = None
    elif done_at is None or done_at > now:
        # In the future it was written by hand, or by a clock that was wrong: the time counts from here.
        done_at = now
    noted = msgspec.structs.replace(once, status=msgspec.structs.replace(status, done_at=done_at))
    return noted, None if done_at is None or ttl is None else timeouts.after(done_at, ttl)
