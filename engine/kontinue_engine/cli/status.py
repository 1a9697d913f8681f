"""Internal. ``koncli status``: one primitive by its kind and name, or all that there are.

What is shown of one is what the verb of its kind shows. Loaded by ``koncli`` alone: ``kontinue`` has Executions, too.
"""

from __future__ import annotations

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
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue_engine.cli import barrier, gate, lease, mutex, once, rwmutex, semaphore, waitgroup
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.gate_text import gate_table
from kontinue_engine.cli.lease_text import lease_table
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import (
    GROUPED,
    GlobalOptions,
    OutputFormat,
    global_options,
    refuse_others,
    table_width,
)
from kontinue_engine.cli.primitives import OK, Table, run
from kontinue_engine.cli.semaphore_text import semaphore_table


class _Kind(msgspec.Struct, frozen=True):
    """A kind of primitive: what shows one of it, and all of it."""

    status: Callable[..., None]
    resource: Resource
    object_type: type[Any]
    table: Table[Any]


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
    """Show all primitives, a table for each kind of which there are some."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connected:
            namespace = "" if options.all_namespaces else connected.namespace
            pages = [
                await list_objects(
                    connected.transport, kind.resource, namespace, msgspec.Raw, label_selector=options.selector
                )
                for kind in _KINDS.values()
            ]
        found = zip(_KINDS.values(), pages, strict=True)
        _print_all(options, [(kind, page.items) for kind, page in found if page.items])
        return OK

    run(main)


def _print_all(options: GlobalOptions, found: Sequence[tuple[_Kind, Sequence[msgspec.Raw]]]) -> None:
    if options.output is OutputFormat.NAME:
        for kind, documents in found:
            print_objects(documents, output=options.output, as_list=True, resource=kind.resource)
    elif not options.is_table:
        every = [document for _, documents in found for document in documents]
        print_objects(every, output=options.output, as_list=True)
    elif found:
        print("\n\n".join(_titled(options, kind, documents) for kind, documents in found))
    else:
        print("No primitives found.", file=sys.stderr)


def _titled(options: GlobalOptions, kind: _Kind, documents: Sequence[msgspec.Raw]) -> str:
    found = [msgspec.json.decode(raw, type=kind.object_type) for raw in documents]
    width, everywhere = table_width(options), options.all_namespaces
    return f"{kind.resource.plural}:\n{kind.table(found, datetime.now(UTC), with_namespace=everywhere, width=width)}"
