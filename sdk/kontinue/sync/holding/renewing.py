"""Renews something that lasts for its ttl, until it is lost. Called by ``locker``, ``semaphore`` and ``lease``.

A ttl counts from before whatever has begun it was asked for: nobody else can count it from an earlier time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from kontinue import errors
from kontinue.api import durations
from kontinue.kube.backoff import CAP_S, Backoff
from kontinue.kube.errors import CLOSED
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


class Term:
    """How long something lasts that is held, as its holder counts: nobody else has it before that is over.

    A process that was forked off has a copy, which nobody renews there.

    Args:
        what: is held.
        ttl: how long it lasts without being renewed; None: it does not end by itself.
        since_s: from when that counts at the earliest.
        now_s: tells the time; any thread may ask.
    """

    def __init__(self, what: str, ttl: timedelta | None, since_s: float, now_s: Callable[[], float]) -> None:
        self.what = what
        self.ttl = ttl
        self._since_s = since_s
        self._now_s = now_s

    def __reduce__(self) -> tuple[type[Term], tuple[object, ...]]:
        # An event loop stays where it is; on the same host other processes have the clock by which its time goes.
        return Term, (self.what, self.ttl, self._since_s, time.monotonic)

    @property
    def ends_s(self) -> float | None:
        """When it is over."""
        return None if self.ttl is None else self._since_s + self.ttl.total_seconds()

    @property
    def due_in_s(self) -> float | None:
        """In how many seconds it is to be renewed."""
        if self.ttl is None:
            return None
        return self._since_s + self.ttl.total_seconds() * RENEW_AFTER - self._now_s()

    @property
    def is_due(self) -> bool:
        """Whether so much may be over that it is to be renewed; what was just granted, before it is trusted."""
        due_in_s = self.due_in_s
        return due_in_s is not None and due_in_s <= MOMENT_S

    @property
    def age_s(self) -> float:
        """How many seconds ago it has begun."""
        return self._now_s() - self._since_s

    @property
    def ended(self) -> str:
        """That it is over, as a sentence that says what to do; empty before."""
        ends_s = self.ends_s
        if self.ttl is None or ends_s is None or self._now_s() < ends_s:
            return ""
        return (
            f"{self.what} may be somebody else's by now: its ttl of {durations.format_(self.ttl)} is over, and nobody "
            "has renewed it here; held(), or hold(), does that, without them choose a longer ttl"
        )

    def renewed(self, since_s: float) -> None:
        """Count from a renewal that has succeeded, and was begun then."""
        self._since_s = since_s


async def insisted(renew: Callable[[float], Awaitable[T]], *, ttl: timedelta) -> T:
    """Return the answer to a renewal; one without an answer is sent again, until the caller's time is over.

    Args:
        renew: sends it once, told how many seconds one request may take.
        ttl: of what is renewed.

    Raises:
        ApiError: the server refuses; or Unavailable: the client was closed.
    """
    ttl_s = ttl.total_seconds()
    backoff = Backoff(cap_s=min(CAP_S, ttl_s * LONGEST_PAUSE))
    while True:
        try:
            return await renew(max(LEAST_TRY_S, ttl_s * LONGEST_TRY))
        except errors.Unavailable as error:
            if error.reason == CLOSED:
                raise
            await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))


async def renewed_until_lost(
    followed: Followed[T],
    state: T,
    *,
    is_held: Callable[[T], bool],
    renew: Callable[[float], Awaitable[T]],
    term: Term,
) -> T:
    """Return the first state in which it is not held any more.

    Args:
        followed: the object that says so.
        state: as it was when it was taken.
        is_held: tells.
        renew: has it last for its whole ttl again; as in ``insisted``.
        term: how long it lasts, by the event loop's clock; counts from each renewal.

    Raises:
        TimeoutError: it could not be renewed within its ttl.
        NotFound: the object was deleted.
        ApiError: the server refuses.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(term.ends_s) as limit, followed:
        while is_held(state):
            if term.ttl is not None and term.is_due:
                since_s = loop.time()
                state = await insisted(renew, ttl=term.ttl)
                term.renewed(since_s)
                limit.reschedule(term.ends_s)
                continue
            state = await followed.newer(state, within_s=term.due_in_s)
    return state
