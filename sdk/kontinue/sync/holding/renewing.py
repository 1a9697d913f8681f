"""Renews something that lasts for its ttl, until it is lost. Called by ``locker``, ``semaphore`` and ``lease``.

A ttl counts from before whatever has begun it was asked for: nobody else can count it from an earlier time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from kontinue import errors
from kontinue.kube.backoff import CAP_S, Backoff
from kontinue.kube.reflector import HasMetadata
from kontinue.sync.objects.followed import Followed

T = TypeVar("T", bound=HasMetadata)

RENEW_AFTER: Final = 1 / 3
"""Of its ttl it is renewed: two lost renewals do not cost it. Judgement."""
LONGEST_PAUSE: Final = 1 / 24
"""Of its ttl, between two tries of a renewal: a server that is back in time is asked in time. Judgement."""
LONGEST_TRY: Final = 1 / 6
"""Of its ttl, for one request of a renewal: one that is never answered leaves time for others. Judgement."""
LEAST_TRY_S: Final = 1.0
MOMENT_S: Final = 0.001
"""An event loop does not wait for less."""


def is_due(ttl: timedelta, since_s: float) -> bool:
    """Tell whether so much of a ttl may be over that it is to be renewed; what was just granted, before it is trusted.

    Args:
        ttl: of what is held.
        since_s: from when it lasts at the earliest, by the event loop's clock.
    """
    return _left_s(ttl, since_s) <= MOMENT_S


async def insisted(renew: Callable[[float], Awaitable[T]], *, ttl: timedelta) -> T:
    """Return the answer to a renewal; one without an answer is sent again, until the caller's time is over.

    Args:
        renew: sends it once, told how many seconds one request may take.
        ttl: of what is renewed.
    """
    ttl_s = ttl.total_seconds()
    backoff = Backoff(cap_s=min(CAP_S, ttl_s * LONGEST_PAUSE))
    while True:
        try:
            return await renew(max(LEAST_TRY_S, ttl_s * LONGEST_TRY))
        except errors.Unavailable as error:
            await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))


async def renewed_until_lost(
    followed: Followed[T],
    state: T,
    *,
    is_held: Callable[[T], bool],
    renew: Callable[[float], Awaitable[T]],
    ttl: timedelta | None,
    since_s: float,
) -> T:
    """Return the first state in which it is not held any more.

    Args:
        followed: the object that says so.
        state: as it was when it was taken.
        is_held: tells.
        renew: has it last for its whole ttl again; as in ``insisted``.
        ttl: how long it lasts; None: it does not end by itself.
        since_s: from when it lasts, by the event loop's clock.

    Raises:
        TimeoutError: it could not be renewed within its ttl.
        NotFound: the object was deleted.
        ApiError: the server refuses.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(None if ttl is None else since_s + ttl.total_seconds()) as limit, followed:
        while is_held(state):
            if ttl is not None and is_due(ttl, since_s):
                since_s = loop.time()
                state = await insisted(renew, ttl=ttl)
                limit.reschedule(since_s + ttl.total_seconds())
                continue
            state = await followed.newer(state, within_s=None if ttl is None else _left_s(ttl, since_s))
    return state


def _left_s(ttl: timedelta, since_s: float) -> float:
    """Return in how many seconds it is to be renewed."""
    return since_s + ttl.total_seconds() * RENEW_AFTER - asyncio.get_running_loop().time()
