"""Internal. ``kontinue suspensions``: who waits for what."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from kontinue.api.v1alpha1 import OPEN_SUSPENSIONS_SELECTOR, Suspension
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import OutputFormat, global_options, table_width
from kontinue_engine.cli.text import format_age, format_table, format_time


def command(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Show completed ones too.")] = False,  # noqa: FBT002
) -> None:
    """List what Executions wait for: long sleeps, and suspends that somebody has to resume."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            page = await list_objects(
                connection.transport,
                requests.SUSPENSIONS,
                "" if options.all_namespaces else connection.namespace,
                msgspec.Raw,
                label_selector=options.selector,
                field_selector="" if all_ else OPEN_SUSPENSIONS_SELECTOR,
            )
        if not options.is_table:
            print_objects(page.items, output=options.output, as_list=True, resource=requests.SUSPENSIONS)
        elif page.items:
            found = [msgspec.json.decode(raw, type=Suspension) for raw in page.items]
            wide = options.output is OutputFormat.WIDE
            everywhere, width = options.all_namespaces, table_width(options)
            print(suspension_table(found, datetime.now(UTC), wide=wide, with_namespace=everywhere, width=width))
        else:
            print("Nothing is suspended.", file=sys.stderr)
        return exit_codes.OK

    run(main)


def suspension_table(
    found: Sequence[Suspension], now: datetime, *, wide: bool, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue suspensions``; ``wide`` adds what to know, and why a payload was refused."""
    header = ["NAME", "EXECUTION", "KIND", "DISPLAY-NAME", "PHASE", "RESUME-AT", "AGE"]
    header += ["RESUMED-BY", "DESCRIPTION", "PAYLOAD-REFUSED"] if wide else []
    rows = []
    for one in found:
        meta, spec, status = one.metadata, one.spec, one.status
        row = [
            meta.name,
            spec.execution,
            spec.kind.value,
            spec.display_name,
            "Suspended" if one.is_open else "Completed",
            format_time(spec.resume_at) if spec.resume_at else "",
            format_age(meta.creation_timestamp, now),
        ]
        if wide:
            row += [status.resumed_by, spec.description, "; ".join(item.message for item in status.conditions)]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)
