"""A WaitGroup, asynchronously: create it, count on it, wait until it is done. Called by users and by the CLI.

The operations are written by ``counter``, the waits are ``following``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.wait_groups import MAX_COUNTER, MAX_OPERATION_ID, WaitGroupSpec, WaitGroupStatus
from kontinue.api.konductor.wait_groups import WaitGroup as StoredWaitGroup
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited_write
from kontinue.kube import requests
from kontinue.sync.holding.holders import found
from kontinue.sync.objects.arguments import duration_text, require_bound, require_number, require_text
from kontinue.sync.objects.stored import Stored
from kontinue.sync.objects.waiting import unanswered, until_over, wait_limit
from kontinue.sync.wait_groups.counter import Counter
from kontinue.sync.wait_groups.following import Following, is_over


class WaitGroup(Stored[StoredWaitGroup]):
    """One WaitGroup of an API server. It need not exist yet.

    Share one object among the tasks of a process: operations that are asked for at the same time become one write,
    and all waits share one watch.

    Attributes:
        name: of the WaitGroup.
        namespace: of the WaitGroup.
        timeout: limit of each call, that of the client; ``wait`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, requests.WAIT_GROUPS, StoredWaitGroup, namespace=namespace)
        self._counter = Counter(self._transport, self.namespace, name, retry_for_s=self._retry_for_s)
        self._following = Following(self._transport, self.namespace, name, retry_for_s=self._retry_for_s)

    @limited_write
    async def create(self, *, ttl: timedelta | None = None) -> StoredWaitGroup:
        """Create it, or return the one that exists, as it is.

        Args:
            ttl: it is deleted once it has been done for so long; None keeps it.

        Raises:
            ApiError: the server refuses.
        """
        spec = WaitGroupSpec(ttl=duration_text("ttl", ttl))
        return await self._create(StoredWaitGroup(metadata=ObjectMeta(name=self.name), spec=spec))

    @limited_write
    async def add(
        self, delta: int = 1, *, holder: Holder | None = None, operation_id: str | None = None, clamp: bool = False
    ) -> int:
        """Add to the counter, or take off it if ``delta`` is below 0; return the counter after that.

        Args:
            delta: what to add.
            holder: bind it to a Pod or an Execution of the namespace, whose end releases it. Without a uid it is the
                one that has the name now.
            operation_id: repeat an operation with the same id, also from another process, and it counts once. Its delta
                must be the same; that its holder is, is not checked. None: it is not repeated.
            clamp: stop at 0 instead of raising.

        Raises:
            InvalidState: the counter, or the holder's part of it, would fall below 0; or it would exceed an int32.
            NotFound: there is no such WaitGroup, or no such holder.
            ValueError: the id is empty; the holder's name or uid is too long, or no object can have that name.
            ApiError: the server refuses, or was away for too long. Where it may have been counted all the same, the
                message says so.
        """
        require_number("delta", delta)
        require_text("operation_id", operation_id, 'operation_id="job-7"')
        require_bound("holder", holder)
        id_ = operation_id or ""
        if abs(delta) > MAX_COUNTER:
            raise errors.InvalidState(f"delta {delta} is out of range: the counter is an int32")
        if len(id_) > MAX_OPERATION_ID:
            raise errors.InvalidState(f"operation id {operation_id!r} is longer than {MAX_OPERATION_ID} characters")
        for text in (id_, holder.uid if holder else ""):
            requests.require_text(text)  # it would spoil the write for all who count at the same time
        if holder is not None and not holder.uid:
            holder = await found(holder, self._transport, self.namespace, retry_for_s=self._retry_for_s)
        try:
            return await self._counter.count(Operation(delta=delta, id=id_, holder=holder, clamp=clamp))
        except errors.InvalidState as error:
            raise errors.InvalidState(f"{self._what}: {error}") from error

    async def done(
        self, delta: int = 1, *, holder: Holder | None = None, operation_id: str | None = None, clamp: bool = False
    ) -> int:
        """Take off the counter; return the counter after that. See ``add``.

        Args:
            delta: how many are done, at least 1.
            holder: as in ``add``.
            operation_id: as in ``add``.
            clamp: as in ``add``.

        Raises:
            InvalidState: the counter is lower than that already.
            ValueError: less than 1 is done, or the id is empty.
        """
        require_number("delta", delta, least=1)
        return await self.add(-delta, holder=holder, operation_id=operation_id, clamp=clamp)

    async def wait(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        for_first_add: bool = False,
        on_progress: Callable[[StoredWaitGroup], object] | None = None,
    ) -> StoredWaitGroup:
        """Wait until the counter is 0, and return the WaitGroup as it was then.

        Args:
            timeout: no longer than this, 0: look once; None: as long as the client's timeout, or for ever.
            for_first_add: a WaitGroup that nothing was ever added to is done, as documented: wait for the first add,
                too, where workers add themselves.
            on_progress: called with each state that it is seen in meanwhile; what it raises ends this wait.

        Raises:
            WaitTimeout: it was not done in time; the message tells the counter.
            NotFound: it does not exist, or was deleted meanwhile.
            Unavailable: the server has not shown it in time.
            ApiError: the server refuses.
        """
        limit = wait_limit(timeout, self.timeout)
        if limit is not None and not limit:
            group = await self.get()
            if is_over(group, start=group, for_first_add=for_first_add):
                return group
            raise self._timed_out(group, limit)
        seen: StoredWaitGroup | None = None

        def progress(group: StoredWaitGroup) -> None:
            nonlocal seen
            seen = group
            if on_progress is not None:
                on_progress(group)

        async with until_over(limit, lambda: self._timed_out(seen, limit or timedelta())):
            return await self._following.until_done(for_first_add=for_first_add, on_progress=progress)

    async def status(self) -> WaitGroupStatus:
        """Read the status, with counter and phase also for one that nobody has written yet.

        Raises:
            NotFound: there is no such WaitGroup.
        """
        group = await self.get()
        return msgspec.structs.replace(group.status, counter=group.counter, phase=group.phase)

    def _timed_out(self, seen: StoredWaitGroup | None, limit: timedelta) -> errors.KontinueError:
        what = self._what
        if seen is None:
            return unanswered(what, limit)
        missing = "" if seen.counter else ": nothing was ever added to it"
        return errors.WaitTimeout(
            f"{what} is not done after {durations.format_(limit)}, its counter is {seen.counter}{missing}"
        )
