"""Internal. ``kontinue wait NAME``: returns when an Execution has ended; the exit code says how."""

from __future__ import annotations

import sys
from datetime import timedelta

import typer

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.execute import TimeoutOption, duration_option
from kontinue_engine.cli.following import follow, say_detached, say_timeout
from kontinue_engine.cli.options import NameArgument, global_options
from kontinue_engine.cli.progress import NoProgress


def command(ctx: typer.Context, name: NameArgument, timeout: TimeoutOption = "") -> None:
    """Wait until an Execution has ended or is Blocked; print its phase."""
    options = global_options(ctx)
    limit = duration_option(timeout, "--timeout")

    async def main() -> int:
        async with connect(options) as connection:
            try:
                execution = await follow(
                    connection, name, NoProgress(None if options.quiet else sys.stderr), limit=limit
                )
            except TimeoutError:
                return say_timeout(options, name, limit or timedelta())
        print(execution.phase.value)
        return exit_codes.exit_code_of(execution.phase)

    run(main, on_interrupt=lambda: say_detached(options, name, options.namespace or ""))
