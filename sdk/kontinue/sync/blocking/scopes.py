"""What is held for as long as a ``with`` lasts. Called by those modules of this folder whose kinds are held."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress

from kontinue import errors
from kontinue.client.event_thread import EventThread
from kontinue.sync.holding.held import H, Keeper


@contextmanager
def within(scope: Keeper[H], thread: EventThread) -> Generator[H]:
    """Hold a lock, or something else, in a ``with``; what the body raises goes first."""
    held = thread.run(scope.begin())
    try:
        yield held
    except BaseException as error:
        with suppress(errors.KontinueError):
            thread.run(scope.end(error))
        raise
    thread.run(scope.end())
