"""Internal. ``kontinue barrier`` and ``koncli barrier``: a known number of participants wait for each other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from kontinue.api.konductor.barriers import Barrier, BarrierPhase, BarrierSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import BARRIERS
from kontinue.sync import Barrier as BarrierClient
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.durations import check_variable, duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.cells import UNSEEN, length_text, number_text, phase_text, since
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, wait_for
from kontinue_engine.cli.primitives.operations import OK, Progress, WaitLimitOption, refuse_empty, run, say
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="Let a known number of participants wait for each other. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, "
    "4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("barriers"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    expected: Annotated[int, typer.Option(help="How many are to arrive.", min=1)] = 1,
    quorum: Annotated[int, typer.Option(help="So many open it; 0: all that are expected.", min=0)] = 0,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="It fails if it is not open so long after this; 0: never.")
    ] = None,
) -> None:
    """Create a Barrier; one that exists is left as it is."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    spec = BarrierSpec(expected=expected, quorum=quorum or None, timeout=spec_text(limit))
    create_object(options, BARRIERS, Barrier(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("arrive")
def arrive(
    ctx: typer.Context,
    name: NameArgument,
    arrived: Annotated[
        str, typer.Argument(metavar="[HOLDER]", callback=refuse_empty, help="The same as --holder.")
    ] = "",
    holder: Annotated[
        str,
        typer.Option(
            "--holder",
            "--arrival-id",
            metavar="TEXT",
            callback=refuse_empty,
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
        str | None,
        typer.Option(
            metavar="DURATION",
            envvar="KONDUCTOR_TIMEOUT",
            callback=check_variable,
            help="With --wait: give up after e.g. 30m.",
        ),
    ] = None,
) -> None:
    """Say that somebody has arrived. Whoever has arrived already is not counted again."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    update_limit = duration_option(update_timeout, "--update-timeout")
    if arrived and holder and arrived != holder:
        raise typer.BadParameter(f"{arrived!r} and {holder!r}: one arrives at a time", param_hint="HOLDER / --holder")
    progress = Progress(options)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        async with connect(options) as connection:
            client = KIND.of(connection, name)
            limited = connection.client.with_timeout(limit if wait and limit else None)
            arrival = await BarrierClient(name, limited).arrive(arrived or holder or None)
            if wait_for_update:
                await client.wait_until(
                    lambda found: found.status.phase is BarrierPhase.OPEN or _counts(found, arrival.spec.holder),
                    timeout=update_limit,
                )
            if wait:
                left = _left(limit, loop.time() - begun_s)
                with progress:
                    found = await client.wait(timeout=left, on_progress=lambda found: progress.show(_waiting(found)))
            else:
                found = await client.get()
        who = arrival.spec.holder
        is_counted = _counts(found, who)
        what = f"arrived {_counted(found)}" if is_counted else "arrived, not counted yet"
        say(options, BARRIERS, name, what, _fields(found) | {"holder": who, "counted": is_counted})
        return OK

    run(main)


@app.command("wait")
def wait(
    ctx: typer.Context,
    name: NameArgument,
    timeout: WaitLimitOption = None,
) -> None:
    """Wait until enough have arrived."""
    limit = duration_option(timeout, "--timeout")
    wait_for(
        ctx,
        KIND,
        name,
        lambda barrier, show: barrier.wait(timeout=limit, on_progress=show),
        progress=_waiting,
        told=lambda barrier: (f"open {_counted(barrier)}", _fields(barrier)),
    )


def _rows(one: Barrier, now: datetime) -> list[list[str]]:
    meta, told = one.metadata, one.status
    row = [meta.name, str(one.spec.expected), str(one.spec.quorum or ""), number_text(told.arrived)]
    return [[*row, phase_text(told.phase), since(told.opened_at, now), since(meta.creation_timestamp, now)]]


def describe(found: Barrier, now: datetime) -> str:
    """Return what ``kontinue barrier status`` prints."""
    meta, told = found.metadata, found.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", phase_text(found.status.phase) or UNSEEN),
        ("Expected", str(found.spec.expected)),
        ("Required", str(found.required)),
        ("Arrived", number_text(told.arrived)),
        ("Timeout", length_text(found.spec.timeout)),
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
    return holder in told.arrivals or is_cut


def _left(limit: timedelta | None, spent_s: float) -> timedelta | None:
    """Return what is left of a limit, in whole milliseconds, as people read it."""
    return None if limit is None else max(limit - timedelta(milliseconds=round(spent_s * 1000)), timedelta())


def _waiting(found: Barrier) -> str:
    return f"Barrier {found.metadata.name}: {_counted(found)}"


def _counted(found: Barrier) -> str:
    return f"{found.status.arrived or 0} of {found.required}"


def _fields(found: Barrier) -> dict[str, object]:
    told = found.status
    fields: dict[str, object] = {"expected": found.spec.expected, "required": found.required, "arrived": told.arrived}
    fields |= {"phase": phase_text(found.status.phase), "arrivals": told.arrivals, "timeout": found.spec.timeout}
    if told.opened_at is not None:
        fields["opened"] = format_time(told.opened_at)
    return fields


async def _look(client: BarrierClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), _fields(found))


KIND: Final = Kind(
    resource=BARRIERS,
    object_type=Barrier,
    client=BarrierClient,
    names="barriers",
    columns=("NAME", "EXPECTED", "QUORUM", "ARRIVED", "PHASE", "OPENED", "AGE"),
    rows=_rows,
    look=_look,
    help=Help(
        list="List Barriers.",
        status="Show a Barrier, and who has arrived.",
        delete="Delete Barriers with their Arrivals. Who waits for one of them is told that it is gone.",
    ),
)
add_common_verbs(app, KIND)
