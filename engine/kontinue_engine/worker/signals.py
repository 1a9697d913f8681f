"""Internal. A process that works on one event loop until it is told to stop by SIGTERM or SIGINT.

Called by ``main`` of a worker and of a coordinator, which know what to do and which errors end it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from kontinue_engine.telemetry import logs

if sys.platform == "win32":  # pragma: no cover - a worker needs fork and signals
    raise ImportError("a kontinue worker needs Linux or macOS; on Windows the client works")

import uvloop


def run_until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]], *, log_level: str) -> int:
    """Run ``work``, which ends in order once the event is set; return the exit status that it returns."""
    logs.configure(level=log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_with_signals(work))


async def _with_signals(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await work(stop)
