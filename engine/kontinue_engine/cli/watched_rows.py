"""Internal. ``kontinue get -w``: what there is, then a row (or a document, or a name) for each change, as kubectl does.

A watch that is cut is taken up where it was; whatever changed meanwhile is printed once, as it is then. What has been
deleted is printed as it was last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NoReturn

import msgspec

from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.reflector import REFUSALS, Listed, Reflector
from kontinue.kube.watch import Changed
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.object_tables import execution_header, execution_row
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, table_width
from kontinue_engine.cli.text import GrowingTable


class News:
    """Tells what of a list has changed since it was last seen. Pure."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def of_list(self, executions: Sequence[Execution]) -> list[Execution]:
        """Return those of a whole list that are new or have changed, oldest first."""
        new = [one for one in executions if self._versions.get(one.metadata.uid) != one.metadata.resource_version]
        self._versions = {one.metadata.uid: one.metadata.resource_version for one in executions}
        return sorted(new, key=lambda one: (str(one.metadata.creation_timestamp), one.metadata.name))

    def of_change(self, execution: Execution) -> list[Execution]:
        """Return what a watch tells; it tells nothing twice."""
        self._versions[execution.metadata.uid] = execution.metadata.resource_version
        return [execution]


async def watch_executions(
    connection: Connection, options: GlobalOptions, namespace: str, *, labels: str, fields: str
) -> NoReturn:
    """Print a selection and its changes until cancelled.

    Raises:
        ApiError: the server refuses.
    """
    wide, with_namespace = options.output is OutputFormat.WIDE, options.all_namespaces
    table = GrowingTable(execution_header(wide=wide, with_namespace=with_namespace), width=table_width(options))
    reflector = Reflector(
        connection.transport,
        requests.EXECUTIONS,
        namespace,
        type_=Execution,
        label_selector=labels,
        field_selector=fields,
        fatal=REFUSALS,
    )
    seen = News()
    async with aclosing(reflector.follow()) as stream:
        async for event in stream:
            match event:
                case Listed(objects=listed):
                    news = seen.of_list(listed)
                case Changed(object=changed):
                    news = seen.of_change(changed)
                case _:
                    continue
            if not options.is_table:
                for one in news:
                    print_objects([msgspec.Raw(msgspec.json.encode(one))], output=options.output, as_list=False)
            elif news:
                now = datetime.now(UTC)
                rows = [execution_row(one, now, wide=wide, with_namespace=with_namespace) for one in news]
                print("\n".join(table.lines(rows)), flush=True)
    raise AssertionError("a reflector follows for ever")
