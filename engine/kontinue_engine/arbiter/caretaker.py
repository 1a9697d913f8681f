"""Internal. What controllers of all primitives share: the newest state of each object, and what is done to one.

Level-based: each look takes the newest state that the watch has shown. A write carries its resourceVersion, so one
that comes late is refused, and the watch shows what to decide about instead. Extended by ``held`` for objects that
name their holders, by ``families`` for parents and children, and by ``gates``.
"""

from __future__ import annotations

import abc
import asyncio
import traceback
from collections.abc import Sequence
from typing import Final, Generic, Literal, TypeVar

from kontinue.api.meta import ObjectReference
from kontinue.kube import requests
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.looks import Key, Looks
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.telemetry.logs import get_logger

HOLDER_GONE: Final = "HolderGone"
EXPIRED: Final = "Expired"
OPENED: Final = "Opened"
TIMED_OUT: Final = "TimedOut"
INVALID_TIMEOUT: Final = "InvalidTimeout"
NOT_LOOKED_AFTER: Final = "NotLookedAfter"

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
        self._looks = Looks(resource.plural, self._look, self._on_fault)
        self._informer = Informer(transport, resource, namespace, type_=object_type, handler=self)

    async def run(self) -> None:
        """Look after them until cancelled."""
        plural = self._resource.plural
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run(), name=plural)
            tasks.create_task(self._looks.run(), name=f"{plural}/looks")

    def on_list(self, objects: Sequence[T], *, initial: bool) -> None:
        """Take all objects."""
        del initial
        for key in self._objects.keys() - {key_of(found) for found in objects}:
            self._forget(key)
        for found in objects:
            self._try_to_take(found)

    def on_event(self, type: EventType, obj: T) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self._forget(key_of(obj))
        else:
            self._try_to_take(obj)

    async def send_status(self, found: T) -> bytes:
        """Write the status of an object; return it as it is stored.

        Raises:
            ApiError: the server refuses.
        """
        meta = found.metadata
        return await self._transport.send(requests.replace_status(self._resource, meta.namespace, meta.name, found))

    def tell(self, found: T, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the wire's word
        """Record an Event about an object."""
        meta, kind = found.metadata, self._resource
        about = ObjectReference(
            api_version=kind.api_version, kind=kind.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid
        )
        self._events.record(about, type, reason, message)

    @abc.abstractmethod
    async def _look(self, key: Key) -> None:
        """Decide about what is there, or is gone, and carry it out."""

    def _take(self, found: T) -> None:
        key = key_of(found)
        self._objects[key] = found
        self._looks.queue.add(key)

    def _forget(self, key: Key) -> None:
        self._objects.pop(key, None)
        self._looks.forget(key)

    def _try_to_take(self, found: T) -> None:
        try:
            self._take(found)
        except Exception as error:  # noqa: BLE001 - one odd object must not end what all others need
            self._note_fault(key_of(found), found, error)

    def _on_fault(self, key: Key, error: Exception) -> None:
        self._note_fault(key, self._objects.get(key), error)

    def _note_fault(self, key: Key, found: T | None, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        _log.error("fault of the coordinator", kind=self._resource.kind, object="/".join(key), exception=trace)
        if found is not None:
            message = f"a fault of the coordinator: {type(error).__name__}: {error}"
            self.tell(found, "Warning", NOT_LOOKED_AFTER, message)


def key_of(subject: HasMetadata) -> Key:
    """Return where an object is."""
    return subject.metadata.namespace, subject.metadata.name
