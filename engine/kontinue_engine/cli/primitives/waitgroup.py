"""Internal. ``kontinue waitgroup`` and ``koncli waitgroup``: count workers under way, wait until all are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import WAIT_GROUPS
from kontinue.sync import WaitGroup as WaitGroupClient
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.execute import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.creating import create_object, spec_text
from kontinue_engine.cli.primitives.operations import OK, Progress, bound_holder, print_list, run, say, show
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="Count workers that are under way, and wait until all of them are done. Exit codes: 0 ok, 1 error, "
    "2 not found, 3 timeout, 4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("wait_groups"))]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("wait_groups"))]
HolderOption = Annotated[
    str,
    typer.Option(
        metavar="[KIND/]NAME",
        help="Bind it to pod/NAME or execution/NAME, whose end releases it; a name alone is a pod's.",
    ),
]
OperationOption = Annotated[
    str, typer.Option(metavar="ID", help="Counts once, however often it is repeated, for example with $POD_UID.")
]
FirstAddOption = Annotated[
    bool, typer.Option("--for-first-add", help="One that nothing was ever added to is not done yet.")
]
ClampOption = Annotated[bool, typer.Option("--clamp", help="Stop at 0 instead of failing.")]


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="Delete it once it was done for so long.")] = "",
) -> None:
    """Create a WaitGroup; one that exists is left as it is."""
    options, length = global_options(ctx), duration_option(ttl, "--ttl")
    spec = WaitGroupSpec(ttl=spec_text(length))
    create_object(options, WAIT_GROUPS, WaitGroup(metadata=ObjectMeta(name=name), spec=spec), _fields)


@app.command("add")
def add(
    ctx: typer.Context,
    name: NameArgument,
    delta: Annotated[int, typer.Option(help="How many; below 0 they are done.")] = 1,
    holder: HolderOption = "",
    operation_id: OperationOption = "",
    clamp: ClampOption = False,  # noqa: FBT002
) -> None:
    """Add to the counter, before the work begins."""
    bound = _holder(holder)
    _count(ctx, name, lambda group: group.add(delta, holder=bound, operation_id=operation_id, clamp=clamp), delta=delta)


@app.command("done")
def done(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    operation_id: OperationOption = "",
    clamp: ClampOption = False,  # noqa: FBT002
) -> None:
    """Take 1 off the counter."""
    bound = _holder(holder)
    _count(ctx, name, lambda group: group.done(holder=bound, operation_id=operation_id, clamp=clamp), delta=-1)


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
    for_first_add: FirstAddOption = False,  # noqa: FBT002
) -> None:
    """Wait until the counter is 0."""
    options, limit = global_options(ctx), duration_option(timeout, "--timeout")
    progress = Progress(options)

    async def main() -> int:
        async with connect(options) as connection:
            group = _client(connection, name)
            try:
                ended = await group.wait(
                    timeout=limit, for_first_add=for_first_add, on_progress=lambda group: progress.show(_missing(group))
                )
            finally:
                progress.end()
        say(options, WAIT_GROUPS, name, "done", _fields(ended))
        return OK

    run(main)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List WaitGroups."""
    print_list(ctx, WAIT_GROUPS, WaitGroup, wait_group_table)


@app.command("status")
def status(ctx: typer.Context, name: NameArgument) -> None:
    """Show what a WaitGroup waits for, and who holds how much of it."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            group = await _client(connection, name).get()
        if options.is_table:
            print(describe(group, datetime.now(UTC)))
        else:
            show(options, WAIT_GROUPS, name, "", _fields(group))
        return OK

    run(main)


@app.command("delete")
def delete(ctx: typer.Context, names: NamesArgument) -> None:
    """Delete WaitGroups; who waits for one of them is told that it is gone."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            for name in names:
                await _client(connection, name).delete()
                say(options, WAIT_GROUPS, name, "deleted", {})
        return OK

    run(main)


def wait_group_table(
    found: Sequence[WaitGroup], now: datetime, *, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue waitgroup list``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "COUNTER", "PHASE", "ADDED", "TTL", "AGE"]
    rows = []
    for one in found:
        meta = one.metadata
        age = format_age(meta.creation_timestamp, now)
        row = [meta.name, str(one.counter), one.phase.value, str(one.status.added), one.spec.ttl, age]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def describe(group: WaitGroup, now: datetime) -> str:
    """Return what ``kontinue waitgroup status`` prints."""
    meta, found = group.metadata, group.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", group.phase.value),
        ("Counter", str(group.counter)),
        ("Added", f"{found.added} in all"),
        ("Rounds", str(found.rounds)),
        ("TTL", group.spec.ttl or "none"),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    if found.done_at is not None:
        lines.append(("Done since", format_time(found.done_at)))
    text = format_fields(lines)
    if not found.holders:
        return text
    rows = [[one.kind.value, one.name, str(one.count)] for one in found.holders]
    return f"{text}\n\n{format_table(['HOLDER', 'NAME', 'COUNT'], rows)}"


def _count(ctx: typer.Context, name: str, change: Callable[[WaitGroupClient], Awaitable[int]], *, delta: int) -> None:
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            counter = await change(_client(connection, name))
        say(options, WAIT_GROUPS, name, f"counter {counter}", {"delta": delta, "counter": counter})
        return OK

    run(main)


def _client(connection: Connection, name: str) -> WaitGroupClient:
    return WaitGroupClient(name, connection.client)


def _missing(group: WaitGroup) -> str:
    return f"WaitGroup {group.metadata.name}: {group.counter} of {group.status.added} to be done"


def _holder(text: str) -> Holder | None:
    return bound_holder(text if "/" in text else f"pod/{text}") if text else None


def _fields(group: WaitGroup) -> dict[str, object]:
    found = group.status
    fields: dict[str, object] = {"counter": group.counter, "phase": group.phase.value, "added": found.added}
    fields |= {"rounds": found.rounds, "ttl": group.spec.ttl}
    fields["holders"] = [{"kind": one.kind.value, "name": one.name, "count": one.count} for one in found.holders]
    return fields
