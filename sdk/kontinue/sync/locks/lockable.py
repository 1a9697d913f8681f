"""What all objects that have locks share: who asks, and that deleting what is not there is no error.

Extended by ``mutex``, ``rwmutex``, ``once`` and ``lease``. The writes and waits are ``kontinue.sync.holding.locker``'s.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from kontinue import errors
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.locking import Claim, LockKind
from kontinue.client.client import Client
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.options import require_type
from kontinue.sync.holding.held import Lock
from kontinue.sync.holding.holders import found, holder_name
from kontinue.sync.holding.locker import Locker, Taken
from kontinue.sync.objects.arguments import require_number
from kontinue.sync.objects.stored import Stored
from kontinue.sync.objects.waiting import unanswered, until_over, wait_limit

T = TypeVar("T", bound=HasMetadata)


class Lockable(Stored[T]):
    """One object that has locks. It need not exist yet.

    Attributes:
        name: of the object.
        namespace: of the object.
        timeout: limit of each call, that of the client; what waits may have one of its own.
    """

    def __init__(
        self, name: str, client: Client, *, namespace: str | None, resource: Resource, kind: LockKind[T]
    ) -> None:
        super().__init__(name, client, resource, kind.object_type, namespace=namespace)
        self._locker = Locker(self._transport, resource, kind, self.namespace, name, retry_for_s=self._retry_for_s)

    async def delete(self) -> None:
        """Delete it, if it exists; who holds it or waits for it is told.

        Raises:
            ApiError: the server refuses.
        """
        with suppress(errors.NotFound):
            await super().delete()

    async def _take(
        self,
        limit: timedelta | None,
        ttl: Callable[[T], timedelta | None],
        holder: str | Holder | None,
        on_progress: Callable[[T], object] | None,
        *,
        before: Callable[[T], None] | None = None,
        is_shared: bool = False,
    ) -> Taken[T]:
        limit = wait_limit(limit, self.timeout)
        name = holder_name(holder)
        bound = holder if isinstance(holder, Holder) else None
        if bound is not None and not bound.uid:
            bound, limit = await self._bound(bound, limit)
        return await self._locker.take(
            Claim(id=uuid.uuid4().hex, holder=name, bound_to=bound, is_shared=is_shared),
            ttl=ttl,
            limit=limit,
            on_progress=on_progress,
            before=before,
        )

    async def _bound(self, holder: Holder, limit: timedelta | None) -> tuple[Holder, timedelta | None]:
        """Return a holder with its uid, and how long to wait after it was looked for."""
        loop = asyncio.get_running_loop()
        is_waiting = limit is None or limit > timedelta()
        most, begun_s = limit if is_waiting else self.timeout, loop.time()
        what = f"{holder.kind} {self.namespace}/{holder.name}"
        async with until_over(most, lambda: unanswered(what, most or timedelta())):
            holder = await found(holder, self._transport, self.namespace, retry_for_s=self._retry_for_s)
        if limit is not None and is_waiting:
            limit = max(limit - timedelta(seconds=loop.time() - begun_s), timedelta.resolution)  # 0 would not wait
        return holder, limit


def named(lock: Lock | None, holder: str | Holder | None, token: int | None) -> tuple[str, str, int | None]:
    """Return id, holder and token of a lock that is named by itself or by its holder."""
    if lock is None:
        if token is not None:
            require_number("token", token)
        return "", holder_name(holder), token
    require_type("lock", lock, Lock, 'what lock() has returned; somebody\'s lock is named by holder="NAME"')
    return lock.id, lock.holder, lock.token
