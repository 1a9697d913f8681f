"""``konductor.io/v1``: the Once as frozen structs, and where it keeps its locks. docs/locks.md says how it is used."""

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

MAX_FAILURE: Final = 1024


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
    done_at: Annotated[
        datetime | None,
        Meta(description="Since when it is Executed, as the coordinator saw it; only where spec.ttl is set."),
    ] = None
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
            done_at=found.done_at,
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
    """Return a Once whose try has failed, and which the next one may try; of any text as much as can be stored."""
    failure = failure.encode(errors="replace").decode()
    locks = msgspec.structs.replace(once_locks(once), grants=())
    status = msgspec.structs.replace(once.status, executor="", failure=failure[:MAX_FAILURE] or "failed")
    return with_once_locks(msgspec.structs.replace(once, status=status), locks)


def ended(once: Once, lock_id: str, *, failure: str, now: datetime) -> Once | None:
    """Return a Once whose try has ended; as it is if that has been written already, None if it is not this try's.

    Args:
        once: as it is stored.
        lock_id: of the try.
        failure: what it has raised; empty: it was done.
        now: by the clock of whoever has tried.
    """
    if once.status.executed and once.status.lock_id == lock_id:
        return once
    if once_locks(once).held_by(lock_id) is None:
        return None
    return failed(once, failure) if failure else executed(once, now)


ONCES: Final = LockKind(object_type=Once, locks_of=once_locks, with_locks=with_once_locks, most=MAX_WAITERS)
