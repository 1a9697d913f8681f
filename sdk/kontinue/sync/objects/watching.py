"""One object as it changes. Called by ``asking`` and ``opening``, which wait for what it becomes."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from kontinue.kube.reflector import REFUSALS, HasMetadata, Listed, Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

T = TypeVar("T", bound=HasMetadata)


class Gone(enum.Enum):
    """That there is no object."""

    DELETED = "it was seen to be deleted"
    MISSING = "there is none, or none any more: what became of it was not seen"


async def states(
    transport: Transport, resource: Resource, namespace: str, name: str, type_: type[T]
) -> AsyncGenerator[T | Gone, None]:
    """Yield an object as it is, and again whenever it has changed; or that it is gone.

    Raises:
        ApiError: the server refuses to be watched.
    """
    reflector = Reflector(
        transport, resource, namespace, type_=type_, field_selector=f"metadata.name={name}", fatal=REFUSALS
    )
    async with aclosing(reflector.follow()) as stream:
        async for news in stream:
            match news:
                case Listed(objects=[one, *_]):
                    yield one
                case Listed():
                    yield Gone.MISSING
                case Changed(type="DELETED"):
                    yield Gone.DELETED
                case Changed(object=one):
                    yield one
                case _:
                    pass
