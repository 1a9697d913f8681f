"""Internal. ``kontinue resume NAME``: ends what an Execution waits for, or one Suspension."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from kontinue.api import labels
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run, say_target
from kontinue_engine.cli.options import candidates, global_options


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return candidates("suspensions" if ctx.params.get("suspension") else "executions")(ctx, incomplete)


def command(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of an Execution; of a Suspension with --suspension.", autocompletion=_complete
        ),
    ],
    suspension: Annotated[bool, typer.Option("--suspension", help="NAME is a Suspension.")] = False,  # noqa: FBT002
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON|@FILE|-", help="What the function is told.")
    ] = None,
    recursive: Annotated[  # noqa: FBT002
        bool, typer.Option("-r", "--recursive", help="Also what the Execution has started waits no longer.")
    ] = False,
) -> None:
    """End the sleeps and suspends of an Execution, or one Suspension. `kontinue suspensions` lists them."""
    options = global_options(ctx)
    if suspension and recursive:
        raise typer.BadParameter("a Suspension has nothing below it", param_hint="-r")
    value = _read_payload(payload)

    async def main() -> int:
        async with connect(options) as connection:
            say_target(options, connection, f"resuming {name}")
            if suspension:
                await connection.client.resume_suspension(name, value)
                names = [name]
            else:
                resumed = await connection.client.resume_execution(name, recursive=recursive, payload=value)
                names = [one.metadata.name for one in resumed]
            for one in names:
                print(f"suspensions.{labels.GROUP}/{one} resumed")
        return exit_codes.OK

    run(main)


def _read_payload(text: str | None) -> Any:
    """Return the value of ``--payload``; None where it is not given."""
    if text is None:
        return None
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return msgspec.json.decode(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint="--payload") from error
