"""Internal. What the coordinator does about one Semaphore and its Permits. Pure: time and who is gone are arguments.

A grant counts once it stands in the Semaphore's status, which is written only as long as nobody else has written it;
a Permit is told so afterwards. A grant is taken out only when its Permit is certainly gone, or stored as over. So no
two coordinators can ever grant too much (docs/adr/0029-grants-stand-in-one-object.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from kontinue.api import durations
from kontinue.api.konductor.locking import Grant as Lock
from kontinue.api.konductor.locking import Locks, Mark
from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.semaphores import (
    Grant,
    Permit,
    PermitPhase,
    PermitStatus,
    Semaphore,
    SemaphorePhase,
    SemaphoreStatus,
)
from kontinue_engine.primitives import asked, timeouts


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now.

    Attributes:
        status: of the Semaphore, to be written; None if it may stay.
        permits: Permits with the status that is to be written.
        delete: Permits to be deleted.
        look_again_at: when something is due although nothing has changed.
    """

    status: SemaphoreStatus | None = None
    permits: tuple[Permit, ...] = ()
    delete: tuple[Permit, ...] = ()
    look_again_at: datetime | None = None


def decide(
    semaphore: Semaphore,
    permits: Sequence[Permit],
    *,
    gone: Collection[str],
    absent: Collection[str],
    overdue: Collection[Mark],
    now: datetime,
) -> Plan:
    """Return what is to be done about a Semaphore.

    Args:
        semaphore: as it is stored.
        permits: those that belong to it, as far as they have been seen.
        gone: uids of Permits whose holder has ended.
        absent: uids of grants whose Permit certainly does not exist any more.
        overdue: which of ``permit_locks`` were not renewed in time (``kontinue.api.konductor.locking.Patience``).
        now: wall time.
    """
    status = _status(semaphore, permits, gone=gone, absent=absent)
    committed = {one.uid for one in semaphore.status.granted}
    chosen = {one.uid for one in status.granted}
    written: list[Permit] = []
    deleted: list[Permit] = []
    dates: list[datetime] = []
    for permit in permits:
        uid = permit.metadata.uid
        kept_until = _kept_until(permit, now)
        if uid in gone or (kept_until is not None and kept_until <= now):
            deleted.append(permit)
        elif kept_until is not None:
            dates.append(kept_until)
        elif permit.is_granted:
            changed = _renewed(permit, semaphore, now) or _expired(permit, semaphore, overdue)
            written += _told(permit, changed, semaphore)
        else:
            changed = _decided(permit, semaphore, granted=uid in committed, chosen=uid in chosen, now=now)
            written += _told(permit, changed, semaphore)
    return Plan(
        status=None if status == semaphore.status else status,
        permits=tuple(written),
        delete=tuple(deleted),
        look_again_at=min(dates, default=None),
    )


def missing(semaphore: Semaphore, permits: Sequence[Permit]) -> tuple[Grant, ...]:
    """Return the grants whose Permits have not been seen: they may not be seen yet, or not exist any more."""
    seen = {one.metadata.uid for one in permits}
    return tuple(one for one in semaphore.status.granted if one.uid not in seen)


def _status(
    semaphore: Semaphore, permits: Sequence[Permit], *, gone: Collection[str], absent: Collection[str]
) -> SemaphoreStatus:
    ended = {one.metadata.uid for one in permits if one.is_over}
    kept = [one for one in semaphore.status.granted if one.uid not in absent and one.uid not in ended]
    committed = {one.uid for one in kept}
    # Somebody may have edited the status: who has been told of a grant counts.
    kept += [
        _grant(one) for one in permits if one.status.phase is PermitPhase.GRANTED and one.metadata.uid not in committed
    ]
    queue = sorted(
        (one for one in permits if _waits(one) and one.metadata.uid not in committed and one.metadata.uid not in gone),
        key=lambda one: asked.turn(one.metadata, asked.order(one.metadata)),
    )
    free = max(0, semaphore.spec.permits - len(kept))
    kept += [_grant(one) for one in queue[:free]]
    available = max(0, semaphore.spec.permits - len(kept))
    return SemaphoreStatus(
        in_use=len(kept),
        available=available,
        phase=SemaphorePhase.READY if available else SemaphorePhase.FULL,
        waiting=sum(not one.spec.no_wait for one in queue[free:]),
        granted=kept,
    )


def _waits(permit: Permit) -> bool:
    return (
        permit.status.phase is None
        and permit.metadata.deletion_timestamp is None
        and not asked.bad_ttl(permit.spec.ttl)
    )


def permit_locks(semaphore: Semaphore, permits: Sequence[Permit]) -> Locks:
    """Return what ends by time, in the form of which ``Patience`` knows since when it was seen unchanged."""
    return Locks(tuple(_lock(one, semaphore) for one in permits if one.is_granted))


def _lock(permit: Permit, semaphore: Semaphore) -> Lock:
    status = permit.status
    # Two coordinators whose clocks differ may write the same end for two renewals.
    id_ = f"{permit.metadata.uid}/{status.renewals}"
    ttl = _ttl(permit, semaphore)
    return Lock(id=id_, holder=permit.spec.holder, token=0, ttl=ttl, expires_at=status.expires_at)


def _renewed(permit: Permit, semaphore: Semaphore, now: datetime) -> PermitStatus | None:
    """Return the status of one that was renewed before it was seen to end: it has not ended, however late that is."""
    status = permit.status
    if permit.spec.renewals <= status.renewals:
        return None
    renewed = msgspec.structs.replace(status, renewals=permit.spec.renewals)
    return _lasting(renewed, _ttl(permit, semaphore), now)


def _expired(permit: Permit, semaphore: Semaphore, overdue: Collection[Mark]) -> PermitStatus | None:
    if _lock(permit, semaphore).mark not in overdue:
        return None
    return msgspec.structs.replace(permit.status, phase=PermitPhase.EXPIRED)


def _decided(
    permit: Permit, semaphore: Semaphore, *, granted: bool, chosen: bool, now: datetime
) -> PermitStatus | None:
    """Return the status that a Permit which waits gets now; None: none yet."""
    if permit.metadata.deletion_timestamp is not None:
        return None
    if granted:
        return _lasting(PermitStatus(phase=PermitPhase.GRANTED, acquired_at=now), _ttl(permit, semaphore), now)
    if bad := asked.bad_ttl(permit.spec.ttl):
        return PermitStatus(phase=PermitPhase.DENIED, message=bad[:1_000])
    if permit.spec.no_wait and not chosen:
        return PermitStatus(phase=PermitPhase.DENIED, message="none was free")
    return None


def _kept_until(permit: Permit, now: datetime) -> datetime | None:
    """Return until when one that is over is kept; None: it is not over."""
    if not permit.is_over:
        return None
    return timeouts.after(permit.status.expires_at or permit.metadata.creation_timestamp or now, asked.KEPT_FOR)


def _ttl(permit: Permit, semaphore: Semaphore) -> timedelta | None:
    """Return how long it lasts without being renewed: as when it was granted; None: until it is given back."""
    status = permit.status
    if permit.is_granted and status.expires_at is None:
        return None
    return ttl_of(status.ttl) or ttl_of(permit.spec.ttl) or ttl_of(semaphore.spec.ttl)


def _lasting(status: PermitStatus, ttl: timedelta | None, now: datetime) -> PermitStatus:
    if ttl is None:
        return msgspec.structs.replace(status, expires_at=None, ttl="")
    return msgspec.structs.replace(status, expires_at=now + ttl, ttl=durations.format_(ttl))


def _told(permit: Permit, status: PermitStatus | None, semaphore: Semaphore) -> Sequence[Permit]:
    if status is None:
        return ()
    return (msgspec.structs.replace(permit, status=msgspec.structs.replace(status, parent_uid=semaphore.metadata.uid)),)


def _grant(permit: Permit) -> Grant:
    return Grant(name=permit.metadata.name, uid=permit.metadata.uid)
