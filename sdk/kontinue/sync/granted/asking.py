"""Asks by an object of its own, and waits for what the coordinator decides. For ``semaphore`` and ``lease``.

Permits and LeaseRequests are created, watched, and deleted when nobody waits any more. What is granted when is the
coordinator's business (``kontinue_engine.primitives``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.group import Holder
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.sync.granted.shapes import Asking, LookedAfter
from kontinue.sync.holding.holders import found as found_holder
from kontinue.sync.holding.shielded import shielded
from kontinue.sync.objects.waiting import unanswered
from kontinue.sync.objects.watching import Gone, not_looked_after, states

TRIES: Final = 5
"""Of who is granted it and cannot see that before it has ended. Judgement: he may be bound to the dead."""
WITHDRAW_S: Final = 5.0
"""How long an object that nobody waits for any more is tried to be deleted. Judgement."""
TRIES_TO_WITHDRAW: Final = 2
"""At least, in that time: one answer may get lost."""
DECIDE_S: Final = 10.0
"""How long somebody who only tries waits for the coordinator's decision. Judgement."""
LOOK_S: Final = 1.0
"""How long it is looked why nothing was granted in time. Judgement."""
DEFAULT_TTL: Final = timedelta(minutes=10)
"""As documented: of a permit for which nobody says anything, and of a Lease."""


class Missed(errors.InvalidState):
    """It may have been granted, and has ended, while who asked could not see it."""


C = TypeVar("C", bound=Asking)
T = TypeVar("T")


class Words(msgspec.Struct, frozen=True):
    """How errors say what is asked for.

    Attributes:
        what: ``a permit of Semaphore ...``.
        is_held: whole sentence, of why it is not free.
        was_held: beginning of a sentence that ends with a time.
    """

    what: str
    is_held: Callable[[str], str]
    was_held: str


class _Course(msgspec.Struct):
    """How far somebody has got who asks."""

    asking: asyncio.Future[None] | None = None
    """Creates what asks; None before."""
    is_granted: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether it stands there, and was not seen to be granted."""
        asking = self.asking
        is_there = asking is not None and asking.done() and not asking.cancelled() and asking.exception() is None
        return is_there and not self.is_granted


class Asker(Generic[C]):
    """Asks for a part of one object.

    Args:
        transport: to the API server.
        resource: the kind of what asks.
        child_type: the same, as a struct.
        namespace: where.
        words: of errors.
        retry_for_s: how long a request is tried.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        child_type: type[C],
        namespace: str,
        *,
        words: Words,
        retry_for_s: float,
    ) -> None:
        self._transport = transport
        self._resource = resource
        self._child_type = child_type
        self._namespace = namespace
        self._words = words
        self._retry_for_s = retry_for_s

    async def granted(
        self,
        name: str,
        prepare: Callable[[], Awaitable[C]],
        *,
        limit: timedelta | None,
        exists: Callable[[], Awaitable[LookedAfter]],
        confirm: Callable[[C], Awaitable[object]] | None = None,
        show: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> C:
        """Ask, and return the object once it is granted. Whoever stops waiting withdraws.

        Args:
            name: of the object that asks, which nobody else uses.
            prepare: makes it.
            limit: wait no longer; 0: only for a decision, of an object that does not wait; None: for ever.
            exists: reads what is asked of, or raises NotFound.
            confirm: called once it is granted; if it raises, it is given back.
            show: runs while it waits; what it raises ends the wait.

        Raises:
            Held: somebody else has it, and the object does not wait.
            WaitTimeout: it was not granted in time.
            Missed: it is over, and it was not seen how.
            InvalidState: it was denied, or somebody has deleted the object.
            NotFound: what it asks of does not exist.
            Unavailable: the server has not answered in time.
            ApiError: the server refuses.
        """
        no_wait = does_not_wait(limit)
        if no_wait:
            limit = timedelta(seconds=min(DECIDE_S, self._retry_for_s))
        scope = asyncio.timeout(None if limit is None else limit.total_seconds())
        course = _Course()
        try:
            async with scope:
                wanted = await prepare()
                while course.asking is None or course.asking.cancelled():  # with all tasks of a program, but not we
                    course.asking = asyncio.ensure_future(self._ask(wanted))
                    await asyncio.wait([course.asking])
                course.asking.result()
                granted = self._accepted(await _while_shown(lambda: self._decided(name, exists), show))
                course.is_granted = True
                if confirm is not None:
                    await confirm(granted)
                return granted
        except BaseException as error:
            is_over = isinstance(error, TimeoutError) and scope.expired()
            unseen = asyncio.ensure_future(_is_unseen(exists)) if is_over and course.is_waiting else None
            is_gone = await shielded(lambda: self._withdraw(name, course.asking), f"withdrawing {name}")
            if is_over:
                over = await self._timed_out(limit or timedelta(), unseen, no_wait=no_wait)
                raise (over if is_gone else type(over)(f"{over}; {self._left_behind(name)}")) from error
            raise

    async def bound(self, holder: Holder | None) -> Holder | None:
        """Return a holder with its uid.

        Raises:
            NotFound: there is none.
        """
        if holder is None or holder.uid:
            return holder
        return await found_holder(holder, self._transport, self._namespace, retry_for_s=self._retry_for_s)

    async def _ask(self, wanted: C) -> None:
        request = requests.create(self._resource, self._namespace, wanted)
        with contextlib.suppress(errors.AlreadyExists):  # ours: its answer got lost
            await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s)

    def _accepted(self, decided: C) -> C:
        if decided.is_granted:
            return decided
        why, name = decided.status.message, decided.metadata.name
        if why and decided.spec.no_wait:
            raise errors.Held(self._words.is_held(why))
        error = errors.InvalidState if why else Missed
        why = why or "it has expired already"
        raise error(f"{self._resource.kind} {self._namespace}/{name} is not granted: {why}")

    async def _decided(self, name: str, exists: Callable[[], Awaitable[object]]) -> C:
        gone = Gone.MISSING
        async with aclosing(states(self._transport, self._resource, self._namespace, name, self._child_type)) as found:
            async for one in found:
                if isinstance(one, Gone):
                    gone = one
                    break
                if one.is_decided:
                    return one
        await exists()  # or NotFound: what asks is deleted with it
        error = Missed if gone is Gone.MISSING else errors.InvalidState
        raise error(f"{self._resource.kind} {self._namespace}/{name} was deleted while it waited")

    async def _withdraw(self, name: str, asking: asyncio.Future[None] | None) -> bool:
        """Return whether it does not stand there any more, as far as that is known."""
        if asking is None:
            return True
        # What is still being created could be created after it was deleted.
        await asyncio.wait([asking], timeout=WITHDRAW_S)
        if not asking.done():
            asking.cancel()
            await asyncio.wait([asking])
        elif asking.cancelled():
            pass  # as if its answer had got lost
        elif isinstance(error := asking.exception(), errors.ApiError) and not isinstance(error, errors.Unavailable):
            return True  # refused; after Unavailable it may be there, whatever the last try was answered
        request = requests.delete(self._resource, self._namespace, name)
        try:
            async with asyncio.timeout(WITHDRAW_S):
                await self._transport.send(request, retry_for_s=WITHDRAW_S, timeout_s=WITHDRAW_S / TRIES_TO_WITHDRAW)
        except errors.NotFound:
            return True
        except (errors.KontinueError, TimeoutError):
            return False  # then it ends with its ttl
        return True

    def _left_behind(self, name: str) -> str:
        what = f"{self._resource.kind} {self._namespace}/{name}"
        return f"{what} could not be withdrawn: if it is granted, nobody has it until its ttl is over"

    async def _timed_out(
        self, limit: timedelta, unseen: asyncio.Future[bool] | None, *, no_wait: bool
    ) -> errors.KontinueError:
        if unseen is None:  # it was not asked for, or it was granted, and that could not be confirmed
            return unanswered(self._words.what, limit)
        if await unseen or no_wait:
            return not_looked_after(self._words.what, self._namespace)
        return errors.WaitTimeout(f"{self._words.was_held} within {durations.format_(limit)}")


async def _while_shown(
    decide: Callable[[], Coroutine[Any, Any, T]], show: Callable[[], Coroutine[Any, Any, None]] | None
) -> T:
    """Return what is decided; meanwhile ``show`` runs, and may end before."""
    if show is None:
        return await decide()
    decided, showing = asyncio.ensure_future(decide()), asyncio.ensure_future(show())
    try:
        await asyncio.wait([decided, showing], return_when=asyncio.FIRST_COMPLETED)
        if not decided.done() and not showing.cancelled():
            showing.result()
        await asyncio.wait([decided])
        while decided.cancelled():  # with all tasks of a program, but not we
            decided = asyncio.ensure_future(decide())
            await asyncio.wait([decided])
        return decided.result()
    finally:
        for one in (decided, showing):
            one.cancel()
        await asyncio.wait([decided, showing])
        for one in (decided, showing):
            if not one.cancelled():
                one.exception()  # seen


async def _is_unseen(exists: Callable[[], Awaitable[LookedAfter]]) -> bool:
    """Tell whether no coordinator has looked after what was asked of; False if that cannot be told."""
    with contextlib.suppress(errors.KontinueError, TimeoutError):
        async with asyncio.timeout(LOOK_S):
            return (await exists()).status.phase is None
    return False


async def until_seen(limit: timedelta | None, ask: Callable[[timedelta | None], Awaitable[T]]) -> T:
    """Ask again, within the limit, if it was granted and has ended before that could be seen.

    Raises:
        Missed: all tries have ended so.
    """
    loop = asyncio.get_running_loop()
    ends_s = None if limit is None else loop.time() + limit.total_seconds()
    for _ in range(TRIES - 1):
        try:
            return await ask(limit)
        except Missed:
            if ends_s is not None:
                if (left_s := ends_s - loop.time()) <= 0:
                    raise
                limit = timedelta(seconds=left_s)
    return await ask(limit)


def does_not_wait(limit: timedelta | None) -> bool:
    """Tell whether somebody only tries."""
    return limit is not None and limit <= timedelta()
