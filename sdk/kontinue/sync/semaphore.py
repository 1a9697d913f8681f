"""A Semaphore, asynchronously: create it, acquire one of its permits, give it back. Called by users and by the CLI.

A client asks by a Permit object and watches it; the coordinator grants, in the order of creation
(docs/adr/0029-grants-stand-in-one-object.md). Nobody is granted anything while no coordinator runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.child_names import child_name
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.semaphores import Permit, PermitPhase, PermitSpec, SemaphoreSpec, SemaphoreStatus
from kontinue.api.konductor.semaphores import Semaphore as StoredSemaphore
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.sync.holders import found as found_holder
from kontinue.sync.permits import HeldPermit, new_permit
from kontinue.sync.watching import states

RETRY_S: Final = 30.0
"""How long a request is tried when the client has no timeout; as the client's other calls."""
WITHDRAW_S: Final = 5.0
"""How long a Permit that nobody waits for any more is tried to be deleted. Judgement."""
DECIDE_S: Final = 10.0
"""How long somebody who only tries waits for the coordinator's decision. Judgement."""
DEFAULT_TTL: Final = timedelta(minutes=10)
"""As documented: of a permit that says nothing, of a Semaphore that says nothing."""


class _PermitList(msgspec.Struct, frozen=True):
    items: list[Permit] | None = None


_decode: Final = reader(StoredSemaphore)
_decode_permit: Final = reader(Permit)
_decode_permits: Final = reader(_PermitList, what="list of Permits")


class Semaphore:
    """One Semaphore of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Semaphore.
        namespace: of the Semaphore.
        timeout: limit of each call, that of the client; ``acquire`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        self.name = name
        self.namespace = namespace or client.namespace
        self._transport = client.kube
        self.timeout = client.timeout
        self._retry_for_s = RETRY_S if client.timeout is None else client.timeout.total_seconds()

    @limited_write
    async def create(self, permits: int = 1, *, ttl: timedelta | None = None) -> StoredSemaphore:
        """Create it, or return the one that exists, as it is.

        Args:
            permits: how many may hold one at the same time.
            ttl: how long a permit that says nothing itself is held at most.

        Raises:
            ApiError: the server refuses, for example 0 permits.
        """
        spec = SemaphoreSpec(permits=permits, ttl=durations.format_(ttl) if ttl else "")
        semaphore = StoredSemaphore(metadata=ObjectMeta(name=self.name), spec=spec)
        request = requests.create(requests.SEMAPHORES, self.namespace, semaphore)
        try:
            return _decode(await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s))
        except errors.AlreadyExists:
            return await self.get()

    async def acquire(
        self,
        *,
        holder: str = "",
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
    ) -> HeldPermit:
        """Wait for a permit, behind those who asked before.

        Whoever stops waiting, by the timeout or by being cancelled, withdraws.

        Args:
            holder: who asks; the host's name by default.
            timeout: no longer than this, 0: only if one is free; None: as long as the client's timeout, or for ever.
            ttl: how long it is held at most. None: as the Semaphore says, or ten minutes; for ever where it is bound.
            bound_to: a Pod or an Execution of the namespace, whose end gives it back. Without a uid it is the one
                that has the name now.

        Raises:
            Held: none is free, and the timeout is 0.
            WaitTimeout: none was free in time.
            InvalidState: the coordinator has denied it, or somebody has deleted the Permit.
            NotFound: there is no such Semaphore, or no such Pod or Execution.
            ApiError: the server refuses.
        """
        limit = self.timeout if timeout is None else timeout
        no_wait = limit is not None and limit <= timedelta()
        patience = DECIDE_S if no_wait else None if limit is None else limit.total_seconds()
        token = uuid.uuid4().hex[:12]
        name = child_name(self.name, holder := holder or socket.gethostname(), suffix=token)
        scope = asyncio.timeout(patience)
        asking = asyncio.ensure_future(self._ask(name, holder=holder, ttl=ttl, bound_to=bound_to, no_wait=no_wait))
        try:
            async with scope:
                await asyncio.shield(asking)
                granted = self._granted(await self._decided(name))
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self._withdraw(name, asking)))
            if isinstance(error, TimeoutError) and scope.expired():
                raise self._timed_out(limit or timedelta(), no_wait=no_wait) from error
            raise
        return HeldPermit(granted, lambda: self._given_back(granted))

    @asynccontextmanager
    async def hold(
        self,
        *,
        holder: str = "",
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
    ) -> AsyncGenerator[HeldPermit]:
        """Hold a permit for the length of a ``with`` block; see ``acquire``.

        Raises:
            InvalidState: at the end of a block that was successful: the permit had expired meanwhile, so others may
                have had theirs beside it.
        """
        async with await self.acquire(holder=holder, timeout=timeout, ttl=ttl, bound_to=bound_to) as held:
            yield held

    @limited_write
    async def release(self, holder: str = "") -> str:
        """Give back the oldest permit of a holder, the host's name by default; return the name of its Permit.

        Raises:
            NotFound: the holder has none.
            ApiError: the server refuses.
        """
        holder = holder or socket.gethostname()
        held = [one for one in await self.permits() if one.spec.holder == holder]
        held = [one for one in held if one.status.phase is PermitPhase.GRANTED]
        if not held:
            raise errors.NotFound(
                f"{holder} holds no permit of Semaphore {self.namespace}/{self.name}", status=404, reason="NotFound"
            )
        oldest = min(held, key=lambda one: (str(one.status.acquired_at), one.metadata.name))
        await self._delete(oldest, retry_for_s=self._retry_for_s)
        return oldest.metadata.name

    @limited
    async def permits(self) -> Sequence[Permit]:
        """Read its Permits: those that hold one, those that wait, and those that are over.

        Raises:
            NotFound: there is no such Semaphore.
        """
        semaphore = await self.get()
        request = requests.list_objects(requests.PERMITS, self.namespace, field_selector=f"spec.semaphore={self.name}")
        listed = _decode_permits(await self._transport.send(request, retry_for_s=self._retry_for_s))
        return [one for one in listed.items or () if one.belongs_to(semaphore)]

    @limited
    async def get(self) -> StoredSemaphore:
        """Read the whole object.

        Raises:
            NotFound: there is none.
        """
        request = requests.get(requests.SEMAPHORES, self.namespace, self.name)
        return _decode(await self._transport.send(request, retry_for_s=self._retry_for_s))

    @limited
    async def status(self) -> SemaphoreStatus:
        """Read the status; without phase and numbers while no coordinator has seen it.

        Raises:
            NotFound: there is no such Semaphore.
        """
        return (await self.get()).status

    @limited_write
    async def delete(self) -> None:
        """Delete it, and with it its Permits.

        Raises:
            NotFound: there is none.
        """
        request = requests.delete(requests.SEMAPHORES, self.namespace, self.name)
        await self._transport.send(request, retry_for_s=self._retry_for_s)

    async def _ask(
        self, name: str, *, holder: str, ttl: timedelta | None, bound_to: Holder | None, no_wait: bool
    ) -> None:
        semaphore = await self.get()
        if bound_to is not None and not bound_to.uid:
            bound_to = await found_holder(bound_to, self._transport, self.namespace, retry_for_s=self._retry_for_s)
        if ttl is None and bound_to is None and not semaphore.spec.ttl:
            ttl = DEFAULT_TTL
        length = durations.format_(ttl) if ttl else ""
        spec = PermitSpec(semaphore=self.name, holder=holder, ttl=length, bound_to=bound_to, no_wait=no_wait)
        request = requests.create(requests.PERMITS, self.namespace, new_permit(name, semaphore, spec))
        try:
            await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s)
        except errors.AlreadyExists:
            return  # ours: its answer got lost

    def _granted(self, decided: Permit) -> Permit:
        if decided.status.phase is PermitPhase.GRANTED:
            return decided
        if decided.spec.no_wait and decided.status.phase is PermitPhase.DENIED:
            raise errors.Held(f"no permit of Semaphore {self.namespace}/{self.name} is free")
        why = decided.status.message or "it has expired already"
        raise errors.InvalidState(f"Permit {self.namespace}/{decided.metadata.name} is not granted: {why}")

    async def _decided(self, name: str) -> Permit:
        async with aclosing(states(self._transport, requests.PERMITS, self.namespace, name, Permit)) as found:
            async for permit in found:
                if permit is None:
                    break
                if permit.status.phase is not None:
                    return permit
        await self.get()  # or NotFound: its Permits are deleted with it
        raise errors.InvalidState(f"Permit {self.namespace}/{name} was deleted while it waited")

    async def _withdraw(self, name: str, asking: asyncio.Future[None]) -> None:
        # What is still being created could be created after it was deleted.
        await asyncio.wait([asking], timeout=WITHDRAW_S)
        if not asking.done():
            asking.cancel()
        elif (error := asking.exception()) is not None and isinstance(error, errors.ApiError) and error.status:
            return  # refused
        request = requests.delete(requests.PERMITS, self.namespace, name)
        with contextlib.suppress(errors.KontinueError):  # then it ends with its ttl
            await self._transport.send(request, retry_for_s=WITHDRAW_S, timeout_s=WITHDRAW_S)

    async def _given_back(self, permit: Permit) -> bool:
        meta = permit.metadata
        request = requests.get(requests.PERMITS, self.namespace, meta.name)
        try:
            stored = _decode_permit(await self._transport.send(request, retry_for_s=self._retry_for_s))
            if stored.metadata.uid != meta.uid:
                return False
            await self._delete(stored, retry_for_s=self._retry_for_s)
        except errors.NotFound:
            return False
        return stored.status.phase is PermitPhase.GRANTED

    async def _delete(self, permit: Permit, *, retry_for_s: float) -> None:
        meta = permit.metadata
        request = requests.delete(requests.PERMITS, self.namespace, meta.name, uid=meta.uid)
        await self._transport.send(request, retry_for_s=retry_for_s)

    def _timed_out(self, limit: timedelta, *, no_wait: bool) -> errors.WaitTimeout:
        what = f"Semaphore {self.namespace}/{self.name}"
        if no_wait:
            return errors.WaitTimeout(f"nobody has decided about a permit of {what}: does a coordinator run?")
        return errors.WaitTimeout(f"no permit of {what} was free within {durations.format_(limit)}")
