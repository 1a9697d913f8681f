"""Internal. ``kontinue gate`` and ``koncli gate``: go on when all of it is so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue.api.konductor.gates import Gate, GateCondition, GatePhase, GateSpec, parse_condition
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import GATES
from kontinue.sync import Gate as GateClient
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.execute import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.creating import create_object, spec_text
from kontinue_engine.cli.primitives.gate_text import describe, fields, gate_table
from kontinue_engine.cli.primitives.operations import OK, Progress, print_list, run, say, show

app = typer.Typer(
    help="Go on when all of it is so: Jobs, Barriers, locks, other Gates. Exit codes: 0 ok, 1 error, 2 not found, "
    "3 timeout, 4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("gates"))]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("gates"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    condition: Annotated[
        list[str],
        typer.Option(
            metavar="TYPE/[NAMESPACE/]NAME=STATE[:VALUE]",
            help="What has to be so, as Job/migrate=Complete or Semaphore/db=Available:2; repeatable.",
        ),
    ],
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="It fails if it is not open so long after this; 0: never.")
    ] = "",
) -> None:
    """Create a Gate; one that exists is left as it is."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    conditions = [_condition(text) for text in condition]
    spec = GateSpec(conditions=conditions, timeout=spec_text(limit))
    create_object(options, GATES, Gate(metadata=ObjectMeta(name=name), spec=spec), fields)


@app.command("wait")
def wait(
    ctx: typer.Context,
    name: NameArgument,
    timeout: Annotated[
        str,
        typer.Option(
            metavar="DURATION", envvar="KONDUCTOR_TIMEOUT", help="Give up after e.g. 30m; 0 looks once. Default: never."
        ),
    ] = "",
) -> None:
    """Wait until it is open."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    progress = Progress(options)

    async def main() -> int:
        async with connect(options) as connection:
            try:
                found = await _client(connection, name).wait(
                    timeout=limit, on_progress=lambda gate: progress.show(_waiting(gate))
                )
            finally:
                progress.end()
        say(options, GATES, name, "open", fields(found))
        return OK

    run(main)


@app.command("open")
def open_(ctx: typer.Context, name: NameArgument) -> None:
    """Open it by hand, whatever its conditions say, until it is closed or reset."""
    _change(ctx, name, GateClient.open, "opened")


@app.command("close")
def close(ctx: typer.Context, name: NameArgument) -> None:
    """Close it by hand, whatever its conditions say, until it is opened or reset."""
    _change(ctx, name, GateClient.close, "closed")


@app.command("reset")
def reset(ctx: typer.Context, name: NameArgument) -> None:
    """Let its conditions decide again, anew, after it was opened or closed by hand."""
    _change(ctx, name, GateClient.reset, "reset")


@app.command("check")
def check(ctx: typer.Context, name: NameArgument) -> None:
    """Say whether it is open; the exit code is 0 in both cases."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            found = await _client(connection, name).get()
        is_open = found.phase is GatePhase.OPEN
        show(options, GATES, name, "is open" if is_open else "is not open", fields(found))
        return OK

    run(main)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List Gates, and whether their conditions are met."""
    print_list(ctx, GATES, Gate, gate_table)


@app.command("status")
def status(ctx: typer.Context, name: NameArgument) -> None:
    """Show a Gate, and what it waits for."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            found = await _client(connection, name).get()
        if options.is_table:
            print(describe(found, datetime.now(UTC)))
        else:
            show(options, GATES, name, "", fields(found))
        return OK

    run(main)


@app.command("delete")
def delete(ctx: typer.Context, names: NamesArgument) -> None:
    """Delete Gates; who waits for one of them is told that it is gone."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            for name in names:
                await _client(connection, name).delete()
                say(options, GATES, name, "deleted", {})
        return OK

    run(main)


def _change(ctx: typer.Context, name: str, change: Callable[[GateClient], Awaitable[Gate]], what: str) -> None:
    """Do something with a Gate and say what."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            found = await change(_client(connection, name))
        say(options, GATES, name, what, fields(found))
        return OK

    run(main)


def _condition(text: str) -> GateCondition:
    try:
        return parse_condition(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--condition") from error


def _waiting(gate: Gate) -> str:
    return f"Gate {gate.metadata.name}: {gate.missing or 'no coordinator has looked after it yet'}"


def _client(connection: Connection, name: str) -> GateClient:
    return GateClient(name, connection.client)
