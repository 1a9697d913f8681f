"""Internal. ``kontinue tree [-w] NAME``: an Execution and everything below it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.execution_tree import draw_tree, format_line
from kontinue_engine.cli.following import follow, say_detached
from kontinue_engine.cli.options import NameArgument, global_options, note
from kontinue_engine.cli.progress import open_progress


def command(
    ctx: typer.Context,
    name: NameArgument,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Follow it to its end.")] = False,  # noqa: FBT002
) -> None:
    """Show the tree of an Execution: phase, duration, and why it is where it is."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            if watch:
                execution = await follow(connection, name, open_progress(options, sys.stdout))
                return exit_codes.exit_code_of(execution.phase)
            tree = await connection.client.get_tree(name)
        if tree.is_archived:
            note(options, f"{name} has been archived: the tree is read from its archive.")
        for line in draw_tree(tree, datetime.now(UTC)):
            print(format_line(line, color=options.colors_on(sys.stdout)))
        return exit_codes.OK

    run(main, on_interrupt=lambda: say_detached(options, name, options.namespace or ""))
