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
    is_over = False
    try:
        yield thread.run(scope.begin())
        is_over = True
        thread.run(scope.end())
    except BaseException as error:
        with suppress(errors.KontinueError):
            # Of one that has not begun, or has ended, there is nothing to end.
            thread.run(scope.end(None if is_over else error))
        raise


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
