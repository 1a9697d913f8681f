"""Internal. ``kontinue once`` and ``koncli once``: the first who comes does it, the others wait until it is done."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue import errors
from kontinue.api.konductor.onces import Once, OnceSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import ONCES
from kontinue.sync import Once as OnceClient
from kontinue.sync.locks.once import LEASE
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.cells import length_text, since, time_field
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs
from kontinue_engine.cli.primitives.locks import CommandArgument, HolderOption, TimeoutOption, holder_of, run_held
from kontinue_engine.cli.primitives.operations import OK, Progress, run, say, show
from kontinue_engine.cli.primitives.ttls import ttl_option
from kontinue_engine.cli.text import format_age, format_fields, format_time

app = typer.Typer(
    help="Done once, whoever does it. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, 4 forbidden, 5 done by "
    "another now.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("onces"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Delete it once it was Executed for so long; 0: never.")
    ] = None,
) -> None:
    """Create a Once; one that exists is left as it is."""
    options, length = global_options(ctx), duration_option(ttl, "--ttl")
    spec = OnceSpec(ttl=spec_text(length))
    create_object(options, ONCES, Once(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("do")
def do(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = None,
    lease: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Who is silent for so long is believed dead. Default, and 0: 30s."),
    ] = None,
) -> None:
    """Run a command unless it has been done.

    Its exit code is the command's; any but 0 is Failed, and it may be tried again. While somebody else does it,
    wait. The command finds the number of the try in KONDUCTOR_TOKEN.
    """
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), ttl_option(lease, "--lease") or LEASE
    progress = Progress(options)

    async def main() -> int:
        async with connect(options) as connection:
            scope = KIND.of(connection, name).running(
                timeout=limit, lease=length, holder=who, on_progress=lambda state: progress.show(_doing(state))
            )
            with suppress(errors.AlreadyExecuted), progress:
                return await run_held(scope, command, progress, must_succeed=True)
        say(options, ONCES, name, "has been executed", {"executed": True})
        return OK

    run(main)


@app.command("check")
def check(ctx: typer.Context, name: NameArgument) -> None:
    """Say whether it has been executed. The exit code is 0 in both cases."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            once = await KIND.of(connection, name).get()
        what = "has been executed" if once.status.executed else "has not been executed"
        show(options, ONCES, name, what, _fields(once))
        return OK

    run(main)


def _rows(one: Once, now: datetime) -> list[list[str]]:
    meta, told = one.metadata, one.status
    row = [meta.name, str(told.executed).lower(), told.executor, one.phase.value, str(told.token)]
    return [[*row, since(meta.creation_timestamp, now)]]


def describe(once: Once, now: datetime) -> str:
    """Return what ``kontinue once status`` prints."""
    meta, found = once.metadata, once.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", once.phase.value),
        ("Executor", found.executor or "nobody"),
        ("Tries", str(found.token)),
        ("TTL", length_text(once.spec.ttl)),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    lines += [("Executed", format_time(found.executed_at))] if found.executed_at else []
    lines += [("Failure", found.failure)] if found.failure else []
    lines += [("Waiting", ", ".join(one.holder for one in found.waiters))] if found.waiters else []
    return format_fields(lines)


def _doing(once: Once) -> str:
    return (
        f"Once {once.metadata.name}: {once.status.executor or 'somebody'} does it, {len(once.status.waiters)} waiting"
    )


def _fields(once: Once) -> dict[str, object]:
    found = once.status
    fields: dict[str, object] = {"executed": found.executed, "executor": found.executor, "phase": once.phase.value}
    fields |= {"tries": found.token, "failure": found.failure, "ttl": once.spec.ttl}
    fields["executedAt"] = time_field(found.executed_at)
    return fields


async def _look(client: OnceClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), _fields(found))


KIND: Final = Kind(
    resource=ONCES,
    object_type=Once,
    client=OnceClient,
    names="onces",
    columns=("NAME", "EXECUTED", "EXECUTOR", "PHASE", "TRIES", "AGE"),
    rows=_rows,
    look=_look,
    may_be_missing=True,
    help=Help(
        list="List Onces.",
        status="Show whether it was done, by whom, and what has failed.",
        delete="Delete Onces; one that does not exist is no error.",
    ),
)
add_common_verbs(app, KIND)
