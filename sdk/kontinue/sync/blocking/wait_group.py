"""A WaitGroup for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.wait_groups import WaitGroup as StoredWaitGroup
from kontinue.api.konductor.wait_groups import WaitGroupStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.wait_groups.wait_group import WaitGroup


class SyncWaitGroup:
    """One WaitGroup of an API server; see ``WaitGroup``. Any number of threads may share it.

    Attributes:
        name: of the WaitGroup.
        namespace: of the WaitGroup.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._group = WaitGroup(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._group.namespace

    def create(self, *, ttl: timedelta | None = None) -> StoredWaitGroup:
        """Create it, or return the one that exists; see ``WaitGroup.create``."""
        return self._thread.run(self._group.create(ttl=ttl))

    def add(
        self, delta: int = 1, *, holder: Holder | None = None, operation_id: str | None = None, clamp: bool = False
    ) -> int:
        """Add to the counter and return it; see ``WaitGroup.add``."""
        return self._thread.run(self._group.add(delta, holder=holder, operation_id=operation_id, clamp=clamp))

    def done(
        self, delta: int = 1, *, holder: Holder | None = None, operation_id: str | None = None, clamp: bool = False
    ) -> int:
        """Take off the counter and return it; see ``WaitGroup.done``."""
        return self._thread.run(self._group.done(delta, holder=holder, operation_id=operation_id, clamp=clamp))

    def wait(
        self,
        *,
        timeout: timedelta | None = None,
        for_first_add: bool = False,
        on_progress: Callable[[StoredWaitGroup], object] | None = None,
    ) -> StoredWaitGroup:
        """Wait until the counter is 0; see ``WaitGroup.wait``. ``on_progress`` is called on the client's own thread."""
        return self._thread.run(self._group.wait(timeout=timeout, for_first_add=for_first_add, on_progress=on_progress))

    def get(self) -> StoredWaitGroup:
        """Read the whole object; see ``WaitGroup.get``."""
        return self._thread.run(self._group.get())

    def status(self) -> WaitGroupStatus:
        """Read the status; see ``WaitGroup.status``."""
        return self._thread.run(self._group.status())

    def delete(self) -> None:
        """Delete it; see ``WaitGroup.delete``."""
        self._thread.run(self._group.delete())
