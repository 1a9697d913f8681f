"""Cleanup that a cancel does not cut off. Called by those modules of ``kontinue.sync`` that give something back."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from kontinue import errors
from kontinue.client.shared_task import was_cut_off

T = TypeVar("T")

_log = logging.getLogger(__name__)

LAST_TRIES_S: Final = 5.0
"""How long it is tried on after it was cut off, and after its caller was cancelled, too. Judgement."""


async def shielded(work: Callable[[], Coroutine[Any, Any, T]], what: str) -> T:
    """Return what ``work`` returns. Whoever is cancelled meanwhile is so once it has ended.

    ``asyncio.shield`` lets its caller go at once: the program ends, or closes its client, before the work is done.
    Work that is cut off, as by a program that cancels all tasks of its loop when it ends, is begun again.

    Args:
        work: begins it; it ends within a limit of its own, and raises no SystemExit: in a task that ends the loop.
        what: is done, for people: the name of its task.

    Raises:
        CancelledError: the caller was cancelled; what ``work`` has raised then is logged.
        Unavailable: it was cut off again and again.
    """
    loop = asyncio.get_running_loop()
    cancelled: asyncio.CancelledError | None = None
    ends_s = math.inf
    while True:
        task = loop.create_task(work(), name=f"kontinue: {what}")
        limit: asyncio.TimerHandle | None = None
        while not task.done():
            if limit is None and cancelled is not None and ends_s < math.inf:
                limit = loop.call_at(ends_s, task.cancel)
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                if cancelled is None:
                    ends_s = max(ends_s, loop.time() + LAST_TRIES_S)
                cancelled = error
        if limit is not None:
            limit.cancel()
        if not was_cut_off(task) or loop.time() >= ends_s:
            break
        ends_s = min(ends_s, loop.time() + LAST_TRIES_S)
    failure = task.exception() if not was_cut_off(task) else errors.Unavailable(f"{what} was cut off by this program")
    if cancelled is None:
        if failure is not None:
            raise failure
        return task.result()
    if failure is not None:
        _log.warning("%s has failed: %s", what, failure)
    raise cancelled
