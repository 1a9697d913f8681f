"""Internal. ``kontinue get [NAME...]``: Executions as a table, JSON, YAML or names."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import archived
from kontinue.client.selectors import Filter, execution_filter
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.executions import fetch_raw, list_objects
from kontinue_engine.cli.objects import execution_table, format_raw
from kontinue_engine.cli.options import AnyNamesArgument, OutputFormat, global_options


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
    function: Annotated[str, typer.Option(help="Only Executions of this function.")] = "",
    phase: Annotated[Phase | None, typer.Option(case_sensitive=False, help="Only Executions in this phase.")] = None,
    roots: Annotated[bool, typer.Option("--roots", help="Leave out children.")] = False,  # noqa: FBT002
    with_archived: Annotated[  # noqa: FBT002
        bool, typer.Option("--archived", help="Show what has been archived, too.")
    ] = False,
) -> None:
    """List Executions, oldest first, or show some by name."""
    options = global_options(ctx)
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

    async def main() -> int:
        async with connect(options) as connection:
            if names:
                raws = [
                    msgspec.Raw(await fetch_raw(connection.transport, requests.EXECUTIONS, connection.namespace, name))
                    for name in names
                ]
            else:
                namespace = "" if options.all_namespaces else connection.namespace
                page = await list_objects(
                    connection.transport,
                    requests.EXECUTIONS,
                    namespace,
                    msgspec.Raw,
                    label_selector=",".join(
                        filter(None, ("" if with_archived else options.selector, selectors.labels))
                    ),
                    field_selector=selectors.fields,
                )
                raws = page.items
                if with_archived:
                    raws += await _archived(connection, namespace, wanted)
        if options.output not in {OutputFormat.TABLE, OutputFormat.WIDE}:
            print(format_raw(raws, output=options.output, as_list=not names or len(names) > 1, plural="executions"))
            return exit_codes.OK
        if not raws:
            print(
                f"No Executions found in namespace {namespace}." if namespace else "No Executions found.",
                file=sys.stderr,
            )
            return exit_codes.OK
        executions = sorted((msgspec.json.decode(raw, type=Execution) for raw in raws), key=_age_order)
        wide = options.output is OutputFormat.WIDE
        print(execution_table(executions, datetime.now(UTC), wide=wide, with_namespace=options.all_namespaces))
        return exit_codes.OK

    run(main)


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
