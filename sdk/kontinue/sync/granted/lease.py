"""A Lease of ``konductor.io``, asynchronously: one at a time holds it, by priority. Called by users, CLI and workers.

It is asked for as a permit (``asking``), and held, renewed and given back as all locks (``lockable``, ``locker``).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.child_names import child_name
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.leases import LEASES, LeaseRequest, LeaseRequestSpec, LeaseSpec, LeaseStatus, lease_locks
from kontinue.api.konductor.leases import Lease as StoredLease
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.sync.granted.asking import DEFAULT_TTL, Asker, Missed, Words, does_not_wait, until_seen
from kontinue.sync.holding.held import Lock, Scope
from kontinue.sync.holding.holders import holder_name
from kontinue.sync.holding.locker import Taken
from kontinue.sync.locks.lockable import Lockable, named
from kontinue.sync.objects.arguments import require_number, require_ttl, ttl_text
from kontinue.sync.objects.owned import child_meta
from kontinue.sync.objects.waiting import wait_limit
from kontinue.sync.objects.watching import shown

LEASE_LABEL: Final = "lease"
"""Documented label of LeaseRequests."""


class _RequestList(msgspec.Struct, frozen=True):
    items: list[LeaseRequest] | None = None


_decode_requests: Final = reader(_RequestList, what="list of LeaseRequests")


class Lease(Lockable[StoredLease]):
    """One Lease of ``konductor.io`` of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Lease.
        namespace: of the Lease.
        timeout: limit of each call, that of the client; ``acquire`` and ``held`` may have one of their own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, namespace=namespace, resource=requests.KONDUCTOR_LEASES, kind=LEASES)
        what = f"Lease {self.namespace}/{name}"
        self._asker = Asker(
            self._transport,
            requests.LEASE_REQUESTS,
            LeaseRequest,
            self.namespace,
            words=Words(what, lambda why: f"{what} is {why}", f"{what} was not free"),
            retry_for_s=self._retry_for_s,
        )

    @limited_write
    async def create(self, *, ttl: timedelta | None = DEFAULT_TTL, priority: int = 0) -> StoredLease:
        """Create it, or return the one that exists, as it is.

        Args:
            ttl: how long it is held without being renewed; None: until it is released.
            priority: of requests that say nothing about it.

        Raises:
            ApiError: the server refuses, for example a negative priority.
        """
        require_number("priority", priority)
        spec = LeaseSpec(ttl=ttl_text(ttl), priority=priority)
        return await self._create(StoredLease(metadata=ObjectMeta(name=self.name), spec=spec))

    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        priority: int | None = None,
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredLease], object] | None = None,
    ) -> Scope:
        """Hold it in an ``async with``: it is renewed in the background, and released at the end.

        Once it is lost, for example because it could not be renewed within its ttl, the body is cancelled and
        ``LockLost`` is raised. See ``acquire`` for what else is raised, and for the arguments.

        Args:
            timeout: as in ``acquire``.
            ttl: as in ``acquire``.
            holder: as in ``acquire``.
            priority: as in ``acquire``.
            on_loss: called as soon as it is lost.
            on_progress: as in ``acquire``.
        """

        async def take() -> Taken[StoredLease]:
            return await self._acquired(timeout, ttl, holder, priority, on_progress)

        return Scope(self._locker, take, on_loss, timeout=self.timeout)

    async def acquire(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        priority: int | None = None,
        on_progress: Callable[[StoredLease], object] | None = None,
    ) -> Lock:
        """Acquire it for a caller who renews and releases it himself; ``held`` does both.

        Whoever stops waiting, by the timeout or by being cancelled, withdraws his request.

        Args:
            timeout: wait no longer than this, 0: not at all; None: as long as the client's timeout, or for ever.
            ttl: how long it is held without being renewed; None: as the Lease says.
            holder: what it is called by; a ``Holder`` binds it to a Pod or an Execution, whose end releases it. By
                default ``KONDUCTOR_HOLDER_ID``, ``HOSTNAME`` or the host's name.
            priority: the highest is granted first, among equal ones the oldest; None: as the Lease says.
            on_progress: called with the Lease as it is before it is asked for, and each time that it changes until it
                is ours.

        Raises:
            Held: somebody else holds it, and the timeout is 0.
            WaitTimeout: it was not our turn in time.
            InvalidState: the coordinator has denied it, or somebody has deleted the request.
            NotFound: there is no such Lease, or it was deleted meanwhile; or no such holder.
            Unavailable: the server has not answered in time.
            ApiError: the server refuses.
        """
        return Lock(await self._acquired(timeout, ttl, holder, priority, on_progress))

    @limited_write
    async def renew(
        self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None
    ) -> StoredLease:
        """Hold it for its whole ttl again, and return it as it is then.

        Args:
            lock: what ``acquire`` has returned.
            holder: without ``lock``: who holds it, as in ``acquire``.
            token: without ``lock``: its token, so that a later lock of the same holder is not meant.

        Raises:
            Held: somebody else holds it, or it is a later lock.
            InvalidState: nobody holds it.
            ApiError: the server refuses.
        """
        begun_s = asyncio.get_running_loop().time()
        renewed = await self._locker.renew(*named(lock, holder, token))
        if lock is not None:
            lock.taken.term.renewed(begun_s)
        return renewed.state

    @limited_write
    async def release(
        self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None
    ) -> None:
        """Release it; arguments as of ``renew``. The coordinator deletes the request.

        Raises:
            Held: somebody else holds it, or it is a later lock.
            InvalidState: nobody holds it.
            ApiError: the server refuses.
        """
        await self._locker.give_back(*named(lock, holder, token))

    @limited
    async def is_available(self) -> bool:
        """Tell whether nobody holds it.

        Raises:
            NotFound: there is none.
        """
        return (await self.get()).is_available

    @limited
    async def requests(self) -> Sequence[LeaseRequest]:
        """Read its LeaseRequests: that of its holder, those that wait, and those that were denied.

        Raises:
            NotFound: there is no such Lease.
        """
        lease = await self.get()
        request = requests.list_objects(
            requests.LEASE_REQUESTS, self.namespace, field_selector=f"spec.lease={self.name}"
        )
        listed = _decode_requests(await self._transport.send(request, retry_for_s=self._retry_for_s))
        return [one for one in listed.items or () if one.belongs_to(lease)]

    async def status(self) -> LeaseStatus:
        """Read the status; without phase while no coordinator has seen it.

        Raises:
            NotFound: there is none.
        """
        return (await self.get()).status

    async def _acquired(
        self,
        limit: timedelta | None,
        ttl: timedelta | None,
        holder: str | Holder | None,
        priority: int | None,
        on_progress: Callable[[StoredLease], object] | None,
    ) -> Taken[StoredLease]:
        if priority is not None:
            require_number("priority", priority)
        require_ttl("ttl", ttl)
        limit = wait_limit(limit, self.timeout)
        return await until_seen(limit, lambda left: self._asked(left, ttl, holder, priority, on_progress))

    async def _asked(
        self,
        limit: timedelta | None,
        ttl: timedelta | None,
        holder: str | Holder | None,
        priority: int | None,
        on_progress: Callable[[StoredLease], object] | None,
    ) -> Taken[StoredLease]:
        who, length = holder_name(holder), ttl_text(ttl)
        name = child_name(self.name, who, suffix=uuid.uuid4().hex[:12])
        since_s = 0.0
        taken: list[Taken[StoredLease]] = []

        def progress(lease: StoredLease) -> None:
            if on_progress is not None and lease.status.request != name:
                on_progress(lease)

        async def show() -> None:
            what = requests.KONDUCTOR_LEASES, self.namespace, self.name, StoredLease
            await shown(self._transport, *what, progress)

        async def prepare() -> LeaseRequest:
            nonlocal since_s
            lease = await self.get()
            progress(lease)
            bound = await self._asker.bound(holder if isinstance(holder, Holder) else None)
            spec = LeaseRequestSpec(
                lease=self.name,
                holder=who,
                priority=priority,
                ttl=length,
                bound_to=bound,
                no_wait=does_not_wait(limit),
            )
            since_s = asyncio.get_running_loop().time()
            return LeaseRequest(metadata=child_meta(lease, name, label=LEASE_LABEL), spec=spec)

        async def confirm(request: LeaseRequest) -> None:
            taken.append(await self._confirmed(request, since_s))

        shows = show if on_progress is not None else None
        await self._asker.granted(name, prepare, limit=limit, exists=self.get, confirm=confirm, show=shows)
        return taken[0]

    async def _confirmed(self, request: LeaseRequest, since_s: float) -> Taken[StoredLease]:
        """Return the lock, and a time that is not after its grant: others count its ttl from then on.

        Nobody can have granted it before it was asked for. Who has waited for long renews it: then he knows better.
        """
        state = await self.get()
        grant = lease_locks(state).held_by(request.metadata.uid)
        lost = f"Lease {self.namespace}/{self.name} was granted, but has ended meanwhile"
        if grant is None or grant.token != request.status.token:
            raise Missed(lost)
        taken = self._locker.taken(grant, state, since_s)
        if not taken.term.is_due:
            return taken
        try:
            return await self._locker.renew(grant.id, grant.holder, grant.token)
        except (errors.Held, errors.InvalidState) as error:
            raise Missed(lost) from error
