"""``konductor.io/v1``: the Mutex as frozen structs, and where it keeps its locks. docs/locks.md says how it is used."""

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
    MAX_ID,
    MAX_WAITERS,
    BoundTo,
    LockWaiter,
    ttl_of,
)
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration


class MutexPhase(enum.StrEnum):
    """Whether a Mutex is held. One without a status is Unlocked."""

    UNLOCKED = "Unlocked"
    LOCKED = "Locked"


class MutexSpec(ApiStruct, frozen=True):
    """What a Mutex is asked to be."""

    ttl: Annotated[
        GoDuration,
        Meta(description="How long a lock lasts that is not renewed, as 30s; unset: until it is unlocked."),
    ] = ""


class MutexStatus(ApiStruct, frozen=True):
    """Who holds it, and who waits. Written by whoever locks and unlocks, and by the coordinator."""

    holder: Annotated[str, Meta(max_length=MAX_HOLDER, description="Who holds it; empty: nobody.")] = ""
    locked_at: Annotated[datetime | None, Meta(description="When it was locked, by its holder's clock.")] = None
    expires_at: Annotated[
        datetime | None, Meta(description="When it ends unless it is renewed, by its holder's clock.")
    ] = None
    phase: Annotated[MutexPhase | None, Meta(description="Locked while somebody holds it, else Unlocked.")] = None
    token: Annotated[int, Meta(ge=0, description="Grows with each lock: what is fenced by it refuses lower ones.")] = 0
    lock_id: Annotated[str, Meta(max_length=MAX_ID, description="Tells this lock from a later one.")] = ""
    ttl: Annotated[GoDuration, Meta(description="How long this lock lasts without being renewed.")] = ""
    bound_to: BoundTo = None
    waiters: Annotated[
        list[LockWaiter], Meta(max_length=MAX_WAITERS, description="Who waits, the next one first.")
    ] = []


class Mutex(ApiObject, frozen=True):
    """Something that one at a time may hold."""

    metadata: ObjectMeta
    spec: MutexSpec = MutexSpec()
    status: MutexStatus = MutexStatus()
    api_version: str = API_VERSION
    kind: str = "Mutex"

    @property
    def phase(self) -> MutexPhase:
        """What the holder says, whether or not the phase has been written yet."""
        return MutexPhase.LOCKED if self.status.holder else MutexPhase.UNLOCKED


def mutex_locks(mutex: Mutex) -> Locks:
    """Return who holds a Mutex and who waits for it."""
    status = mutex.status
    held = Grant(
        id=status.lock_id,
        holder=status.holder,
        bound_to=status.bound_to,
        token=status.token,
        ttl=ttl_of(status.ttl),
        locked_at=status.locked_at,
        expires_at=status.expires_at,
    )
    waiters = tuple(Claim(id=one.id, holder=one.holder, bound_to=one.bound_to) for one in status.waiters)
    return Locks(grants=(held,) if status.holder else (), waiters=waiters, token=status.token)


def with_mutex_locks(mutex: Mutex, locks: Locks) -> Mutex:
    """Return a Mutex with these locks, and all that follows from them."""
    status = MutexStatus(
        phase=MutexPhase.LOCKED if locks.grants else MutexPhase.UNLOCKED,
        token=locks.token,
        waiters=[LockWaiter(id=one.id, holder=one.holder, bound_to=one.bound_to) for one in locks.waiters],
    )
    for held in locks.grants[:1]:
        status = msgspec.structs.replace(
            status,
            holder=held.holder,
            locked_at=held.locked_at,
            expires_at=held.expires_at,
            lock_id=held.id,
            ttl=durations.format_(held.ttl) if held.ttl else "",
            bound_to=held.bound_to,
        )
    return msgspec.structs.replace(mutex, status=status)


MUTEXES: Final = LockKind(object_type=Mutex, locks_of=mutex_locks, with_locks=with_mutex_locks, most=MAX_WAITERS)
