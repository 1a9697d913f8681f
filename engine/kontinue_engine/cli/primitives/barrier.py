"""Internal. ``kontinue barrier`` and ``koncli barrier``: a known number of participants wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue.api.konductor.barriers import Barrier, BarrierPhase, BarrierSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import BARRIERS
from kontinue.sync import Barrier as BarrierClient
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.execute import duration_option
from kontinue_engine.cli.options import candidates, global_options, note
from kontinue_engine.cli.primitives.creating import create_object, spec_text
from kontinue_engine.cli.primitives.operations import OK, print_list, run, say, show
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="Let a known number of participants wait for each other. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, "
    "4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("barriers"))]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("barriers"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    expected: Annotated[int, typer.Option(help="How many are to arrive.", min=1)] = 1,
    quorum: Annotated[int, typer.Option(help="So many open it; 0: all that are expected.", min=0)] = 0,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="It fails if it is not open so long after this; 0: never.")
    ] = "",
) -> None:
    """Create a Barrier; one that exists is left as it is."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    spec = BarrierSpec(expected=expected, quorum=quorum or None, timeout=spec_text(limit))
    create_object(options, BARRIERS, Barrier(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("arrive")
def arrive(
    ctx: typer.Context,
    name: NameArgument,
    arrived: Annotated[str, typer.Argument(metavar="[HOLDER]", help="The same as --holder.")] = "",
    holder: Annotated[
        str,
        typer.Option(
            "--holder",
            "--arrival-id",
            metavar="TEXT",
            help="Who has arrived, and counts once. Default: $KONDUCTOR_HOLDER_ID, $HOSTNAME or the host's name.",
        ),
    ] = "",
    wait_for_update: Annotated[  # noqa: FBT002
        bool, typer.Option("--wait-for-update", help="Return once the arrival has been counted.")
    ] = False,
    update_timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="With --wait-for-update: give up after that.")
    ] = "5s",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the Barrier is open.")] = False,  # noqa: FBT002
    timeout: Annotated[
        str,
        typer.Option(metavar="DURATION", envvar="KONDUCTOR_TIMEOUT", help="With --wait: give up after e.g. 30m."),
    ] = "",
) -> None:
    """Say that somebody has arrived; whoever has arrived already is not counted again."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    update_limit = duration_option(update_timeout, "--update-timeout")

    async def main() -> int:
        async with connect(options) as connection:
            client = _client(connection, name)
            arrival = await client.arrive(arrived or holder)
            if wait_for_update:
                await client.wait_until(lambda found: _counts(found, arrival.spec.holder), timeout=update_limit)
            found = await client.wait(timeout=limit) if wait else await client.get()
        say(options, BARRIERS, name, f"arrived {_counted(found)}", _fields(found) | {"holder": arrival.spec.holder})
        return OK

    run(main)


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
    """Wait until enough have arrived."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    said: set[str] = set()

    def show(found: Barrier) -> None:
        text = f"Barrier {name}: {_counted(found)}"
        if text not in said:
            said.add(text)
            note(options, text)

    async def main() -> int:
        async with connect(options) as connection:
            found = await _client(connection, name).wait(timeout=limit, on_progress=show)
        say(options, BARRIERS, name, f"open {_counted(found)}", _fields(found))
        return OK

    run(main)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List Barriers."""
    print_list(ctx, BARRIERS, Barrier, barrier_table)


@app.command("status")
def status(ctx: typer.Context, name: NameArgument) -> None:
    """Show a Barrier, and who has arrived."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            found = await _client(connection, name).get()
        if options.is_table:
            print(describe(found, datetime.now(UTC)))
        else:
            show(options, BARRIERS, name, "", _fields(found))
        return OK

    run(main)


@app.command("delete")
def delete(ctx: typer.Context, names: NamesArgument) -> None:
    """Delete Barriers with their Arrivals; who waits for one of them is told that it is gone."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            for name in names:
                await _client(connection, name).delete()
                say(options, BARRIERS, name, "deleted", {})
        return OK

    run(main)


def barrier_table(found: Sequence[Barrier], now: datetime, *, with_namespace: bool, width: int | None = None) -> str:
    """Return the table of ``kontinue barrier list``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "EXPECTED", "QUORUM", "ARRIVED", "PHASE", "OPENED", "AGE"]
    rows = []
    for one in found:
        meta, told = one.metadata, one.status
        row = [meta.name, str(one.spec.expected), str(one.spec.quorum or ""), _text(told.arrived), _phase(one)]
        row += [format_age(told.opened_at, now) if told.opened_at else "", format_age(meta.creation_timestamp, now)]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def describe(found: Barrier, now: datetime) -> str:
    """Return what ``kontinue barrier status`` prints."""
    meta, told = found.metadata, found.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", _phase(found) or "unknown: no coordinator has seen it"),
        ("Expected", str(found.spec.expected)),
        ("Required", str(found.required)),
        ("Arrived", _text(told.arrived)),
        ("Timeout", found.spec.timeout or "none"),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    if told.opened_at is not None:
        lines.append(("Opened", format_time(told.opened_at)))
    text = format_fields(lines)
    if not told.arrivals:
        return text
    return f"{text}\n\n{format_table(['ARRIVED'], [[holder] for holder in told.arrivals])}"


def _counts(found: Barrier, holder: str) -> bool:
    told = found.status
    is_cut = len(told.arrivals) < (told.arrived or 0)  # so many that not all are named
    return told.phase is BarrierPhase.OPEN or holder in told.arrivals or is_cut


def _counted(found: Barrier) -> str:
    return f"{found.status.arrived or 0} of {found.required}"


def _client(connection: Connection, name: str) -> BarrierClient:
    return BarrierClient(name, connection.client)


def _phase(found: Barrier) -> str:
    return "" if found.status.phase is None else found.status.phase.value


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _fields(found: Barrier) -> dict[str, object]:
    told = found.status
    fields: dict[str, object] = {"expected": found.spec.expected, "required": found.required, "arrived": told.arrived}
    fields |= {"phase": _phase(found), "arrivals": told.arrivals, "timeout": found.spec.timeout}
    if told.opened_at is not None:
        fields["opened"] = format_time(told.opened_at)
    return fields
