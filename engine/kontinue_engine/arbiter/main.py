"""Internal. The process of one coordinator: options and exit status.

Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot run (one log line says why and what to do).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kontinue.errors import KontinueError
from kontinue_engine.arbiter.options import ArbiterOptions, parse_options
from kontinue_engine.arbiter.process import run_arbiter
from kontinue_engine.errors import EngineError
from kontinue_engine.telemetry import logs
from kontinue_engine.worker.signals import run_until_stopped

EXIT_FAILED: Final = 1

_log = logs.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run a coordinator until it is told to stop; return the exit status."""
    options = parse_options(arguments)
    return run_until_stopped(lambda stop: _run(options, stop), log_level=options.log_level)


async def _run(options: ArbiterOptions, stop: asyncio.Event) -> int:
    try:
        await run_arbiter(options, stop)
    except (EngineError, KontinueError) as error:
        _log.error("coordinator cannot run", message=str(error), error=type(error).__name__)
        return EXIT_FAILED
    return 0
