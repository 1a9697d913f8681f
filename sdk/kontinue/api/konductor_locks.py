"""``konductor.io/v1``: the primitives of which somebody holds something, as frozen structs.

Their CRDs are generated from here. How locks change hands is ``kontinue.api.locking``'s business, for all kinds alike;
here is also where each kind keeps them. docs/locks.md says how they are used.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kontinue.api import durations
from kontinue.api.konductor_v1 import API_VERSION, Holder
from kontinue.api.locking import Claim, Grant, LockKind, Locks
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_WAITERS: Final = 256
"""Judgement: about 30 KiB, and each write carries them all."""
MAX_ID: Final = 64
MAX_HOLDER: Final = 253
MAX_FAILURE: Final = 1024

LockId = Annotated[str, Meta(max_length=MAX_ID, description="Of one lock, not of its holder: chosen by who asked.")]
HolderName = Annotated[str, Meta(max_length=MAX_HOLDER, description="What its holder calls itself.")]
Shared = Annotated[bool, Meta(description="A reader, who holds it together with others.")]
BoundTo = Annotated[Holder | None, Meta(description="Pod or Execution whose end releases it.")]


class MutexPhase(enum.StrEnum):
    """Whether a Mutex is held. One without a status is Unlocked."""

    UNLOCKED = "Unlocked"
    LOCKED = "Locked"


class LockWaiter(ApiStruct, frozen=True):
    """Somebody who waits for a lock."""

    id: LockId = ""
    holder: HolderName = ""
    bound_to: BoundTo = None


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


def ttl_of(text: str) -> timedelta | None:
    """Return a time to live; None for one that is unset, 0 or makes no sense."""
    try:
        return min(durations.parse(text), timedelta(days=36_500)) or None
    except ValueError:
        return None


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


class OncePhase(enum.StrEnum):
    """Where a Once is. One without a status is Pending."""

    PENDING = "Pending"
    RUNNING = "Running"
    EXECUTED = "Executed"
    FAILED = "Failed"


class OnceSpec(ApiStruct, frozen=True):
    """What a Once is asked to be."""

    ttl: Annotated[
        GoDuration,
        Meta(description="Deletes it once it has been Executed for so long, as 24h; unset means never."),
    ] = ""


class OnceStatus(ApiStruct, frozen=True):
    """Whether it has been done, and who does it. Written by whoever does it, and by the coordinator."""

    executed: Annotated[bool, Meta(description="Whether it has been done, to the end.")] = False
    executor: Annotated[str, Meta(max_length=MAX_HOLDER, description="Who has done it, or does it now.")] = ""
    executed_at: Annotated[datetime | None, Meta(description="When it was done, by the executor's clock.")] = None
    phase: Annotated[
        OncePhase | None,
        Meta(description="Pending, Running while somebody does it, Executed, or Failed until somebody tries again."),
    ] = None
    failure: Annotated[str, Meta(max_length=MAX_FAILURE, description="What the last try has raised.")] = ""
    started_at: Annotated[datetime | None, Meta(description="When this try began, by the executor's clock.")] = None
    expires_at: Annotated[
        datetime | None, Meta(description="When this try ends unless it is renewed, by the executor's clock.")
    ] = None
    token: Annotated[int, Meta(ge=0, description="Number of tries so far.")] = 0
    lock_id: Annotated[str, Meta(max_length=MAX_ID, description="Tells this try from a later one.")] = ""
    ttl: Annotated[GoDuration, Meta(description="How long this try lasts without being renewed.")] = ""
    bound_to: BoundTo = None
    waiters: Annotated[
        list[LockWaiter], Meta(max_length=MAX_WAITERS, description="Who does it if this try fails, the next one first.")
    ] = []


class Once(ApiObject, frozen=True):
    """Something that is done once, whoever does it."""

    metadata: ObjectMeta
    spec: OnceSpec = OnceSpec()
    status: OnceStatus = OnceStatus()
    api_version: str = API_VERSION
    kind: str = "Once"

    @property
    def phase(self) -> OncePhase:
        """What the other fields say, whether or not the phase has been written yet."""
        if self.status.executed:
            return OncePhase.EXECUTED
        if self.status.executor:
            return OncePhase.RUNNING
        return OncePhase.FAILED if self.status.failure else OncePhase.PENDING


def once_locks(once: Once) -> Locks:
    """Return who does it now, and who would be next."""
    status = once.status
    held = Grant(
        id=status.lock_id,
        holder=status.executor,
        bound_to=status.bound_to,
        token=status.token,
        ttl=ttl_of(status.ttl),
        locked_at=status.started_at,
        expires_at=status.expires_at,
    )
    is_running = bool(status.executor) and not status.executed
    waiters = tuple(Claim(id=one.id, holder=one.holder, bound_to=one.bound_to) for one in status.waiters)
    return Locks(grants=(held,) if is_running else (), waiters=waiters, token=status.token)


def with_once_locks(once: Once, locks: Locks) -> Once:
    """Return a Once that these do, or wait for, and all that follows from them; an Executed one stays as it is."""
    found = once.status
    if found.executed:
        status = OnceStatus(
            executed=True,
            executor=found.executor,
            executed_at=found.executed_at,
            token=found.token,
            lock_id=found.lock_id,
        )
    else:
        waiters = [LockWaiter(id=one.id, holder=one.holder, bound_to=one.bound_to) for one in locks.waiters]
        status = OnceStatus(token=locks.token, waiters=waiters, failure="" if locks.grants else found.failure)
        for held in locks.grants[:1]:
            status = msgspec.structs.replace(
                status,
                executor=held.holder,
                started_at=held.locked_at,
                expires_at=held.expires_at,
                lock_id=held.id,
                ttl=durations.format_(held.ttl) if held.ttl else "",
                bound_to=held.bound_to,
            )
    changed = msgspec.structs.replace(once, status=status)
    return msgspec.structs.replace(changed, status=msgspec.structs.replace(status, phase=changed.phase))


def executed(once: Once, now: datetime) -> Once:
    """Return a Once that whoever does it has done."""
    status = msgspec.structs.replace(once.status, executed=True, executed_at=now)
    return with_once_locks(msgspec.structs.replace(once, status=status), Locks())


def failed(once: Once, failure: str) -> Once:
    """Return a Once whose try has failed, and which the next one may try."""
    locks = msgspec.structs.replace(once_locks(once), grants=())
    status = msgspec.structs.replace(once.status, executor="", failure=failure[:MAX_FAILURE] or "failed")
    return with_once_locks(msgspec.structs.replace(once, status=status), locks)


ONCES: Final = LockKind(object_type=Once, locks_of=once_locks, with_locks=with_once_locks, most=MAX_WAITERS)


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
