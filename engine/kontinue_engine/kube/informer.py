"""Internal. Keeps a handler up to date with the objects of one selection, for ever.

How lists, watches and their failures become one stream is ``kontinue.kube.reflector``'s business; here is the form
that controllers use. Handlers are called on the loop, one at a time, in the order of the server's events; they must
not block. What they do next is usually to update a store and add a key to ``kontinue_engine.kube.work_queue``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from kontinue import errors
from kontinue.kube.reflector import PAGE_SIZE, HasMetadata, Listed, Reconnected, Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed, EventType
from kontinue_engine.processes import give_memory_back

T = TypeVar("T", bound=HasMetadata)
T_contra = TypeVar("T_contra", contravariant=True)


class InformerHandler(Protocol[T_contra]):
    """Told what the selection contains."""

    def on_list(self, objects: Sequence[T_contra], *, initial: bool) -> None:
        """Take the whole selection as it is now; what is not in it has left. ``initial`` on the first list only."""
        ...

    def on_event(self, type: EventType, obj: T_contra) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that the object left the selection, not that it is gone."""
        ...


class Both(Generic[T_contra]):
    """Hands everything on to two handlers, in this order."""

    def __init__(self, first: InformerHandler[T_contra], second: InformerHandler[T_contra]) -> None:
        self._handlers = (first, second)

    def on_list(self, objects: Sequence[T_contra], *, initial: bool) -> None:
        """Hand on the whole selection."""
        for handler in self._handlers:
            handler.on_list(objects, initial=initial)

    def on_event(self, type: EventType, obj: T_contra) -> None:  # noqa: A002 - the wire's word
        """Hand on one change."""
        for handler in self._handlers:
            handler.on_event(type, obj)


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
        only_metadata: bool = False,
    ) -> None:
        self.synced = asyncio.Event()
        """Set once the first list has been handed over."""
        self._handler = handler
        self._reflector = Reflector(
            transport,
            resource,
            namespace,
            type_=type_,
            label_selector=label_selector,
            field_selector=field_selector,
            only_metadata=only_metadata,
        )

    @property
    def last_error(self) -> errors.ApiError | None:
        """Why it does not get on at the moment; None while all is well."""
        return self._reflector.last_error

    async def run(self) -> None:
        """List and watch until cancelled. Errors of the server are retried; errors of the handler are raised."""
        async with aclosing(self._reflector.follow()) as stream:
            async for news in stream:
                is_large = isinstance(news, Listed) and len(news.objects) > PAGE_SIZE
                self._hand_on(news)
                del news  # else it stays until the next change
                if is_large:
                    give_memory_back()

    def _hand_on(self, news: Listed[T] | Changed[T] | Reconnected) -> None:
        match news:
            case Changed(type=event_type, object=obj):
                self._handler.on_event(event_type, obj)
            case Listed(objects=objects):
                self._handler.on_list(objects, initial=not self.synced.is_set())
                self.synced.set()
            case Reconnected():
                pass
