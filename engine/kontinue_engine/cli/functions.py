"""Internal. ``kontinue functions``: what can be executed."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.object_tables import function_table
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import OutputFormat, global_options, table_width


def command(
    ctx: typer.Context,
    hidden: Annotated[bool, typer.Option("--hidden", help="Show hidden ones too.")] = False,  # noqa: FBT002
) -> None:
    """List the functions that workers of this namespace have registered; ``-o wide`` shows signatures."""
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            namespace = "" if options.all_namespaces else connection.namespace
            page = await list_objects(
                connection.transport, requests.FUNCTIONS, namespace, msgspec.Raw, label_selector=options.selector
            )
        pairs = [(raw, msgspec.json.decode(raw, type=Function)) for raw in page.items]
        shown = [(raw, found) for raw, found in pairs if hidden or labels.HIDDEN not in found.metadata.annotations]
        if not options.is_table:
            raws = [raw for raw, _ in shown]
            print_objects(raws, output=options.output, as_list=True, resource=requests.FUNCTIONS)
        elif shown:
            wide = options.output is OutputFormat.WIDE
            functions = [function for _, function in shown]
            everywhere, width = options.all_namespaces, table_width(options)
            print(function_table(functions, wide=wide, with_namespace=everywhere, width=width))
        else:
            print("No Functions found: no worker has registered any here yet.", file=sys.stderr)
        return exit_codes.OK

    run(main)
