"""Internal. ``kontinue skip NAME...``: ends Executions as if they had returned a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from kontinue.kube import requests
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.executions import suggesting
from kontinue_engine.cli.options import LiveNamesArgument, global_options, text_option
from kontinue_engine.cli.selection import Change, Outcome, YesOption, change_each, executions_where, is_live

ResultOption = Annotated[
    str, typer.Option("--result", metavar="JSON|@FILE|-", help="What it is to have returned: JSON, a file, or stdin.")
]


def command(
    ctx: typer.Context,
    names: LiveNamesArgument = None,
    result: ResultOption = "null",
    message: Annotated[str, typer.Option("-m", "--message", help="Recorded with it.")] = "Skipped by kontinue skip",
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Skip Executions by name, or with -l all running ones of a selection.

    Whoever waits for one gets the result, and goes on; its children are canceled.
    """
    text, source = text_option(result, "--result")
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(
            f"{source} is not JSON: {error} (a text needs its quotes: --result '\"done\"')", param_hint="--result"
        ) from error

    async def skip(connection: Connection, name: str) -> Sequence[Outcome]:
        async with suggesting(connection, requests.EXECUTIONS, name):
            await connection.client.skip(name, result=value, message=message)
        return [Outcome(name, "skipped")]

    change = Change(
        apply=skip,
        select=executions_where(is_live),
        doing="skipping",
        ask="Skip",
        none_selected="No running Executions match.",
    )
    change_each(global_options(ctx), names, change, yes=yes)
