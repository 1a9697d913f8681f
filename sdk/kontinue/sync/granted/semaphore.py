"""A Semaphore, asynchronously: create it, acquire one of its permits, give it back. Called by users, CLI and workers.

A client asks by a Permit object and watches it; the coordinator grants, in the order of creation
(docs/adr/0029-grants-stand-in-one-object.md). Nobody is granted anything while no coordinator runs.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.child_names import child_name
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.semaphores import Permit, PermitPhase, PermitSpec, SemaphoreSpec, SemaphoreStatus
from kontinue.api.konductor.semaphores import Semaphore as StoredSemaphore
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limit as limited_to
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.sync.granted.asking import DEFAULT_TTL, Asker, Missed, Words, does_not_wait, until_seen
from kontinue.sync.granted.permits import HeldPermit, PermitScope, new_permit, permit_name
from kontinue.sync.holding.holders import holder_name
from kontinue.sync.holding.renewing import Term, insisted, renewed_until_lost
from kontinue.sync.objects.arguments import require_bound, require_holder_name, require_number, require_ttl, ttl_text
from kontinue.sync.objects.followed import Followed
from kontinue.sync.objects.removing import remove
from kontinue.sync.objects.stored import Stored
from kontinue.sync.objects.waiting import wait_limit
from kontinue.sync.objects.watching import shown


class _PermitList(msgspec.Struct, frozen=True):
    items: list[Permit] | None = None


_decode_permit: Final = reader(Permit)
_decode_permits: Final = reader(_PermitList, what="list of Permits")


class Semaphore(Stored[StoredSemaphore]):
    """One Semaphore of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Semaphore.
        namespace: of the Semaphore.
        timeout: limit of each call, that of the client; ``acquire`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, requests.SEMAPHORES, StoredSemaphore, namespace=namespace)
        what = f"permit of Semaphore {self.namespace}/{name}"
        words = Words(f"a {what}", lambda _: f"no {what} is free", f"no {what} was free")
        self._asker = Asker(
            self._transport, requests.PERMITS, Permit, self.namespace, words=words, retry_for_s=self._retry_for_s
        )

    @limited_write
    async def create(self, permits: int = 1, *, ttl: timedelta | None = None) -> StoredSemaphore:
        """Create it, or return the one that exists, as it is.

        Args:
            permits: how many may hold one at the same time.
            ttl: how long a permit that says nothing itself is held at most.

        Raises:
            ApiError: the server refuses, for example 0 permits.
        """
        require_number("permits", permits)
        spec = SemaphoreSpec(permits=permits, ttl=ttl_text(ttl))
        return await self._create(StoredSemaphore(metadata=ObjectMeta(name=self.name), spec=spec))

    async def acquire(
        self,
        *,
        holder: str | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
        on_progress: Callable[[StoredSemaphore], object] | None = None,
    ) -> HeldPermit:
        """Wait for a permit, behind those who asked before. It is not renewed: ``hold`` does that.

        Whoever stops waiting, by the timeout or by being cancelled, withdraws.

        Args:
            holder: who asks; by default ``KONDUCTOR_HOLDER_ID``, ``HOSTNAME`` or the host's name.
            timeout: no longer than this, 0: only if one is free; None: as long as the client's timeout, or for ever.
            ttl: how long it is held at most. None: as the Semaphore says, or ten minutes; for ever where it is bound.
            bound_to: a Pod or an Execution of the namespace, whose end gives it back. Without a uid it is the one
                that has the name now.
            on_progress: called with the Semaphore as it is before it is asked, and each time that it changes until the
                permit is ours.

        Raises:
            Held: none is free, and the timeout is 0.
            WaitTimeout: none was free in time.
            InvalidState: the coordinator has denied it, or somebody has deleted the Permit.
            NotFound: there is no such Semaphore, or no such Pod or Execution.
            Unavailable: the server has not answered in time.
            ApiError: the server refuses.
        """
        limit = wait_limit(timeout, self.timeout)
        require_ttl("ttl", ttl)
        require_bound("bound_to", bound_to)
        require_holder_name(holder)
        holder = holder_name(holder)
        return await until_seen(limit, lambda left: self._asked(left, ttl, holder, bound_to, on_progress))

    def hold(
        self,
        *,
        holder: str | None = None,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
        on_loss: Callable[[HeldPermit], object] | None = None,
        on_progress: Callable[[StoredSemaphore], object] | None = None,
    ) -> PermitScope:
        """Hold a permit in an ``async with``: it is renewed in the background, and given back at the end.

        Once it is lost, for example because it could not be renewed within its ttl, the body is cancelled and
        ``LockLost`` is raised. See ``acquire`` for what else is raised.

        Args:
            holder: as in ``acquire``.
            timeout: as in ``acquire``.
            ttl: how long it lasts without being renewed. None: as in ``acquire``.
            bound_to: as in ``acquire``.
            on_loss: called as soon as it is lost.
            on_progress: as in ``acquire``.
        """

        async def take() -> HeldPermit:
            return await self.acquire(
                holder=holder, timeout=timeout, ttl=ttl, bound_to=bound_to, on_progress=on_progress
            )

        return PermitScope(take, self._keep, on_loss, timeout=self.timeout)

    @limited_write
    async def release(self, holder: str | None = None) -> str:
        """Give back the oldest permit of a holder, by default as in ``acquire``; return the name of its Permit.

        Raises:
            NotFound: the holder has none.
            ApiError: the server refuses.
        """
        require_holder_name(holder)
        holder = holder_name(holder)
        held = [one for one in await self.permits() if one.spec.holder == holder]
        held = [one for one in held if one.status.phase is PermitPhase.GRANTED]
        if not held:
            raise errors.NotFound(
                f"{holder} holds no permit of Semaphore {self.namespace}/{self.name}", status=404, reason="NotFound"
            )
        oldest = min(held, key=lambda one: (str(one.status.acquired_at), one.metadata.name))
        await self._delete(oldest)
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
    async def status(self) -> SemaphoreStatus:
        """Read the status; without phase and numbers while no coordinator has seen it.

        Raises:
            NotFound: there is no such Semaphore.
        """
        return (await self.get()).status

    async def _asked(
        self,
        limit: timedelta | None,
        ttl: timedelta | None,
        holder: str,
        bound_to: Holder | None,
        on_progress: Callable[[StoredSemaphore], object] | None,
    ) -> HeldPermit:
        name = child_name(self.name, holder, suffix=uuid.uuid4().hex[:12])
        since_s = 0.0
        held: list[HeldPermit] = []

        def progress(semaphore: StoredSemaphore) -> None:
            if on_progress is not None and all(one.name != name for one in semaphore.status.granted):
                on_progress(semaphore)

        async def show() -> None:
            what = requests.SEMAPHORES, self.namespace, self.name, StoredSemaphore
            await shown(self._transport, *what, progress)

        async def prepare() -> Permit:
            nonlocal since_s
            semaphore = await self.get()
            progress(semaphore)
            says_nothing = ttl is None and bound_to is None and ttl_of(semaphore.spec.ttl) is None
            length = DEFAULT_TTL if says_nothing else ttl
            text = ttl_text(length)
            bound, no_wait = await self._asker.bound(bound_to), does_not_wait(limit)
            spec = PermitSpec(semaphore=self.name, holder=holder, ttl=text, bound_to=bound, no_wait=no_wait)
            since_s = asyncio.get_running_loop().time()
            return new_permit(name, semaphore, spec)

        async def confirm(permit: Permit) -> None:
            held.append(await self._confirmed(permit, since_s))

        shows = show if on_progress is not None else None
        await self._asker.granted(name, prepare, limit=limit, exists=self.get, confirm=confirm, show=shows)
        return held[0]

    async def _confirmed(self, permit: Permit, since_s: float) -> HeldPermit:
        """Return what is held, and a time that is not after its grant; who hears of it late renews it first."""
        status = permit.status
        ttl = None
        if status.expires_at is not None and status.acquired_at is not None:
            ttl = status.expires_at - status.acquired_at
        loop = asyncio.get_running_loop()
        term = Term(permit_name(permit), ttl, since_s, loop.time)
        renew = self._renewing(permit)
        if ttl is not None and term.is_due:
            since_s = loop.time()
            lost = f"{term.what} was granted, but has ended meanwhile"
            try:
                permit = await insisted(renew, ttl=ttl)
            except errors.NotFound as error:
                raise Missed(lost) from error
            if not permit.is_granted:
                raise Missed(lost)
            term.renewed(since_s)
        return HeldPermit(permit, lambda: self._given_back(permit), renew, term)

    async def _given_back(self, permit: Permit) -> bool:
        meta = permit.metadata
        request = requests.get(requests.PERMITS, self.namespace, meta.name)
        async with limited_to(self.timeout, "release", writes=True):
            try:
                stored = _decode_permit(await self._transport.send(request, retry_for_s=self._retry_for_s))
            except errors.NotFound:
                return False
            if stored.metadata.uid != meta.uid:
                return False
            await self._delete(stored)
            return stored.is_granted

    async def _delete(self, permit: Permit) -> None:
        await remove(self._transport, requests.PERMITS, permit.metadata, retry_for_s=self._retry_for_s)

    async def _keep(self, held: HeldPermit) -> str:
        what = held.term.what
        try:
            ended = await renewed_until_lost(
                Followed(self._transport, requests.PERMITS, Permit, self.namespace, held.name),
                held.permit,
                is_held=lambda one: one.is_granted,
                renew=held._renew,  # pyright: ignore[reportPrivateUsage] - it does not tell the term
                term=held.term,
            )
        except TimeoutError:
            return f"{what} could not be renewed within its ttl"
        except errors.KontinueError as error:
            return str(error)
        return f"{what} is {ended.status.phase}, before the work that it was for has ended"

    def _renewing(self, permit: Permit) -> Callable[[float], Awaitable[Permit]]:
        """Return what renews a permit, once each time that it is called."""
        renewals = count(permit.spec.renewals + 1)

        async def renew(try_s: float) -> Permit:
            patch = {"spec": {"renewals": next(renewals)}}
            request = requests.merge_patch(requests.PERMITS, self.namespace, permit.metadata.name, patch)
            return _decode_permit(await self._transport.send(request, retries=False, timeout_s=try_s))

        return renew
