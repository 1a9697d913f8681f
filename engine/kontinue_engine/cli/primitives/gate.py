"""Internal. ``kontinue gate`` and ``koncli gate``: go on when all of it is so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.gates import Gate, GateCondition, GatePhase, GateSpec, parse_condition
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import GATES
from kontinue.sync import Gate as GateClient
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.gate_text import describe, fields, gate_rows
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, carry_out, wait_for
from kontinue_engine.cli.primitives.operations import OK, WaitLimitOption, run, show

app = typer.Typer(
    help="Go on when all of it is so: Jobs, Barriers, locks, other Gates. Exit codes: 0 ok, 1 error, 2 not found, "
    "3 timeout, 4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("gates"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    condition: Annotated[
        list[str],
        typer.Option(
            metavar="TYPE/[NAMESPACE/]NAME=STATE[:VALUE]",
            help="What has to be so, as Job/migrate=Complete or Semaphore/db=Available:2; repeatable.",
        ),
    ],
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="It fails if it is not open so long after this; 0: never.")
    ] = None,
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
    timeout: WaitLimitOption = None,
) -> None:
    """Wait until it is open."""
    limit = duration_option(timeout, "--timeout")
    wait_for(
        ctx,
        KIND,
        name,
        lambda gate, show: gate.wait(timeout=limit, on_progress=show),
        progress=_waiting,
        told=lambda gate: ("open", fields(gate)),
    )


@app.command("open")
def open_(ctx: typer.Context, name: NameArgument) -> None:
    """Open it by hand. It is open, whatever its conditions say, until it is closed or reset."""
    carry_out(ctx, KIND, name, GateClient.open, lambda gate: ("opened", fields(gate)))


@app.command("close")
def close(ctx: typer.Context, name: NameArgument) -> None:
    """Close it by hand. It is closed, whatever its conditions say, until it is opened or reset."""
    carry_out(ctx, KIND, name, GateClient.close, lambda gate: ("closed", fields(gate)))


@app.command("reset")
def reset(ctx: typer.Context, name: NameArgument) -> None:
    """Let its conditions decide again. They do so anew, after it was opened or closed by hand."""
    carry_out(ctx, KIND, name, GateClient.reset, lambda gate: ("reset", fields(gate)))


@app.command("check")
def check(ctx: typer.Context, name: NameArgument) -> None:
    """Say whether it is open. The exit code is 0 in both cases."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            found = await KIND.of(connection, name).get()
        is_open = found.phase is GatePhase.OPEN
        show(options, GATES, name, "is open" if is_open else "is not open", fields(found))
        return OK

    run(main)


def _condition(text: str) -> GateCondition:
    try:
        return parse_condition(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--condition") from error


def _waiting(gate: Gate) -> str:
    return f"Gate {gate.metadata.name}: {gate.missing or 'no coordinator has looked after it yet'}"


async def _look(client: GateClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), fields(found))


KIND: Final = Kind(
    resource=GATES,
    object_type=Gate,
    client=GateClient,
    names="gates",
    columns=("NAME", "PHASE", "MET", "OPENED", "AGE", "CONDITION", "IS-MET"),
    rows=gate_rows,
    look=_look,
    help=Help(
        list="List Gates, and whether their conditions are met.",
        status="Show a Gate, and what it waits for.",
        delete="Delete Gates. Who waits for one of them is told that it is gone.",
    ),
)
add_common_verbs(app, KIND)
