"""A Semaphore for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Self

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.semaphores import Permit, SemaphoreStatus
from kontinue.api.konductor.semaphores import Semaphore as StoredSemaphore
from kontinue.client.event_thread import EventThread
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.blocking.scopes import taken, within
from kontinue.sync.granted.permits import HeldPermit
from kontinue.sync.granted.semaphore import Semaphore


class SyncHeldPermit:
    """A permit that was granted; see ``HeldPermit``.

    Attributes:
        name: of the Permit.
        holder: who has it.
        permit: as it was when it was granted.
    """

    def __init__(self, held: HeldPermit, thread: EventThread) -> None:
        self._held = held
        self._thread = thread
        self.name = held.name
        self.holder = held.holder
        self.permit = held.permit

    @property
    def is_lost(self) -> bool:
        """Whether it is known to have ended; see ``HeldPermit``."""
        return self._held.is_lost

    def check(self) -> None:
        """Do nothing while it is held; see ``HeldPermit.check``."""
        self._held.check()

    def release(self) -> bool:
        """Give it back; see ``HeldPermit.release``."""
        return self._thread.run(self._held.release())

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Give it back; see ``HeldPermit``."""
        self._thread.run(self._held.__aexit__(kind, error, traceback))


class SyncSemaphore:
    """One Semaphore of an API server; see ``Semaphore``. Any number of threads may share it.

    Attributes:
        name: of the Semaphore.
        namespace: of the Semaphore.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._semaphore = Semaphore(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._semaphore.namespace

    def create(self, permits: int = 1, *, ttl: timedelta | None = None) -> StoredSemaphore:
        """Create it, or return the one that exists; see ``Semaphore.create``."""
        return self._thread.run(self._semaphore.create(permits, ttl=ttl))

    def acquire(
        self,
        *,
        holder: str | None = None,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
        on_progress: Callable[[StoredSemaphore], object] | None = None,
    ) -> SyncHeldPermit:
        """Wait for a permit; see ``Semaphore.acquire``. ``on_progress`` is called on the client's own thread."""
        take = partial(
            self._semaphore.acquire, holder=holder, timeout=timeout, ttl=ttl, bound_to=bound_to, on_progress=on_progress
        )
        return SyncHeldPermit(taken(take, HeldPermit.release, self._thread), self._thread)

    @contextmanager
    def hold(
        self,
        *,
        holder: str | None = None,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        bound_to: Holder | None = None,
        on_loss: Callable[[HeldPermit], object] | None = None,
        on_progress: Callable[[StoredSemaphore], object] | None = None,
    ) -> Generator[SyncHeldPermit]:
        """Hold a permit in a ``with``; see ``Semaphore.hold``. A thread cannot be cancelled: look at ``check()``.

        The callbacks run on the client's own thread. ``LockLost`` is raised at the end, too.
        """
        scope = self._semaphore.hold(
            holder=holder, timeout=timeout, ttl=ttl, bound_to=bound_to, on_loss=on_loss, on_progress=on_progress
        )
        with within(scope, self._thread) as held:
            yield SyncHeldPermit(held, self._thread)

    def release(self, holder: str | None = None) -> str:
        """Give back the oldest permit of a holder; see ``Semaphore.release``."""
        return self._thread.run(self._semaphore.release(holder))

    def permits(self) -> Sequence[Permit]:
        """Read its Permits; see ``Semaphore.permits``."""
        return self._thread.run(self._semaphore.permits())

    def get(self) -> StoredSemaphore:
        """Read the whole object; see ``Semaphore.get``."""
        return self._thread.run(self._semaphore.get())

    def status(self) -> SemaphoreStatus:
        """Read the status; see ``Semaphore.status``."""
        return self._thread.run(self._semaphore.status())

    def delete(self) -> None:
        """Delete it; see ``Semaphore.delete``."""
        self._thread.run(self._semaphore.delete())
