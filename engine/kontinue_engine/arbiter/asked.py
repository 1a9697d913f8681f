"""Internal. What controllers of objects that are asked for share: what ends with its holder, or by time.

That a request has not been seen proves nothing, the watch of requests may be behind that of their parents; so before
what it holds is taken back the API server is asked. Extended by ``semaphores`` and ``leases``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final, Protocol, TypeVar

from kontinue import errors
from kontinue.api.konductor.group import Holder, identity_of
from kontinue.api.konductor.locking import Locks, Overdue, Patience
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import HOLDER_GONE
from kontinue_engine.arbiter.children import Child
from kontinue_engine.arbiter.families import FamilyController, Kinds
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder

_decode_metadata: Final = reader(PartialObjectMetadata)


class Bound(Protocol):
    """What a request says of its holder."""

    @property
    def bound_to(self) -> Holder | None:
        """Whose end gives back what it holds."""
        ...


class Request(Child, Protocol):
    """An object that asks for something of its parent."""

    @property
    def spec(self) -> Bound:
        """Who asks."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it holds nothing, and never will."""
        ...


P = TypeVar("P", bound=HasMetadata)
R = TypeVar("R", bound=Request)


class AskedController(FamilyController[P, R]):
    """Looks after objects that are asked for, in a namespace or in all; arguments as of ``FamilyController``."""

    def __init__(
        self, transport: Transport, kinds: Kinds[P, R], *, namespace: str, events: EventRecorder, clock: Clock
    ) -> None:
        super().__init__(transport, kinds, namespace=namespace, events=events, clock=clock)
        self._holders = Holders(transport, namespace, self._on_holder)
        self._patience: dict[Key, Patience] = {}

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name="holders")
            tasks.create_task(super().run(), name=self._kinds.parent.plural)

    async def abandoned(self, found: Iterable[R]) -> set[str]:
        """Return the uids of requests whose holders have ended."""
        return {one.metadata.uid for one in found if await self._is_abandoned(one)}

    async def is_absent(self, namespace: str, name: str, uid: str) -> bool:
        """Ask the server whether a request does not exist any more."""
        try:
            request = requests.get(self._kinds.child, namespace, name)
        except errors.Invalid:
            return True  # somebody has edited the status: no object can have this name
        try:
            found = _decode_metadata(await self._transport.send(request))
        except errors.NotFound:
            return True
        return found.metadata.uid != uid

    async def end(self, parent: P, request: R, *, gone: Collection[str]) -> bool:
        """Delete a request, unless it has changed; people are told if its holder has ended. Return whether it is."""
        is_deleted = await self.delete_child(request)
        if is_deleted and request.metadata.uid in gone:
            message = (
                f"{request.spec.bound_to} has ended: its {self._kinds.child.kind} {request.metadata.name} is deleted"
            )
            self.tell(parent, "Warning", HOLDER_GONE, message)
        return is_deleted

    def overdue(self, key: Key, locks: Locks, *, now: datetime) -> Overdue:
        """Return what of a parent's has ended by time: each lock is timed from when it was first seen unchanged."""
        patience = self._patience.setdefault(key, Patience())
        return patience.look(locks, now=now, now_s=asyncio.get_running_loop().time())

    def look_again(self, key: Key, overdue: Overdue, look_again_at: datetime | None, *, now: datetime) -> None:
        """Look at a parent again when a lock may end, or at a moment, whichever is first."""
        due = [] if overdue.next_s is None else [overdue.next_s]
        due += [] if look_again_at is None else [(look_again_at - now).total_seconds()]
        if due:
            self._looks.again_in(key, min(due))

    def _forget(self, key: Key) -> None:
        super()._forget(key)
        self._patience.pop(key, None)

    async def _is_abandoned(self, request: R) -> bool:
        bound_to = request.spec.bound_to
        if bound_to is None or request.is_over:
            return False
        return await self._holders.is_gone(request.metadata.namespace, bound_to)

    def _on_holder(self, ended: frozenset[str] | None) -> None:
        for key, found in self._children.groups():
            bound = [identity_of(one.spec.bound_to) for one in found if one.spec.bound_to is not None]
            if bound and (ended is None or not ended.isdisjoint(bound)):
                self._looks.queue.add(key)
