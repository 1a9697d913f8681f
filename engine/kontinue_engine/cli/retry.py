"""Internal. ``kontinue retry NAME...``: runs Executions again that failed or were canceled."""

from __future__ import annotations

import enum
from typing import Annotated, Final

import typer

from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, ChildPolicy, Execution
from kontinue.client import Client
from kontinue_engine.cli.options import AnyNamesArgument, global_options
from kontinue_engine.cli.selection import YesOption, change_each


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
    names: AnyNamesArgument = None,
    children: Annotated[
        Children,
        typer.Option(
            help="Which children run again: those that failed or were canceled, none, or everything, steps included."
        ),
    ] = Children.FAILED,
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Ask for another attempt by name, or with -l of all roots of a selection that failed or were canceled."""

    async def retry(client: Client, name: str) -> None:
        await client.retry_execution(name, child_policy=_POLICIES[children])

    change_each(
        global_options(ctx),
        names,
        retry,
        is_selected=_is_selected,
        none_selected="No Executions match that failed or were canceled.",
        doing="retrying",
        done="retry requested",
        ask="Retry",
        yes=yes,
    )


def _is_selected(execution: Execution) -> bool:
    is_root = parent_of(execution.metadata.owner_references) is None
    return is_root and execution.phase in RETRYABLE_PHASES and not execution.is_retry_requested
