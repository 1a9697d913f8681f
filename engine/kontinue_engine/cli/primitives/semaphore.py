"""Internal. ``kontinue semaphore`` and ``koncli semaphore``: let a number of holders at most work at the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.semaphores import Semaphore, SemaphoreSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import SEMAPHORES
from kontinue.sync import Semaphore as SemaphoreClient
from kontinue_engine.cli.commands import Signals, ended_by_signals
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.execute import duration_option
from kontinue_engine.cli.options import GlobalOptions, candidates, global_options, note
from kontinue_engine.cli.primitives.creating import create_object, spec_text
from kontinue_engine.cli.primitives.locks import CommandArgument, TimeoutOption, run_held
from kontinue_engine.cli.primitives.operations import OK, bound_holder, print_list, run, say, show
from kontinue_engine.cli.primitives.semaphore_text import describe, fields, holder_fields, semaphore_table

app = typer.Typer(
    help="Let a number of holders at most do something at the same time. Exit codes: 0 ok, 1 error, 2 not found, "
    "3 timeout, 4 forbidden, 5 none is free.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("semaphores"))]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("semaphores"))]
HolderOption = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Who. Default: $KONDUCTOR_HOLDER_ID, $HOSTNAME or the host's name."),
]
PermitTtlOption = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="It is taken back after that. Default: as the Semaphore says, or 10m; none with --bound-to.",
    ),
]
BoundOption = Annotated[
    str,
    typer.Option(
        metavar="KIND/NAME",
        help="Give it back when pod/NAME or execution/NAME has ended.",
    ),
]


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    permits: Annotated[int, typer.Option(help="How many may hold one at the same time.", min=1)] = 1,
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long a permit is held at most.")] = "",
) -> None:
    """Create a Semaphore; one that exists is left as it is."""
    options, length = global_options(ctx), duration_option(ttl, "--ttl")
    spec = SemaphoreSpec(permits=permits, ttl=spec_text(length))
    create_object(options, SEMAPHORES, Semaphore(metadata=ObjectMeta(name=name), spec=spec), fields)


@app.command("acquire")
def acquire(
    ctx: typer.Context,
    name: NameArgument,
    timeout: TimeoutOption = "",
    ttl: PermitTtlOption = "",
    holder: HolderOption = "",
    bound_to: BoundOption = "",
) -> None:
    """Wait for a permit, behind those who asked before; it is held until it is released."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    length, bound = duration_option(ttl, "--ttl"), _bound_to(bound_to)

    async def main(signals: Signals) -> int:
        async with connect(options) as connection:
            client = _client(connection, name)
            await _say_if_full(options, client)
            held = await client.acquire(holder=holder, timeout=limit, ttl=length, bound_to=bound)
            signals.keep()  # it is taken, and whoever releases it has to know
        told = {"holder": held.holder, "permit": held.name}
        say(options, SEMAPHORES, name, f"acquired by {held.holder}: permit {held.name}", told)
        return OK

    run(lambda: ended_by_signals(main))


@app.command("release")
def release(ctx: typer.Context, name: NameArgument, holder: HolderOption = "") -> None:
    """Give back the oldest permit of a holder."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            permit = await _client(connection, name).release(holder)
        say(options, SEMAPHORES, name, f"released permit {permit}", {"permit": permit})
        return OK

    run(main)


@app.command("with")
def with_(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    timeout: TimeoutOption = "",
    ttl: PermitTtlOption = "",
    holder: HolderOption = "",
    bound_to: BoundOption = "",
) -> None:
    """Run a command while a permit is held; its exit status is the exit code. It is renewed; lost, the command ends."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    length, bound = duration_option(ttl, "--ttl"), _bound_to(bound_to)

    async def main() -> int:
        async with connect(options) as connection:
            client = _client(connection, name)
            await _say_if_full(options, client)
            return await run_held(client.hold(holder=holder, timeout=limit, ttl=length, bound_to=bound), command)

    run(main)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List Semaphores."""
    print_list(ctx, SEMAPHORES, Semaphore, semaphore_table)


@app.command("status")
def status(ctx: typer.Context, name: NameArgument) -> None:
    """Show a Semaphore, who holds its permits and who waits."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            client = _client(connection, name)
            found, permits = await client.get(), await client.permits()
        if options.is_table:
            print(describe(found, permits, datetime.now(UTC)))
        else:
            show(options, SEMAPHORES, name, "", fields(found) | {"holders": [holder_fields(one) for one in permits]})
        return OK

    run(main)


@app.command("delete")
def delete(ctx: typer.Context, names: NamesArgument) -> None:
    """Delete Semaphores with their Permits; who waits for one of them is told that it is gone."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            for name in names:
                await _client(connection, name).delete()
                say(options, SEMAPHORES, name, "deleted", {})
        return OK

    run(main)


async def _say_if_full(options: GlobalOptions, client: SemaphoreClient) -> None:
    found = await client.get()
    if found.status.available == 0:
        told = found.status
        note(
            options,
            f"Semaphore {client.name}: {told.in_use} of {found.spec.permits} in use, {told.waiting} wait already",
        )


def _client(connection: Connection, name: str) -> SemaphoreClient:
    return SemaphoreClient(name, connection.client)


def _bound_to(text: str) -> Holder | None:
    return bound_holder(text, option="--bound-to") if text else None
