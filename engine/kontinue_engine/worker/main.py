"""Internal. The process of one replica: options, event loop, signals and exit status.

Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start (one log line says why and what to do), 3 when it lost
its Lease and must not go on. ``replica`` does the work.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Final

from kontinue.errors import KontinueError
from kontinue_engine.errors import AppLoadFailedError, StartupError
from kontinue_engine.kube.lease import LeaseLost
from kontinue_engine.telemetry import logs
from kontinue_engine.worker.options import WorkerOptions, parse_options
from kontinue_engine.worker.replica import run_replica

if sys.platform == "win32":  # pragma: no cover - a worker needs fork and signals
    raise ImportError("a kontinue worker needs Linux or macOS; on Windows the client works")

import uvloop

EXIT_STARTUP: Final = 1
EXIT_LEASE_LOST: Final = 3

_log = logs.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run a replica until it is told to stop; return the exit status."""
    options = parse_options(arguments)
    logs.configure(level=options.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options))


async def _run(options: WorkerOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await run_replica(options, stop)
    except AppLoadFailedError as error:
        _log.error("app failed to load", app=options.app, message=error.message, traceback=error.traceback)
        return EXIT_STARTUP
    except LeaseLost as error:
        _log.error("lease lost", message=str(error))
        return EXIT_LEASE_LOST
    except (StartupError, KontinueError) as error:
        _log.error("worker cannot run", message=str(error), error=type(error).__name__)
        return EXIT_STARTUP
    return 0
