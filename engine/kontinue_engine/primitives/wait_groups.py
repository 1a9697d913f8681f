"""Internal. What the coordinator does about one WaitGroup. Pure: time and who is gone are arguments.

Clients count (``kontinue.api.konductor.counting``). Here is what none of them can be trusted with: counts of
holders that have ended, what follows from a counter that somebody has edited, and the end of its time to live.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from kontinue.api.konductor import counting
from kontinue.api.konductor.group import identity_of, lasting
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupHolder, WaitGroupStatus
from kontinue_engine.primitives import timeouts


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now.

    Attributes:
        status: to be written; None if it may stay.
        released: holders whose counts this takes away.
        delete: the WaitGroup has been done for its ttl.
        look_again_at: when something is due although nothing has changed.
        bad_ttl: why ``spec.ttl`` cannot be followed; empty if it can.
    """

    status: WaitGroupStatus | None = None
    released: tuple[WaitGroupHolder, ...] = ()
    delete: bool = False
    look_again_at: datetime | None = None
    bad_ttl: str = ""


def decide(group: WaitGroup, *, gone: Collection[str], now: datetime) -> Plan:
    """Return what is to be done about a WaitGroup.

    Args:
        group: as it is stored.
        gone: holders that have ended or do not exist, each by its ``identity_of``.
        now: wall time.
    """
    ttl, bad_ttl = lasting(group.spec.ttl)
    released = tuple(one for one in group.status.holders if identity_of(one) in gone)
    status = counting.settled(counting.released(counting.settled(group.status), gone))
    if status.counter or not status.added or ttl is None:
        status = msgspec.structs.replace(status, done_at=None)
    elif status.done_at is None or status.done_at > now:
        # In the future it was written by hand, or by a clock that was wrong: the time counts from here.
        status = msgspec.structs.replace(status, done_at=now)
    changed = None if status == group.status else status
    if status.done_at is None or ttl is None:
        return Plan(status=changed, released=released, bad_ttl=bad_ttl)
    ends_at = timeouts.after(status.done_at, ttl)
    if changed is None and now >= ends_at:
        return Plan(delete=True)
    return Plan(status=changed, released=released, look_again_at=ends_at, bad_ttl=bad_ttl)
