"""Internal. ``kontinue watch NAME``: the live tree of an Execution, as ``kontinue tree -w`` shows it."""

from __future__ import annotations

import typer

from kontinue_engine.cli.options import NameArgument, global_options
from kontinue_engine.cli.tree import follow_tree


def command(ctx: typer.Context, name: NameArgument) -> None:
    """Follow an Execution and everything below it to its end, and leave with the exit code of that."""
    follow_tree(global_options(ctx), name)
