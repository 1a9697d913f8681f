"""Internal. ``kontinue lease`` and ``koncli lease``: one at a time holds it for a while, by priority."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.leases import Lease, LeaseSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import KONDUCTOR_LEASES
from kontinue.sync import Lease as LeaseClient
from kontinue.sync import Lock
from kontinue.sync.holding.held import Scope
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, carry_out
from kontinue_engine.cli.primitives.lease_text import describe, fields, lease_rows, request_fields
from kontinue_engine.cli.primitives.locks import (
    CommandArgument,
    HolderOption,
    TimeoutOption,
    hold_and_run,
    holder_of,
    take_lock,
)
from kontinue_engine.cli.primitives.ttls import ttl_option

app = typer.Typer(
    help="One at a time holds it for a while, by priority. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, "
    "4 forbidden, 5 held by another.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("leases"))]
LeaseTtlOption = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long it is held without renewal. Default, and 0: the Lease's ttl."),
]
PriorityOption = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="The highest is first. Default: the Lease's, 0.")
]
TokenOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only with this token, not a later one of the same holder.")
]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="It ends when it is not renewed for so long; 0: it does not.")
    ] = "10m",
    priority: Annotated[int, typer.Option(metavar="N", min=0, help="Of who asks without one.")] = 0,
) -> None:
    """Create a Lease; one that exists is left as it is."""
    options, length = global_options(ctx), ttl_option(ttl)
    spec = LeaseSpec(ttl=spec_text(length), priority=priority)
    create_object(options, KONDUCTOR_LEASES, Lease(metadata=ObjectMeta(name=name), spec=spec), fields)


@app.command("acquire")
def acquire(
    ctx: typer.Context,
    name: NameArgument,
    timeout: TimeoutOption = None,
    priority: PriorityOption = None,
    holder: HolderOption = "",
    ttl: LeaseTtlOption = None,
) -> None:
    """Wait for it, and hold it until it is released or its ttl is over. It is not renewed."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), ttl_option(ttl)

    async def take(connection: Connection, show: Callable[[str], None]) -> Lock:
        return await KIND.of(connection, name).acquire(
            timeout=limit, ttl=length, holder=who, priority=priority, on_progress=_shown_by(show)
        )

    take_lock(options, KONDUCTOR_LEASES, name, take, verb="acquired")


@app.command("renew")
def renew(ctx: typer.Context, name: NameArgument, holder: HolderOption = "", token: TokenOption = None) -> None:
    """Hold it for its whole ttl again, for its holder."""
    who = holder_of(holder)

    def told(lease: Lease) -> tuple[str, dict[str, object]]:
        return f"renewed by {lease.status.holder}", fields(lease)

    carry_out(ctx, KIND, name, lambda lease: lease.renew(holder=who, token=token), told)


@app.command("release")
def release(ctx: typer.Context, name: NameArgument, holder: HolderOption = "", token: TokenOption = None) -> None:
    """Release it, for its holder."""
    who = holder_of(holder)
    carry_out(ctx, KIND, name, lambda lease: lease.release(holder=who, token=token), lambda _: ("released", {}))


@app.command("with")
def with_(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    timeout: TimeoutOption = None,
    priority: PriorityOption = None,
    holder: HolderOption = "",
    ttl: LeaseTtlOption = None,
) -> None:
    """Run a command while it is held.

    Its exit code is the command's. The Lease is renewed; once it is lost, the command ends. The command finds its
    token in KONDUCTOR_TOKEN.
    """
    limit, length, who = duration_option(timeout, "--timeout"), ttl_option(ttl), holder_of(holder)

    def hold(lease: LeaseClient, show: Callable[[str], None]) -> Scope:
        return lease.held(timeout=limit, ttl=length, holder=who, priority=priority, on_progress=_shown_by(show))

    hold_and_run(ctx, KIND, name, command, hold)


def _shown_by(show: Callable[[str], None]) -> Callable[[Lease], None]:
    """Return what tells who has it; of one that is free there is nothing to tell."""

    def progress(lease: Lease) -> None:
        told = lease.status
        if told.holder:
            show(f"Lease {lease.metadata.name}: held by {told.holder}, {told.waiting} waiting")

    return progress


async def _look(client: LeaseClient) -> Seen:
    lease, found = await client.get(), await client.requests()
    told = {"requests": [request_fields(one) for one in found]}
    return Seen(describe(lease, found, datetime.now(UTC)), fields(lease) | told)


KIND: Final = Kind(
    resource=KONDUCTOR_LEASES,
    object_type=Lease,
    client=LeaseClient,
    names="leases",
    columns=("NAME", "HOLDER", "PHASE", "ACQUIRED", "RENEWALS", "WAITING", "TOKEN", "AGE"),
    rows=lease_rows,
    look=_look,
    may_be_missing=True,
    help=Help(
        list="List Leases of konductor.io.",
        status="Show who holds it, since when and until when, and who waits.",
        delete="Delete Leases; one that does not exist is no error. Who holds one, or waits for it, is told.",
    ),
)
add_common_verbs(app, KIND)
