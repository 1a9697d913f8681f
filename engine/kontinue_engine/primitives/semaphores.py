"""Internal. What the coordinator does about one Semaphore and its Permits. Pure: time and who is gone are arguments.

A grant counts once it stands in the Semaphore's status, which is written only as long as nobody else has written it;
a Permit is told so afterwards. A grant is taken out only when its Permit is certainly gone, or stored as over. So no
two coordinators can ever grant too much (docs/adr/0029-grants-stand-in-one-object.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from kontinue.api import durations
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

LONGEST: Final = timedelta(days=36_500)


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
    semaphore: Semaphore, permits: Sequence[Permit], *, gone: Collection[str], absent: Collection[str], now: datetime
) -> Plan:
    """Return what is to be done about a Semaphore.

    Args:
        semaphore: as it is stored.
        permits: those that belong to it, as far as they have been seen.
        gone: uids of Permits whose holder has ended.
        absent: uids of grants whose Permit certainly does not exist any more.
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
        ends_at = _ends_at(permit, now)
        if uid in gone or (permit.is_over and ends_at is not None and ends_at <= now):
            deleted.append(permit)
        elif (
            changed := _decided(permit, semaphore, granted=uid in committed, chosen=uid in chosen, now=now)
        ) is not None:
            written.append(msgspec.structs.replace(permit, status=changed))
        elif ends_at is not None:
            dates.append(ends_at)
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


def _decided(
    permit: Permit, semaphore: Semaphore, *, granted: bool, chosen: bool, now: datetime
) -> PermitStatus | None:
    """Return the status that a Permit gets now; None: the one that it has."""
    status = permit.status
    if status.phase is PermitPhase.GRANTED:
        # Renewed before it was seen to end: it has not ended, however late that is seen.
        if permit.spec.renewals > status.renewals:
            expires_at = _expires_at(permit, semaphore, now)
            return msgspec.structs.replace(status, renewals=permit.spec.renewals, expires_at=expires_at)
        if status.expires_at is not None and status.expires_at <= now:
            return msgspec.structs.replace(status, phase=PermitPhase.EXPIRED)
        return None
    if status.phase is not None or permit.metadata.deletion_timestamp is not None:
        return None
    if granted:
        expires_at = _expires_at(permit, semaphore, now)
        return PermitStatus(phase=PermitPhase.GRANTED, acquired_at=now, expires_at=expires_at)
    if bad := asked.bad_ttl(permit.spec.ttl):
        return PermitStatus(phase=PermitPhase.DENIED, message=bad[:1_000])
    if permit.spec.no_wait and not chosen:
        return PermitStatus(phase=PermitPhase.DENIED, message="none was free")
    return None


def _ends_at(permit: Permit, now: datetime) -> datetime | None:
    """Return when a Permit is to be looked at again: when it expires, or need not be kept any longer."""
    if permit.is_over:
        since = permit.status.expires_at or permit.metadata.creation_timestamp or now
        return timeouts.after(since, asked.KEPT_FOR)
    return permit.status.expires_at if permit.status.phase is PermitPhase.GRANTED else None


def _expires_at(permit: Permit, semaphore: Semaphore, now: datetime) -> datetime | None:
    text = permit.spec.ttl or semaphore.spec.ttl
    if not text or asked.bad_ttl(text):
        return None
    return now + min(durations.parse(text), LONGEST)


def _grant(permit: Permit) -> Grant:
    return Grant(name=permit.metadata.name, uid=permit.metadata.uid)
