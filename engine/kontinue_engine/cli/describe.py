"""Internal. ``kontinue describe NAME...``: everything known about an Execution."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import typer

from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.meta import Event, Lease, parent_of
from kontinue.api.v1alpha1 import Execution, Phase, Suspension
from kontinue.client.tree import ExecutionTreeNode, Member, build_node, call_order
from kontinue.errors import ApiError, NotFound
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.description import describe_execution
from kontinue_engine.cli.executions import choose_names, fetch_execution, print_executions, with_whole_memo
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.options import (
    AnyNamesArgument,
    GlobalOptions,
    OutputFormat,
    global_options,
    note,
    require_choice,
)
from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.kube import memo_pages
from kontinue_engine.sharding.leases import leader_lease_name

T = TypeVar("T")


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
) -> None:
    """Show arguments, result, attempts with tracebacks, Suspensions and Jobs, recorded steps, conditions and Events.

    By name, or with -l of all that are selected. -o json, yaml and name show what get shows.
    """
    options = global_options(ctx)
    require_choice(options, names)

    async def main() -> int:
        async with connect(options) as connection:
            chosen = await choose_names(connection, options, names)
            if not options.is_table:
                await print_executions(connection, options, chosen, as_list=not names or len(chosen) > 1)
                return exit_codes.OK
            for number, name in enumerate(chosen):
                execution = await fetch_execution(connection.transport, connection.namespace, name)
                execution = await _with_all_steps(connection, execution, options)
                events = await _fetch_events(connection, execution.metadata.uid)
                if number:
                    print("\n---\n")
                whole = options.output is OutputFormat.WIDE
                waits = await _fetch_waits(connection, execution)
                print(describe_execution(execution, events, datetime.now(UTC), whole=whole, waits=waits))
                if nobody := await _say_if_nobody_runs(connection, execution):
                    print(f"\n{nobody}")
        return exit_codes.OK

    run(main)


async def _with_all_steps(connection: Connection, execution: Execution, options: GlobalOptions) -> Execution:
    try:
        return await with_whole_memo(connection, execution)
    except (ApiError, MemoUnreadableError, memo_pages.PageMissingError) as error:
        note(options, f"{execution.metadata.name}: only the last steps are shown: {error}")
        return execution


async def _say_if_nobody_runs(connection: Connection, execution: Execution) -> str:
    """Say why nothing happens to an Execution whose group has no worker: nobody else tells."""
    group = execution.metadata.labels.get(labels.WORKER_GROUP, "")
    if execution.phase is not Phase.PENDING or execution.status.waiting_for or not group:
        return ""
    namespace = connection.namespace
    try:
        body = await connection.transport.send(requests.get(requests.LEASES, namespace, leader_lease_name(group)))
        if msgspec.json.decode(body, type=Lease).spec.holder_identity:
            return ""
    except NotFound:
        pass
    except ApiError:
        return ""  # an extra, as Events are
    return (
        f"No worker of group {group}, which the label {labels.WORKER_GROUP} names, runs in namespace {namespace}: "
        "start one, or change the label. `kontinue shards` shows the groups that run."
    )


async def _fetch_waits(connection: Connection, execution: Execution) -> Sequence[ExecutionTreeNode]:
    """Return the Suspensions and Jobs of an Execution, as far as they may be read."""
    found: list[Member] = []
    if execution.is_archived:
        found += (await connection.client.get_archive(execution)).suspensions
    else:
        found += await _fetch_below(connection, execution, requests.SUSPENSIONS, Suspension)
        found += await _fetch_below(connection, execution, requests.JOBS, Job)
    uid = execution.metadata.uid
    ours = [one for one in found if (owner := parent_of(one.metadata.owner_references)) and owner.uid == uid]
    return [build_node(one, ()) for one in sorted(ours, key=call_order)]


async def _fetch_below(
    connection: Connection, execution: Execution, resource: requests.Resource, type_: type[T]
) -> list[T]:
    selector = f"{labels.PARENT}={labels.label_value(execution.metadata.name)}"
    namespace = execution.metadata.namespace
    try:
        return (await list_objects(connection.transport, resource, namespace, type_, label_selector=selector)).items
    except ApiError:
        return []  # an extra, as Events are


async def _fetch_events(connection: Connection, uid: str) -> list[Event]:
    selector = f"involvedObject.uid={uid}"
    try:
        page = await list_objects(
            connection.transport, requests.EVENTS, connection.namespace, Event, field_selector=selector
        )
    except ApiError:
        return []  # Events are an extra: a role without access to them can still describe
    return page.items
