"""A Mutex, asynchronously: one at a time holds it, the others take it in turn. Called by users and by the CLI.

What it shares with others is ``lockable``'s, what a holder sees is ``kontinue.sync.holding.held``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.mutexes import MUTEXES, MutexSpec, MutexStatus
from kontinue.api.konductor.mutexes import Mutex as StoredMutex
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.sync.holding.held import Lock, Scope
from kontinue.sync.holding.locker import Taken
from kontinue.sync.locks.lockable import Lockable, named
from kontinue.sync.objects.arguments import require_ttl, ttl_text


class Mutex(Lockable[StoredMutex]):
    """One Mutex of an API server. It need not exist yet.

    Attributes:
        name: of the Mutex.
        namespace: of the Mutex.
        timeout: limit of each call, that of the client; ``lock`` and ``held`` may have one of their own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, namespace=namespace, resource=requests.MUTEXES, kind=MUTEXES)

    @limited_write
    async def create(self, *, ttl: timedelta | None = None) -> StoredMutex:
        """Create it, or return the one that exists, as it is.

        Args:
            ttl: how long a lock lasts that is not renewed; None: until it is unlocked.

        Raises:
            ApiError: the server refuses.
        """
        spec = MutexSpec(ttl=ttl_text(ttl))
        return await self._create(StoredMutex(metadata=ObjectMeta(name=self.name), spec=spec))

    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
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
            return await self._locked(timeout, ttl, holder, on_progress)

        return Scope(self._locker, take, on_loss, timeout=self.timeout)

    async def lock(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredMutex], object] | None = None,
    ) -> Lock:
        """Lock it, once it is our turn, for a caller who unlocks it himself. It is not renewed: ``held`` does that.

        Args:
            timeout: wait no longer than this, 0: not at all; None: as long as the client's timeout, or for ever.
            ttl: how long the lock lasts without renewal; None: the Mutex's own ttl.
            holder: what it is called by; a ``Holder`` binds it to a Pod or an Execution, whose end unlocks it. By
                default ``KONDUCTOR_HOLDER_ID``, ``HOSTNAME`` or the host's name.
            on_progress: called with each state in which somebody else is first.

        Raises:
            Held: somebody else holds it, and the timeout is 0.
            WaitTimeout: it was not our turn in time; the message tells who holds it.
            InvalidState: too many wait already.
            NotFound: there is no such Mutex, or it was deleted meanwhile; or no such holder.
            ApiError: the server refuses.
        """
        return Lock(await self._locked(timeout, ttl, holder, on_progress))

    @limited_write
    async def unlock(
        self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None
    ) -> None:
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
        await self._locker.give_back(*named(lock, holder, token))

    @limited
    async def is_locked(self) -> bool:
        """Tell whether somebody holds it.

        Raises:
            NotFound: there is none.
        """
        return bool((await self.get()).status.holder)

    async def status(self) -> MutexStatus:
        """Read the status, with the phase also of one that nobody has written yet.

        Raises:
            NotFound: there is none.
        """
        found = await self.get()
        return msgspec.structs.replace(found.status, phase=found.phase)

    async def _locked(
        self,
        limit: timedelta | None,
        ttl: timedelta | None,
        holder: str | Holder | None,
        on_progress: Callable[[StoredMutex], object] | None,
    ) -> Taken[StoredMutex]:
        require_ttl("ttl", ttl)
        return await self._take(limit, lambda state: ttl or ttl_of(state.spec.ttl), holder, on_progress)
