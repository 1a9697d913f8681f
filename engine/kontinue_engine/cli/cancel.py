"""Internal. ``kontinue cancel NAME...``: ends Executions for good."""

from __future__ import annotations

from typing import Annotated

import typer

from kontinue.client import Client
from kontinue_engine.cli.options import AnyNamesArgument, global_options
from kontinue_engine.cli.selection import YesOption, change_each, is_live


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
    message: Annotated[str, typer.Option("-m", "--message", help="Recorded with it.")] = "Canceled by kontinue cancel",
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Cancel Executions by name, or with -l all running ones of a selection. Their children are canceled too."""

    async def cancel(client: Client, name: str) -> None:
        await client.cancel(name, message=message)

    change_each(
        global_options(ctx),
        names,
        cancel,
        is_selected=is_live,
        none_selected="No running Executions match.",
        doing="canceling",
        done="canceled",
        ask="Cancel",
        yes=yes,
    )
