"""A lock while it is held: what its holder may know about it, and a scope that keeps it. For all kinds of locks.

Made by ``kontinue.sync.mutex``; the renewals are ``kontinue.sync.locker``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from kontinue import errors
from kontinue.sync.locker import LEAVE_WITHIN_S, Locker, Taken


class Lock:
    """A lock that was taken.

    Attributes:
        holder: who holds it.
        token: grows with each lock of its object; pass it on, so that what you write to can refuse older ones.
        id: of this lock.
    """

    def __init__(self, taken: Taken[Any]) -> None:
        self.holder = taken.grant.holder
        self.token = taken.grant.token
        self.id = taken.grant.id
        self._lost = ""

    @property
    def is_lost(self) -> bool:
        """Whether it is known to have ended before it was released; only within its scope somebody looks."""
        return bool(self._lost)

    def check(self) -> None:
        """Do nothing while it is held.

        Raises:
            LockLost: it has ended; the message says why.
        """
        if self._lost:
            raise errors.LockLost(self._lost)


class Scope:
    """Holds a lock from ``begin`` to ``end``, and renews it meanwhile. ``async with`` it, and a loss cancels the body.

    Args:
        locker: of the object.
        take: takes the lock.
        on_loss: called once it is lost, before the body is cancelled.
        release: gives it back, told what its holder has raised; None: it is just released.
    """

    def __init__(
        self,
        locker: Locker[Any],
        take: Callable[[], Awaitable[Taken[Any]]],
        on_loss: Callable[[Lock], object] | None = None,
        *,
        release: Callable[[Lock, BaseException | None], Awaitable[None]] | None = None,
    ) -> None:
        self._locker = locker
        self._take = take
        self._on_loss = on_loss
        self._release = release or self._give_back
        self._lock: Lock | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._body: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._has_cancelled = False

    async def begin(self) -> Lock:
        """Take it, and keep it from now on; without ``async with``, look at ``Lock.check()``."""
        taken = await self._take()
        lock = self._lock = Lock(taken)
        self._keeping = asyncio.create_task(self._keep(taken, lock), name=f"kontinue keeps {lock.id}")
        return lock

    async def end(self, error: BaseException | None = None) -> None:
        """Stop renewing it, and release it.

        Args:
            error: what its holder has raised.

        Raises:
            LockLost: it was lost meanwhile.
            ApiError: it could not be released.
        """
        lock, keeping = self._lock, self._keeping
        if lock is None or keeping is None:
            return
        keeping.cancel()
        await asyncio.wait([keeping])
        if not keeping.cancelled():
            keeping.result()
        if lock.is_lost:
            with suppress(errors.KontinueError, TimeoutError):  # mostly it is over; if not, nobody is to wait for it
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._locker.give_back(lock.id, lock.holder)
        lock.check()
        try:
            # Whoever is cancelled here, once more maybe, still gives it back.
            await asyncio.shield(asyncio.ensure_future(self._release(lock, error)))
        except (errors.Held, errors.InvalidState, errors.NotFound) as error:
            raise errors.LockLost(f"{error}: the lock has ended before it was released") from error

    async def __aenter__(self) -> Lock:
        """Take it, and keep it from now on."""
        lock = await self.begin()
        self._body = asyncio.current_task()
        self._cancelling = 0 if self._body is None else self._body.cancelling()
        return lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Release it. What the body raises goes first, but for the cancel that a loss has caused."""
        body, self._body = self._body, None
        is_ours = False
        if self._has_cancelled and body is not None:
            is_ours = body.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        try:
            await self.end(error)
        except errors.KontinueError as failure:
            if error is None or is_ours:
                raise failure from None
        return False

    async def _give_back(self, lock: Lock, error: BaseException | None) -> None:
        del error
        await self._locker.give_back(lock.id, lock.holder)

    async def _keep(self, taken: Taken[Any], lock: Lock) -> None:
        why = await self._locker.keep(taken)
        lock._lost = why  # pyright: ignore[reportPrivateUsage] - read by its holder, written here
        if self._on_loss is not None:
            self._on_loss(lock)
        if self._body is not None:
            self._has_cancelled = True
            self._body.cancel(f"lock {lock.id} is lost")
