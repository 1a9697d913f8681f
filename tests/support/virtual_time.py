"""Runs a test on an event loop whose time passes at once: a sleep of 40 s takes none, and order stays what it was.

Not through looptime's pytest plugin, which the configuration switches off (see there); works on the stock loop only.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import looptime

from kontinue_engine.clock import SystemClock

P = ParamSpec("P")


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorate an ``async def`` test; the loop's time starts at 0."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
            runner.run(test(*args, **kwargs))

    return run


def elapsed_s() -> float:
    """Return the loop's time: seconds since the test began."""
    return asyncio.get_running_loop().time()


class LoopClock(SystemClock):
    """Monotonic time is the loop's."""

    def monotonic_s(self) -> float:
        """Return the loop's time."""
        return elapsed_s()
