"""What is held by code without an event loop. Called by those modules of this folder whose kinds are held.

Ctrl-C may come when the loop has taken something already, and before its caller knows: nobody else would give it back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kontinue import errors
from kontinue.client.event_thread import EventThread
from kontinue.sync.holding.held import H, Keeper

T = TypeVar("T")


@contextmanager
def within(scope: Keeper[H], thread: EventThread) -> Generator[H]:
    """Hold a lock, or something else, in a ``with``; what the body raises goes first."""
    try:
        yield thread.run(scope.begin())
    except BaseException as error:
        with suppress(errors.KontinueError):
            thread.run(scope.end(error))  # of one that has not begun there is nothing to end
        raise
    thread.run(scope.end())


def taken(
    take: Callable[[], Coroutine[Any, Any, T]],
    give_back: Callable[[T], Coroutine[Any, Any, object]],
    thread: EventThread,
) -> T:
    """Return what has been taken for a caller who gives it back himself; who is interrupted leaves nothing taken."""
    found: list[T] = []

    async def find() -> T:
        found.append(await take())
        return found[0]

    try:
        return thread.run(find())
    except BaseException:
        if found:
            with suppress(errors.KontinueError):
                thread.run(give_back(found[0]))
        raise
