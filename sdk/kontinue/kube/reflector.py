"""Follows one selection of objects: list, then watch, for ever, as a stream of typed news.

A watch that ends is resumed from the last resourceVersion; a version that is too old (410) leads to a new list. Each
watch has an end (240-300 s), so even a connection that died silently costs minutes at worst. Errors of the server are
logged and retried with back-off. Consumed by the engine's informer and by the client's waits and trees, which are all
level-based: what they believe follows from the last ``Listed`` and the changes since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Generic, Protocol, TypeVar, overload

import msgspec

from kontinue import errors
from kontinue.api.meta import ListMeta, ObjectMeta
from kontinue.kube import jitter, requests, watch
from kontinue.kube.backoff import Backoff
from kontinue.kube.errors import CLOSED
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

PAGE_SIZE: Final = 500
"""kubectl's and client-go's page size."""
WATCH_S: Final = (240, 300)
"""Length of one watch: random, so that the watches of all replicas do not end together."""
WATCH_GRACE_S: Final = 15.0
"""A server that has not ended the watch this long after its time is gone."""
SHORT_WATCH_S: Final = 1.0
"""A watch that ends sooner without an event counts as a failure, lest a broken proxy makes us spin."""

REFUSALS: Final = (errors.Forbidden, errors.Unauthorized, errors.NotFound, errors.Invalid)
"""Errors that do not pass by themselves: a client raises them, a worker waits until somebody grants what is missing."""

_log = logging.getLogger(__name__)


class HasMetadata(Protocol):
    """Any API object."""

    @property
    def metadata(self) -> ObjectMeta:
        """Name and resourceVersion are read."""
        ...


T = TypeVar("T", bound=HasMetadata)


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """The whole selection as it is now; what is not in it has left it. Empty when only watching."""

    objects: Sequence[T]
    resource_version: str


class _Encoded(Sequence[T]):
    """Objects as they came, each decoded when it is looked at.

    Whoever keeps little of each needs little memory meanwhile. Decoded, ten thousand of them would be tens of MiB,
    which a process does not give back when they are gone: something that stays always lies between them.
    """

    def __init__(self, objects: list[msgspec.Raw], decode: Callable[[msgspec.Raw], T]) -> None:
        self._objects = objects
        self._decode = decode

    def __len__(self) -> int:
        return len(self._objects)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return _Encoded(self._objects[index], self._decode)
        return self._decode(self._objects[index])


class Reconnected(msgspec.Struct, frozen=True):
    """Another watch follows on the last one; no change of the selection was missed."""


class _Page(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None
    """None where there are none: kube-apiserver writes null for an empty list of metadata."""


_decode_page: Final = msgspec.json.Decoder(_Page).decode
_decode_metadata: Final = msgspec.json.Decoder(watch.MetadataOnly).decode


class Reflector(Generic[T]):
    """List and watch of one resource, decoded as ``type_``.

    Args:
        transport: where to ask.
        resource: what to follow.
        namespace: where; empty means everywhere.
        type_: type of the objects. What does not fit it is logged and left out.
        label_selector: which of them.
        field_selector: which of them.
        watch_only: report only changes from now on; ``Listed`` then carries no objects.
        fatal: errors that end ``follow`` instead of being retried.
        only_metadata: leave everything else at the server.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        namespace: str,
        *,
        type_: type[T],
        label_selector: str = "",
        field_selector: str = "",
        watch_only: bool = False,
        fatal: tuple[type[errors.ApiError], ...] = (),
        only_metadata: bool = False,
    ) -> None:
        self.last_error: errors.ApiError | None = None
        """Why it does not get on at the moment; None while all is well."""
        self._transport = transport
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._watch_only = watch_only
        self._fatal = fatal
        self._only_metadata = only_metadata
        self._decode_object = msgspec.json.Decoder(type_).decode
        self._events = watch.EventDecoder(type_)
        self._version = ""

    async def follow(self) -> AsyncGenerator[Listed[T] | Changed[T] | Reconnected, None]:
        """Yield the selection, then its changes in the server's order, until closed or cancelled.

        Close it (``contextlib.aclosing``) when leaving early.

        Raises:
            ApiError: one of those that are fatal; or Unavailable: the transport was closed.
        """
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        is_told = False  # one warning per outage, not one per try
        while True:
            started_s = loop.time()
            useful = False
            try:
                if not self._version:
                    yield await self._list_anew()
                else:
                    yield Reconnected()
                async with aclosing(self._watch()) as changes:
                    async for change in changes:
                        useful = True
                        is_told = False
                        self.last_error = None
                        if change is not None:
                            yield change
                self.last_error = None
                useful = useful or loop.time() - started_s > SHORT_WATCH_S
                is_told = False
            except errors.Gone as error:
                _log.info("watch is too old, listing again", extra={"resource": self._resource.plural})
                self._version = ""
                self.last_error = error
            except errors.ApiError as error:
                self.last_error = error
                if isinstance(error, self._fatal) or error.reason == CLOSED:
                    raise
                level = logging.DEBUG if is_told else logging.WARNING
                _log.log(level, "watch of %s failed, trying again: %s", self._resource.plural, error)
                is_told = True
            if useful:
                backoff.reset()
            if self.last_error is not None:
                await asyncio.sleep(backoff.next_s(at_least_s=self.last_error.retry_after_s))
            elif not useful:
                await asyncio.sleep(backoff.next_s())

    async def _list_anew(self) -> Listed[T]:
        """Return the selection: not kept here, it is gone when whoever gets it lets go of it."""
        listed = await self.fetch()
        self._version = listed.resource_version
        return listed

    async def fetch(self) -> Listed[T]:
        """List the selection once, page by page; transient errors are retried without end.

        Raises:
            ApiError: the server refuses.
        """
        if self._watch_only:
            newest = await self._fetch_pages(limit=1, pages=1)
            return Listed([], newest.resource_version)
        try:
            return await self._fetch_pages(limit=PAGE_SIZE)
        except errors.Gone:
            # The snapshot behind the continue token is gone: one whole list cannot lose it.
            return await self._fetch_pages(limit=0)

    async def _fetch_pages(self, *, limit: int, pages: int = -1) -> Listed[T]:
        objects: list[msgspec.Raw] = []
        token = ""
        while True:
            request = requests.list_objects(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=limit,
                continue_token=token,
                only_metadata=self._only_metadata,
            )
            try:
                page = _decode_page(await self._transport.send(request))
            except msgspec.MsgspecError as error:
                raise errors.Unavailable(f"the answer to {request.path} is no list: {error}") from error
            for raw in page.items or ():
                try:
                    self._decode_object(raw)
                    objects.append(raw)
                except msgspec.MsgspecError as error:
                    self._skip(_decode_metadata(raw).metadata.name, str(error))
            token = page.metadata.continue_
            pages -= 1
            if not token or pages == 0:
                return Listed(_Encoded(objects, self._decode_object), page.metadata.resource_version)

    async def _watch(self) -> AsyncGenerator[Changed[T] | None, None]:
        """Yield the changes of one watch until the server ends it; None for lines that carry none."""
        length_s = jitter.rng.randint(*WATCH_S)
        request = requests.watch(
            self._resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_s=length_s,
            only_metadata=self._only_metadata,
        )
        async with aclosing(self._transport.stream(request, timeout_s=length_s + WATCH_GRACE_S)) as lines:
            async for line in lines:
                match self._events.decode(line):
                    case Changed() as change:
                        yield change
                        self._version = change.object.metadata.resource_version
                    case watch.Bookmark(resource_version=version):
                        self._version = version
                        yield None
                    case watch.Undecodable(resource_version=version, name=name, problem=problem):
                        self._skip(name, problem)
                        self._version = version
                        yield None

    def _skip(self, name: str, problem: str) -> None:
        _log.error("%s %s does not fit its type, ignoring it: %s", self._resource.kind, name, problem)
