"""Internal. Keeps a handler up to date with the objects of one selection: list, then watch, for ever.

Level-based: whatever is missed is made good by the next list. A watch that ends is resumed from the last
resourceVersion; a version that is too old (410) leads to a new list. Each watch has an end (240-300 s), so even a
connection that died silently costs minutes at worst. Handlers are called on the loop, one at a time, in the order of
the server's events; they must not block. What they do next is usually to update a store and add a key to a work queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from random import Random
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from kontinue import errors
from kontinue.api.meta import ListMeta, ObjectMeta
from kontinue.kube import requests, watch
from kontinue.kube.backoff import Backoff
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType

T = TypeVar("T", bound="HasMetadata")
T_contra = TypeVar("T_contra", contravariant=True)

PAGE_SIZE: Final = 500
"""kubectl's and client-go's page size."""
WATCH_S: Final = (240, 300)
"""Length of one watch: random, so that the watches of all replicas do not end together."""
WATCH_GRACE_S: Final = 15.0
"""A server that has not ended the watch this long after its time is gone."""
SHORT_WATCH_S: Final = 1.0
"""A watch that ends sooner without an event counts as a failure, lest a broken proxy makes us spin."""

_log = logging.getLogger(__name__)
_rng: Final = Random()  # noqa: S311 - jitter is no secret


class HasMetadata(Protocol):
    """Any API object."""

    @property
    def metadata(self) -> ObjectMeta:
        """Name and resourceVersion are read."""
        ...


class InformerHandler(Protocol[T_contra]):
    """Told what the selection contains."""

    def on_list(self, objects: Sequence[T_contra], *, initial: bool) -> None:
        """Take the whole selection as it is now; what is not in it has left. ``initial`` on the first list only."""
        ...

    def on_event(self, type: EventType, obj: T_contra) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that the object left the selection, not that it is gone."""
        ...


class _Page(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] = []


_decode_page: Final = msgspec.json.Decoder(_Page).decode
_decode_metadata: Final = msgspec.json.Decoder(watch.MetadataOnly).decode


class Informer(Generic[T]):
    """List and watch of one resource, decoded as ``type_``."""

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        namespace: str,
        *,
        type_: type[T],
        handler: InformerHandler[T],
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.synced = asyncio.Event()
        """Set once the first list has been handed over."""
        self.last_error: errors.ApiError | None = None
        """Why it does not get on at the moment; None while all is well."""
        self._transport = transport
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._handler = handler
        self._decode_object = msgspec.json.Decoder(type_).decode
        self._events = watch.EventDecoder(type_)
        self._version = ""

    async def run(self) -> None:
        """List and watch until cancelled. Errors of the server are logged and retried; errors of the handler pass."""
        backoff = Backoff()
        while True:
            try:
                if not self._version:
                    await self._list()
                progressed = await self._watch()
                self.last_error = None
            except errors.Gone as error:
                _log.info("watch is too old, listing again", extra={"resource": self._resource.plural})
                progressed = False
                self._version = ""
                self.last_error = error
            except errors.ApiError as error:
                progressed = False
                self.last_error = error
                _log.warning("watch failed", extra={"resource": self._resource.plural, "error": str(error)})
            if progressed:
                backoff.reset()
            else:
                await asyncio.sleep(
                    backoff.next_s(at_least_s=self.last_error.retry_after_s if self.last_error else None)
                )

    async def _list(self) -> None:
        try:
            objects, version = await self._list_pages(limit=PAGE_SIZE)
        except errors.Gone:
            # The snapshot behind the continue token is gone: one whole list cannot lose it.
            objects, version = await self._list_pages(limit=0)
        self._version = version
        self._handler.on_list(objects, initial=not self.synced.is_set())
        self.synced.set()

    async def _list_pages(self, *, limit: int) -> tuple[list[T], str]:
        objects: list[T] = []
        token = ""
        while True:
            request = requests.list_objects(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=limit,
                continue_token=token,
            )
            page = _decode_page(await self._transport.send(request))
            for raw in page.items:
                try:
                    objects.append(self._decode_object(raw))
                except msgspec.MsgspecError as error:
                    self._skip(_decode_metadata(raw).metadata.name, str(error))
            token = page.metadata.continue_
            if not token:
                return objects, page.metadata.resource_version

    async def _watch(self) -> bool:
        """Watch until the server ends it; tell whether that was of any use."""
        length_s = _rng.randint(*WATCH_S)
        request = requests.watch(
            self._resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_s=length_s,
        )
        loop = asyncio.get_running_loop()
        started = loop.time()
        received = False
        limit = asyncio.timeout(length_s + WATCH_GRACE_S)
        try:
            async with limit, aclosing(self._transport.stream(request)) as lines:
                async for line in lines:
                    self._handle(line)
                    received = True
        except TimeoutError:
            if not limit.expired():
                raise
            _log.warning("watch did not end in time, opening another", extra={"resource": self._resource.plural})
        return received or loop.time() - started > SHORT_WATCH_S

    def _handle(self, line: bytes) -> None:
        match self._events.decode(line):
            case watch.Changed(type=event_type, object=obj):
                self._handler.on_event(event_type, obj)
                self._version = obj.metadata.resource_version
            case watch.Bookmark(resource_version=version):
                self._version = version
            case watch.Undecodable(resource_version=version, name=name, problem=problem):
                self._skip(name, problem)
                self._version = version

    def _skip(self, name: str, problem: str) -> None:
        _log.error(
            "object does not fit its type, ignoring it",
            extra={"resource": self._resource.plural, "object": name, "problem": problem},
        )
