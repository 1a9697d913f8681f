"""Internal. ``kontinue schedules``: what is started at which times; suspend, resume and trigger change that."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from kontinue.api.meta import PartialObjectMetadata
from kontinue.api.v1alpha1 import ScheduledExecution
from kontinue.client import Client
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.executions import suggesting
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import OutputFormat, candidates, global_options, schedule_name, table_width
from kontinue_engine.cli.selection import Change, Outcome, YesOption, change_each
from kontinue_engine.cli.text import format_age, format_table, format_time

app = typer.Typer(help="List what is started at which times; suspend, resume or trigger it.")

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", parser=schedule_name, autocompletion=candidates("schedules")),
]


@app.callback(invoke_without_command=True)
def list_(ctx: typer.Context) -> None:
    """List the ScheduledExecutions: what is started at which times."""
    if ctx.invoked_subcommand is not None:
        return
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            page = await list_objects(
                connection.transport,
                requests.SCHEDULED_EXECUTIONS,
                "" if options.all_namespaces else connection.namespace,
                msgspec.Raw,
                label_selector=options.selector,
            )
        if not options.is_table:
            print_objects(page.items, output=options.output, as_list=True, resource=requests.SCHEDULED_EXECUTIONS)
        elif page.items:
            found = [msgspec.json.decode(raw, type=ScheduledExecution) for raw in page.items]
            wide = options.output is OutputFormat.WIDE
            everywhere, width = options.all_namespaces, table_width(options)
            print(schedule_table(found, datetime.now(UTC), wide=wide, with_namespace=everywhere, width=width))
        else:
            print("Nothing is scheduled.", file=sys.stderr)
        return exit_codes.OK

    run(main)


@app.command("suspend")
def suspend(ctx: typer.Context, names: NamesArgument = None, yes: YesOption = False) -> None:  # noqa: FBT002
    """Start nothing more by these schedules; what runs goes on."""

    async def change(client: Client, name: str) -> Outcome:
        await client.suspend_scheduled_execution(name)
        return Outcome(name, "suspended", requests.SCHEDULED_EXECUTIONS)

    _change_each(ctx, names, change, doing="suspending", ask="Suspend", yes=yes)


@app.command("resume")
def resume(ctx: typer.Context, names: NamesArgument = None, yes: YesOption = False) -> None:  # noqa: FBT002
    """Start by these schedules again, from the next occurrence on; nothing is made up for."""

    async def change(client: Client, name: str) -> Outcome:
        await client.resume_scheduled_execution(name)
        return Outcome(name, "resumed", requests.SCHEDULED_EXECUTIONS)

    _change_each(ctx, names, change, doing="resuming", ask="Resume", yes=yes)


@app.command("trigger")
def trigger(ctx: typer.Context, names: NamesArgument = None, yes: YesOption = False) -> None:  # noqa: FBT002
    """Start now what these schedules start, suspended or not, beside what runs already."""

    async def change(client: Client, name: str) -> Outcome:
        started = await client.trigger_scheduled_execution(name)
        return Outcome(started.name, "created")

    _change_each(ctx, names, change, doing="triggering", ask="Trigger", yes=yes)


def _change_each(
    ctx: typer.Context,
    names: Sequence[str] | None,
    change: Callable[[Client, str], Awaitable[Outcome]],
    *,
    doing: str,
    ask: str,
    yes: bool,
) -> None:
    options = global_options(ctx)
    if options.all_namespaces:
        raise typer.BadParameter("schedules are changed in one namespace", param_hint="-A")

    async def apply(connection: Connection, name: str) -> Sequence[Outcome]:
        async with suggesting(connection, requests.SCHEDULED_EXECUTIONS, name):
            return [await change(connection.client, name)]

    async def select(connection: Connection, selector: str) -> Sequence[str]:
        page = await list_objects(
            connection.transport,
            requests.SCHEDULED_EXECUTIONS,
            connection.namespace,
            PartialObjectMetadata,
            label_selector=selector,
            only_metadata=True,
        )
        return [one.metadata.name for one in page.items]

    whole = Change(
        apply=apply, select=select, what="schedule", doing=doing, ask=ask, none_selected="No schedules match."
    )
    change_each(options, names, whole, yes=yes)


def schedule_table(
    found: Sequence[ScheduledExecution], now: datetime, *, wide: bool, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue schedules``; ``wide`` adds policy and number that runs.

    What is wrong with a schedule is never left out: it has a column of its own as soon as something is.
    """
    header = ["NAME", "SCHEDULE", "TIME-ZONE", "FUNCTION", "SUSPEND", "NEXT", "LAST", "AGE"]
    header += ["POLICY", "ACTIVE"] if wide else []
    has_state = wide or any(_is_wrong(one) for one in found)
    rows = []
    for one in found:
        meta, spec, status = one.metadata, one.spec, one.status
        row = [
            meta.name,
            spec.schedule,
            spec.time_zone,
            spec.function,
            "true" if spec.suspend else "",
            format_time(status.next_schedule_time) if status.next_schedule_time else "",
            format_age(status.last_schedule_time, now) if status.last_schedule_time else "",
            format_age(meta.creation_timestamp, now),
        ]
        row += [spec.concurrency_policy.value, str(len(status.active))] if wide else []
        row += [_state(one)] if has_state else []
        rows.append([meta.namespace, *row] if with_namespace else row)
    header += ["STATE"] if has_state else []
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def _is_wrong(schedule: ScheduledExecution) -> bool:
    """Tell whether nothing is started by a schedule that nobody has suspended."""
    return not schedule.spec.suspend and any(one.status == "False" for one in schedule.status.conditions)


def _state(schedule: ScheduledExecution) -> str:
    return "; ".join(f"{one.reason}: {one.message}".rstrip(": ") for one in schedule.status.conditions)
