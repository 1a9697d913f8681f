"""Internal. ``koncli status``: one primitive by its kind and name, or all that there are.

What is shown of one is what the verb of its kind shows. Loaded by ``koncli`` alone: ``kontinue`` has Executions, too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import typer

from kontinue.api.konductor.barriers import Barrier
from kontinue.api.konductor.gates import Gate
from kontinue.api.konductor.leases import Lease
from kontinue.api.konductor.mutexes import Mutex
from kontinue.api.konductor.onces import Once
from kontinue.api.konductor.rwmutexes import RWMutex
from kontinue.api.konductor.semaphores import Semaphore
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.errors import ApiError
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Resource
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import (
    GROUPED,
    GlobalOptions,
    OutputFormat,
    global_options,
    refuse_others,
    table_width,
)
from kontinue_engine.cli.primitives import barrier, gate, lease, mutex, once, rwmutex, semaphore, waitgroup
from kontinue_engine.cli.primitives.gate_text import gate_table
from kontinue_engine.cli.primitives.lease_text import lease_table
from kontinue_engine.cli.primitives.operations import OK, Table, code_of, run
from kontinue_engine.cli.primitives.semaphore_text import semaphore_table


class _Kind(msgspec.Struct, frozen=True):
    """A kind of primitive: what shows one of it, and all of it."""

    status: Callable[..., None]
    resource: Resource
    object_type: type[Any]
    table: Table[Any]


class _Found(msgspec.Struct, frozen=True):
    """All objects of a kind, and their table if there is to be one."""

    kind: _Kind
    documents: Sequence[msgspec.Raw]
    table: str


_KINDS: Final = {
    "barrier": _Kind(barrier.status, requests.BARRIERS, Barrier, barrier.barrier_table),
    "gate": _Kind(gate.status, requests.GATES, Gate, gate_table),
    "lease": _Kind(lease.status, requests.KONDUCTOR_LEASES, Lease, lease_table),
    "mutex": _Kind(mutex.status, requests.MUTEXES, Mutex, mutex.mutex_table),
    "once": _Kind(once.status, requests.ONCES, Once, once.once_table),
    "rwmutex": _Kind(rwmutex.status, requests.RW_MUTEXES, RWMutex, rwmutex.rw_mutex_table),
    "semaphore": _Kind(semaphore.status, requests.SEMAPHORES, Semaphore, semaphore_table),
    "waitgroup": _Kind(waitgroup.status, requests.WAIT_GROUPS, WaitGroup, waitgroup.wait_group_table),
}

app = typer.Typer(
    help="Show a primitive, or all. Exit codes: 0 ok, 1 error, 2 not found, 4 forbidden.", no_args_is_help=True
)
for _name, _kind in _KINDS.items():
    app.command(_name)(_kind.status)


@app.callback()
def check(ctx: typer.Context) -> None:
    """Refuse options that mean nothing here, as those of other verbs are."""
    refuse_others(global_options(ctx), "status", GROUPED)


@app.command("all")
def all_(ctx: typer.Context) -> None:
    """Show all primitives, a table for each kind of which there are some.

    A kind that is not to be had keeps nobody from the others; the exit code tells.
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


async def _look(connected: Connection, options: GlobalOptions, kind: _Kind) -> _Found | ApiError:
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


def _titled(options: GlobalOptions, kind: _Kind, documents: Sequence[msgspec.Raw]) -> str:
    read = reader(kind.object_type)
    found = [read(bytes(raw)) for raw in documents]
    width, everywhere = table_width(options), options.all_namespaces
    return f"{kind.resource.plural}:\n{kind.table(found, datetime.now(UTC), with_namespace=everywhere, width=width)}"
