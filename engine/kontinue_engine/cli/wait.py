"""Internal. ``kontinue wait NAME...``: returns when Executions have ended; the exit code says how."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import typer

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.execute import TimeoutOption, duration_option
from kontinue_engine.cli.following import follow, say_detached, say_timeout
from kontinue_engine.cli.options import NamesArgument, global_options
from kontinue_engine.cli.progress import NoProgress


def command(
    ctx: typer.Context,
    names: NamesArgument,
    timeout: TimeoutOption = "",
) -> None:
    """Wait until all of these Executions have ended or are Blocked; print the phase of each.

    The exit code is that of the first one that did not complete.
    """
    options = global_options(ctx)
    limit = duration_option(timeout, "--timeout")
    left = list(names)

    async def main() -> int:
        code = exit_codes.OK
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + limit.total_seconds() if limit else None
        async with connect(options) as connection:
            while left:
                left_s = timedelta(seconds=max(1e-3, ends_s - loop.time())) if ends_s else None
                try:
                    execution = await follow(
                        connection, left[0], NoProgress(None if options.quiet else sys.stderr), limit=left_s
                    )
                except TimeoutError:
                    return say_timeout(options, left[0], limit or timedelta())
                name = left.pop(0)
                print(execution.phase.value if len(names) == 1 else f"{name} {execution.phase.value}", flush=True)
                code = code or exit_codes.exit_code_of(execution.phase)
        return code

    run(main, on_interrupt=lambda: say_detached(options, (left or names)[0], options.namespace or ""))
