"""Internal. ``koncli status``: one primitive by its kind and name, or all that there are.

What is shown of one is what the verb of its kind shows. Loaded by ``koncli`` alone: ``kontinue`` has Executions, too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import typer

from kontinue.errors import ApiError
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import (
    GROUPED,
    GROUPED_NAMES,
    GlobalOptions,
    OutputFormat,
    global_options,
    refuse_others,
    table_width,
)
from kontinue_engine.cli.primitives import barrier, gate, lease, mutex, once, rwmutex, semaphore, waitgroup
from kontinue_engine.cli.primitives.kinds import Kind, status_verb
from kontinue_engine.cli.primitives.operations import OK, code_of, run


class _Found(msgspec.Struct, frozen=True):
    """All objects of a kind, and their table if there is to be one."""

    kind: Kind[Any, Any]
    documents: Sequence[msgspec.Raw]
    table: str


_KINDS: Final[Mapping[str, Kind[Any, Any]]] = {
    "barrier": barrier.KIND,
    "gate": gate.KIND,
    "lease": lease.KIND,
    "mutex": mutex.KIND,
    "once": once.KIND,
    "rwmutex": rwmutex.KIND,
    "semaphore": semaphore.KIND,
    "waitgroup": waitgroup.KIND,
}

app = typer.Typer(
    help="Show a primitive, or all. Exit codes: 0 ok, 1 error, 2 not found, 4 forbidden.", no_args_is_help=True
)
for _name, _kind in _KINDS.items():
    app.command(_name, help=_kind.help.status)(status_verb(_kind))


@app.callback()
def check(ctx: typer.Context) -> None:
    """Refuse options that mean nothing here, as those of other verbs are."""
    takes = GROUPED if ctx.invoked_subcommand == "all" else GROUPED_NAMES
    refuse_others(global_options(ctx), f"koncli status {ctx.invoked_subcommand}", takes)


@app.command("all")
def all_(ctx: typer.Context) -> None:
    """Show all primitives.

    There is a table for each kind of which there are some. A kind that is not to be had keeps nobody from the
    others; the exit code tells.
    """
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connected:
            answers = await asyncio.gather(*(_look(connected, options, kind) for kind in _KINDS.values()))
        failures = [answer for answer in answers if isinstance(answer, ApiError)]
        if len(failures) == len(answers):
            raise failures[0]
        _print_all(options, [answer for answer in answers if isinstance(answer, _Found) and answer.documents])
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        return code_of(failures[0]) if failures else OK

    run(main)


async def _look(connected: Connection, options: GlobalOptions, kind: Kind[Any, Any]) -> _Found | ApiError:
    """Return all of a kind, or why it cannot be shown: who may not see Gates may see Mutexes."""
    namespace = "" if options.all_namespaces else connected.namespace
    try:
        page = await list_objects(
            connected.transport, kind.resource, namespace, msgspec.Raw, label_selector=options.selector
        )
        table = _titled(options, kind, page.items) if options.is_table else ""
    except ApiError as error:
        return error
    return _Found(kind, page.items, table)


def _print_all(options: GlobalOptions, every: Sequence[_Found]) -> None:
    if options.output is OutputFormat.NAME:
        for found in every:
            print_objects(found.documents, output=options.output, as_list=True, resource=found.kind.resource)
    elif not options.is_table:
        documents = [document for found in every for document in found.documents]
        print_objects(documents, output=options.output, as_list=True)
    elif every:
        print("\n\n".join(found.table for found in every))
    else:
        print("No primitives found.", file=sys.stderr)


def _titled(options: GlobalOptions, kind: Kind[Any, Any], documents: Sequence[msgspec.Raw]) -> str:
    width, everywhere = table_width(options), options.all_namespaces
    table = kind.table(documents, datetime.now(UTC), with_namespace=everywhere, width=width)
    return f"{kind.resource.plural}:\n{table}"
