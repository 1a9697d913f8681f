"""The limit of time of one call of a client, however many requests it takes, and however often each is tried.

Called by ``kontinue.client.client`` and ``kontinue.sync``. Waits have limits of their own, and another error
(``WaitTimeout``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from kontinue import errors
from kontinue.api import durations


class Limited(Protocol):
    """A client, as far as its calls have a limit.

    One of a single object (``kontinue.sync``) has ``_what`` besides, which names that in errors.
    """

    timeout: timedelta | None


P = ParamSpec("P")
T = TypeVar("T")
LimitedT = TypeVar("LimitedT", bound=Limited)


def limited(
    method: Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]]:
    """Make a method that changes nothing end within its client's ``timeout``; then it raises Unavailable."""
    return _limited(method, writes=False)


def limited_write(
    method: Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]]:
    """Make a method that changes something end within its client's ``timeout``; then it raises Unavailable."""
    return _limited(method, writes=True)


def _limited(
    method: Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]], *, writes: bool
) -> Callable[Concatenate[LimitedT, P], Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def call(client: LimitedT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if client.timeout is None:  # as mostly: it is on the way of each count of a WaitGroup
            return await method(client, *args, **kwargs)
        about = getattr(client, "_what", "")
        async with limit(client.timeout, about or method.__name__, writes=writes, is_named=bool(about)):
            return await method(client, *args, **kwargs)

    return call


@asynccontextmanager
async def limit(
    timeout: timedelta | None,  # noqa: ASYNC109 - is one
    what: str,
    *,
    writes: bool = False,
    is_named: bool = False,
) -> AsyncGenerator[None, None]:
    """End what is within after ``timeout``; None: never.

    Args:
        timeout: limit of time.
        what: is limited, for people.
        is_named: it is an object, and not what is done: the limit need not be the client's for whoever reads it.
        writes: whether it changes something. What knows better what is in doubt when it is cut off adds a note to the
            CancelledError that ends it.

    Raises:
        Unavailable: the time is over.
    """
    if timeout is None:
        yield
        return
    limit_s = timeout.total_seconds()
    scope = asyncio.timeout(limit_s)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        in_doubt = ["what was to be changed may have been changed"] if writes else []
        in_doubt += getattr(error.__context__, "__notes__", [])  # Python 3.11.2 names no cause
        over_s = durations.format_(timeout) if is_named else f"the client's timeout of {limit_s:g} s"
        over = f"{what}: the API server has not answered within {over_s}"
        raise errors.Unavailable("; ".join([over, *in_doubt])) from error
