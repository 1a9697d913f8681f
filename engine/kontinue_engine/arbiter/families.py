"""Internal. What controllers of parents and children share: Semaphores with Permits, Barriers with Arrivals.

Level-based, as ``wait_groups``: each look takes the newest states that the watches have shown, or that our own writes
were answered with. Children of a parent that is gone are deleted at once, as who waits for one is not to wait for a
garbage collector. Extended by ``asked``, and so by ``semaphores`` and ``leases``, and by ``barriers``.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import owner_uid
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import Caretaker, key_of
from kontinue_engine.arbiter.children import Child, Children, is_newer
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer


class _List(msgspec.Struct, frozen=True):
    items: list[PartialObjectMetadata] | None = None


_decode_list: Final = reader(_List, what="list of objects")


P = TypeVar("P", bound=HasMetadata)
C = TypeVar("C", bound=Child)


class Kinds(msgspec.Struct, Generic[P, C], frozen=True):
    """The two kinds of a family."""

    parent: Resource
    parent_type: type[P]
    child: Resource
    child_type: type[C]


class FamilyController(Caretaker[P], Generic[P, C]):
    """Looks after the objects of two kinds in a namespace, or in all.

    Args:
        transport: to the API server.
        kinds: which.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(
        self, transport: Transport, kinds: Kinds[P, C], *, namespace: str, events: EventRecorder, clock: Clock
    ) -> None:
        super().__init__(transport, kinds.parent, kinds.parent_type, namespace=namespace, events=events, clock=clock)
        self._kinds = kinds
        self._decode_parent = reader(kinds.parent_type)
        self._decode_child = reader(kinds.child_type)
        self._children: Children[C] = Children(self._looks)
        self._child_informer = Informer(
            transport, kinds.child, namespace, type_=kinds.child_type, handler=self._children
        )

    @abc.abstractmethod
    async def look_at(self, key: Key, parent: P, children: Sequence[C]) -> None:
        """Do what is to be done about a parent and the children that belong to it."""

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._child_informer.run(), name=self._kinds.child.plural)
            tasks.create_task(self._informer.run(), name=self._kinds.parent.plural)
            await self._child_informer.synced.wait()
            tasks.create_task(self._looks.run(), name=f"{self._kinds.parent.plural}/looks")

    async def write(self, parent: P) -> P | None:
        """Write the status of a parent; return it as it is stored.

        None if it has changed meanwhile: the watch shows what stands there instead.
        """
        try:
            stored = self._decode_parent(await self.send_status(parent))
        except (errors.Conflict, errors.NotFound):
            return None
        if key_of(stored) in self._objects:
            self._take(stored)
        return stored

    async def write_child(self, child: C) -> C | None:
        """Write the status of a child, unless it has changed; return it as it is stored."""
        meta = child.metadata
        request = requests.replace_status(self._kinds.child, meta.namespace, meta.name, child)
        try:
            stored = self._decode_child(await self._transport.send(request))
        except (errors.Conflict, errors.NotFound):
            return None
        self._children.update(stored)
        return stored

    async def delete_child(self, child: C) -> bool:
        """Delete a child, unless it has changed; return whether it is gone."""
        meta = child.metadata
        request = requests.delete(
            self._kinds.child, meta.namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        try:
            await self._transport.send(request)
        except (errors.Conflict, errors.NotFound):
            return False
        return True

    async def _look(self, key: Key) -> None:
        parent = self._objects.get(key)
        uid = None if parent is None else parent.metadata.uid
        owned = [(one, self._owner(one)) for one in self._children.of(key)]
        strays = [one for one, owner in owned if owner and owner != uid]
        if strays:
            await self._delete_strays(key, strays)
        if parent is not None:
            await self.look_at(key, parent, [one for one, owner in owned if owner in {"", uid}])

    def _owner(self, child: C) -> str:
        return owner_uid(child.metadata, self._kinds.parent.kind, noted=child.status.parent_uid)

    async def _delete_strays(self, key: Key, strays: Sequence[C]) -> None:
        """Delete children whose parent is gone, if it is: the watches may be late."""
        namespace, name = key
        request = requests.list_objects(self._kinds.parent, namespace, field_selector=f"metadata.name={name}")
        living = {one.metadata.uid for one in _decode_list(await self._transport.send(request)).items or ()}
        for one in strays:
            if self._owner(one) not in living:
                await self.delete_child(one)

    def _take(self, found: P) -> None:
        if is_newer(found, self._objects.get(key_of(found))):
            super()._take(found)

    def _forget(self, key: Key) -> None:
        super()._forget(key)
        self._looks.queue.add(key)  # its children may be left


async def settle_all(actions: Sequence[Coroutine[Any, Any, Any]]) -> Sequence[Any]:
    """Return the results of requests that are sent at the same time; all are, before one that was refused raises."""
    outcomes = await asyncio.gather(*actions, return_exceptions=True)
    for one in outcomes:
        if isinstance(one, BaseException):
            raise one
    return outcomes
