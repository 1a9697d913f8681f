"""Internal. ``kontinue semaphore`` and ``koncli semaphore``: let a number of holders at most work at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.semaphores import Semaphore, SemaphoreSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import SEMAPHORES
from kontinue.sync import Semaphore as SemaphoreClient
from kontinue.sync.granted.permits import PermitScope
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.commands import Signals, ended_by_signals
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, carry_out
from kontinue_engine.cli.primitives.locks import CommandArgument, TimeoutOption, hold_and_run
from kontinue_engine.cli.primitives.operations import OK, Progress, bound_holder, refuse_empty, run, say
from kontinue_engine.cli.primitives.semaphore_text import describe, fields, holder_fields, semaphore_rows
from kontinue_engine.cli.primitives.ttls import ttl_option

app = typer.Typer(
    help="Let a number of holders at most do something at the same time. Exit codes: 0 ok, 1 error, 2 not found, "
    "3 timeout, 4 forbidden, 5 none is free.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("semaphores"))]
HolderOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        callback=refuse_empty,
        help="Who. Default: $KONDUCTOR_HOLDER_ID, $HOSTNAME or the host's name.",
    ),
]
PermitTtlOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="It is taken back after that. Default: as the Semaphore says, or 10m, or never with --bound-to; 0: as the "
        "Semaphore says, or never.",
    ),
]
BoundOption = Annotated[
    str,
    typer.Option(
        metavar="KIND/NAME",
        callback=refuse_empty,
        help="Give it back when pod/NAME or execution/NAME has ended.",
    ),
]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    permits: Annotated[int, typer.Option(help="How many may hold one at the same time.", min=1)] = 1,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long a permit is held at most. Default, and 0: no end.")
    ] = None,
) -> None:
    """Create a Semaphore; one that exists is left as it is."""
    options, length = global_options(ctx), ttl_option(ttl)
    spec = SemaphoreSpec(permits=permits, ttl=spec_text(length))
    create_object(options, SEMAPHORES, Semaphore(metadata=ObjectMeta(name=name), spec=spec), fields)


@app.command("acquire")
def acquire(
    ctx: typer.Context,
    name: NameArgument,
    timeout: TimeoutOption = None,
    ttl: PermitTtlOption = None,
    holder: HolderOption = "",
    bound_to: BoundOption = "",
) -> None:
    """Wait for a permit, and hold it until it is released. Who asked before gets one before."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    length, bound = ttl_option(ttl), _bound_to(bound_to)

    progress = Progress(options)
    shown = _shown_by(progress.show)

    async def main(signals: Signals) -> int:
        async with connect(options) as connection:
            with progress:
                held = await KIND.of(connection, name).acquire(
                    holder=holder or None, timeout=limit, ttl=length, bound_to=bound, on_progress=shown
                )
            signals.keep()  # it is taken, and whoever releases it has to know
        told = {"holder": held.holder, "permit": held.name}
        say(options, SEMAPHORES, name, f"acquired by {held.holder}: permit {held.name}", told)
        return OK

    run(lambda: ended_by_signals(main))


@app.command("release")
def release(ctx: typer.Context, name: NameArgument, holder: HolderOption = "") -> None:
    """Give back the oldest permit of a holder."""

    def told(permit: str) -> tuple[str, dict[str, object]]:
        return f"released permit {permit}", {"permit": permit}

    carry_out(ctx, KIND, name, lambda semaphore: semaphore.release(holder or None), told)


@app.command("with")
def with_(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    timeout: TimeoutOption = None,
    ttl: PermitTtlOption = None,
    holder: HolderOption = "",
    bound_to: BoundOption = "",
) -> None:
    """Run a command while a permit is held.

    Its exit code is the command's. The permit is renewed; once it is lost, the command ends.
    """
    limit, length, bound = duration_option(timeout, "--timeout"), ttl_option(ttl), _bound_to(bound_to)

    def hold(semaphore: SemaphoreClient, show: Callable[[str], None]) -> PermitScope:
        return semaphore.hold(
            holder=holder or None, timeout=limit, ttl=length, bound_to=bound, on_progress=_shown_by(show)
        )

    hold_and_run(ctx, KIND, name, command, hold)


def _shown_by(show: Callable[[str], None]) -> Callable[[Semaphore], None]:
    """Return what tells how many have a permit; while some are free there is nothing to tell."""

    def progress(found: Semaphore) -> None:
        told = found.status
        if told.available == 0:
            in_use = f"{told.in_use} of {found.spec.permits} in use"
            show(f"Semaphore {found.metadata.name}: {in_use}, {told.waiting} waiting")

    return progress


def _bound_to(text: str) -> Holder | None:
    return bound_holder(text, option="--bound-to") if text else None


async def _look(client: SemaphoreClient) -> Seen:
    found, permits = await client.get(), await client.permits()
    holders = {"holders": [holder_fields(one) for one in permits]}
    return Seen(describe(found, permits, datetime.now(UTC)), fields(found) | holders)


KIND: Final = Kind(
    resource=SEMAPHORES,
    object_type=Semaphore,
    client=SemaphoreClient,
    names="semaphores",
    columns=("NAME", "PERMITS", "IN-USE", "AVAILABLE", "PHASE", "WAITING", "TTL", "AGE"),
    rows=semaphore_rows,
    look=_look,
    help=Help(
        list="List Semaphores.",
        status="Show a Semaphore, who holds its permits and who waits.",
        delete="Delete Semaphores with their Permits. Who waits for one of them is told that it is gone.",
    ),
)
add_common_verbs(app, KIND)
