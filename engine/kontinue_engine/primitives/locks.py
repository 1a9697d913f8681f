"""Internal. What the coordinator does about the locks of one object. Pure: time and who is gone are arguments.

Clients take and release (``kontinue.api.konductor.locking``). Here is what none of them can be trusted with: locks of
holders that have ended, and locks that nobody renews while nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from kontinue.api.konductor import locking
from kontinue.api.konductor.locking import Grant, Locks, Mark


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written.

    Attributes:
        locks: as they should be.
        gone: locks whose holders have ended.
        expired: locks that were not renewed in time.
    """

    locks: Locks
    gone: tuple[Grant, ...] = ()
    expired: tuple[Grant, ...] = ()


def decide(locks: Locks, *, gone: Collection[str], overdue: Collection[Mark]) -> Plan:
    """Return what is to be done about locks.

    Args:
        locks: as they are stored.
        gone: holders that have ended or do not exist, each by its ``identity_of``.
        overdue: what has ended by time (``kontinue.api.konductor.locking.Patience``).
    """
    living = locking.without_bound(locks, gone)
    left = locking.without_overdue(living, overdue)
    return Plan(
        locks=left,
        gone=tuple(one for one in locks.grants if one not in living.grants),
        expired=tuple(one for one in living.grants if one not in left.grants),
    )
