"""Internal. ``kontinue get [-w] [NAME...]``: Executions as a table, JSON, YAML or names.

What changes from then on (``-w``) is printed by ``kontinue_engine.cli.watched_rows``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import archived
from kontinue.client.selectors import Filter, execution_filter
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes, failures
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.executions import fetch_raw
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.object_tables import execution_table
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import AnyNamesArgument, GlobalOptions, OutputFormat, global_options, table_width
from kontinue_engine.cli.watched_rows import watch_executions


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
    function: Annotated[str, typer.Option(help="Only Executions of this function.")] = "",
    phase: Annotated[Phase | None, typer.Option(case_sensitive=False, help="Only Executions in this phase.")] = None,
    roots: Annotated[bool, typer.Option("--roots", help="Leave out children.")] = False,  # noqa: FBT002
    with_archived: Annotated[  # noqa: FBT002
        bool, typer.Option("--archived", help="Show what has been archived, too.")
    ] = False,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on with a row for each change.")] = False,  # noqa: FBT002
) -> None:
    """List Executions, oldest first, or show some by name."""
    options = global_options(ctx)
    if names and (options.selector or options.all_namespaces or function or phase or roots):
        raise typer.BadParameter("names stand for themselves: nothing else chooses among them", param_hint="NAME")
    if watch and (with_archived or len(names or ()) > 1):
        raise typer.BadParameter("follows one name or a selection, and nothing that is archived", param_hint="--watch")
    wanted = execution_filter(
        function=function or None,
        wanted_labels=labels_in(options.selector) if with_archived else {},
        root=None,
        schedule=None,
        worker_group=None,
        phases=[phase] if phase else [],
        only_root=roots,
    )
    selectors = wanted.selectors()
    label_selector = ",".join(filter(None, ("" if with_archived else options.selector, selectors.labels)))

    async def main() -> int:
        async with connect(options) as connection:
            namespace = "" if options.all_namespaces else connection.namespace
            if watch:
                fields = f"metadata.name={names[0]}" if names else selectors.fields
                await watch_executions(connection, options, namespace, labels=label_selector, fields=fields)
            if names:
                raws = await _by_name(connection, names)
            else:
                page = await list_objects(
                    connection.transport,
                    requests.EXECUTIONS,
                    namespace,
                    msgspec.Raw,
                    label_selector=label_selector,
                    field_selector=selectors.fields,
                )
                raws = page.items
                if with_archived:
                    raws += await _archived(connection, namespace, wanted)
        if raws or not names:
            _print(options, raws, namespace, as_list=not names or len(names) > 1)
        return exit_codes.ERROR if len(raws) < len(names or ()) else exit_codes.OK

    run(main)


async def _by_name(connection: Connection, names: Sequence[str]) -> list[msgspec.Raw]:
    """Return what there is of these names; which there are not is said on stderr."""
    found = []
    for name in names:
        try:
            raw = await fetch_raw(connection.transport, requests.EXECUTIONS, connection.namespace, name)
        except NotFound as error:
            failures.tell(error)
        else:
            found.append(msgspec.Raw(raw))
    return found


def _print(options: GlobalOptions, raws: list[msgspec.Raw], namespace: str, *, as_list: bool) -> None:
    if not options.is_table:
        print_objects(raws, output=options.output, as_list=as_list)
    elif not raws:
        where = f" in namespace {namespace}" if namespace else ""
        print(f"No Executions found{where}.", file=sys.stderr)
    else:
        executions = sorted((msgspec.json.decode(raw, type=Execution) for raw in raws), key=_age_order)
        wide, everywhere, width = options.output is OutputFormat.WIDE, options.all_namespaces, table_width(options)
        print(execution_table(executions, datetime.now(UTC), wide=wide, with_namespace=everywhere, width=width))


def labels_in(selector: str) -> dict[str, str]:
    """Return the labels that a selector asks for; archives know no other selectors."""
    terms = [term.replace("==", "=").partition("=") for term in selector.split(",") if term]
    if any(not equals or "!" in key or " " in key for key, equals, _ in terms):
        raise typer.BadParameter(f"{selector!r}: with --archived only LABEL=VALUE,...", param_hint="-l")
    return {key: value for key, _, value in terms}


async def _archived(connection: Connection, namespace: str, wanted: Filter) -> list[msgspec.Raw]:
    found = archived.iterate(connection.transport.send, namespace, wanted)
    return [msgspec.Raw(msgspec.json.encode(execution)) async for execution in found]


def _age_order(execution: Execution) -> tuple[str, str]:
    created = execution.metadata.creation_timestamp
    return (created.isoformat() if created else "", execution.metadata.name)
