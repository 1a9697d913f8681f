"""Internal. Which Executions a verb that changes some is about: names, or a selection that somebody confirms.

Used by ``cancel``, ``skip`` and ``retry``.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.client import Client
from kontinue.errors import KontinueError
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run, say_target
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.options import GlobalOptions, is_terminal
from kontinue_engine.cli.text import plural

YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Don't ask (with -l).")]


def change_each(
    options: GlobalOptions,
    names: Sequence[str] | None,
    change: Callable[[Client, str], Awaitable[None]],
    *,
    is_selected: Callable[[Execution], bool],
    none_selected: str,
    doing: str,
    done: str,
    ask: str,
    yes: bool,
) -> None:
    """Change Executions one after the other, and say so; ends the process with the exit code.

    Args:
        options: of the command line; ``selector`` stands for names.
        names: of Executions.
        change: what to do to each.
        is_selected: whether one that the selector has found is meant.
        none_selected: said if none is.
        doing: as in "canceling 3 Executions".
        done: as in "executions.kontinue.cloud/x canceled".
        ask: as in "Cancel x, y?".
        yes: do not ask.

    Raises:
        BadParameter: names and a selector, or neither.
    """
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
                targets = [item.metadata.name for item in page.items if is_selected(item)]
                if not targets:
                    print(none_selected, file=sys.stderr)
                    return exit_codes.OK
            say_target(options, connection, f"{doing} {plural(len(targets), 'Execution')}")
            if options.selector and not yes and not _confirmed(ask, targets):
                return exit_codes.ERROR
            failures = 0
            for target in targets:
                try:
                    await change(connection.client, target)
                    print(f"executions.{labels.GROUP}/{target} {done}")
                except KontinueError as error:
                    failures += 1
                    print(f"error: {error}", file=sys.stderr)
        return exit_codes.ERROR if failures else exit_codes.OK

    run(main)


def is_live(execution: Execution) -> bool:
    """Tell whether the Execution has not ended."""
    return not execution.phase.is_terminal


def _confirmed(ask: str, targets: list[str]) -> bool:
    if not is_terminal(sys.stdin):
        print(f"error: {plural(len(targets), 'Execution')} selected; confirm with -y", file=sys.stderr)
        return False
    return typer.confirm(f"{ask} {', '.join(targets[:5])}{' ...' if len(targets) > 5 else ''}?", err=True)
