"""Internal. What holds for all objects by which something is asked for: Permits and LeaseRequests. Pure.

Called by ``semaphores`` and ``leases``, which decide about them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kontinue.api.konductor.group import lasting
from kontinue.api.meta import ObjectMeta

KEPT_FOR: Final = timedelta(hours=1)
"""What is over stays so long, for its holder to see it. Judgement."""


def turn(meta: ObjectMeta, order: int) -> tuple[float, int, str]:
    """Return what sorts objects in the order of their creation. Its time is in whole seconds, so others decide, too.

    Args:
        meta: of the object.
        order: within the same second, see ``order``.
    """
    created = meta.creation_timestamp.timestamp() if meta.creation_timestamp is not None else 0.0
    return created, order, meta.name


def order(meta: ObjectMeta) -> int:
    """Return the place within its second of an object that nobody has written since it was created: its version."""
    return int(meta.resource_version) if meta.resource_version.isdecimal() else 0


def bad_ttl(text: str) -> str:
    """Return what is wrong with a ttl that the server has let pass; empty if nothing is."""
    problem = lasting(text)[1]
    return f"ttl {problem}" if problem else ""
