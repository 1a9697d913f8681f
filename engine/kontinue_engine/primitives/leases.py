"""Internal. What the coordinator does about one Lease and its LeaseRequests. Pure: time and who is gone are arguments.

Who holds it stands in the Lease alone, with a token, in a write that is refused if anything has changed; his request
is told so afterwards, with that token. A request that was told of another token than that which stands there is over.
So late views and late writes of two coordinators do no harm (docs/adr/0030-a-lease-is-granted-and-then-kept.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from kontinue.api.konductor.leases import (
    Lease,
    LeasePhase,
    LeaseRequest,
    LeaseRequestPhase,
    LeaseRequestStatus,
    LeaseStatus,
    granted_to,
    lease_locks,
    without_holder,
)
from kontinue.api.konductor.locking import Mark
from kontinue_engine.primitives import asked


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now, in this order.

    Attributes:
        status: of the Lease, to be written; None if it may stay.
        delete: requests to be deleted.
        requests: requests with the status that is to be written.
        tell: the one that is to be told that it holds the Lease, once those are deleted.
        ended: how the lock of its holder ends; None: it does not.
        look_again_at: when something is due although nothing has changed.
    """

    status: LeaseStatus | None = None
    delete: tuple[LeaseRequest, ...] = ()
    requests: tuple[LeaseRequest, ...] = ()
    tell: LeaseRequest | None = None
    ended: LeasePhase | None = None
    look_again_at: datetime | None = None


def decide(
    lease: Lease,
    requests: Sequence[LeaseRequest],
    *,
    gone: Collection[str],
    is_absent: bool,
    overdue: Collection[Mark],
    now: datetime,
) -> Plan:
    """Return what is to be done about a Lease.

    Args:
        lease: as it is stored.
        requests: those that belong to it, as far as they have been seen.
        gone: uids of requests whose holder has ended.
        is_absent: the request of its holder certainly does not exist any more.
        overdue: what was not renewed in time (``kontinue.api.konductor.locking.Patience``).
        now: wall time.
    """
    ended = _end(lease, requests, gone=gone, is_absent=is_absent, overdue=overdue)
    status = _status(lease, requests, ended=ended, gone=gone, now=now)
    deleted = tuple(one for one in requests if one.metadata.uid in gone or _is_finished(lease, one, now))
    written: list[LeaseRequest] = []
    told: LeaseRequest | None = None
    left = [one for one in requests if one not in deleted]
    for one in left:
        if not _is_open(one):
            continue
        if ended is None and one.metadata.uid == lease.status.request_uid:
            told = _with(one, LeaseRequestPhase.GRANTED, acquired_at=lease.status.acquired_at, token=lease.status.token)
        elif (waiting := _waiting(one, status)) is not None:
            written.append(waiting)
    dates = [at for one in left if (at := _kept_until(one)) is not None]
    return Plan(
        status=None if status == lease.status else status,
        delete=deleted,
        requests=tuple(_of(lease, one) for one in written),
        tell=None if told is None or any(one.is_granted for one in left) else _of(lease, told),
        ended=ended,
        look_again_at=min(dates, default=None),
    )


def is_unseen(lease: Lease, requests: Sequence[LeaseRequest]) -> bool:
    """Tell whether the request of its holder has not been seen: it may not be seen yet, or not exist any more."""
    if not lease.status.holder or _is_of_the_original(lease.status):
        return False
    return all(one.metadata.uid != lease.status.request_uid for one in requests)


def _is_of_the_original(status: LeaseStatus) -> bool:
    """Tell whether the original has granted it, which knows no tokens, and names no request."""
    return not status.token and not status.request_uid


def _end(
    lease: Lease,
    requests: Sequence[LeaseRequest],
    *,
    gone: Collection[str],
    is_absent: bool,
    overdue: Collection[Mark],
) -> LeasePhase | None:
    """Return whether what stands in the Lease has ended, and how."""
    status = lease.status
    if not status.holder:
        return None
    is_overdue = any(held.mark in overdue for held in lease_locks(lease).grants)
    if _is_of_the_original(status):
        return LeasePhase.EXPIRED if is_overdue else None
    if is_absent:
        return LeasePhase.AVAILABLE
    for one in requests:
        if one.metadata.uid != status.request_uid:
            continue
        if one.metadata.uid in gone or one.is_over or (one.is_granted and one.status.token != status.token):
            return LeasePhase.AVAILABLE
        # Who has not been told may not know yet that he has to renew it.
        if one.is_granted and is_overdue:
            return LeasePhase.EXPIRED
    return None


def _status(
    lease: Lease, requests: Sequence[LeaseRequest], *, ended: LeasePhase | None, gone: Collection[str], now: datetime
) -> LeaseStatus:
    status = lease.status if ended is None else without_holder(lease.status, ended)
    # Somebody may have edited the status: tokens grow all the same.
    token = max([status.token, *(one.status.token for one in requests)])
    queue = sorted(
        (one for one in requests if _can_have_it(one) and one.metadata.uid not in {status.request_uid, *gone}),
        key=lambda one: (-_priority(lease, one), *asked.turn(one.metadata, _order(one))),
    )
    if not status.holder and queue:
        lease = msgspec.structs.replace(lease, status=msgspec.structs.replace(status, token=token))
        status, token = granted_to(lease, queue.pop(0), now=now), token + 1
    free = status.phase if status.phase is LeasePhase.EXPIRED else LeasePhase.AVAILABLE
    return msgspec.structs.replace(
        status,
        phase=LeasePhase.HELD if status.holder else free,
        token=token,
        waiting=sum(not one.spec.no_wait for one in queue),
    )


def _is_open(request: LeaseRequest) -> bool:
    return not request.is_decided and request.metadata.deletion_timestamp is None


def _can_have_it(request: LeaseRequest) -> bool:
    return _is_open(request) and not asked.bad_ttl(request.spec.ttl)


def _is_finished(lease: Lease, request: LeaseRequest, now: datetime) -> bool:
    """Tell whether a request is over and need not be kept. The Lease may be seen late, its token says how late."""
    held = lease.status
    if request.is_granted:
        # Somebody who takes it away by hand empties the holder alone.
        holds = held.holder and (request.metadata.uid, request.status.token) == (held.request_uid, held.token)
        return held.token >= request.status.token and not holds
    kept_until = _kept_until(request)
    return kept_until is not None and kept_until <= now


def _kept_until(request: LeaseRequest) -> datetime | None:
    created = request.metadata.creation_timestamp
    return created + asked.KEPT_FOR if request.is_over and created is not None else None


def _waiting(request: LeaseRequest, status: LeaseStatus) -> LeaseRequest | None:
    """Return a request that does not hold the Lease as it is to be told so; None if it knows, or is told later."""
    if bad := asked.bad_ttl(request.spec.ttl):
        return _with(request, LeaseRequestPhase.DENIED, message=bad[:1_000])
    if request.metadata.uid == status.request_uid:
        return None
    if request.spec.no_wait:
        return _with(request, LeaseRequestPhase.DENIED, message=f"held by {status.holder}")
    return None if request.status.phase is not None else _with(request, LeaseRequestPhase.PENDING)


def _with(
    request: LeaseRequest,
    phase: LeaseRequestPhase,
    *,
    acquired_at: datetime | None = None,
    token: int = 0,
    message: str = "",
) -> LeaseRequest:
    status = LeaseRequestStatus(
        phase=phase,
        requested_at=request.metadata.creation_timestamp,
        acquired_at=acquired_at,
        order=_order(request),
        token=token,
        message=message,
    )
    return msgspec.structs.replace(request, status=status)


def _of(lease: Lease, request: LeaseRequest) -> LeaseRequest:
    status = msgspec.structs.replace(request.status, parent_uid=lease.metadata.uid)
    return msgspec.structs.replace(request, status=status)


def _order(request: LeaseRequest) -> int:
    """Return its place within a second, which is written down with its first phase: that changes its version."""
    return request.status.order or asked.order(request.metadata)


def _priority(lease: Lease, request: LeaseRequest) -> int:
    return lease.spec.priority if request.spec.priority is None else request.spec.priority
