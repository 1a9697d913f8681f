"""Internal. ``kontinue archive [NAME...]``: what has been archived, and what is in the archive of an Execution."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
import typer

from kontinue.api.v1alpha1 import Phase
from kontinue.archives import Archive
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.archive_table import ArchiveRow, Table, archive_table, archive_text, rows_of
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.objects import format_document, reference
from kontinue_engine.cli.options import (
    GlobalOptions,
    OutputFormat,
    candidates,
    execution_name,
    global_options,
    table_width,
)

_TABLE: Final = "application/json;as=Table;g=meta.k8s.io;v=v1"
_PAGE_LIMIT: Final = 500
_decode_table: Final = msgspec.json.Decoder(Table).decode


def command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", parser=execution_name, autocompletion=candidates("archived_executions")),
    ] = None,
    function: Annotated[str, typer.Option(help="Only archives of Executions of this function.")] = "",
    phase: Annotated[Phase | None, typer.Option(case_sensitive=False, help="Only those that ended so.")] = None,
) -> None:
    """List archives, or show what is in the archives of some Executions; -o json prints all their objects."""
    options = global_options(ctx)
    if names and (options.selector or options.all_namespaces or function or phase):
        raise typer.BadParameter("names stand for themselves: nothing else chooses among them", param_hint="NAME")
    wanted = {"spec.function": function, "spec.phase": phase.value if phase else ""}
    fields = ",".join(f"{key}={value}" for key, value in wanted.items() if value)

    async def main() -> int:
        async with connect(options) as connection:
            if names:
                await _show(connection, options, names)
                return exit_codes.OK
            rows = await _fetch_rows(connection, options, fields)
        _print_rows(options, rows)
        return exit_codes.OK

    run(main)


async def _show(connection: Connection, options: GlobalOptions, names: Sequence[str]) -> None:
    if not options.is_table:
        print(_objects_of([await connection.client.get_archive(name) for name in names], options.output))
        return
    for number, name in enumerate(names):
        archive = await connection.client.get_archive(name)
        rows = await _fetch_rows(connection, options, f"spec.execution={archive.root.metadata.name}")
        row = next((one for one in rows if one.name == archive.name), None)
        if number:
            print("\n---\n")
        print(archive_text(archive, row, datetime.now(UTC), color=options.colors_on(sys.stdout)))


def _objects_of(archives: Sequence[Archive], output: OutputFormat) -> str:
    """Return all objects of some archives as they were, in one List; or the archives' names."""
    if output is OutputFormat.NAME:
        return "\n".join(reference(requests.ARCHIVED_EXECUTIONS, archive.name) for archive in archives)
    objects = [one for archive in archives for one in (*archive.executions, *archive.suspensions, *archive.pages)]
    items = [msgspec.json.decode(msgspec.json.encode(one)) for one in objects]
    return format_document({"apiVersion": "v1", "kind": "List", "items": items}, output=output)


async def _fetch_rows(connection: Connection, options: GlobalOptions, fields: str) -> list[ArchiveRow]:
    tables: list[Table] = []
    token = ""
    while True:
        request = requests.list_objects(
            requests.ARCHIVED_EXECUTIONS,
            "" if options.all_namespaces else connection.namespace,
            label_selector=options.selector,
            field_selector=fields,
            limit=_PAGE_LIMIT,
            continue_token=token,
        )
        table = _decode_table(await connection.transport.send(msgspec.structs.replace(request, accept=_TABLE)))
        # Only the first page need name the columns.
        named = table.column_definitions or tables[0].column_definitions
        tables.append(msgspec.structs.replace(table, column_definitions=named))
        token = table.metadata.continue_
        if not token:
            return rows_of(tables)


def _print_rows(options: GlobalOptions, rows: Sequence[ArchiveRow]) -> None:
    if options.output is OutputFormat.NAME:
        for row in rows:
            print(reference(requests.ARCHIVED_EXECUTIONS, row.name))
    elif not options.is_table:
        print(format_document(msgspec.to_builtins(rows), output=options.output))
    elif rows:
        wide, everywhere, width = options.output is OutputFormat.WIDE, options.all_namespaces, table_width(options)
        print(archive_table(rows, datetime.now(UTC), wide=wide, with_namespace=everywhere, width=width))
    else:
        print("Nothing is archived.", file=sys.stderr)
