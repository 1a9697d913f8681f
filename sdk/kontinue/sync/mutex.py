"""A Mutex, asynchronously: one at a time holds it, the others take it in turn. Called by users and by the CLI.

The writes and waits are ``kontinue.sync.locker``'s, what a holder sees is ``kontinue.sync.held``'s.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor_locks import MAX_HOLDER, MUTEXES, MutexSpec, ttl_of
from kontinue.api.konductor_locks import Mutex as StoredMutex
from kontinue.api.konductor_v1 import Holder
from kontinue.api.locking import Claim
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue.sync.held import Lock, Scope
from kontinue.sync.holders import found
from kontinue.sync.locker import Locker, Taken

RETRY_S: Final = 30.0
"""How long an operation is tried when the client has no timeout; as the client's other calls."""

_decode: Final = reader(StoredMutex)


class Mutex:
    """One Mutex of an API server. It need not exist yet.

    Attributes:
        name: of the Mutex.
        namespace: of the Mutex.
        timeout: limit of each call, that of the client; ``lock`` and ``held`` may have one of their own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        self.name = name
        self.namespace = namespace or client.namespace
        self._transport = client.kube
        self.timeout = client.timeout
        self._retry_for_s = RETRY_S if client.timeout is None else client.timeout.total_seconds()
        self._locker = Locker(
            self._transport, requests.MUTEXES, MUTEXES, self.namespace, name, retry_for_s=self._retry_for_s
        )

    @limited
    async def create(self, *, ttl: timedelta | None = None) -> StoredMutex:
        """Create it, or return the one that exists, as it is.

        Args:
            ttl: how long a lock lasts that is not renewed; None: until it is unlocked.

        Raises:
            ApiError: the server refuses.
        """
        spec = MutexSpec(ttl=durations.format_(ttl) if ttl else "")
        request = requests.create(
            requests.MUTEXES, self.namespace, StoredMutex(metadata=ObjectMeta(name=self.name), spec=spec)
        )
        try:
            return _decode(await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s))
        except errors.AlreadyExists:
            return await self.get()

    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder = "",
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredMutex], object] | None = None,
    ) -> Scope:
        """Hold it in an ``async with``: it is renewed in the background, and unlocked at the end.

        Once it is lost, for example because it could not be renewed within its ttl, the body is cancelled and
        ``LockLost`` is raised. See ``lock`` for what else is raised, and for the arguments.

        Args:
            timeout: as in ``lock``.
            ttl: as in ``lock``.
            holder: as in ``lock``.
            on_loss: called as soon as it is lost.
            on_progress: as in ``lock``.
        """

        async def take() -> Taken[StoredMutex]:
            return await self._take(timeout, ttl, holder, on_progress)

        return Scope(self._locker, take, on_loss)

    async def lock(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        holder: str | Holder = "",
        on_progress: Callable[[StoredMutex], object] | None = None,
    ) -> Lock:
        """Lock it, once it is our turn, for a caller who unlocks it himself. It is not renewed: ``held`` does that.

        Args:
            timeout: wait no longer than this, 0: not at all; None: as long as the client's timeout, or for ever.
            ttl: how long the lock lasts without renewal; None: the Mutex's own ttl.
            holder: what it is called by; a ``Holder`` binds it to a Pod or an Execution, whose end unlocks it. By
                default ``KONDUCTOR_HOLDER_ID``, else the host's name.
            on_progress: called with each state in which somebody else is first.

        Raises:
            Held: somebody else holds it, and the timeout is 0.
            WaitTimeout: it was not our turn in time; the message tells who holds it.
            InvalidState: too many wait already.
            NotFound: there is no such Mutex, or it was deleted meanwhile; or no such holder.
            ApiError: the server refuses.
        """
        return Lock(await self._take(timeout, ttl, holder, on_progress))

    @limited
    async def unlock(self, lock: Lock | None = None, *, holder: str | Holder = "", token: int | None = None) -> None:
        """Unlock it.

        Args:
            lock: what ``lock`` has returned, perhaps in another task: nobody's later lock is released by mistake.
            holder: without ``lock``: who holds it, as in ``lock``.
            token: without ``lock``: its token, so that a later lock of the same holder stays.

        Raises:
            Held: somebody else holds it, or it is a later lock.
            InvalidState: nobody holds it.
            ApiError: the server refuses.
        """
        if lock is not None:
            await self._locker.give_back(lock.id, lock.holder, lock.token)
        else:
            await self._locker.give_back("", holder_name(holder), token)

    @limited
    async def is_locked(self) -> bool:
        """Tell whether somebody holds it.

        Raises:
            NotFound: there is none.
        """
        return bool((await self.get()).status.holder)

    @limited
    async def get(self) -> StoredMutex:
        """Read the whole object.

        Raises:
            NotFound: there is none.
        """
        return await self._locker.changes.read()

    @limited
    async def delete(self) -> None:
        """Delete it, if it exists; who holds it or waits for it is told.

        Raises:
            ApiError: the server refuses.
        """
        with suppress(errors.NotFound):
            request = requests.delete(requests.MUTEXES, self.namespace, self.name)
            await self._transport.send(request, retry_for_s=self._retry_for_s)

    async def _take(
        self,
        limit: timedelta | None,
        ttl: timedelta | None,
        holder: str | Holder,
        on_progress: Callable[[StoredMutex], object] | None,
    ) -> Taken[StoredMutex]:
        claim = await claim_of(holder, self._transport, self.namespace, retry_for_s=self._retry_for_s)
        return await self._locker.take(
            claim,
            ttl=lambda state: ttl or ttl_of(state.spec.ttl),
            limit=self.timeout if limit is None else limit,
            on_progress=on_progress,
        )


def holder_name(holder: str | Holder) -> str:
    """Return what a holder is called by in the status.

    Raises:
        InvalidState: it is too long.
    """
    name = str(holder) or os.environ.get("KONDUCTOR_HOLDER_ID", "") or socket.gethostname()
    if isinstance(holder, Holder):
        name = f"{holder.kind.value.lower()}/{holder.name}"
    if len(name) > MAX_HOLDER:
        raise errors.InvalidState(f"holder {name[:40]!r}... is longer than {MAX_HOLDER} characters")
    return name


async def claim_of(
    holder: str | Holder, transport: Transport, namespace: str, *, retry_for_s: float, is_shared: bool = False
) -> Claim:
    """Return a new claim of somebody; a Pod or an Execution without a uid is the one that has the name now.

    Raises:
        NotFound: there is none.
    """
    bound = holder if isinstance(holder, Holder) else None
    if bound is not None and not bound.uid:
        bound = await found(bound, transport, namespace, retry_for_s=retry_for_s)
    return Claim(id=uuid.uuid4().hex, holder=holder_name(holder), bound_to=bound, is_shared=is_shared)
