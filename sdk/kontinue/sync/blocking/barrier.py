"""A Barrier for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from kontinue.api.konductor.barriers import Arrival, BarrierStatus
from kontinue.api.konductor.barriers import Barrier as StoredBarrier
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.openings.barrier import Barrier


class SyncBarrier:
    """One Barrier of an API server; see ``Barrier``. Any number of threads may share it.

    Attributes:
        name: of the Barrier.
        namespace: of the Barrier.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._barrier = Barrier(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._barrier.namespace

    def create(
        self, expected: int = 1, *, quorum: int | None = None, timeout: timedelta | None = None
    ) -> StoredBarrier:
        """Create it, or return the one that exists; see ``Barrier.create``."""
        return self._thread.run(self._barrier.create(expected, quorum=quorum, timeout=timeout))

    def arrive(self, holder: str | None = None) -> Arrival:
        """Say that somebody has arrived; see ``Barrier.arrive``."""
        return self._thread.run(self._barrier.arrive(holder))

    def wait(
        self, *, timeout: timedelta | None = None, on_progress: Callable[[StoredBarrier], object] | None = None
    ) -> StoredBarrier:
        """Wait until it is open; see ``Barrier.wait``. ``on_progress`` is called on the client's own thread."""
        return self._thread.run(self._barrier.wait(timeout=timeout, on_progress=on_progress))

    def wait_until(
        self,
        is_over: Callable[[StoredBarrier], bool],
        *,
        timeout: timedelta | None = None,
        on_progress: Callable[[StoredBarrier], object] | None = None,
    ) -> StoredBarrier:
        """Wait until something is so of it; see ``Barrier.wait_until``."""
        return self._thread.run(self._barrier.wait_until(is_over, timeout=timeout, on_progress=on_progress))

    def get(self) -> StoredBarrier:
        """Read the whole object; see ``Barrier.get``."""
        return self._thread.run(self._barrier.get())

    def status(self) -> BarrierStatus:
        """Read the status; see ``Barrier.status``."""
        return self._thread.run(self._barrier.status())

    def delete(self) -> None:
        """Delete it; see ``Barrier.delete``."""
        self._thread.run(self._barrier.delete())
