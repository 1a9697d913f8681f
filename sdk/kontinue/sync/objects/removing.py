"""Deletes an object that was seen. Called by the clients of all primitives."""

from __future__ import annotations

from contextlib import suppress

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport


async def remove(transport: Transport, resource: Resource, meta: ObjectMeta, *, retry_for_s: float) -> None:
    """Delete this object, and not a later one of its name.

    That it is gone when it is deleted is no error: the answer to our own request got lost, or somebody was faster.

    Raises:
        ApiError: the server refuses, or was away for too long.
    """
    request = requests.delete(resource, meta.namespace, meta.name, uid=meta.uid)
    with suppress(errors.NotFound, errors.Conflict):
        await transport.send(request, retry_for_s=retry_for_s)
