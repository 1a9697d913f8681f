"""What is held while it is held: what its holder may know about it, and a scope that keeps it.

Locks are made by ``kontinue.sync.locks`` and ``kontinue.sync.granted.lease``, what else is held extends the same; the
renewals are ``renewing``'s.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from kontinue import errors
from kontinue.client.limits import limit
from kontinue.client.shared_task import SharedTask
from kontinue.sync.holding.locker import Locker, Taken
from kontinue.sync.holding.renewing import Term
from kontinue.sync.holding.shielded import shielded

DROP_WITHIN_S: Final = 5.0
"""What is lost is tried to be given back for so long. Judgement."""


class Holding:
    """Something that is held, until it is released or lost.

    Attributes:
        holder: who holds it.
    """

    def __init__(self, holder: str, term: Term | None = None) -> None:
        self.holder = holder
        self._term = term
        self._lost = ""

    @property
    def is_lost(self) -> bool:
        """Whether it is known to have ended, or may have: its ttl is over, and it was not renewed.

        That is counted everywhere, also where nobody renews it, as in a process that was forked off. What else may end
        it, such as a name that is taken away by hand, is looked at within its scope only.
        """
        return bool(self._why_lost())

    def check(self) -> None:
        """Do nothing while it is held, as far as ``is_lost`` can tell; nothing is sent.

        Raises:
            LockLost: it has ended, or its ttl is over; the message says why.
        """
        if why := self._why_lost():
            raise errors.LockLost(why)

    def _why_lost(self) -> str:
        return self._lost or ("" if self._term is None else self._term.ended)

    def _lose(self, why: str) -> None:
        self._lost = why


H = TypeVar("H", bound=Holding)


class Lock(Holding):
    """A lock that was taken.

    Attributes:
        holder: who holds it.
        token: grows with each lock of its object; pass it on, so that what you write to can refuse older ones.
        id: of this lock.
    """

    def __init__(self, taken: Taken[Any]) -> None:
        super().__init__(taken.grant.holder, taken.term)
        self.token = taken.grant.token
        self.id = taken.grant.id
        self.taken = taken


class Keeper(abc.ABC, Generic[H]):
    """Holds something from ``begin`` to ``end``, and keeps it. ``async with`` it, and a loss cancels the body.

    Args:
        on_loss: called once it is lost, before the body is cancelled.
        timeout: limit of giving it back, that of the client; None: as long as its requests are tried.
    """

    def __init__(self, on_loss: Callable[[H], object] | None = None, *, timeout: timedelta | None = None) -> None:
        self._on_loss = on_loss
        self._timeout = timeout
        self._held: H | None = None
        self._keeping: SharedTask | None = None
        self._body: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._has_cancelled = False
        self._has_tried_to_release = False

    @abc.abstractmethod
    async def take(self) -> H:
        """Wait for it."""

    @abc.abstractmethod
    async def keep(self, held: H) -> str:
        """Renew it until it is lost; return why. Called again where a program has cancelled it, and holds it still."""

    @abc.abstractmethod
    async def release(self, held: H, error: BaseException | None) -> None:
        """Give it back, told what its holder has raised.

        Raises:
            Held: it is somebody else's.
            InvalidState: it has ended.
            NotFound: it does not exist any more.
            ApiError: the server refuses.
        """

    @abc.abstractmethod
    async def drop(self, held: H) -> None:
        """Give back what was lost, should it stand there still; raises as ``release``."""

    async def begin(self) -> H:
        """Take it, and keep it from now on; without ``async with``, look at ``check()`` of what is returned."""
        held = self._held = await self.take()
        self._has_tried_to_release = False
        self._keeping = SharedTask(
            lambda: self._keep(held),
            name=f"kontinue keeps it for {held.holder}",
            is_needed=lambda: self._body is not None and not self._body.done(),
        )
        self._keeping.start()
        return held

    async def end(self, error: BaseException | None = None) -> None:
        """Stop renewing it, and release it.

        Args:
            error: what its holder has raised.

        Raises:
            LockLost: it was lost meanwhile.
            ApiError: it could not be released.
            CancelledError: the caller was cancelled, and it was given back before, if that is possible.
        """
        held = self._held
        keeping = self._keeping.stop() if self._keeping is not None else None
        if held is None or keeping is None:
            return
        lost = await shielded(lambda: self._end(held, keeping, error), f"giving back what {held.holder} holds")
        if not keeping.cancelled():
            keeping.result()  # what the callback has raised; a SystemExit ends the loop where a task raises it
        if lost:
            raise errors.LockLost(lost)

    async def _end(self, held: H, keeping: asyncio.Task[None], error: BaseException | None) -> str:
        """Return why it was lost, if so."""
        await asyncio.wait([keeping])
        lost = held._lost  # pyright: ignore[reportPrivateUsage]
        if lost:  # a ttl that is over while nobody else has it yet is no loss: giving it back tells
            try:
                async with asyncio.timeout(DROP_WITHIN_S):  # mostly it is over; if not, nobody is to wait for it
                    await self.drop(held)
            except (errors.Held, errors.InvalidState, errors.NotFound):
                pass  # it is not there any more
            except (errors.KontinueError, TimeoutError):
                lost += f"; {held.holder} could not give it back"
            return lost
        was_tried, self._has_tried_to_release = self._has_tried_to_release, True
        try:
            async with limit(self._timeout, f"what {held.holder} holds is released", writes=True):
                await self.release(held, error)
        except (errors.Held, errors.InvalidState, errors.NotFound) as failure:
            if not was_tried:  # else it was probably given back by that
                raise errors.LockLost(f"{failure}: it has ended before it was released") from failure
        return ""

    async def __aenter__(self) -> H:
        """Take it, and keep it from now on."""
        held = await self.begin()
        self._body = asyncio.current_task()
        self._cancelling = 0 if self._body is None else self._body.cancelling()
        return held

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

    async def _keep(self, held: H) -> None:
        try:
            why = await self.keep(held)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody renews it any more: others will have it
            why = f"what {held.holder} holds could not be renewed: {type(error).__name__}: {error}"
        held._lose(why)  # pyright: ignore[reportPrivateUsage] - read by its holder, written here
        try:
            if self._on_loss is not None:
                self._on_loss(held)
        finally:
            if self._body is not None:
                self._has_cancelled = True
                self._body.cancel("what it holds is lost")


class Scope(Keeper[Lock]):
    """Holds a lock from ``begin`` to ``end``.

    Args:
        locker: of the object.
        take: takes the lock.
        on_loss: as of ``Keeper``.
        timeout: as of ``Keeper``.
        release: gives it back, told what its holder has raised; None: it is just released.
    """

    def __init__(
        self,
        locker: Locker[Any],
        take: Callable[[], Awaitable[Taken[Any]]],
        on_loss: Callable[[Lock], object] | None = None,
        *,
        timeout: timedelta | None = None,
        release: Callable[[Lock, BaseException | None], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(on_loss, timeout=timeout)
        self._locker = locker
        self._take = take
        self._release = release

    async def take(self) -> Lock:
        """Wait for the lock."""
        return Lock(await self._take())

    async def keep(self, held: Lock) -> str:
        """Renew it until it is lost; return why."""
        return await self._locker.keep(held.taken)

    async def release(self, held: Lock, error: BaseException | None) -> None:
        """Give it back, as its kind does."""
        if self._release is None:
            await self.drop(held)
        else:
            await self._release(held, error)

    async def drop(self, held: Lock) -> None:
        """Give it back, whatever became of what it was held for."""
        await self._locker.give_back(held.id, held.holder)
