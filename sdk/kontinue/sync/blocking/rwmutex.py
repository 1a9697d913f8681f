"""An RWMutex for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.rwmutexes import RWMutex as StoredRWMutex
from kontinue.api.konductor.rwmutexes import RWMutexStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.blocking.scopes import taken, within
from kontinue.sync.holding.held import Lock
from kontinue.sync.locks.rwmutex import RWMutex


class SyncRWMutex:
    """One RWMutex of an API server; see ``RWMutex``. Any number of threads may share it.

    Attributes:
        name: of the RWMutex.
        namespace: of the RWMutex.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._mutex = RWMutex(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._mutex.namespace

    def create(self, *, ttl: timedelta | None = None) -> StoredRWMutex:
        """Create it, or return the one that exists; see ``RWMutex.create``."""
        return self._thread.run(self._mutex.create(ttl=ttl))

    @contextmanager
    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredRWMutex], object] | None = None,
    ) -> Generator[Lock]:
        """Write in a ``with``; see ``RWMutex.held``. A thread cannot be cancelled: look at ``Lock.check()``.

        The callbacks run on the client's own thread. ``LockLost`` is raised at the end, too.
        """
        scope = self._mutex.held(timeout=timeout, ttl=ttl, holder=holder, on_loss=on_loss, on_progress=on_progress)
        with within(scope, self._thread) as lock:
            yield lock

    @contextmanager
    def reading(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredRWMutex], object] | None = None,
    ) -> Generator[Lock]:
        """Read in a ``with``; see ``RWMutex.reading``. A thread cannot be cancelled: look at ``Lock.check()``.

        The callbacks run on the client's own thread. ``LockLost`` is raised at the end, too.
        """
        scope = self._mutex.reading(timeout=timeout, ttl=ttl, holder=holder, on_loss=on_loss, on_progress=on_progress)
        with within(scope, self._thread) as lock:
            yield lock

    def lock(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredRWMutex], object] | None = None,
    ) -> Lock:
        """Lock it to write, for a caller who unlocks it himself; see ``RWMutex.lock``."""
        take = partial(self._mutex.lock, timeout=timeout, ttl=ttl, holder=holder, on_progress=on_progress)
        return taken(take, self._mutex.unlock, self._thread)

    def rlock(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredRWMutex], object] | None = None,
    ) -> Lock:
        """Lock it to read, for a caller who unlocks it himself; see ``RWMutex.rlock``."""
        take = partial(self._mutex.rlock, timeout=timeout, ttl=ttl, holder=holder, on_progress=on_progress)
        return taken(take, self._mutex.unlock, self._thread)

    def unlock(self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None) -> None:
        """Unlock it; see ``RWMutex.unlock``."""
        self._thread.run(self._mutex.unlock(lock, holder=holder, token=token))

    def get(self) -> StoredRWMutex:
        """Read the whole object; see ``RWMutex.get``."""
        return self._thread.run(self._mutex.get())

    def status(self) -> RWMutexStatus:
        """Read the status; see ``RWMutex.status``."""
        return self._thread.run(self._mutex.status())

    def delete(self) -> None:
        """Delete it, if it exists; see ``RWMutex.delete``."""
        self._thread.run(self._mutex.delete())
