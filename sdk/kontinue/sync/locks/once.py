"""A Once, asynchronously: the first who comes does it, the others wait until it is done. Called by users and the CLI.

What it shares with others is ``kontinue.sync.locks.lockable``'s: whoever does it holds a lock that he renews meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.onces import ONCES, OnceSpec, OnceStatus, ended
from kontinue.api.konductor.onces import Once as StoredOnce
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited_write
from kontinue.kube import requests
from kontinue.options import require_type
from kontinue.sync.holding.held import Lock, Scope
from kontinue.sync.holding.locker import Taken
from kontinue.sync.locks.lockable import Lockable
from kontinue.sync.objects.arguments import duration_text, require_function, require_ttl, wrong_work

LEASE: Final = timedelta(seconds=30)
"""How long after the death of whoever does it the next one tries. Judgement."""
WORK: Final = "an async function; what is none belongs into `async with once.running()`, or to a SyncOnce"


class Once(Lockable[StoredOnce]):
    """One Once of an API server. It need not exist yet.

    Attributes:
        name: of the Once.
        namespace: of the Once.
        timeout: limit of each call, that of the client; ``do`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, namespace=namespace, resource=requests.ONCES, kind=ONCES)

    @limited_write
    async def create(self, *, ttl: timedelta | None = None) -> StoredOnce:
        """Create it, or return the one that exists, as it is.

        Args:
            ttl: it is deleted once it has been Executed for so long; None keeps it.

        Raises:
            ApiError: the server refuses.
        """
        spec = OnceSpec(ttl=duration_text("ttl", ttl))
        return await self._create(StoredOnce(metadata=ObjectMeta(name=self.name), spec=spec))

    async def do(
        self,
        work: Callable[[Lock], Awaitable[object]],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        lease: timedelta = LEASE,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredOnce], object] | None = None,
    ) -> bool:
        """Do the work unless it has been done; return whether it was us.

        Somebody else who does it now is waited for: until he has done it, or until it is our turn since he has failed
        or died. Work that raises is Failed, and may be tried again; what it raises is raised here.

        Args:
            work: an async function, called with the lock; its token is the number of the try. For anything else there
                is ``running``.
            timeout: wait no longer than this, 0: not at all; None: as long as the client's timeout, or for ever.
            lease: how long somebody must be silent to be believed dead; it is renewed while the work goes on. 0: 30 s.
            holder: as in ``Mutex.lock``.
            on_progress: called with each state in which somebody else does it.

        Raises:
            Held: somebody else does it, and the timeout is 0.
            WaitTimeout: it was neither done nor our turn in time.
            LockLost: the lease could not be renewed, so somebody else may do it: the work was cancelled.
            NotFound: there is no such Once, or it was deleted meanwhile.
            TypeError: the work is no async function.
            ApiError: the server refuses.
        """
        require_function(work, WORK)
        is_ours = False
        try:
            async with self.running(timeout=timeout, lease=lease, holder=holder, on_progress=on_progress) as lock:
                is_ours = True
                doing = work(lock)
                if not inspect.isawaitable(doing):
                    raise wrong_work(work, WORK)
                await doing
        except errors.AlreadyExecuted:
            if is_ours:
                raise  # of another Once, which the work has entered
        return is_ours

    def running(
        self,
        *,
        timeout: timedelta | None = None,
        lease: timedelta = LEASE,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredOnce], object] | None = None,
    ) -> Scope:
        """Do it in an ``async with``; for ``do``, and for work that is no coroutine. See ``do``.

        Args:
            timeout: as in ``do``.
            lease: as in ``do``.
            holder: as in ``do``.
            on_progress: as in ``do``.

        Raises:
            AlreadyExecuted: when it is entered: it has been done.
        """

        async def take() -> Taken[StoredOnce]:
            require_type("lease", lease, timedelta, "lease=timedelta(seconds=30)")
            require_ttl("lease", lease)
            return await self._take(
                timeout, lambda _: lease or LEASE, holder, on_progress, before=self._refuse_executed
            )

        return Scope(self._locker, take, timeout=self.timeout, release=self._finish)

    async def is_executed(self) -> bool:
        """Tell whether it has been done, to the end.

        Raises:
            NotFound: there is none.
        """
        return (await self.get()).status.executed

    async def status(self) -> OnceStatus:
        """Read the status, with the phase also of one that nobody has written yet.

        Raises:
            NotFound: there is none.
        """
        found = await self.get()
        return msgspec.structs.replace(found.status, phase=found.phase)

    async def _finish(self, lock: Lock, error: BaseException | None) -> None:
        now = datetime.now(UTC)
        failure = "" if error is None else f"{type(error).__name__}: {error}"
        has_tried = False

        def change(state: StoredOnce) -> StoredOnce:
            nonlocal has_tried
            changed = ended(state, lock.id, failure=failure, now=now)
            if changed is None:
                if failure and has_tried:
                    return state  # the answer to our write got lost
                raise errors.InvalidState(f"Once {self.namespace}/{self.name} is not {lock.holder}'s any more")
            has_tried = True
            return changed

        await self._locker.changes.apply(change, settles=False)

    def _refuse_executed(self, state: StoredOnce) -> None:
        if state.status.executed:
            raise errors.AlreadyExecuted(f"Once {self.namespace}/{self.name} has been executed")
