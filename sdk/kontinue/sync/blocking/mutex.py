"""A Mutex for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.mutexes import Mutex as StoredMutex
from kontinue.api.konductor.mutexes import MutexStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.blocking.scopes import taken, within
from kontinue.sync.holding.held import Lock
from kontinue.sync.locks.mutex import Mutex


class SyncMutex:
    """One Mutex of an API server; see ``Mutex``. Any number of threads may share it.

    Attributes:
        name: of the Mutex.
        namespace: of the Mutex.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._mutex = Mutex(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._mutex.namespace

    def create(self, *, ttl: timedelta | None = None) -> StoredMutex:
        """Create it, or return the one that exists; see ``Mutex.create``."""
        return self._thread.run(self._mutex.create(ttl=ttl))

    @contextmanager
    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredMutex], object] | None = None,
    ) -> Generator[Lock]:
        """Hold it in a ``with``; see ``Mutex.held``. A thread cannot be cancelled: look at ``Lock.check()``.

        The callbacks run on the client's own thread. ``LockLost`` is raised at the end, too.
        """
        scope = self._mutex.held(timeout=timeout, ttl=ttl, holder=holder, on_loss=on_loss, on_progress=on_progress)
        with within(scope, self._thread) as lock:
            yield lock

    def lock(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredMutex], object] | None = None,
    ) -> Lock:
        """Lock it for a caller who unlocks it himself; see ``Mutex.lock``."""
        take = partial(self._mutex.lock, timeout=timeout, ttl=ttl, holder=holder, on_progress=on_progress)
        return taken(take, self._mutex.unlock, self._thread)

    def unlock(self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None) -> None:
        """Unlock it; see ``Mutex.unlock``."""
        self._thread.run(self._mutex.unlock(lock, holder=holder, token=token))

    def is_locked(self) -> bool:
        """Tell whether somebody holds it; see ``Mutex.is_locked``."""
        return self._thread.run(self._mutex.is_locked())

    def get(self) -> StoredMutex:
        """Read the whole object; see ``Mutex.get``."""
        return self._thread.run(self._mutex.get())

    def status(self) -> MutexStatus:
        """Read the status; see ``Mutex.status``."""
        return self._thread.run(self._mutex.status())

    def delete(self) -> None:
        """Delete it, if it exists; see ``Mutex.delete``."""
        self._thread.run(self._mutex.delete())
