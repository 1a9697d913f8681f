"""Internal. ``kontinue shards``: which replicas share a worker group, who leads, and how much each has to do.

Reads Leases, the metadata of live Executions, and Events about Leases; what they amount to is decided in
``kontinue_engine.cli.shard_view``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer
import yaml

from kontinue.api import labels
from kontinue.api.meta import Event, Lease, PartialObjectMetadata
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Phase
from kontinue.errors import ApiError
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, global_options, is_terminal, table_width
from kontinue_engine.cli.shard_view import LIVE_PHASES, GroupKey, GroupView, build_views, format_views, group_of
from kontinue_engine.sharding.lease_book import LeaseBook

WATCH_S: Final = 2.0
"""Between two looks with ``-w``. Judgement."""
_CLEAR: Final = "\x1b[H\x1b[2J"
_TEXT: Final = frozenset({OutputFormat.TABLE, OutputFormat.WIDE})


def command(
    ctx: typer.Context,
    group: Annotated[str, typer.Option(help="Only this worker group.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Show it again every two seconds.")] = False,  # noqa: FBT002
) -> None:
    """Show shards and leaders of worker groups, with the live Executions of each; -l chooses which are counted."""
    options = global_options(ctx)
    if watch and options.output not in _TEXT:
        raise typer.BadParameter("-w shows a table: use it with -o table or -o wide", param_hint="--watch")

    async def main() -> int:
        async with connect(options) as connection:
            namespace = "" if options.all_namespaces else connection.namespace
            look = _Look(connection, namespace, group=group, selector=options.selector)
            while True:
                views = await look.views()
                if watch and is_terminal(sys.stdout):
                    print(_CLEAR, end="")
                if views or options.output not in _TEXT:
                    now = datetime.now(UTC)
                    print(_format(views, options, now), flush=True)
                else:
                    _say_nothing_found(group, namespace)
                if not watch:
                    return exit_codes.OK if views or not group else exit_codes.ERROR
                await asyncio.sleep(WATCH_S)
                if not is_terminal(sys.stdout):
                    print()

    run(main)


class _Look:
    """Looks at the groups of a namespace, again and again; the books remember what was seen before."""

    def __init__(self, connection: Connection, namespace: str, *, group: str, selector: str) -> None:
        self._transport = connection.transport
        self._namespace = namespace
        self._group = f"{labels.WORKER_GROUP}={group}" if group else labels.WORKER_GROUP
        self._selector = selector
        self._books: dict[GroupKey, LeaseBook] = {}

    async def views(self) -> list[GroupView]:
        """Return the groups as they are now."""
        async with asyncio.TaskGroup() as tasks:
            leases = tasks.create_task(self._fetch_leases(), name="Leases")
            events = tasks.create_task(self._fetch_events(), name="Events")
            listed = {phase: tasks.create_task(self._fetch_metadata(phase), name=phase) for phase in LIVE_PHASES}
        found = leases.result()
        now_s = time.monotonic()
        for key in self._books.keys() | found.keys():
            self._books.setdefault(key, LeaseBook(key[1])).replace(found.get(key, ()), now_s)
        counts: dict[GroupKey, dict[str, Counter[Phase]]] = {}
        names: dict[str, str] = {}
        for phase, task in listed.items():
            for metadata in (one.metadata for one in task.result()):
                names[metadata.uid] = metadata.name
                if (of := group_of(metadata)) is not None:
                    shard = metadata.labels.get(labels.SHARD, "")
                    counts.setdefault(of, {}).setdefault(shard, Counter())[phase] += 1
        return build_views(
            self._books, found, counts, events.result(), names, now=datetime.now(UTC), now_s=time.monotonic()
        )

    async def _fetch_leases(self) -> dict[GroupKey, list[Lease]]:
        page = await list_objects(self._transport, requests.LEASES, self._namespace, Lease, label_selector=self._group)
        found: dict[GroupKey, list[Lease]] = {}
        for lease in page.items:
            if (key := group_of(lease.metadata)) is not None:
                found.setdefault(key, []).append(lease)
        return found

    async def _fetch_events(self) -> list[Event]:
        try:
            page = await list_objects(
                self._transport,
                requests.EVENTS,
                self._namespace,
                Event,
                field_selector=f"involvedObject.kind={requests.LEASES.kind}",
            )
        except ApiError:
            return []  # an extra: a role without access to Events can still look
        return page.items

    async def _fetch_metadata(self, phase: Phase) -> Sequence[PartialObjectMetadata]:
        """List live Executions of one phase without their contents; those without a status are Pending."""
        others = [f"status.phase!={other}" for other in LIVE_PHASES if other is not Phase.PENDING]
        pending = ",".join([LIVE_PHASES_SELECTOR, *others])
        page = await list_objects(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            PartialObjectMetadata,
            label_selector=",".join(part for part in (self._group, self._selector) if part),
            field_selector=pending if phase is Phase.PENDING else f"status.phase={phase}",
            only_metadata=True,
        )
        return page.items


def _format(views: Sequence[GroupView], options: GlobalOptions, now: datetime) -> str:
    output = options.output
    if output in _TEXT:
        wide, everywhere, width = output is OutputFormat.WIDE, options.all_namespaces, table_width(options)
        return format_views(views, now, wide=wide, with_namespace=everywhere, width=width)
    if output is OutputFormat.NAME:
        names = [shard.lease for view in views for shard in view.shards if shard.lease]
        return "\n".join(f"{requests.LEASES.plural}.{requests.LEASES.group}/{name}" for name in names)
    document: dict[str, Any] = {"groups": msgspec.to_builtins(views)}
    if output is OutputFormat.YAML:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n")
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _say_nothing_found(group: str, namespace: str) -> None:
    where = f" in namespace {namespace}" if namespace else ""
    if group:
        text = f"No worker group {group} found{where}: no worker of it has run there yet, or the name is another one. "
        text += "`kontinue shards -A` shows all groups."
    else:
        text = f"No worker groups found{where}: no worker has run there yet."
    print(text, file=sys.stderr)
