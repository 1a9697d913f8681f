"""Takes, renews and gives back locks of one object. Called by ``kontinue.sync.locks.lockable`` and by workers.

What may change hands when is ``kontinue.api.konductor.locking``'s business; here are the writes, the watch and the
clock. Who waits needs no coordinator: he ends what has expired before him himself.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor import locking
from kontinue.api.konductor.locking import Claim, Grant, LockKind, Mark, Patience
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.sync.holding.renewing import Term, insisted, renewed_until_lost
from kontinue.sync.holding.shielded import shielded
from kontinue.sync.objects.changes import Changes
from kontinue.sync.objects.followed import Followed
from kontinue.sync.objects.waiting import unanswered, until_over

T = TypeVar("T", bound=HasMetadata)

SOON_S: Final = 0.1
"""Who hears within this that he has it need not renew it at once, however short his ttl is. Judgement."""
LEAVE_WITHIN_S: Final = 5.0
"""Who gives up leaves the queue, if the server answers within this; else others find that he does not take his turn."""
TRIES_TO_LEAVE: Final = 2
"""In that time: one answer may get lost."""


class Taken(msgspec.Struct, Generic[T], frozen=True):
    """A lock that was taken.

    Attributes:
        grant: the lock.
        state: its object, as it was then.
        term: how long it lasts, from before that was begun.
    """

    grant: Grant
    state: T
    term: Term


class _Wish(msgspec.Struct, Generic[T]):
    claim: Claim
    ttl: Callable[[T], timedelta | None]
    before: Callable[[T], None] | None
    seen: T | None = None
    """The object as it was shown last."""
    is_turn: bool = False
    """In that state nobody else is first: only the answer to our write is missing."""
    is_asked: bool = False
    """Something was to be written: what was asked for may stand there."""


class Locker(Generic[T]):
    """Locks of one object, for one process.

    Args:
        transport: to the API server.
        resource: its kind.
        kind: where it keeps its locks.
        namespace: where it is.
        name: what it is called.
        retry_for_s: how long one change is tried.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        kind: LockKind[T],
        namespace: str,
        name: str,
        *,
        retry_for_s: float,
    ) -> None:
        self._kind = kind
        self._retry_for_s = retry_for_s
        self._what = f"{resource.kind} {namespace}/{name}"
        self.changes = Changes(transport, resource, kind.object_type, namespace, name, retry_for_s=retry_for_s)
        self._followed = Followed(transport, resource, kind.object_type, namespace, name)

    async def take(
        self,
        claim: Claim,
        *,
        ttl: Callable[[T], timedelta | None],
        limit: timedelta | None,
        on_progress: Callable[[T], object] | None = None,
        before: Callable[[T], None] | None = None,
        keeps_place: bool = False,
    ) -> Taken[T]:
        """Wait until it is the claim's turn, and take it.

        Args:
            claim: who asks, with an id that nobody else has.
            ttl: how long it lasts, from the object.
            limit: how long to wait; 0: not at all; None: for ever.
            on_progress: called with each state in which somebody else is first.
            before: called with each state before it is asked for; may raise, and it is not asked for any more.
            keeps_place: who is cancelled stays in the queue, or holds it, until ``leave``: somebody else may go on
                waiting with the same id.

        Raises:
            Held: somebody else is first, and ``limit`` is 0.
            WaitTimeout: it was not his turn in time.
            QueueFull: too many wait already.
            NotFound: it does not exist, or was deleted meanwhile.
            Unavailable: the server has not answered in time.
            ApiError: the server refuses.
        """
        wish = _Wish(claim, ttl, before)
        is_waiting = limit is None or limit > timedelta()
        if not is_waiting:  # for others; that the server answers is waited for
            limit = timedelta(seconds=self._retry_for_s)
        try:
            async with until_over(limit, lambda: self._not_in_time(limit or timedelta(), wish)):
                return await (self._wait(wish, on_progress) if is_waiting else self._take_now(wish))
        except errors.Held:
            raise  # nothing was written
        except BaseException as error:
            stays = keeps_place and not isinstance(error, errors.WaitTimeout)
            has_left = stays or not wish.is_asked
            if not has_left:
                has_left = await shielded(lambda: self._leave(claim), f"withdrawing {claim.holder} from {self._what}")
            if isinstance(error, errors.Unavailable) and wish.is_turn and not has_left:
                raise errors.Unavailable(f"{error}; it may be held by {claim.holder} now") from error
            if isinstance(error, errors.WaitTimeout) and not has_left:
                left = f"{claim.holder} could not be withdrawn from the queue, and is passed over there"
                raise errors.WaitTimeout(f"{error}; {left}") from error
            raise

    async def leave(self, id: str) -> None:  # noqa: A002 - the wire's word
        """Give up what was asked for with an id, whether it waits or holds; idempotent.

        Raises:
            ApiError: the server refuses, or was away for too long.
        """
        await self.changes.apply(
            lambda state: self._with(state, locking.left(self._kind.locks_of(state), id)), settles=False
        )

    async def give_back(self, grant_id: str, holder: str, token: int | None = None) -> None:
        """Release a lock that is held.

        Args:
            grant_id: of the lock; empty: the one that holder and token name.
            holder: who must hold it.
            token: that it must have; None: any.

        Raises:
            Held: it is somebody else's, or a later one.
            InvalidState: nobody holds it.
            ApiError: the server refuses, or was away for too long.
        """
        found = grant_id
        is_first = True

        def change(state: T) -> T:
            nonlocal found, is_first
            locks = self._kind.locks_of(state)
            if is_first:
                found = self._own(locks.grants, grant_id, holder, token).id
                is_first = False
            grants = tuple(one for one in locks.grants if (one.id, one.holder) != (found, holder))
            return self._with(state, msgspec.structs.replace(locks, grants=grants))

        await self.changes.apply(change, settles=False)

    async def renew(self, grant_id: str, holder: str, token: int | None = None) -> Taken[T]:
        """Let a lock that is held last its whole ttl again, and return it; arguments as of ``give_back``.

        Raises:
            Held: it is somebody else's, or a later one.
            InvalidState: nobody holds it.
            ApiError: the server refuses, or was away for too long.
        """
        begun_s, now = asyncio.get_running_loop().time(), datetime.now(UTC)

        def change(state: T) -> T:
            locks = self._kind.locks_of(state)
            return self._with(
                state, locking.renewed(locks, self._own(locks.grants, grant_id, holder, token).id, now=now)
            )

        state = await self.changes.apply(change, settles=False)
        return self.taken(self._own(self._kind.locks_of(state).grants, grant_id, holder, token), state, begun_s)

    def taken(self, grant: Grant, state: T, since_s: float) -> Taken[T]:
        """Return a lock that was taken, or renewed, by what was begun then, by the event loop's clock."""
        return Taken(grant, state, Term(self._what, grant.ttl, since_s, asyncio.get_running_loop().time))

    async def keep(self, taken: Taken[T]) -> str:
        """Renew a lock until it is lost; return why."""
        grant = taken.grant

        def is_held(state: T) -> bool:
            held = self._kind.locks_of(state).held_by(grant.id)
            return held is not None and held.holder == grant.holder

        try:
            state = await renewed_until_lost(
                self._followed,
                taken.state,
                is_held=is_held,
                renew=functools.partial(self._renewed, grant),
                term=taken.term,
            )
        except TimeoutError:
            return f"{self._what} could not be renewed within its ttl"
        except errors.KontinueError as error:
            return str(error)
        return f"{self._what} is not held by {grant.holder} any more: it {self._who(state)}"

    async def _renewed(self, grant: Grant, try_s: float) -> T:
        # Whose ttl is over is told at once: others may have it from now on.
        return await self.changes.apply(self._renewing(grant, now=datetime.now(UTC)), settles=False, try_s=try_s)

    def _renewing(self, grant: Grant, *, now: datetime) -> Callable[[T], T]:
        """Return a change that does nothing if it is made again, since the answer to it got lost."""
        return lambda state: self._with(state, locking.renewed(self._kind.locks_of(state), grant.id, now=now))

    async def _take_now(self, wish: _Wish[T]) -> Taken[T]:
        begun_s = asyncio.get_running_loop().time()

        def change(state: T) -> T:
            overdue = Patience().look(self._kind.locks_of(state), now=datetime.now(UTC), now_s=begun_s)
            changed = self._asked(state, wish, overdue.marks)
            if self._kind.locks_of(changed).held_by(wish.claim.id) is None:
                raise errors.Held(f"{self._what} {self._who(state)}")
            return changed

        state = await self.changes.apply(change)
        taken = await self._taken(state, wish, begun_s)
        if taken is None:  # written, and taken away in the same moment
            raise errors.Held(f"{self._what} {self._who(state)}")
        return taken

    async def _wait(self, wish: _Wish[T], on_progress: Callable[[T], object] | None) -> Taken[T]:
        loop = asyncio.get_running_loop()
        patience = Patience()
        begun_s = loop.time()
        state = await self.changes.apply(lambda state: self._asked(state, wish, frozenset()))
        if (taken := await self._taken(state, wish, begun_s)) is not None:
            return taken
        async with self._followed:
            while True:
                locks = self._kind.locks_of(state)
                overdue = patience.look(locks, now=datetime.now(UTC), now_s=loop.time())
                waits = {one.id for one in locks.waiters}
                if overdue.marks or wish.claim.id not in waits or wish.claim in locking.turns(locks):
                    marks, begun_s = overdue.marks, loop.time()
                    state = await self.changes.apply(self._asking(wish, marks), seen=state)
                    if (taken := await self._taken(state, wish, begun_s)) is not None:
                        return taken
                    continue
                wish.seen, wish.is_turn = state, False
                if on_progress is not None:
                    on_progress(state)
                state = await self._followed.newer(state, within_s=overdue.next_s)

    async def _taken(self, state: T, wish: _Wish[T], begun_s: float) -> Taken[T] | None:
        """Return the lock if he has it. Who hears of that late renews it first: others may be about to end it."""
        grant = self._kind.locks_of(state).held_by(wish.claim.id)
        if grant is None:
            return None
        taken = self.taken(grant, state, begun_s)
        if grant.ttl is None or not taken.term.is_due or taken.term.age_s <= SOON_S:
            return taken
        begun_s = asyncio.get_running_loop().time()
        state = await insisted(functools.partial(self._renewed, grant), ttl=grant.ttl)
        grant = self._kind.locks_of(state).held_by(wish.claim.id)
        return None if grant is None else self.taken(grant, state, begun_s)

    def _asking(self, wish: _Wish[T], marks: frozenset[Mark]) -> Callable[[T], T]:
        return lambda state: self._asked(state, wish, marks)

    def _asked(self, state: T, wish: _Wish[T], marks: frozenset[Mark]) -> T:
        if wish.before is not None:
            wish.before(state)
        locks = locking.without_overdue(self._kind.locks_of(state), marks)
        try:
            locks = locking.asked(locks, wish.claim, ttl=wish.ttl(state), now=datetime.now(UTC), most=self._kind.most)
        except locking.QueueFull as error:
            raise locking.QueueFull(f"{self._what}: {error}") from error
        changed = self._with(state, locks)
        wish.seen, wish.is_turn = state, locks.held_by(wish.claim.id) is not None
        wish.is_asked = wish.is_asked or changed != state
        return changed

    def _with(self, state: T, locks: locking.Locks) -> T:
        return state if locks == self._kind.locks_of(state) else self._kind.with_locks(state, locks)

    async def _leave(self, claim: Claim) -> bool:
        """Return whether nothing of him stands there any more, as far as that is known."""
        for _ in range(TRIES_TO_LEAVE):
            try:
                async with asyncio.timeout(LEAVE_WITHIN_S / TRIES_TO_LEAVE):
                    await self.leave(claim.id)
            except errors.NotFound:
                return True
            except (errors.KontinueError, TimeoutError):
                continue
            return True
        return False

    def _own(self, grants: tuple[Grant, ...], grant_id: str, holder: str, token: int | None) -> Grant:
        if not grants:
            raise errors.InvalidState(f"{self._what} is not held by anybody")
        own = [one for one in grants if one.holder == holder and (not grant_id or one.id == grant_id)]
        if not own:
            raise errors.Held(f"{self._what} is held by {_names(grants)}, not by {holder}")
        found = next((one for one in own if token is None or one.token == token), None)
        if found is None:
            raise errors.Held(
                f"{self._what} is held by {holder} with token {own[0].token}, not {token}: that lock is over"
            )
        return found

    def _who(self, state: T) -> str:
        locks = self._kind.locks_of(state)
        if locks.grants:
            return f"is held by {_names(locks.grants)}"
        return f"is next {locks.waiters[0].holder}'s" if locks.waiters else "is held by nobody"

    def _not_in_time(self, limit: timedelta, wish: _Wish[T]) -> errors.KontinueError:
        claim = wish.claim
        if wish.seen is None or wish.is_turn:
            return unanswered(self._what, limit)
        ids = [one.id for one in self._kind.locks_of(wish.seen).waiters]
        before = ids.index(claim.id) if claim.id in ids else 0
        place = f", {before} {'other waits' if before == 1 else 'others wait'} before" if before else ""
        after = f"was not to be had within {durations.format_(limit)}"
        return errors.WaitTimeout(f"{self._what} {after}: it {self._who(wish.seen)}{place}")


def _names(grants: tuple[Grant, ...]) -> str:
    return ", ".join(dict.fromkeys(one.holder for one in grants))
