"""Internal. ``kontinue rwmutex`` and ``koncli rwmutex``: many read at a time, or one writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.rwmutexes import RWMutex, RWMutexSpec, rwmutex_locks
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import RW_MUTEXES
from kontinue.sync import Lock
from kontinue.sync import RWMutex as RWMutexClient
from kontinue.sync.holding.held import Scope
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.cells import length_text, since
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
    help="Many read at a time, or one writes. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, 4 forbidden, "
    "5 held by another.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("rw_mutexes"))]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    ttl: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="A lock that is not renewed for so long ends. Default, and 0: never."),
    ] = None,
) -> None:
    """Create an RWMutex; one that exists is left as it is."""
    options, length = global_options(ctx), ttl_option(ttl)
    spec = RWMutexSpec(ttl=spec_text(length))
    create_object(options, RW_MUTEXES, RWMutex(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("lock")
def lock(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = None,
    ttl: TtlOption = None,
) -> None:
    """Lock it to write, and leave it locked. It waits until nobody reads or writes, and is not renewed."""
    _lock(ctx, name, holder, timeout, ttl, is_shared=False)


@app.command("rlock")
def rlock(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    timeout: TimeoutOption = None,
    ttl: TtlOption = None,
) -> None:
    """Lock it to read, and leave it locked. It waits for who writes or has asked to before, and is not renewed."""
    _lock(ctx, name, holder, timeout, ttl, is_shared=True)


@app.command("unlock")
def unlock(ctx: typer.Context, name: NameArgument, holder: HolderOption = "", token: TokenOption = None) -> None:
    """Unlock it, for its reader or writer."""
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
    read: Annotated[bool, typer.Option("--read", help="Together with other readers.")] = False,  # noqa: FBT002
) -> None:
    """Run a command while it is locked, to write or with --read to read.

    Its exit code is the command's. The lock is renewed; once it is lost, the command ends. The command finds the
    lock's token in KONDUCTOR_TOKEN.
    """
    limit, length, who = duration_option(timeout, "--timeout"), ttl_option(ttl), holder_of(holder)

    def hold(mutex: RWMutexClient, show: Callable[[str], None]) -> Scope:
        held = mutex.reading if read else mutex.held
        return held(timeout=limit, ttl=length, holder=who, on_progress=lambda state: show(_before(state)))

    hold_and_run(ctx, KIND, name, command, hold)


def _rows(one: RWMutex, now: datetime) -> list[list[str]]:
    meta, told = one.metadata, one.status
    row = [meta.name, told.write_holder, str(len(told.read_holders)), one.phase.value, since(told.locked_at, now)]
    return [[*row, str(len(told.waiters)), since(meta.creation_timestamp, now)]]


def describe(mutex: RWMutex, now: datetime) -> str:
    """Return what ``kontinue rwmutex status`` prints."""
    meta, found = mutex.metadata, mutex.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", mutex.phase.value),
        ("TTL", length_text(mutex.spec.ttl)),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    text = format_fields(lines)
    rows = [
        [one.holder, _verb(shared=one.is_shared), str(one.token), format_time(one.expires_at) if one.expires_at else ""]
        for one in rwmutex_locks(mutex).grants
    ]
    rows += [[one.holder, f"waits to {_verb(shared=one.shared)}", "", ""] for one in found.waiters]
    return f"{text}\n\n{format_table(['HOLDER', 'TO', 'TOKEN', 'EXPIRES'], rows)}" if rows else text


def _verb(*, shared: bool) -> str:
    return "read" if shared else "write"


def _lock(ctx: typer.Context, name: str, holder: str, timeout: str | None, ttl: str | None, *, is_shared: bool) -> None:
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    who, length = holder_of(holder), ttl_option(ttl)

    async def take(connection: Connection, show: Callable[[str], None]) -> Lock:
        mutex = KIND.of(connection, name)
        lock = mutex.rlock if is_shared else mutex.lock
        return await lock(timeout=limit, ttl=length, holder=who, on_progress=lambda state: show(_before(state)))

    take_lock(options, RW_MUTEXES, name, take, verb=f"locked to {_verb(shared=is_shared)}")


def _before(mutex: RWMutex) -> str:
    found = mutex.status
    readers = f"read by {', '.join(found.read_holders)}" if found.read_holders else "free, but not ours yet"
    who = f"held by {found.write_holder}" if found.write_holder else readers
    return f"RWMutex {mutex.metadata.name}: {who}, {len(found.waiters)} waiting"


def _fields(mutex: RWMutex) -> dict[str, object]:
    found = mutex.status
    fields: dict[str, object] = {"writeHolder": found.write_holder, "readers": list(found.read_holders)}
    fields |= {"phase": mutex.phase.value, "token": found.token, "ttl": mutex.spec.ttl}
    fields["waiters"] = [one.holder for one in found.waiters]
    return fields


async def _look(client: RWMutexClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), _fields(found))


KIND: Final = Kind(
    resource=RW_MUTEXES,
    object_type=RWMutex,
    client=RWMutexClient,
    names="rw_mutexes",
    columns=("NAME", "WRITEHOLDER", "READERS", "PHASE", "LOCKED", "WAITERS", "AGE"),
    rows=_rows,
    look=_look,
    may_be_missing=True,
    help=Help(
        list="List RWMutexes.",
        status="Show who holds it, since when and until when, and who waits.",
        delete="Delete RWMutexes; one that does not exist is no error. Who holds one, or waits for it, is told.",
    ),
)
add_common_verbs(app, KIND)
