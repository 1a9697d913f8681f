"""Internal. ``kontinue schedules``: what is started at which times; suspend, resume and trigger change that."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import ScheduledExecution
from kontinue.client import Client
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run, say_target
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.objects import format_raw
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, candidates, global_options
from kontinue_engine.cli.text import format_age, format_table, plural

app = typer.Typer(help="List what is started at which times; suspend, resume or trigger it.")

_PLURAL = "scheduledexecutions"

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=candidates("schedules"))]


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
        if options.output not in {OutputFormat.TABLE, OutputFormat.WIDE}:
            print(format_raw(page.items, output=options.output, as_list=True, plural=_PLURAL))
        elif page.items:
            found = [msgspec.json.decode(raw, type=ScheduledExecution) for raw in page.items]
            wide = options.output is OutputFormat.WIDE
            print(schedule_table(found, datetime.now(UTC), wide=wide, with_namespace=options.all_namespaces))
        else:
            print("Nothing is scheduled.", file=sys.stderr)
        return exit_codes.OK

    run(main)


@app.command("suspend")
def suspend(ctx: typer.Context, names: NamesArgument) -> None:
    """Start nothing more by these schedules; what runs goes on."""

    async def change(client: Client, name: str) -> str:
        await client.suspend_scheduled_execution(name)
        return f"{_PLURAL}.{labels.GROUP}/{name} suspended"

    _change_each(global_options(ctx), names, "suspending", change)


@app.command("resume")
def resume(ctx: typer.Context, names: NamesArgument) -> None:
    """Start by these schedules again, from the next occurrence on; nothing is made up for."""

    async def change(client: Client, name: str) -> str:
        await client.resume_scheduled_execution(name)
        return f"{_PLURAL}.{labels.GROUP}/{name} resumed"

    _change_each(global_options(ctx), names, "resuming", change)


@app.command("trigger")
def trigger(ctx: typer.Context, names: NamesArgument) -> None:
    """Start now what these schedules start, suspended or not, beside what runs already."""

    async def change(client: Client, name: str) -> str:
        started = await client.trigger_scheduled_execution(name)
        return f"executions.{labels.GROUP}/{started.name} created"

    _change_each(global_options(ctx), names, "triggering", change)


def _change_each(
    options: GlobalOptions, names: Sequence[str], doing: str, change: Callable[[Client, str], Awaitable[str]]
) -> None:
    async def main() -> int:
        async with connect(options) as connection:
            what = names[0] if len(names) == 1 else plural(len(names), "schedule")
            say_target(options, connection, f"{doing} {what}")
            for name in names:
                print(await change(connection.client, name))
        return exit_codes.OK

    run(main)


def schedule_table(found: Sequence[ScheduledExecution], now: datetime, *, wide: bool, with_namespace: bool) -> str:
    """Return the table of ``kontinue schedules``; ``wide`` adds policy, number that runs, and what is wrong."""
    header = ["NAME", "SCHEDULE", "TIME-ZONE", "FUNCTION", "SUSPEND", "NEXT", "LAST", "AGE"]
    header += ["POLICY", "ACTIVE", "STATE"] if wide else []
    rows = []
    for one in found:
        meta, spec, status = one.metadata, one.spec, one.status
        row = [
            meta.name,
            spec.schedule,
            spec.time_zone,
            spec.function,
            "true" if spec.suspend else "",
            status.next_schedule_time.isoformat(timespec="minutes") if status.next_schedule_time else "",
            format_age(status.last_schedule_time, now) if status.last_schedule_time else "",
            format_age(meta.creation_timestamp, now),
        ]
        if wide:
            states = [f"{condition.reason}: {condition.message}".rstrip(": ") for condition in status.conditions]
            row += [spec.concurrency_policy.value, str(len(status.active)), "; ".join(states)]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows)
