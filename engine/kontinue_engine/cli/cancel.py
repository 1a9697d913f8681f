"""Internal. ``kontinue cancel NAME...``: ends Executions for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.errors import KontinueError
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run, say_target
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.options import NamesArgument, global_options, is_terminal
from kontinue_engine.cli.text import plural


def command(
    ctx: typer.Context,
    names: NamesArgument = None,
    message: Annotated[str, typer.Option("-m", "--message", help="Recorded with it.")] = "Canceled by kontinue cancel",
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Don't ask (with -l).")] = False,  # noqa: FBT002
) -> None:
    """Cancel Executions by name, or with -l all running ones of a selection. Their children are canceled too."""
    options = global_options(ctx)
    if names and options.selector:
        raise typer.BadParameter("give names or a selector with -l, not both", param_hint="NAME")
    if not names and not options.selector:
        raise typer.BadParameter("which Executions? Give their names, or a selector with -l", param_hint="NAME")

    async def main() -> int:
        async with connect(options) as connection:
            targets = list(names or [])
            if options.selector:
                page = await list_objects(
                    connection.transport,
                    requests.EXECUTIONS,
                    connection.namespace,
                    Execution,
                    label_selector=options.selector,
                )
                targets = [item.metadata.name for item in page.items if not item.phase.is_terminal]
                if not targets:
                    print("No running Executions match.", file=sys.stderr)
                    return exit_codes.OK
            say_target(options, connection, f"canceling {plural(len(targets), 'Execution')}")
            if options.selector and not yes and not _confirmed(targets):
                return exit_codes.ERROR
            failures = 0
            for target in targets:
                try:
                    await connection.client.cancel(target, message=message)
                    print(f"executions.{labels.GROUP}/{target} canceled")
                except KontinueError as error:
                    failures += 1
                    print(f"error: {error}", file=sys.stderr)
        return exit_codes.ERROR if failures else exit_codes.OK

    run(main)


def _confirmed(targets: list[str]) -> bool:
    if not is_terminal(sys.stdin):
        print(f"error: {plural(len(targets), 'Execution')} selected; confirm with -y", file=sys.stderr)
        return False
    return typer.confirm(f"Cancel {', '.join(targets[:5])}{' ...' if len(targets) > 5 else ''}?", err=True)
