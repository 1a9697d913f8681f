"""A Once for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from kontinue import errors
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.onces import Once as StoredOnce
from kontinue.api.konductor.onces import OnceStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.blocking.scopes import within
from kontinue.sync.holding.held import Lock
from kontinue.sync.locks.once import LEASE, Once
from kontinue.sync.objects.arguments import require_function, wrong_work

WORK: Final = "a function that is not async; for async ones there is Once, with a Client"


class SyncOnce:
    """One Once of an API server; see ``Once``. Any number of threads may share it.

    Attributes:
        name: of the Once.
        namespace: of the Once.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._once = Once(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._once.namespace

    def create(self, *, ttl: timedelta | None = None) -> StoredOnce:
        """Create it, or return the one that exists; see ``Once.create``."""
        return self._thread.run(self._once.create(ttl=ttl))

    def do(
        self,
        work: Callable[[Lock], object],
        *,
        timeout: timedelta | None = None,
        lease: timedelta = LEASE,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredOnce], object] | None = None,
    ) -> bool:
        """Do the work unless it has been done; see ``Once.do``. A thread cannot be cancelled: ask ``Lock.check()``.

        Raises:
            TypeError: the work is no function, or an async one.
        """
        require_function(work, WORK)
        is_ours = False
        try:
            with self.running(timeout=timeout, lease=lease, holder=holder, on_progress=on_progress) as lock:
                is_ours = True
                done = work(lock)
                if inspect.iscoroutine(done):
                    done.close()  # nothing of it has run
                if inspect.isawaitable(done):
                    raise wrong_work(work, WORK)
        except errors.AlreadyExecuted:
            if is_ours:
                raise  # of another Once, which the work has entered
        return is_ours

    @contextmanager
    def running(
        self,
        *,
        timeout: timedelta | None = None,
        lease: timedelta = LEASE,
        holder: str | Holder | None = None,
        on_progress: Callable[[StoredOnce], object] | None = None,
    ) -> Generator[Lock]:
        """Do it in a ``with``; see ``Once.running``. A thread cannot be cancelled: look at ``Lock.check()``.

        Raises:
            AlreadyExecuted: when it is entered: it has been done.
        """
        scope = self._once.running(timeout=timeout, lease=lease, holder=holder, on_progress=on_progress)
        with within(scope, self._thread) as lock:
            yield lock

    def is_executed(self) -> bool:
        """Tell whether it has been done; see ``Once.is_executed``."""
        return self._thread.run(self._once.is_executed())

    def get(self) -> StoredOnce:
        """Read the whole object; see ``Once.get``."""
        return self._thread.run(self._once.get())

    def status(self) -> OnceStatus:
        """Read the status; see ``Once.status``."""
        return self._thread.run(self._once.status())

    def delete(self) -> None:
        """Delete it, if it exists; see ``Once.delete``."""
        self._thread.run(self._once.delete())
