"""Internal. The process of one coordinator: options, event loop, signals and exit status.

Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot run (one log line says why and what to do).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Final

import uvloop

from kontinue.errors import KontinueError
from kontinue_engine.arbiter.coordinator import run_coordinator
from kontinue_engine.arbiter.options import CoordinatorOptions, parse_options
from kontinue_engine.errors import EngineError
from kontinue_engine.telemetry import logs

EXIT_FAILED: Final = 1

_log = logs.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run a coordinator until it is told to stop; return the exit status."""
    options = parse_options(arguments)
    logs.configure(level=options.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options))


async def _run(options: CoordinatorOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await run_coordinator(options, stop)
    except (EngineError, KontinueError) as error:
        _log.error("coordinator cannot run", message=str(error), error=type(error).__name__)
        return EXIT_FAILED
    return 0
