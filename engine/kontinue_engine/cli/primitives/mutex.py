"""Internal. ``kontinue mutex`` and ``koncli mutex``: one at a time holds it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.mutexes import Mutex, MutexSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import MUTEXES
from kontinue.sync import Lock
from kontinue.sync import Mutex as MutexClient
from kontinue.sync.holding.held import Scope
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.cells import length_text, since, time_field
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, carry_out
from kontinue_engine.cli.primitives.locks import (
    CommandArgument,
    HolderOption,
    TimeoutOption,
    TokenOption,
    TtlOption,
    hold_and_run,
    holder_of,
    take_lock,
)
from kontinue_engine.cli.primitives.ttls import ttl_option
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="One at a time holds it. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, 4 forbidden, 5 held by another.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("mutexes"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    ttl: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="A lock that is not renewed for so long ends. Default, and 0: never."),
    ] = None,
) -> None:
    """Create a Mutex; one that exists is left as it is."""
    options, length = global_options(ctx), ttl_option(ttl)
    spec = MutexSpec(ttl=spec_text(length))
    create_object(options, MUTEXES, Mutex(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("lock")
def lock(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = None,
    ttl: TtlOption = None,
) -> None:
    """Lock it once it is free, and leave it locked. It is not renewed."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), ttl_option(ttl)

    async def take(connection: Connection, show: Callable[[str], None]) -> Lock:
        mutex = KIND.of(connection, name)
        return await mutex.lock(timeout=limit, ttl=length, holder=who, on_progress=lambda state: show(_before(state)))

    take_lock(options, MUTEXES, name, take)


@app.command("unlock")
def unlock(ctx: typer.Context, name: NameArgument, holder: HolderOption = "", token: TokenOption = None) -> None:
    """Unlock it, for its holder."""
    who = holder_of(holder)
    carry_out(ctx, KIND, name, lambda mutex: mutex.unlock(holder=who, token=token), lambda _: ("unlocked", {}))


@app.command("with")
def with_(
    ctx: typer.Context,
    name: NameArgument,
    command: CommandArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = None,
    ttl: TtlOption = None,
) -> None:
    """Run a command while it is locked.

    Its exit code is the command's. The lock is renewed; once it is lost, the command ends. The command finds the
    lock's token in KONDUCTOR_TOKEN.
    """
    limit, length, who = duration_option(timeout, "--timeout"), ttl_option(ttl), holder_of(holder)

    def hold(mutex: MutexClient, show: Callable[[str], None]) -> Scope:
        return mutex.held(timeout=limit, ttl=length, holder=who, on_progress=lambda state: show(_before(state)))

    hold_and_run(ctx, KIND, name, command, hold)


def _rows(one: Mutex, now: datetime) -> list[list[str]]:
    meta, told = one.metadata, one.status
    row = [meta.name, told.holder, one.phase.value, since(told.locked_at, now), str(len(told.waiters))]
    return [[*row, str(told.token), since(meta.creation_timestamp, now)]]


def describe(mutex: Mutex, now: datetime) -> str:
    """Return what ``kontinue mutex status`` prints."""
    meta, found = mutex.metadata, mutex.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", mutex.phase.value),
        ("Holder", found.holder or "nobody"),
        ("Token", str(found.token)),
        ("TTL", length_text(found.ttl or mutex.spec.ttl)),
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


def _fields(mutex: Mutex) -> dict[str, object]:
    found = mutex.status
    fields: dict[str, object] = {"holder": found.holder, "phase": mutex.phase.value, "token": found.token}
    fields |= {"ttl": found.ttl or mutex.spec.ttl, "waiters": [one.holder for one in found.waiters]}
    fields["lockedAt"] = time_field(found.locked_at)
    fields["expiresAt"] = time_field(found.expires_at)
    return fields


async def _look(client: MutexClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), _fields(found))


KIND: Final = Kind(
    resource=MUTEXES,
    object_type=Mutex,
    client=MutexClient,
    names="mutexes",
    columns=("NAME", "HOLDER", "PHASE", "LOCKED", "WAITERS", "TOKEN", "AGE"),
    rows=_rows,
    look=_look,
    may_be_missing=True,
    help=Help(
        list="List Mutexes.",
        status="Show who holds it, since when and until when, and who waits.",
        delete="Delete Mutexes; one that does not exist is no error. Who holds one, or waits for it, is told.",
    ),
)
add_common_verbs(app, KIND)
