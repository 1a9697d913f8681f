"""Asks by an object of its own, and waits for what the coordinator decides. Called by ``semaphore`` and ``lease``.

Permits and LeaseRequests are created, watched, and deleted when nobody waits any more. What is granted when is the
coordinator's business (``kontinue_engine.primitives``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.child_names import label_value
from kontinue.api.konductor.group import Holder
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.kube import requests
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.options import require_duration
from kontinue.sync.holding.holders import found as found_holder
from kontinue.sync.objects.watching import Gone, not_looked_after, states

TRIES: Final = 5
"""Of who is granted it and cannot see that before it has ended. Judgement: he may be bound to the dead."""
WITHDRAW_S: Final = 5.0
"""How long an object that nobody waits for any more is tried to be deleted. Judgement."""
DECIDE_S: Final = 10.0
"""How long somebody who only tries waits for the coordinator's decision. Judgement."""
LOOK_S: Final = 1.0
"""How long it is looked why nothing was granted in time. Judgement."""
DEFAULT_TTL: Final = timedelta(minutes=10)
"""As documented: of a permit for which nobody says anything, and of a Lease."""


class Missed(errors.InvalidState):
    """It may have been granted, and has ended, while who asked could not see it."""


class Spec(Protocol):
    """What is asked for, as far as it is the same for all kinds."""

    @property
    def no_wait(self) -> bool:
        """Whether it is denied at once if nothing is free."""
        ...


class Status(Protocol):
    """What was decided."""

    @property
    def message(self) -> str:
        """Why it was denied."""
        ...


class Asking(HasMetadata, Protocol):
    """An object that asks."""

    @property
    def spec(self) -> Spec:
        """What for."""
        ...

    @property
    def status(self) -> Status:
        """What was decided."""
        ...

    @property
    def is_decided(self) -> bool:
        """Whether it waits no longer."""
        ...

    @property
    def is_granted(self) -> bool:
        """Whether it has what it asks for."""
        ...


class Parent(HasMetadata, Protocol):
    """An object that is asked of."""

    @property
    def api_version(self) -> str:
        """Its group and version."""
        ...

    @property
    def kind(self) -> str:
        """Its kind."""
        ...


C = TypeVar("C", bound=Asking)
T = TypeVar("T")


class Decided(Protocol):
    """A status that a coordinator writes."""

    @property
    def phase(self) -> object:
        """None while no coordinator has looked after the object."""
        ...


class LookedAfter(Protocol):
    """What is asked of, as far as it says whether a coordinator has seen it."""

    @property
    def status(self) -> Decided:
        """What the coordinator has written."""
        ...


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
    ) -> C:
        """Ask, and return the object once it is granted. Whoever stops waiting withdraws.

        Args:
            name: of the object that asks, which nobody else uses.
            prepare: makes it.
            limit: wait no longer; 0: only for a decision, of an object that does not wait; None: for ever.
            exists: reads what is asked of, or raises NotFound.
            confirm: called once it is granted; if it raises, it is given back.

        Raises:
            Held: somebody else has it, and the object does not wait.
            WaitTimeout: it was not granted in time.
            Missed: it is over, and it was not seen how.
            InvalidState: it was denied, or somebody has deleted the object.
            NotFound: what it asks of does not exist.
            ApiError: the server refuses.
        """
        no_wait = does_not_wait(limit)
        scope = asyncio.timeout(DECIDE_S if no_wait else None if limit is None else limit.total_seconds())
        asking = asyncio.ensure_future(self._ask(prepare))
        try:
            async with scope:
                await asyncio.shield(asking)
                granted = self._accepted(await self._decided(name, exists))
                if confirm is not None:
                    await confirm(granted)
                return granted
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self._withdraw(name, asking)))
            if isinstance(error, TimeoutError) and scope.expired():
                raise await self._timed_out(limit or timedelta(), asking, exists, no_wait=no_wait) from error
            raise

    async def bound(self, holder: Holder | None) -> Holder | None:
        """Return a holder with its uid.

        Raises:
            NotFound: there is none.
        """
        if holder is None or holder.uid:
            return holder
        return await found_holder(holder, self._transport, self._namespace, retry_for_s=self._retry_for_s)

    async def _ask(self, prepare: Callable[[], Awaitable[C]]) -> None:
        request = requests.create(self._resource, self._namespace, await prepare())
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

    async def _withdraw(self, name: str, asking: asyncio.Future[None]) -> None:
        # What is still being created could be created after it was deleted.
        await asyncio.wait([asking], timeout=WITHDRAW_S)
        if not asking.done():
            asking.cancel()
            await asyncio.wait([asking])
        elif isinstance(error := asking.exception(), errors.ApiError) and not isinstance(error, errors.Unavailable):
            return  # refused; after Unavailable it may be there, whatever the last try was answered
        request = requests.delete(self._resource, self._namespace, name)
        with contextlib.suppress(errors.KontinueError):  # then it ends with its ttl
            await self._transport.send(request, retry_for_s=WITHDRAW_S, timeout_s=WITHDRAW_S)

    async def _timed_out(
        self,
        limit: timedelta,
        asking: asyncio.Future[None],
        exists: Callable[[], Awaitable[LookedAfter]],
        *,
        no_wait: bool,
    ) -> errors.WaitTimeout:
        was_held = f"{self._words.was_held} within {durations.format_(limit)}"
        if asking.cancelled() or asking.exception() is not None:
            return errors.WaitTimeout(f"{was_held}: the API server has not answered")
        if no_wait or await _is_unseen(exists):
            return not_looked_after(self._words.what)
        return errors.WaitTimeout(was_held)


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
    require_duration("timeout", limit)
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


def child_meta(parent: Parent, name: str, *, label: str) -> ObjectMeta:
    """Return the metadata of an object that belongs to ``parent``, is deleted with it and found by ``label``."""
    meta = parent.metadata
    owner = OwnerReference(
        api_version=parent.api_version, kind=parent.kind, name=meta.name, uid=meta.uid, controller=True
    )
    return ObjectMeta(name=name, labels={label: label_value(meta.name)}, owner_references=[owner])
