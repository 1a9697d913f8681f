"""A Lease for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.leases import Lease as StoredLease
from kontinue.api.konductor.leases import LeaseRequest, LeaseStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.blocking.scopes import taken, within
from kontinue.sync.granted.asking import DEFAULT_TTL
from kontinue.sync.granted.lease import Lease
from kontinue.sync.holding.held import Lock


class SyncLease:
    """One Lease of ``konductor.io`` of an API server; see ``Lease``. Any number of threads may share it.

    Attributes:
        name: of the Lease.
        namespace: of the Lease.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._lease = Lease(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._lease.namespace

    def create(self, *, ttl: timedelta | None = DEFAULT_TTL, priority: int = 0) -> StoredLease:
        """Create it, or return the one that exists; see ``Lease.create``."""
        return self._thread.run(self._lease.create(ttl=ttl, priority=priority))

    @contextmanager
    def held(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        priority: int | None = None,
        on_loss: Callable[[Lock], object] | None = None,
        on_progress: Callable[[StoredLease], object] | None = None,
    ) -> Generator[Lock]:
        """Hold it in a ``with``; see ``Lease.held``. A thread cannot be cancelled: look at ``Lock.check()``.

        The callbacks run on the client's own thread. ``LockLost`` is raised at the end, too.
        """
        scope = self._lease.held(
            timeout=timeout, ttl=ttl, holder=holder, priority=priority, on_loss=on_loss, on_progress=on_progress
        )
        with within(scope, self._thread) as lock:
            yield lock

    def acquire(
        self,
        *,
        timeout: timedelta | None = None,
        ttl: timedelta | None = None,
        holder: str | Holder | None = None,
        priority: int | None = None,
        on_progress: Callable[[StoredLease], object] | None = None,
    ) -> Lock:
        """Acquire it for a caller who renews and releases it himself; see ``Lease.acquire``.

        ``on_progress`` is called on the client's own thread.
        """
        take = partial(
            self._lease.acquire, timeout=timeout, ttl=ttl, holder=holder, priority=priority, on_progress=on_progress
        )
        return taken(take, self._lease.release, self._thread)

    def renew(
        self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None
    ) -> StoredLease:
        """Hold it for its whole ttl again; see ``Lease.renew``."""
        return self._thread.run(self._lease.renew(lock, holder=holder, token=token))

    def release(
        self, lock: Lock | None = None, *, holder: str | Holder | None = None, token: int | None = None
    ) -> None:
        """Release it; see ``Lease.release``."""
        self._thread.run(self._lease.release(lock, holder=holder, token=token))

    def is_available(self) -> bool:
        """Tell whether nobody holds it; see ``Lease.is_available``."""
        return self._thread.run(self._lease.is_available())

    def requests(self) -> Sequence[LeaseRequest]:
        """Read its LeaseRequests; see ``Lease.requests``."""
        return self._thread.run(self._lease.requests())

    def get(self) -> StoredLease:
        """Read the whole object; see ``Lease.get``."""
        return self._thread.run(self._lease.get())

    def status(self) -> LeaseStatus:
        """Read the status; see ``Lease.status``."""
        return self._thread.run(self._lease.status())

    def delete(self) -> None:
        """Delete it, if it exists; see ``Lease.delete``."""
        self._thread.run(self._lease.delete())
