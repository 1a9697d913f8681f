"""Internal. ``kontinue mutex`` and ``koncli mutex``: one at a time holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue.api.konductor.mutexes import Mutex, MutexSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import MUTEXES
from kontinue.sync import Lock
from kontinue.sync import Mutex as MutexClient
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.execute import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.creating import create_object, spec_text
from kontinue_engine.cli.primitives.locks import (
    CommandArgument,
    HolderOption,
    TimeoutOption,
    TokenOption,
    TtlOption,
    holder_of,
    run_held,
    take_lock,
)
from kontinue_engine.cli.primitives.operations import OK, Progress, print_list, run, say, show
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="One at a time holds it. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, 4 forbidden, 5 held by another.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("mutexes"))]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("mutexes"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="A lock that is not renewed for so long ends. Default: never.")
    ] = "",
) -> None:
    """Create a Mutex; one that exists is left as it is."""
    options, length = global_options(ctx), duration_option(ttl, "--ttl")
    spec = MutexSpec(ttl=spec_text(length))
    create_object(options, MUTEXES, Mutex(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("lock")
def lock(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = "",
    ttl: TtlOption = "",
) -> None:
    """Lock it once it is free, and leave it locked; it is not renewed."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), duration_option(ttl, "--ttl")

    async def take(connection: Connection, show: Callable[[str], None]) -> Lock:
        mutex = _client(connection, name)
        return await mutex.lock(timeout=limit, ttl=length, holder=who, on_progress=lambda state: show(_before(state)))

    take_lock(options, MUTEXES, name, take)


@app.command("unlock")
def unlock(ctx: typer.Context, name: NameArgument, holder: HolderOption = "", token: TokenOption = None) -> None:
    """Unlock it, for its holder."""
    options, who = global_options(ctx), holder_of(holder)

    async def main() -> int:
        async with connect(options) as connection:
            await _client(connection, name).unlock(holder=who, token=token)
        say(options, MUTEXES, name, "unlocked", {})
        return OK

    run(main)


@app.command("with")
def with_(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = "",
    ttl: TtlOption = "",
) -> None:
    """Run a command while it is locked, and leave with the command's exit code. It is renewed; lost, the command ends.

    The command finds the lock's token in KONDUCTOR_TOKEN.
    """
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), duration_option(ttl, "--ttl")
    progress = Progress(options)

    async def main() -> int:
        async with connect(options) as connection:
            scope = _client(connection, name).held(
                timeout=limit, ttl=length, holder=who, on_progress=lambda state: progress.show(_before(state))
            )
            try:
                return await run_held(scope, command)
            finally:
                progress.end()

    run(main)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List Mutexes."""
    print_list(ctx, MUTEXES, Mutex, mutex_table)


@app.command("status")
def status(ctx: typer.Context, name: NameArgument) -> None:
    """Show who holds it, since when and until when, and who waits."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            mutex = await _client(connection, name).get()
        if options.is_table:
            print(describe(mutex, datetime.now(UTC)))
        else:
            show(options, MUTEXES, name, "", _fields(mutex))
        return OK

    run(main)


@app.command("delete")
def delete(ctx: typer.Context, names: NamesArgument) -> None:
    """Delete Mutexes; one that does not exist is no error. Who holds one, or waits for it, is told."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            for name in names:
                await _client(connection, name).delete()
                say(options, MUTEXES, name, "deleted", {})
        return OK

    run(main)


def mutex_table(found: Sequence[Mutex], now: datetime, *, with_namespace: bool, width: int | None = None) -> str:
    """Return the table of ``kontinue mutex list``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "HOLDER", "PHASE", "LOCKED", "WAITERS", "TOKEN", "AGE"]
    rows = []
    for one in found:
        meta, status = one.metadata, one.status
        locked = format_age(status.locked_at, now) if status.locked_at else ""
        row = [meta.name, status.holder, one.phase.value, locked, str(len(status.waiters)), str(status.token)]
        row.append(format_age(meta.creation_timestamp, now))
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def describe(mutex: Mutex, now: datetime) -> str:
    """Return what ``kontinue mutex status`` prints."""
    meta, found = mutex.metadata, mutex.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", mutex.phase.value),
        ("Holder", found.holder or "nobody"),
        ("Token", str(found.token)),
        ("TTL", found.ttl or mutex.spec.ttl or "none"),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    if found.bound_to is not None:
        lines.append(("Bound to", str(found.bound_to)))
    lines += [("Locked", format_time(found.locked_at))] if found.locked_at else []
    lines += [("Expires", format_time(found.expires_at))] if found.expires_at else []
    text = format_fields(lines)
    if not found.waiters:
        return text
    rows = [[one.holder, str(one.bound_to or "")] for one in found.waiters]
    return f"{text}\n\n{format_table(['WAITER', 'BOUND TO'], rows)}"


def _before(mutex: Mutex) -> str:
    found = mutex.status
    who = f"held by {found.holder}" if found.holder else "free, but not ours yet"
    return f"Mutex {mutex.metadata.name}: {who}, {len(found.waiters)} waiting"


def _client(connection: Connection, name: str) -> MutexClient:
    return MutexClient(name, connection.client)


def _fields(mutex: Mutex) -> dict[str, object]:
    found = mutex.status
    fields: dict[str, object] = {"holder": found.holder, "phase": mutex.phase.value, "token": found.token}
    fields |= {"ttl": found.ttl or mutex.spec.ttl, "waiters": [one.holder for one in found.waiters]}
    fields["lockedAt"] = None if found.locked_at is None else format_time(found.locked_at)
    fields["expiresAt"] = None if found.expires_at is None else format_time(found.expires_at)
    return fields
