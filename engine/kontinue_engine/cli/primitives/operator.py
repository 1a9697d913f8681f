"""Internal. ``koncli operator``: whether a coordinator works, by the Leases that coordinators keep.

Loaded by ``koncli`` alone; ``kontinue doctor`` says what follows for objects that need one.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.kube import requests
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.doctor import coordinators
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import format_document
from kontinue_engine.cli.options import GROUPED, GlobalOptions, OutputFormat, global_options, refuse_others, table_width
from kontinue_engine.cli.primitives.operations import NOT_FOUND, OK, run
from kontinue_engine.cli.text import format_age, format_table, format_time


def command(
    ctx: typer.Context,
    operator_namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Look there. Default: everywhere, or where you may.")
    ] = "",
    service: Annotated[str, typer.Option(hidden=True, help="As the original takes it.")] = "",
) -> None:
    """Show who looks after the primitives. Exit codes: 0 somebody works, 1 error, 2 nobody does, 4 forbidden."""
    del service  # a coordinator is known by its Lease
    options = global_options(ctx)
    refuse_others(options, "koncli operator", GROUPED - {"selector"})

    async def main() -> int:
        async with connect(options) as connection:
            found = await _leases(connection, operator_namespace, options.api_groups[0])
        now = datetime.now(UTC)
        _show(options, found, now)
        if any(coordinators.is_kept(one, now) for one in found):
            return OK
        start = coordinators.how_to_start(options.flags())
        print(
            "No coordinator keeps a Lease that you may see: if none works, nobody grants permits and Leases, or opens "
            f"Barriers and Gates. kontinue dev has one; else {start}.",
            file=sys.stderr,
        )
        return NOT_FOUND

    run(main)


async def _leases(connection: Connection, namespace: str, group: str) -> list[Lease]:
    selector = f"{labels.COORDINATOR}={group}"
    places = (namespace,) if namespace else ("", connection.namespace)
    for place in places[:-1]:
        try:
            page = await list_objects(connection.transport, requests.LEASES, place, Lease, label_selector=selector)
        except errors.Forbidden:
            continue
        return list(page.items)
    page = await list_objects(connection.transport, requests.LEASES, places[-1], Lease, label_selector=selector)
    return list(page.items)


def _show(options: GlobalOptions, found: list[Lease], now: datetime) -> None:
    if not options.is_table and options.output is not OutputFormat.NAME:
        print(format_document([_fields(one, now) for one in found], output=options.output))
    elif found:
        rows = [
            [one.metadata.namespace, one.spec.holder_identity, format_age(one.spec.renew_time, now), _works(one, now)]
            for one in found
        ]
        print(format_table(["NAMESPACE", "HOLDER", "RENEWED", "WORKS"], rows, width=table_width(options)))


def _fields(lease: Lease, now: datetime) -> dict[str, Any]:
    renewed = lease.spec.renew_time
    return {
        "namespace": lease.metadata.namespace,
        "holder": lease.spec.holder_identity,
        "renewed": None if renewed is None else format_time(renewed),
        "works": coordinators.is_kept(lease, now),
    }


def _works(lease: Lease, now: datetime) -> str:
    return "yes" if coordinators.is_kept(lease, now) else "no"
