"""Internal. The process of one replica: options and exit status.

Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start (one log line says why and what to do), 3 when it lost
its Lease and must not go on. ``replica`` does the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kontinue.errors import KontinueError
from kontinue_engine.errors import AppLoadFailedError, StartupError
from kontinue_engine.kube.lease import LeaseLost
from kontinue_engine.telemetry import logs
from kontinue_engine.worker.options import WorkerOptions, parse_options
from kontinue_engine.worker.replica import run_replica
from kontinue_engine.worker.signals import run_until_stopped

EXIT_STARTUP: Final = 1
EXIT_LEASE_LOST: Final = 3

_log = logs.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run a replica until it is told to stop; return the exit status."""
    options = parse_options(arguments)
    return run_until_stopped(lambda stop: _run(options, stop), log_level=options.log_level)


async def _run(options: WorkerOptions, stop: asyncio.Event) -> int:
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
