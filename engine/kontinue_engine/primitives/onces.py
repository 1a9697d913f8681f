"""Internal. When a Once is deleted. Pure; what else the coordinator does about one is what it does about all locks."""

from __future__ import annotations

from datetime import datetime

from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.onces import Once
from kontinue_engine.primitives import timeouts


def ends_at(once: Once) -> datetime | None:
    """Return when its ttl is over; None for one that is kept: without a ttl, or not Executed yet."""
    ttl = ttl_of(once.spec.ttl)
    if ttl is None or not once.status.executed or once.status.executed_at is None:
        return None
    return timeouts.after(once.status.executed_at, ttl)
