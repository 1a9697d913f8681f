"""How locks change hands. Pure: time and identity are arguments.

Whoever wants a lock stands in one queue, and takes it when it is his turn, in the write that makes it his: nobody is
given anything while he is not there. Whoever waits and the coordinator apply the same rules; what holds for one object
is one value, written by one conditional write (docs/adr/0028-locks-are-taken-in-turn.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import LONGEST, Holder, identity_of

T = TypeVar("T")

TAKE_WITHIN: Final = timedelta(seconds=5)
"""Who does not take what is his for so long is believed to be dead. Judgement: he needs one write for it."""
CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""A lock that nobody has watched for its ttl has ended so long after ``expiresAt``. Clocks that differ by more would
end locks of the living. As Kerberos has it.
"""


class QueueFull(errors.InvalidState):
    """So many hold it or wait for it already that no more can; later there may be room."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who wants a lock.

    Attributes:
        id: of this lock, so that it is asked for once although answers get lost.
        holder: what he calls himself.
        bound_to: a Pod or an Execution, with its uid, whose end gives it up.
        is_shared: others who share may hold it at the same time.
    """

    id: str
    holder: str
    bound_to: Holder | None = None
    is_shared: bool = False


class Grant(Claim, frozen=True, kw_only=True):
    """A lock that is held.

    Attributes:
        token: grows with each lock of an object.
        ttl: how long it lasts without being renewed; None: until it is released.
        locked_at: by its holder's clock.
        expires_at: by its holder's clock.
    """

    token: int
    ttl: timedelta | None = None
    locked_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def mark(self) -> Mark:
        """Changes when it is renewed."""
        return (self.id, self.holder, self.expires_at)


Mark = tuple[str, str, datetime | None]
"""What does not change while nobody does anything: of a lock, or of a turn that is not taken."""


class Locks(msgspec.Struct, frozen=True):
    """What is held of one object, who waits for it in which order, and the latest token."""

    grants: tuple[Grant, ...] = ()
    waiters: tuple[Claim, ...] = ()
    token: int = 0

    def held_by(self, id: str) -> Grant | None:  # noqa: A002 - the wire's word
        """Return a lock by its id; None if it is not held."""
        return next((one for one in self.grants if one.id == id), None)


class LockKind(msgspec.Struct, Generic[T], frozen=True):
    """Where objects of one kind keep their locks.

    Attributes:
        object_type: of the objects.
        locks_of: reads them.
        with_locks: writes them, and all that follows from them.
        most: how many may hold it or wait for it.
    """

    object_type: type[T]
    locks_of: Callable[[T], Locks]
    with_locks: Callable[[T, Locks], T]
    most: int


def turns(locks: Locks) -> tuple[Claim, ...]:
    """Return those who may take it now. Nobody overtakes: readers that come after a writer wait for him."""
    present: list[Claim] = list(locks.grants)
    found: list[Claim] = []
    for claim in locks.waiters:
        if not (all(one.is_shared for one in present) if claim.is_shared else not present):
            break
        found.append(claim)
        present.append(claim)
    return tuple(found)


def asked(locks: Locks, claim: Claim, *, ttl: timedelta | None, now: datetime, most: int) -> Locks:
    """Return the locks after somebody has asked: he holds it, or waits. Asking again changes nothing.

    Raises:
        QueueFull: too many hold it or wait already.
    """
    if locks.held_by(claim.id) is not None:
        return locks
    if all(one.id != claim.id for one in locks.waiters):
        present = len(locks.grants) + len(locks.waiters)
        if present >= most:
            raise QueueFull(f"{present} hold it or wait for it already: no more can")
        locks = msgspec.structs.replace(locks, waiters=(*locks.waiters, claim))
    turn = next((one for one in turns(locks) if one.id == claim.id), None)
    if turn is None:
        return locks
    ttl = None if ttl is None else min(ttl, LONGEST)
    grant = Grant(  # of what stands in the queue: it was its turn
        id=turn.id,
        holder=turn.holder,
        bound_to=turn.bound_to,
        is_shared=turn.is_shared,
        token=locks.token + 1,
        ttl=ttl,
        locked_at=now,
        expires_at=None if ttl is None else now + ttl,
    )
    waiters = tuple(one for one in locks.waiters if one.id != claim.id)
    return Locks((*locks.grants, grant), waiters, grant.token)


def renewed(locks: Locks, id: str, *, now: datetime) -> Locks:  # noqa: A002 - the wire's word
    """Return the locks with one that lasts its whole ttl again; unchanged if it is not held or does not end."""
    grants = tuple(
        msgspec.structs.replace(one, expires_at=now + one.ttl) if one.id == id and one.ttl else one
        for one in locks.grants
    )
    return msgspec.structs.replace(locks, grants=grants)


def left(locks: Locks, id: str) -> Locks:  # noqa: A002 - the wire's word
    """Return the locks without somebody, whether he holds or waits."""
    return msgspec.structs.replace(
        locks,
        grants=tuple(one for one in locks.grants if one.id != id),
        waiters=tuple(one for one in locks.waiters if one.id != id),
    )


def without_bound(locks: Locks, gone: Collection[str]) -> Locks:
    """Return the locks without those that are bound to one of these holders, each by its ``identity_of``."""
    return msgspec.structs.replace(
        locks,
        grants=tuple(one for one in locks.grants if one.bound_to is None or identity_of(one.bound_to) not in gone),
        waiters=tuple(one for one in locks.waiters if one.bound_to is None or identity_of(one.bound_to) not in gone),
    )


def without_overdue(locks: Locks, marks: Collection[Mark]) -> Locks:
    """Return the locks without what is overdue by ``Patience``; what was renewed or taken meanwhile stays."""
    gone = {claim.id for claim in turns(locks) if _turn_mark(claim) in marks}
    return msgspec.structs.replace(
        locks,
        grants=tuple(one for one in locks.grants if one.mark not in marks),
        waiters=tuple(one for one in locks.waiters if one.id not in gone),
    )


class Overdue(msgspec.Struct, frozen=True):
    """What has ended by time, and in how many seconds the next may; None: nothing will."""

    marks: frozenset[Mark]
    next_s: float | None


class Patience:
    """How long one observer has seen each lock, and each turn, unchanged: clocks of machines need hardly agree.

    A holder counts his time from before he writes, an observer from when he sees it: so nobody ends a lock early. Only
    for what nobody has watched, clocks that differ by less than ``CLOCKS_DIFFER`` are relied on.
    """

    def __init__(self) -> None:
        self._since_s: dict[Mark, float] = {}

    def look(self, locks: Locks, *, now: datetime, now_s: float) -> Overdue:
        """Return what is overdue.

        Args:
            locks: as last seen.
            now: wall time.
            now_s: time that only grows, in seconds.
        """
        lasting: dict[Mark, tuple[timedelta | None, datetime | None]] = {
            one.mark: (one.ttl, one.expires_at) for one in locks.grants
        }
        lasting |= {_turn_mark(claim): (TAKE_WITHIN, None) for claim in turns(locks)}
        self._since_s = {mark: self._since_s.get(mark, now_s) for mark in lasting}
        ends: dict[Mark, float] = {}
        for mark, (length, expires_at) in lasting.items():
            found = [] if length is None else [self._since_s[mark] + length.total_seconds() - now_s]
            if expires_at is not None:
                found.append((expires_at - now + CLOCKS_DIFFER).total_seconds())  # no date is too late for it
            if found:
                ends[mark] = min(found)
        overdue = frozenset(mark for mark, left_s in ends.items() if left_s <= 0)
        return Overdue(overdue, min((left_s for left_s in ends.values() if left_s > 0), default=None))


def _turn_mark(claim: Claim) -> Mark:
    return (f"turn/{claim.id}", claim.holder, None)
