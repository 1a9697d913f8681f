"""Internal. ``koncli operator``: whether a coordinator works, by the Leases that coordinators keep.

Loaded by ``koncli`` alone; ``kontinue doctor`` says what follows for objects that need one.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
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
    """Show who looks after the primitives: of the namespace, with -A of any.

    Exit codes: 0 somebody does, 1 error, 2 nobody does, 4 forbidden.
    """
    del service  # a coordinator is known by its Lease
    options = global_options(ctx)
    refuse_others(options, "koncli operator", GROUPED - {"selector"})

    async def main() -> int:
        async with connect(options) as connection:
            found = await _leases(connection, operator_namespace, options.api_groups[0])
            namespace = "" if options.all_namespaces else connection.namespace
        now = datetime.now(UTC)
        _show(options, found, now)
        return _judge(options, found, [one for one in found if coordinators.is_kept(one, now)], namespace)

    run(main)


def _judge(options: GlobalOptions, found: list[Lease], working: list[Lease], namespace: str) -> int:
    """Return the exit code, and say on stderr what the table does not: who is missing, or not known."""
    known = {coordinators.looks_after(one, namespace) for one in working}
    if True in known or (working and not namespace):
        return OK
    if None in known:
        unknown = f"Whether one of them looks after namespace {namespace} is unknown"
        print(f"{unknown}: those of earlier versions do not say what they look after.", file=sys.stderr)
        return OK
    if working:
        start = coordinators.how_to_start(msgspec.structs.replace(options, namespace=namespace).flags())
        missing, dev = f"None of them looks after namespace {namespace}: there nobody", "has one of its own namespace"
    else:
        start = coordinators.how_to_start(options.flags())
        none = (
            "None of them has renewed its Lease in time" if found else "No coordinator keeps a Lease that you may see"
        )
        missing, dev = f"{none}: if none works, nobody", "has one"
    what = f"{missing} grants permits and Leases, or opens Barriers and Gates"
    print(f"{what}. kontinue dev {dev}; else {start}.", file=sys.stderr)
    return NOT_FOUND


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
            [
                *(one.metadata.namespace, one.spec.holder_identity, _scope(one)),
                *(format_age(one.spec.renew_time, now), _works(one, now)),
            ]
            for one in found
        ]
        print(format_table(["NAMESPACE", "HOLDER", "SCOPE", "RENEWED", "WORKS"], rows, width=table_width(options)))


def _fields(lease: Lease, now: datetime) -> dict[str, Any]:
    renewed = lease.spec.renew_time
    return {
        "namespace": lease.metadata.namespace,
        "holder": lease.spec.holder_identity,
        "scope": coordinators.scope_of(lease),
        "renewed": None if renewed is None else format_time(renewed),
        "works": coordinators.is_kept(lease, now),
    }


def _scope(lease: Lease) -> str:
    scope = coordinators.scope_of(lease) or "unknown"
    return "all" if scope == labels.ALL_NAMESPACES else scope


def _works(lease: Lease, now: datetime) -> str:
    return "yes" if coordinators.is_kept(lease, now) else "no"
