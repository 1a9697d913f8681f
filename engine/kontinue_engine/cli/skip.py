"""Internal. ``kontinue skip NAME...``: ends Executions as if they had returned a result."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from kontinue.client import Client
from kontinue_engine.cli.options import AnyNamesArgument, global_options, text_option
from kontinue_engine.cli.selection import YesOption, change_each, is_live

ResultOption = Annotated[
    str, typer.Option("--result", metavar="JSON|@FILE|-", help="What it is to have returned: JSON, a file, or stdin.")
]


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
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

    async def skip(client: Client, name: str) -> None:
        await client.skip(name, result=value, message=message)

    change_each(
        global_options(ctx),
        names,
        skip,
        is_selected=is_live,
        none_selected="No running Executions match.",
        doing="skipping",
        done="skipped",
        ask="Skip",
        yes=yes,
    )
