"""Internal. ``kontinue result NAME``: the result of an Execution as JSON, and nothing else."""

from __future__ import annotations

import sys

import msgspec
import typer

from kontinue.api.v1alpha1 import ENDED_PHASES
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.execute import format_result
from kontinue_engine.cli.executions import fetch_execution
from kontinue_engine.cli.following import explain_end
from kontinue_engine.cli.objects import format_document, reference
from kontinue_engine.cli.options import GlobalOptions, NameArgument, OutputFormat, global_options, is_terminal


def command(ctx: typer.Context, name: NameArgument) -> None:
    """Print the result as JSON, or as YAML with -o yaml.

    The exit code says whether there is one (0), or how the Execution ended.
    """
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            execution = await fetch_execution(connection.transport, connection.namespace, name)
        if execution.phase not in ENDED_PHASES:
            print(
                f"Execution {name} is {execution.phase.value}: no result yet. Wait for it: kontinue wait {name}"
                f"{options.flags()}",
                file=sys.stderr,
            )
        elif options.output is OutputFormat.NAME:
            print(reference(requests.EXECUTIONS, name))
        elif not isinstance(execution.status.result, msgspec.UnsetType):
            print(_format(execution.status.result, options))
        elif ending := explain_end(execution, flags=options.flags()):
            print(ending, file=sys.stderr)
        else:
            print("null")  # Skipped without a result
        return exit_codes.exit_code_of(execution.phase)

    run(main)


def _format(result: msgspec.Raw, options: GlobalOptions) -> str:
    if options.output is OutputFormat.YAML:
        return format_document(msgspec.json.decode(result), output=options.output).removesuffix("\n...")
    return format_result(result, pretty=options.output is OutputFormat.JSON or is_terminal(sys.stdout))
