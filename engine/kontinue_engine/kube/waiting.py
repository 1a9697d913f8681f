"""Internal. Waiting for news, but not for ever: what a loop does that plans, waits and plans again."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def until_set(news: asyncio.Event, at_most_s: float | None) -> None:
    """Return once ``news`` is set, or after so many seconds; None for no limit.

    Clear it before looking at what it tells of, never after: news that come while one looks would be lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await news.wait()
