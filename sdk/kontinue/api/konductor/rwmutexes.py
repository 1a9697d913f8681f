"""``konductor.io/v1``: the RWMutex as frozen structs, and where it keeps its locks.

docs/locks.md says how it is used.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kontinue.api import durations
from kontinue.api.konductor.group import API_VERSION
from kontinue.api.konductor.locking import Claim, Grant, LockKind, Locks
from kontinue.api.konductor.locks import (
    MAX_HOLDER,
    MAX_WAITERS,
    HolderName,
    LockWaiter,
    Shared,
    ttl_of,
)
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration


class RWMutexPhase(enum.StrEnum):
    """How an RWMutex is held. One without a status is Unlocked."""

    UNLOCKED = "Unlocked"
    READ_LOCKED = "ReadLocked"
    WRITE_LOCKED = "WriteLocked"


class RWLock(LockWaiter, frozen=True):
    """A lock of a reader, or of the writer."""

    shared: Shared = False
    token: Annotated[int, Meta(ge=0, description="Grows with each lock of the object.")] = 0
    ttl: Annotated[GoDuration, Meta(description="How long this lock lasts without being renewed.")] = ""
    locked_at: Annotated[datetime | None, Meta(description="When it was locked, by its holder's clock.")] = None
    expires_at: Annotated[datetime | None, Meta(description="When it ends unless it is renewed.")] = None


class RWWaiter(LockWaiter, frozen=True):
    """Somebody who waits to read, or to write."""

    shared: Shared = False


class RWMutexSpec(ApiStruct, frozen=True):
    """What an RWMutex is asked to be."""

    ttl: Annotated[
        GoDuration,
        Meta(description="How long a lock lasts that is not renewed, as 30s; unset: until it is unlocked."),
    ] = ""


class RWMutexStatus(ApiStruct, frozen=True):
    """Who reads or writes, and who waits. Written by whoever locks and unlocks, and by the coordinator."""

    write_holder: Annotated[str, Meta(max_length=MAX_HOLDER, description="Who may write; empty: nobody.")] = ""
    read_holders: Annotated[list[HolderName], Meta(max_length=MAX_WAITERS, description="Who may read.")] = []
    locked_at: Annotated[datetime | None, Meta(description="Since when it is held without a gap.")] = None
    expires_at: Annotated[
        datetime | None, Meta(description="When the last of its locks ends unless it is renewed.")
    ] = None
    phase: Annotated[RWMutexPhase | None, Meta(description="Unlocked, ReadLocked or WriteLocked.")] = None
    token: Annotated[int, Meta(ge=0, description="That of the latest lock; grows with each.")] = 0
    locks: Annotated[list[RWLock], Meta(max_length=MAX_WAITERS, description="What is held; each ends by itself.")] = []
    waiters: Annotated[list[RWWaiter], Meta(max_length=MAX_WAITERS, description="Who waits, the next one first.")] = []


class RWMutex(ApiObject, frozen=True):
    """Something that many may read at a time, or one may write."""

    metadata: ObjectMeta
    spec: RWMutexSpec = RWMutexSpec()
    status: RWMutexStatus = RWMutexStatus()
    api_version: str = API_VERSION
    kind: str = "RWMutex"

    @property
    def phase(self) -> RWMutexPhase:
        """What the holders say, whether or not the phase has been written yet."""
        if self.status.write_holder:
            return RWMutexPhase.WRITE_LOCKED
        return RWMutexPhase.READ_LOCKED if self.status.read_holders else RWMutexPhase.UNLOCKED


def rwmutex_locks(mutex: RWMutex) -> Locks:
    """Return who holds an RWMutex and who waits; holders that others have written or removed count as they stand."""
    status = mutex.status
    kept = [
        one
        for one in status.locks
        if (one.holder in status.read_holders if one.shared else one.holder == status.write_holder)
    ]
    known = {(one.holder, one.shared) for one in kept}
    foreign = [(status.write_holder, False)] if status.write_holder else []
    foreign += [(holder, True) for holder in dict.fromkeys(status.read_holders)]
    kept += [
        RWLock(holder=holder, shared=shared, token=status.token, expires_at=status.expires_at)
        for holder, shared in foreign
        if (holder, shared) not in known
    ]
    grants = tuple(
        Grant(
            id=one.id,
            holder=one.holder,
            bound_to=one.bound_to,
            is_shared=one.shared,
            token=one.token,
            ttl=ttl_of(one.ttl),
            locked_at=one.locked_at,
            expires_at=one.expires_at,
        )
        for one in kept
    )
    waiters = tuple(
        Claim(id=one.id, holder=one.holder, bound_to=one.bound_to, is_shared=one.shared) for one in status.waiters
    )
    return Locks(grants, waiters, status.token)


def with_rwmutex_locks(mutex: RWMutex, locks: Locks) -> RWMutex:
    """Return an RWMutex with these locks, and all that follows from them."""
    ends = [one.expires_at for one in locks.grants]
    begins = [one.locked_at for one in locks.grants if one.locked_at is not None]
    status = RWMutexStatus(
        write_holder=next((one.holder for one in locks.grants if not one.is_shared), ""),
        read_holders=[one.holder for one in locks.grants if one.is_shared],
        locked_at=min(begins, default=None),
        expires_at=max((end for end in ends if end is not None), default=None) if None not in ends else None,
        token=locks.token,
        locks=[
            RWLock(
                id=one.id,
                holder=one.holder,
                bound_to=one.bound_to,
                shared=one.is_shared,
                token=one.token,
                ttl=durations.format_(one.ttl) if one.ttl else "",
                locked_at=one.locked_at,
                expires_at=one.expires_at,
            )
            for one in locks.grants
        ],
        waiters=[
            RWWaiter(id=one.id, holder=one.holder, bound_to=one.bound_to, shared=one.is_shared) for one in locks.waiters
        ],
    )
    changed = msgspec.structs.replace(mutex, status=status)
    return msgspec.structs.replace(changed, status=msgspec.structs.replace(status, phase=changed.phase))


RWMUTEXES: Final = LockKind(
    object_type=RWMutex, locks_of=rwmutex_locks, with_locks=with_rwmutex_locks, most=MAX_WAITERS
)
