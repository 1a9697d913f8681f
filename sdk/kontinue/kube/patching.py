"""Changes an object beside a busy owner: reads it, and sends a patch that tests what was seen.

If that has changed meanwhile, the patch is built anew from what stands there then. The transport may have sent a patch
twice because the answer to the first was lost; so who builds it is told that one was refused before, and recognises a
change of its own. Called by ``kontinue.client``, and by workers about what may have another owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.kube.backoff import Backoff
from kontinue.kube.requests import Request

TRIES: Final = 10
"""What is tested changes less often than that in between. Judgement."""


class _Stored(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


Object = TypeVar("Object", bound=_Stored)
Answer = TypeVar("Answer")


async def patch_as_seen(
    *,
    read: Callable[[], Awaitable[Object]],
    build: Callable[[Object, int], Awaitable[Request | None]],
    send: Callable[[Request], Awaitable[Answer]],
) -> Answer | None:
    """Change an object; return the server's answer, or None if nothing was left to be done.

    Args:
        read: reads the object.
        build: makes the patch from what was read, and how many were refused before; None if there is nothing to do.
        send: sends it.

    Raises:
        ApiError: the server refuses it although nothing has changed, or somebody else is faster again and again.
    """
    refused_version: str | None = None
    backoff = Backoff()
    for refusals in range(TRIES):
        found = await read()
        request = await build(found, refusals)
        if request is None:
            return None
        version = found.metadata.resource_version
        try:
            return await send(request)
        except (errors.Invalid, errors.Conflict) as error:
            if error.status not in (409, 422) or version == refused_version or refusals == TRIES - 1:
                raise  # nothing has changed, so it was not what was tested
            refused_version = version
        await asyncio.sleep(backoff.next_s())
    raise AssertionError("the last try has returned or raised")
