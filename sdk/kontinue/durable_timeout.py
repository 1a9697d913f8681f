"""Durable time limits for blocks of async code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from kontinue.errors import ContextError, WaitTimeout

LONGEST: Final = timedelta(days=365_000)
"""A thousand years: what is longer soon has no date."""


def require_timedelta(duration: object, what: str) -> None:
    """Raise ContextError if ``duration`` is no timedelta (a number could be seconds or milliseconds), or too long."""
    if not isinstance(duration, timedelta):
        example = duration if isinstance(duration, int | float) else 5
        raise ContextError(f"{what} takes a timedelta, for example timedelta(seconds={example}), got {duration!r}")
    if duration > LONGEST:
        raise ContextError(
            f"{what} takes at most {LONGEST.days:,} days, got {duration}: what may last for ever is a ctx.suspend() "
            "without a time limit, or a block without one"
        )


class DurableTimeout:
    """``async with``: raise WaitTimeout in the block after ``duration``; None means no limit.

    On a deterministic event loop a timer of asyncio is a durable one, so this is ``asyncio.timeout`` with our error.
    """

    def __init__(self, duration: timedelta | None, what: str = "the block") -> None:
        if duration is not None:
            require_timedelta(duration, "a time limit")
        self._duration = duration
        self._what = what
        self._timeout: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        if self._duration is not None:
            self._timeout = asyncio.timeout(self._duration.total_seconds())
            await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timeout is None:
            return
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as expired:
            if not self._timeout.expired():
                raise
            raise WaitTimeout(f"{self._what} took longer than {self._duration}", seq=self._seq()) from expired

    def _seq(self) -> int:
        """Return the number of the timer's record, if the loop is one that has records."""
        seq_of_timer: Callable[[float], int] | None = getattr(asyncio.get_running_loop(), "seq_of_timer", None)
        when_s = self._timeout.when() if self._timeout is not None else None
        return seq_of_timer(when_s) if seq_of_timer is not None and when_s is not None else -1
