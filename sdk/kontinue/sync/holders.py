"""Finds the Pod or Execution that a name means now. Called by the clients of primitives that can be bound to one."""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue.api.konductor_v1 import Holder, HolderKind
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport

_RESOURCES: Final = {HolderKind.POD: requests.PODS, HolderKind.EXECUTION: requests.EXECUTIONS}
_decode: Final = reader(PartialObjectMetadata)


async def found_holder(transport: Transport, namespace: str, holder: Holder, *, retry_for_s: float) -> Holder:
    """Return a holder with its uid; one that has a uid already is not looked for.

    Raises:
        NotFound: there is none of the name.
    """
    if holder.uid:
        return holder
    request = requests.get(_RESOURCES[holder.kind], namespace, holder.name)
    found = _decode(await transport.send(request, retry_for_s=retry_for_s))
    return msgspec.structs.replace(holder, uid=found.metadata.uid)
