"""Internal. ``kontinue retry NAME...``: runs Executions again that failed or were canceled."""

from __future__ import annotations

import enum
import sys
from typing import Annotated, Final

import typer

from kontinue.api import labels
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, ChildPolicy, Execution
from kontinue.errors import KontinueError
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run, say_target
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.options import NamesArgument, global_options, is_terminal
from kontinue_engine.cli.text import plural


class Children(enum.StrEnum):
    """What ``--children`` takes."""

    FAILED = "failed"
    NONE = "none"
    ALL = "all"


_POLICIES: Final = {
    Children.FAILED: ChildPolicy.RETRY_FAILED,
    Children.NONE: ChildPolicy.NONE,
    Children.ALL: ChildPolicy.RETRY_ALL,
}


def command(
    ctx: typer.Context,
    names: NamesArgument = None,
    children: Annotated[
        Children,
        typer.Option(
            help="Which children run again: those that failed or were canceled, none, or everything, steps included."
        ),
    ] = Children.FAILED,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Don't ask (with -l).")] = False,  # noqa: FBT002
) -> None:
    """Ask for another attempt by name, or with -l of all roots of a selection that failed or were canceled."""
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
                targets = [item.metadata.name for item in page.items if _is_selected(item)]
                if not targets:
                    print("No Executions match that failed or were canceled.", file=sys.stderr)
                    return exit_codes.OK
            say_target(options, connection, f"retrying {plural(len(targets), 'Execution')}")
            if options.selector and not yes and not _confirmed(targets):
                return exit_codes.ERROR
            failures = 0
            for target in targets:
                try:
                    await connection.client.retry_execution(target, child_policy=_POLICIES[children])
                    print(f"executions.{labels.GROUP}/{target} retry requested")
                except KontinueError as error:
                    failures += 1
                    print(f"error: {error}", file=sys.stderr)
        return exit_codes.ERROR if failures else exit_codes.OK

    run(main)


def _is_selected(execution: Execution) -> bool:
    is_root = parent_of(execution.metadata.owner_references) is None
    return is_root and execution.phase in RETRYABLE_PHASES and not execution.is_retry_requested


def _confirmed(targets: list[str]) -> bool:
    if not is_terminal(sys.stdin):
        print(f"error: {plural(len(targets), 'Execution')} selected; confirm with -y", file=sys.stderr)
        return False
    return typer.confirm(f"Retry {', '.join(targets[:5])}{' ...' if len(targets) > 5 else ''}?", err=True)
