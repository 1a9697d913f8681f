"""One object of a kind: created, read, deleted. Extended by the clients of all primitives."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from kontinue import errors
from kontinue.api.meta import ApiObject, PartialObjectMetadata
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.options import require_type
from kontinue.sync.objects.removing import remove

T = TypeVar("T", bound=HasMetadata)

RETRY_S: Final = 30.0
"""How long a request is tried when the client has no timeout; as the client's other calls."""

_decode_metadata: Final = reader(PartialObjectMetadata)


class Stored(Generic[T]):
    """One object of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the object.
        namespace: of the object.
        timeout: limit of each call, that of the client; what waits may have one of its own.

    Raises:
        TypeError: an argument is of another type.
        Invalid: it can be no name.
    """

    def __init__(
        self, name: str, client: Client, resource: Resource, object_type: type[T], *, namespace: str | None
    ) -> None:
        require_type("name", name, str, 'name="deploys"')
        require_type("client", client, Client, "Client(); a SyncClient is for the classes that begin with Sync")
        if namespace is not None:
            require_type("namespace", namespace, str, 'namespace="default"')
        self.name = name
        self.namespace = namespace or client.namespace
        resource.object_path(self.namespace, name)  # refuses what is no name, before anything is done with it
        self.timeout = client.timeout
        self._transport = client.kube
        self._retry_for_s = RETRY_S if client.timeout is None else client.timeout.total_seconds()
        self._resource = resource
        self._decode = reader(object_type)

    @limited
    async def get(self) -> T:
        """Read the whole object.

        Raises:
            NotFound: there is none.
        """
        return self._decode(await self._read())

    @limited_write
    async def delete(self) -> None:
        """Delete it, and all that belongs to it; who waits for it gets NotFound.

        Raises:
            NotFound: there is none.
        """
        # Whatever stands in it: what this version cannot read can be deleted, too.
        found = _decode_metadata(await self._read()).metadata
        await remove(self._transport, self._resource, found, retry_for_s=self._retry_for_s)

    @property
    def _what(self) -> str:
        return f"{self._resource.kind} {self.namespace}/{self.name}"

    async def _read(self) -> bytes:
        request = requests.get(self._resource, self.namespace, self.name)
        return await self._transport.send(request, retry_for_s=self._retry_for_s)

    async def _create(self, body: ApiObject) -> T:
        """Create it, or return the one that exists, as it is."""
        request = requests.create(self._resource, self.namespace, body)
        try:
            return self._decode(await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s))
        except errors.AlreadyExists:
            return await self.get()
