"""One object by its name, and the pages of a list. Called by the modules of this package that read objects.

``send`` does the I/O, and ``decode`` judges what comes (``kontinue.kube.answers``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

from kontinue import errors
from kontinue.api.meta import ListMeta
from kontinue.kube import requests
from kontinue.kube.requests import Request, Resource


class Page(Protocol):
    """One page of a list, whatever is in it."""

    @property
    def metadata(self) -> ListMeta:
        """Says how to go on."""
        ...


Send = Callable[[Request], Awaitable[bytes]]
T = TypeVar("T")
PageT = TypeVar("PageT", bound=Page)


async def fetch_named(send: Send, resource: Resource, decode: Callable[[bytes], T], *, namespace: str, name: str) -> T:
    """Read one object.

    Raises:
        NotFound: there is none of that name; the message names kind and namespace.
    """
    try:
        return decode(await send(requests.get(resource, namespace, name)))
    except errors.NotFound as error:
        raise errors.NotFound(
            f"no {resource.kind} {name!r} in namespace {namespace!r} ({error})",
            status=error.status,
            reason=error.reason,
        ) from error


async def fetch_pages(
    send: Send,
    resource: Resource,
    decode: Callable[[bytes], PageT],
    *,
    namespace: str,
    size: int,
    label_selector: str = "",
    field_selector: str = "",
    only_metadata: bool = False,
) -> AsyncGenerator[PageT, None]:
    """Read a list page by page, of ``size`` objects each; an empty ``namespace`` is all namespaces."""
    token = ""
    while True:
        request = requests.list_objects(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=size,
            continue_token=token,
            only_metadata=only_metadata,
        )
        page = decode(await send(request))
        yield page
        token = page.metadata.continue_
        if not token:
            return
