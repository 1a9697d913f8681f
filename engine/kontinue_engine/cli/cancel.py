"""Internal. ``kontinue cancel NAME...``: ends Executions for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from kontinue.kube import requests
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.executions import suggesting
from kontinue_engine.cli.options import LiveNamesArgument, global_options
from kontinue_engine.cli.selection import Change, Outcome, YesOption, change_each, executions_where, is_live


def command(
    ctx: typer.Context,
    names: LiveNamesArgument = None,
    message: Annotated[str, typer.Option("-m", "--message", help="Recorded with it.")] = "Canceled by kontinue cancel",
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Cancel Executions by name, or with -l all running ones of a selection. Their children are canceled too."""

    async def cancel(connection: Connection, name: str) -> Sequence[Outcome]:
        async with suggesting(connection, requests.EXECUTIONS, name):
            await connection.client.cancel(name, message=message)
        return [Outcome(name, "canceled")]

    change = Change(
        apply=cancel,
        select=executions_where(is_live),
        doing="canceling",
        ask="Cancel",
        none_selected="No running Executions match.",
    )
    change_each(global_options(ctx), names, change, yes=yes)
