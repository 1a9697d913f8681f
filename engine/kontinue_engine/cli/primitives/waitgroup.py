"""Internal. ``kontinue waitgroup`` and ``koncli waitgroup``: count workers under way, wait until all are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import WAIT_GROUPS
from kontinue.sync import WaitGroup as WaitGroupClient
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.options import candidates, global_options
from kontinue_engine.cli.primitives.cells import length_text, since
from kontinue_engine.cli.primitives.creating import NewNameArgument, create_object, spec_text
from kontinue_engine.cli.primitives.kinds import Help, Kind, Seen, add_common_verbs, carry_out, wait_for
from kontinue_engine.cli.primitives.operations import (
    WaitLimitOption,
    bound_holder,
    refuse_empty,
)
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time

app = typer.Typer(
    help="Count workers that are under way, and wait until all of them are done. Exit codes: 0 ok, 1 error, "
    "2 not found, 3 timeout, 4 forbidden.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", autocompletion=candidates("wait_groups"))]
HolderOption = Annotated[
    str,
    typer.Option(
        metavar="[KIND/]NAME",
        callback=refuse_empty,
        help="Bind it to a pod/NAME or execution/NAME that is there; its end releases it. A name alone is a Pod's.",
    ),
]
OperationOption = Annotated[
    str,
    typer.Option(
        metavar="ID",
        callback=refuse_empty,
        help="Counts once, however often it is repeated, for example with $POD_UID.",
    ),
]
FirstAddOption = Annotated[
    bool, typer.Option("--for-first-add", help="One that nothing was ever added to is not done yet.")
]
ClampOption = Annotated[bool, typer.Option("--clamp", help="Stop at 0 instead of failing.")]


@app.command("create")
def create(
    ctx: typer.Context,
    name: NewNameArgument,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Delete it once it was done for so long; 0: never.")
    ] = None,
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
    bound, id_ = _holder(holder), operation_id or None
    _count(ctx, name, lambda group: group.add(delta, holder=bound, operation_id=id_, clamp=clamp), delta=delta)


@app.command("done")
def done(
    ctx: typer.Context,
    name: NameArgument,
    holder: HolderOption = "",
    operation_id: OperationOption = "",
    clamp: ClampOption = False,  # noqa: FBT002
    delta: Annotated[int | None, typer.Option(hidden=True, help="Of add alone.")] = None,
) -> None:
    """Take 1 off the counter."""
    if delta is not None:
        more = -abs(delta) or -2
        raise typer.BadParameter(f"it takes off 1; more at once: add {name} --delta {more}", param_hint="--delta")
    bound, id_ = _holder(holder), operation_id or None
    _count(ctx, name, lambda group: group.done(holder=bound, operation_id=id_, clamp=clamp), delta=-1)


@app.command("wait")
def wait(
    ctx: typer.Context,
    name: NameArgument,
    timeout: WaitLimitOption = None,
    for_first_add: FirstAddOption = False,  # noqa: FBT002
) -> None:
    """Wait until the counter is 0."""
    limit = duration_option(timeout, "--timeout")
    wait_for(
        ctx,
        KIND,
        name,
        lambda group, show: group.wait(timeout=limit, for_first_add=for_first_add, on_progress=show),
        progress=missing,
        told=lambda group: ("done", _fields(group)),
    )


def _rows(one: WaitGroup, now: datetime) -> list[list[str]]:
    meta = one.metadata
    row = [meta.name, str(one.counter), one.phase.value, str(one.status.added), one.spec.ttl]
    return [[*row, since(meta.creation_timestamp, now)]]


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
        ("TTL", length_text(group.spec.ttl)),
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
    def told(counter: int) -> tuple[str, dict[str, object]]:
        return f"counter {counter}", {"delta": delta, "counter": counter}

    carry_out(ctx, KIND, name, change, told)


def missing(group: WaitGroup) -> str:
    """Return what is told while it is waited for. What was added is known of the first round alone."""
    counter, added = group.counter, group.status.added
    what = f"{counter} to be done" if counter or added else "nothing added yet"
    if counter <= added and added and not group.status.rounds:
        what = f"{counter} of {added} to be done"
    return f"WaitGroup {group.metadata.name}: {what}"


def _holder(text: str) -> Holder | None:
    return bound_holder(text if "/" in text else f"pod/{text}") if text else None


def _fields(group: WaitGroup) -> dict[str, object]:
    found = group.status
    fields: dict[str, object] = {"counter": group.counter, "phase": group.phase.value, "added": found.added}
    fields |= {"rounds": found.rounds, "ttl": group.spec.ttl}
    fields["holders"] = [{"kind": one.kind.value, "name": one.name, "count": one.count} for one in found.holders]
    return fields


async def _look(client: WaitGroupClient) -> Seen:
    found = await client.get()
    return Seen(describe(found, datetime.now(UTC)), _fields(found))


KIND: Final = Kind(
    resource=WAIT_GROUPS,
    object_type=WaitGroup,
    client=WaitGroupClient,
    names="wait_groups",
    columns=("NAME", "COUNTER", "PHASE", "ADDED", "TTL", "AGE"),
    rows=_rows,
    look=_look,
    help=Help(
        list="List WaitGroups.",
        status="Show what a WaitGroup waits for, and who holds how much of it.",
        delete="Delete WaitGroups. Who waits for one of them is told that it is gone.",
    ),
)
add_common_verbs(app, KIND)
