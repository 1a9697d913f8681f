"""Internal. Lists of objects of any kind, whole, as the server sent them or decoded."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue.api.meta import ListMeta
from kontinue.kube import requests
from kontinue.kube.transport import Transport

RETRY_FOR_S: Final = 15.0
"""How long a verb goes on asking a server that is away: a restart of ``kontinue dev``'s server is shorter."""
PAGE_LIMIT: Final = 500

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Everything that a list returned, decoded as ``T``, and the version it was read at."""

    items: list[T]
    resource_version: str


class ListOf(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list, as the server answers."""

    metadata: ListMeta
    items: list[T] | None = None
    """None where there are none: kube-apiserver writes null for an empty list of metadata."""


async def list_objects(
    transport: Transport,
    resource: requests.Resource,
    namespace: str,
    type_: type[T],
    *,
    label_selector: str = "",
    field_selector: str = "",
    only_metadata: bool = False,
) -> Page[T]:
    """Return all objects of a selection, page by page."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ListOf[type_])  # type: ignore[valid-type]
    items: list[T] = []
    token = ""
    while True:
        request = requests.list_objects(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=PAGE_LIMIT,
            continue_token=token,
            only_metadata=only_metadata,
        )
        page = decoder.decode(await transport.send(request, retry_for_s=RETRY_FOR_S))
        items += page.items or ()
        token = page.metadata.continue_
        if not token:
            return Page(items, page.metadata.resource_version)
