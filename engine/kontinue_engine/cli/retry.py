"""Internal. ``kontinue retry NAME...``: runs Executions again that failed or were canceled."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, ChildPolicy, Execution
from kontinue.kube import requests
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.executions import suggesting
from kontinue_engine.cli.options import EndedNamesArgument, global_options
from kontinue_engine.cli.selection import Change, Outcome, YesOption, change_each, executions_where


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
    names: EndedNamesArgument = None,
    children: Annotated[
        Children,
        typer.Option(
            help="Which children run again: those that failed or were canceled, none, or everything, steps included."
        ),
    ] = Children.FAILED,
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Ask for another attempt by name, or with -l of all roots of a selection that failed or were canceled."""

    async def retry(connection: Connection, name: str) -> Sequence[Outcome]:
        async with suggesting(connection, requests.EXECUTIONS, name):
            await connection.client.retry_execution(name, child_policy=_POLICIES[children])
        return [Outcome(name, "retry requested")]

    change = Change(
        apply=retry,
        select=executions_where(_is_selected),
        doing="retrying",
        ask="Retry",
        none_selected="No Executions match that failed or were canceled.",
    )
    change_each(global_options(ctx), names, change, yes=yes)


def _is_selected(execution: Execution) -> bool:
    is_root = parent_of(execution.metadata.owner_references) is None
    return is_root and execution.phase in RETRYABLE_PHASES and not execution.is_retry_requested
