"""Internal. Reads objects for the verbs, one or a list, as the server sent them or decoded.

Over the client's transport, not through the client, because ``-o json`` shows fields that our structs leave out.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue.api.meta import ListMeta
from kontinue.api.v1alpha1 import Execution
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport

_PAGE_LIMIT: Final = 500
_RETRY_FOR_S: Final = 15.0
"""How long a verb goes on asking a server that is away: a restart of ``kontinue dev``'s server is shorter."""

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Everything that a list returned, decoded as ``T``, and the version it was read at."""

    items: list[T]
    resource_version: str


class _List(msgspec.Struct, Generic[T], frozen=True):
    metadata: ListMeta
    items: list[T] | None = None
    """None where there are none: kube-apiserver writes null for an empty list of metadata."""


async def fetch_execution(transport: KubeTransport, namespace: str, name: str) -> Execution:
    """Return one Execution.

    Raises:
        NotFound: there is none of that name; says where it was looked for and how to see the others.
    """
    return msgspec.json.decode(await fetch_raw(transport, requests.EXECUTIONS, namespace, name), type=Execution)


async def fetch_raw(transport: KubeTransport, resource: requests.Resource, namespace: str, name: str) -> bytes:
    """Return one object as the server sent it.

    Raises:
        NotFound: there is none of that name.
    """
    try:
        return await transport.send(requests.get(resource, namespace, name), retry_for_s=_RETRY_FOR_S)
    except NotFound as error:
        verb = "get" if resource is requests.EXECUTIONS else "functions"
        raise NotFound(
            f"{resource.kind} {name!r} not found in namespace {namespace}. "
            f"`kontinue {verb} -n {namespace}` lists what is there.",
            status=error.status,
            reason=error.reason,
        ) from error


async def list_objects(
    transport: KubeTransport,
    resource: requests.Resource,
    namespace: str,
    type_: type[T],
    *,
    label_selector: str = "",
    field_selector: str = "",
    only_metadata: bool = False,
) -> Page[T]:
    """Return all objects of a selection, page by page."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_List[type_])  # type: ignore[valid-type]
    items: list[T] = []
    token = ""
    while True:
        request = requests.list_objects(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=_PAGE_LIMIT,
            continue_token=token,
            only_metadata=only_metadata,
        )
        page = decoder.decode(await transport.send(request, retry_for_s=_RETRY_FOR_S))
        items += page.items or ()
        token = page.metadata.continue_
        if not token:
            return Page(items, page.metadata.resource_version)
