"""Renews something that lasts for its ttl, until it is lost. Called by ``locker`` and ``semaphore``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from kontinue.kube.reflector import HasMetadata
from kontinue.sync.objects.followed import Followed

T = TypeVar("T", bound=HasMetadata)

RENEW_AFTER: Final = 1 / 3
"""Of its ttl it is renewed: two lost renewals do not cost it. Judgement."""


async def renewed_until_lost(
    followed: Followed[T],
    state: T,
    *,
    is_held: Callable[[T], bool],
    renew: Callable[[], Awaitable[T]],
    ttl: timedelta | None,
    since_s: float,
) -> T:
    """Return the first state in which it is not held any more.

    Args:
        followed: the object that says so.
        state: as it was when it was taken.
        is_held: tells.
        renew: has it last for its whole ttl again; returns the state.
        ttl: how long it lasts; None: it does not end by itself.
        since_s: from when it lasts, by the event loop's clock.

    Raises:
        TimeoutError: it could not be renewed within its ttl.
        NotFound: the object was deleted.
        ApiError: the server refuses.
    """
    loop = asyncio.get_running_loop()
    ttl_s = None if ttl is None else ttl.total_seconds()
    async with asyncio.timeout_at(None if ttl_s is None else since_s + ttl_s) as limit, followed:
        while is_held(state):
            left_s = None if ttl_s is None else since_s + ttl_s * RENEW_AFTER - loop.time()
            if ttl_s is None or left_s is None or left_s > 0:
                state = await followed.newer(state, within_s=left_s)
                continue
            since_s = loop.time()
            state = await renew()
            limit.reschedule(since_s + ttl_s)
    return state
