"""The limit of time of one wait, and what its end is called: one rule for all kinds. Called by all who wait.

WaitTimeout: the API server has shown what was waited for, and it was not so. Unavailable: it has not shown it, or has
not answered the write that would have made it so. Calls that do not wait have ``kontinue.client.limits``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from kontinue import errors
from kontinue.api import durations
from kontinue.options import require_duration


def wait_limit(timeout: timedelta | None, of_client: timedelta | None) -> timedelta | None:
    """Return how long a wait may take: what its caller says, else as long as the client's calls; None: for ever.

    What is left of a time that is over, which is negative, is 0: it is looked once.

    Raises:
        TypeError: it is no duration.
    """
    require_duration("timeout", timeout)
    limit = of_client if timeout is None else timeout
    return None if limit is None else max(limit, timedelta())


@asynccontextmanager
async def until_over(
    limit: timedelta | None, timed_out: Callable[[], errors.KontinueError]
) -> AsyncGenerator[None, None]:
    """End what is within after ``limit``; None: never. Then what ``timed_out`` returns is raised."""
    scope = asyncio.timeout(None if limit is None else limit.total_seconds())
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise timed_out() from error


def unanswered(what: str, limit: timedelta) -> errors.Unavailable:
    """Return the error of whose time was over before the API server had said what he had to know."""
    return errors.Unavailable(f"{what}: the API server has not answered within {durations.format_(limit)}")
