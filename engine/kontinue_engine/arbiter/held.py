"""Internal. What controllers of objects that name their holders share: who is gone, and which objects that matters to.

Extended by ``wait_groups`` and ``locks``.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Iterable
from typing import TypeVar

from kontinue import errors
from kontinue.api.konductor.group import Holder, identity_of
from kontinue.kube import requests
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import Caretaker, key_of
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder

T = TypeVar("T", bound=HasMetadata)


class HeldCaretaker(Caretaker[T]):
    """Looks after the objects of one kind and their holders; arguments as of ``Caretaker``."""

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        object_type: type[T],
        *,
        namespace: str,
        events: EventRecorder,
        clock: Clock,
    ) -> None:
        super().__init__(transport, resource, object_type, namespace=namespace, events=events, clock=clock)
        self._held_by: dict[str, set[Key]] = {}
        self._holders = Holders(transport, namespace, self._on_holder)

    @abc.abstractmethod
    def holders_of(self, found: T) -> Iterable[Holder]:
        """Return those whose end matters to an object."""

    @abc.abstractmethod
    async def look_at(self, key: Key, found: T) -> float | None:
        """Do what is to be done about an object; return in how many seconds something is due, None: when it changes.

        Raises:
            ApiError: the server refuses. After Conflict and NotFound the watch shows what stands there instead.
        """

    def forgotten(self, key: Key) -> None:
        """Forget what else is known of an object that is gone."""

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name=f"{self._resource.plural}/holders")
            tasks.create_task(super().run(), name=f"{self._resource.plural}/all")

    async def gone(self, found: T) -> set[str]:
        """Return those of its holders that have ended, each by its ``identity_of``.

        Raises:
            ApiError: the server refuses to say.
        """
        namespace = found.metadata.namespace
        ended: set[str] = set()
        living: set[str] = set()
        for one in self.holders_of(found):
            (ended if await self._holders.is_gone(namespace, one) else living).add(identity_of(one))
        return ended - living  # somebody may have written the same uid for several: none ends by another's end

    async def delete(self, found: T) -> None:
        """Delete an object, unless it has changed.

        Raises:
            ApiError: the server refuses.
        """
        meta = found.metadata
        request = requests.delete(
            self._resource, meta.namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        await self._transport.send(request)

    async def _look(self, key: Key) -> None:
        found = self._objects.get(key)
        if found is None:
            return
        try:
            due_s = await self.look_at(key, found)
        except (errors.Conflict, errors.NotFound):
            return  # the watch shows what stands there instead
        if due_s is not None:
            self._looks.again_in(key, due_s)

    def _take(self, found: T) -> None:
        key = key_of(found)
        self._unbind(key)
        for one in self.holders_of(found):
            self._held_by.setdefault(identity_of(one), set()).add(key)
        super()._take(found)

    def _forget(self, key: Key) -> None:
        self._unbind(key)
        super()._forget(key)
        self.forgotten(key)

    def _unbind(self, key: Key) -> None:
        known = self._objects.get(key)
        for one in self.holders_of(known) if known is not None else ():
            keys = self._held_by.get(identity_of(one), set())
            keys.discard(key)
            if not keys:
                self._held_by.pop(identity_of(one), None)

    def _on_holder(self, ended: frozenset[str] | None) -> None:
        for one in self._held_by if ended is None else ended:
            for key in self._held_by.get(one, ()):
                self._looks.queue.add(key)
