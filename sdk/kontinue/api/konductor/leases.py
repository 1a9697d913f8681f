"""``konductor.io/v1``: Lease and LeaseRequest as frozen structs, and where a Lease says who holds it.

The coordinator grants, as with Semaphores; its holder renews it, as any lock (docs/adr/0030-a-lease-is-granted-and-
then-kept.md). Not to be mixed up with the Leases of ``coordination.k8s.io``, which the engine itself holds.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kontinue.api import durations
from kontinue.api.konductor.group import API_VERSION, Holder, owner_uid
from kontinue.api.konductor.locking import Grant, LockKind, Locks
from kontinue.api.konductor.locks import MAX_HOLDER, ttl_of
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_NAME: Final = 253
_INT32: Final = {"format": "int32"}

Priority = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema=_INT32)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema=_INT32)]
Token = Annotated[int, Meta(ge=0, description="Grows with each grant: what is fenced by it refuses lower ones.")]


class LeasePhase(enum.StrEnum):
    """Whether a Lease is held. Expired: its last holder has not renewed it, and nobody has asked for it since."""

    AVAILABLE = "Available"
    HELD = "Held"
    EXPIRED = "Expired"


class LeaseRequestPhase(enum.StrEnum):
    """What the coordinator has decided. A LeaseRequest without a phase has not been seen by one."""

    PENDING = "Pending"
    GRANTED = "Granted"
    DENIED = "Denied"


class LeaseSpec(ApiStruct, frozen=True):
    """What a Lease is asked to be."""

    ttl: Annotated[
        GoDuration, Meta(description="How long it is held without being renewed, as 10m; unset: until it is released.")
    ] = ""
    priority: Annotated[Priority, Meta(description="Of requests that say nothing about it.")] = 0


class LeaseStatus(ApiStruct, frozen=True):
    """Who holds it. Granted by the coordinator, renewed and released by its holder."""

    holder: Annotated[str, Meta(max_length=MAX_HOLDER, description="Who holds it; empty: nobody.")] = ""
    acquired_at: Annotated[datetime | None, Meta(description="When it was granted.")] = None
    expires_at: Annotated[datetime | None, Meta(description="When it ends unless it is renewed.")] = None
    phase: Annotated[
        LeasePhase | None, Meta(description="Held; Available; Expired while nobody took it after it was not renewed.")
    ] = None
    renew_count: Annotated[Count, Meta(description="How often its holder has renewed it.")] = 0
    token: Token = 0
    request: Annotated[str, Meta(max_length=MAX_NAME, description="Name of its holder's LeaseRequest.")] = ""
    request_uid: Annotated[str, Meta(max_length=64, description="Uid of its holder's LeaseRequest.")] = ""
    ttl: Annotated[GoDuration, Meta(description="How long its holder has it without renewing it.")] = ""
    waiting: Annotated[Count, Meta(description="How many LeaseRequests wait for it.")] = 0


class Lease(ApiObject, frozen=True):
    """Something that one at a time holds for a while, by priority."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()
    status: LeaseStatus = LeaseStatus()
    api_version: str = API_VERSION
    kind: str = "Lease"

    @property
    def is_available(self) -> bool:
        """Whether nobody holds it."""
        return not self.status.holder


class LeaseRequestSpec(ApiStruct, frozen=True):
    """Who asks for which Lease."""

    lease: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="Its name, in this namespace.")]
    holder: Annotated[str, Meta(min_length=1, max_length=MAX_HOLDER, description="Who asks; any text.")]
    priority: Annotated[
        Priority | None, Meta(description="The highest is granted first; unset: that of the Lease.")
    ] = None
    ttl: Annotated[
        GoDuration, Meta(description="How long it is held without being renewed; unset: as the Lease says.")
    ] = ""
    bound_to: Annotated[
        Holder | None, Meta(description="A Pod or an Execution whose end gives it back, or ends the waiting.")
    ] = None
    no_wait: Annotated[bool, Meta(description="Denied at once if somebody else holds it.")] = False


class LeaseRequestStatus(ApiStruct, frozen=True):
    """What the coordinator has decided."""

    phase: Annotated[LeaseRequestPhase | None, Meta(description="Pending, Granted or Denied.")] = None
    requested_at: Annotated[datetime | None, Meta(description="When it was asked for.")] = None
    acquired_at: Annotated[datetime | None, Meta(description="When it was granted.")] = None
    order: Annotated[int, Meta(ge=0, description="Of requests within one second: the lower one came first.")] = 0
    token: Token = 0
    message: Annotated[str, Meta(max_length=1_024, description="Why it was denied.")] = ""
    parent_uid: Annotated[str, Meta(max_length=64, description="Of the Lease of which it was decided.")] = ""


class LeaseRequest(ApiObject, frozen=True):
    """Asks for a Lease, and holds it while it is Granted. Deleting it gives it back."""

    metadata: ObjectMeta
    spec: LeaseRequestSpec
    status: LeaseRequestStatus = LeaseRequestStatus()
    api_version: str = API_VERSION
    kind: str = "LeaseRequest"

    @property
    def is_granted(self) -> bool:
        """Whether it has been told that it holds the Lease."""
        return self.status.phase is LeaseRequestPhase.GRANTED

    @property
    def is_over(self) -> bool:
        """Whether it holds nothing, and never will."""
        return self.status.phase is LeaseRequestPhase.DENIED

    @property
    def is_decided(self) -> bool:
        """Whether it waits no longer."""
        return self.is_granted or self.is_over

    @property
    def parent(self) -> str:
        """Name of its Lease."""
        return self.spec.lease

    def belongs_to(self, lease: Lease) -> bool:
        """Tell whether it asks for this Lease, not for an earlier one of the same name."""
        owner = owner_uid(self.metadata, lease.kind, noted=self.status.parent_uid)
        return self.parent == lease.metadata.name and owner in {"", lease.metadata.uid}


def lease_locks(lease: Lease) -> Locks:
    """Return who holds a Lease: one lock at most, whose id is the uid of its LeaseRequest."""
    status = lease.status
    held = Grant(
        id=status.request_uid,
        holder=status.holder,
        token=status.token,
        ttl=ttl_of(status.ttl),
        locked_at=status.acquired_at,
        expires_at=status.expires_at,
    )
    return Locks(grants=(held,) if status.holder else (), token=status.token)


def with_lease_locks(lease: Lease, locks: Locks) -> Lease:
    """Return a Lease whose holder has renewed or released it; only the coordinator grants it."""
    before = lease.status
    if locks.grants:
        (held,) = locks.grants
        renewals = before.renew_count + (held.expires_at != before.expires_at)
        status = msgspec.structs.replace(before, expires_at=held.expires_at, renew_count=renewals)
    else:
        status = without_holder(before, LeasePhase.AVAILABLE)
    return msgspec.structs.replace(lease, status=status)


def without_holder(status: LeaseStatus, phase: LeasePhase) -> LeaseStatus:
    """Return a status that says that nobody holds it."""
    return LeaseStatus(phase=phase, token=status.token, waiting=status.waiting)


def granted_to(lease: Lease, request: LeaseRequest, *, now: datetime) -> LeaseStatus:
    """Return the status of a Lease that is granted to whoever asks by ``request``."""
    ttl = ttl_of(request.spec.ttl) or ttl_of(lease.spec.ttl)
    return LeaseStatus(
        holder=request.spec.holder,
        acquired_at=now,
        expires_at=None if ttl is None else now + ttl,
        phase=LeasePhase.HELD,
        token=lease.status.token + 1,
        request=request.metadata.name,
        request_uid=request.metadata.uid,
        ttl=durations.format_(ttl) if ttl else "",
        waiting=lease.status.waiting,
    )


LEASES: Final = LockKind(object_type=Lease, locks_of=lease_locks, with_locks=with_lease_locks, most=1)
