"""Who holds something: who one is oneself, and the Pod or the Execution that it is bound to.

Called by ``kontinue.sync``'s primitives, and by workers.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.locks import MAX_HOLDER
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue.sync.objects.arguments import require_holder

_RESOURCES: Final = {HolderKind.POD: requests.PODS, HolderKind.EXECUTION: requests.EXECUTIONS}
_decode_metadata: Final = reader(PartialObjectMetadata)


async def found(holder: Holder, transport: Transport, namespace: str, *, retry_for_s: float) -> Holder:
    """Return a holder with the uid of what has its name now.

    Raises:
        NotFound: there is none.
        ApiError: the server refuses.
    """
    request = requests.get(_RESOURCES[holder.kind], namespace, holder.name)
    metadata = _decode_metadata(await transport.send(request, retry_for_s=retry_for_s)).metadata
    return msgspec.structs.replace(holder, uid=metadata.uid)


def holder_name(holder: str | Holder | None) -> str:
    """Return what a holder is called by in the status; None, who says nothing: as the environment or the host says.

    Raises:
        InvalidState: it is too long, or what a variable says is blank.
        TypeError: it is neither a name nor a Holder.
        ValueError: it is empty or blank.
    """
    require_holder(holder)
    if holder is None:
        source, name = _own_name()
        if not name.strip():
            raise errors.InvalidState(f"{source}: holder {name!r} is blank")
    else:
        source, name = "", f"{holder.kind.value.lower()}/{holder.name}" if isinstance(holder, Holder) else holder
    if len(name) > MAX_HOLDER:
        where = f"{source}: " if source else ""
        raise errors.InvalidState(f"{where}holder {name[:40]!r}... is longer than {MAX_HOLDER} characters")
    return name


def _own_name() -> tuple[str, str]:
    """Return what whoever says nothing is called by, and who says so: a variable, or the host."""
    named = ((f"${variable}", os.environ.get(variable, "")) for variable in ("KONDUCTOR_HOLDER_ID", "HOSTNAME"))
    return next((one for one in named if one[1]), ("the host's name", socket.gethostname()))
