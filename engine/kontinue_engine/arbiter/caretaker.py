"""Internal. What controllers of all primitives share: the newest state of each object, and who is looked at next.

Level-based: each look takes the newest state that the watch has shown. A write carries its resourceVersion, so one
that comes late is refused, and the watch shows what to decide about instead. Extended by ``wait_groups`` and ``locks``.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar

from kontinue import errors
from kontinue.api.konductor_v1 import Holder
from kontinue.api.meta import ObjectReference
from kontinue.kube import requests
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.telemetry.logs import get_logger

HOLDER_GONE: Final = "HolderGone"
EXPIRED: Final = "Expired"

LOOKS_AT_ONCE: Final = 8
"""Judgement: a node that dies with hundreds of holders is told within a second, and leaves room for others."""
RETRY_S: Final = 1.0
"""After a refusal. Judgement."""
LOOK_AGAIN_S: Final = 60.0
"""Clocks are set and laptops sleep, so what is due later is looked at after half of its time, but not before this."""

Key = tuple[str, str]
"""Namespace and name."""


T = TypeVar("T", bound=HasMetadata)

_log = get_logger(__name__)


class Caretaker(abc.ABC, Generic[T]):
    """Looks after the objects of one kind in a namespace, or in all.

    Args:
        transport: to the API server.
        resource: the kind.
        object_type: what they are decoded as.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

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
        self._transport = transport
        self._resource = resource
        self._events = events
        self._clock = clock
        self._objects: dict[Key, T] = {}
        self._held_by: dict[str, set[Key]] = {}
        self._queue: WorkQueue[Key] = WorkQueue()
        self._holders = Holders(transport, namespace, self._on_holder)
        self._informer = Informer(transport, resource, namespace, type_=object_type, handler=self)

    @abc.abstractmethod
    def holders_of(self, found: T) -> Iterable[Holder]:
        """Return those whose end matters to an object."""

    @abc.abstractmethod
    async def look_at(self, key: Key, found: T) -> float | None:
        """Do what is to be done about an object; return in how many seconds to look again, None: when it changes.

        Raises:
            ApiError: the server refuses. After Conflict and NotFound the watch shows what stands there instead.
        """

    def forgotten(self, key: Key) -> None:
        """Forget what else is known of an object that is gone."""

    async def run(self) -> None:
        """Look after them until cancelled."""
        plural = self._resource.plural
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name=f"{plural}/holders")
            tasks.create_task(self._informer.run(), name=plural)
            for number in range(LOOKS_AT_ONCE):
                tasks.create_task(self._look_at_all(), name=f"{plural}/{number}")

    def on_list(self, objects: Sequence[T], *, initial: bool) -> None:
        """Take all objects."""
        del initial
        for key in self._objects.keys() - {_key(found) for found in objects}:
            self._forget(key)
        for found in objects:
            self._take(found)

    def on_event(self, type: EventType, obj: T) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self._forget(_key(obj))
        else:
            self._take(obj)

    async def gone(self, found: T) -> set[str]:
        """Return the uids of its holders that have ended.

        Raises:
            ApiError: the server refuses to say.
        """
        namespace = found.metadata.namespace
        return {one.uid for one in self.holders_of(found) if await self._holders.is_gone(namespace, one)}

    async def write(self, found: T) -> None:
        """Write the status of an object.

        Raises:
            ApiError: the server refuses.
        """
        meta = found.metadata
        await self._transport.send(requests.replace_status(self._resource, meta.namespace, meta.name, found))

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

    def tell(self, found: T, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the wire's word
        """Record an Event about an object."""
        meta = found.metadata
        reference = ObjectReference(
            api_version=self._resource.api_version,
            kind=self._resource.kind,
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
        )
        self._events.record(reference, type, reason, message)

    def _take(self, found: T) -> None:
        key = _key(found)
        self._unbind(key)
        self._objects[key] = found
        for one in self.holders_of(found):
            self._held_by.setdefault(one.uid, set()).add(key)
        self._queue.add(key)

    def _forget(self, key: Key) -> None:
        self._unbind(key)
        self._objects.pop(key, None)
        self._queue.forget(key)
        self.forgotten(key)

    def _unbind(self, key: Key) -> None:
        known = self._objects.get(key)
        for one in self.holders_of(known) if known is not None else ():
            keys = self._held_by.get(one.uid, set())
            keys.discard(key)
            if not keys:
                self._held_by.pop(one.uid, None)

    def _on_holder(self, uid: str | None) -> None:
        for key in self._held_by.get(uid, ()) if uid is not None else set().union(*self._held_by.values()):
            self._queue.add(key)

    async def _look_at_all(self) -> None:
        while True:
            key = await self._queue.get()
            found = self._objects.get(key)
            try:
                if found is not None and (again_s := await self.look_at(key, found)) is not None:
                    self._queue.add_after(key, again_s)
            except (errors.Conflict, errors.NotFound):
                pass  # the watch shows what stands there instead
            except errors.ApiError as error:
                _log.warning("not looked after", kind=self._resource.kind, name="/".join(key), error=str(error))
                self._queue.add_after(key, RETRY_S)
            finally:
                self._queue.done(key)


def _key(found: HasMetadata) -> Key:
    return found.metadata.namespace, found.metadata.name


def until(due: datetime, now: datetime) -> float:
    """Return in how many seconds to look at what is due then."""
    left_s = (due - now).total_seconds()
    return min(left_s, max(left_s / 2, LOOK_AGAIN_S))
