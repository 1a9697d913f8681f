"""Internal. ``kontinue execute FUNCTION``: creates an Execution, shows its tree, prints its result."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import typer

from kontinue.api.v1alpha1 import Function
from kontinue.client.options import SpawnOptions
from kontinue.errors import InvalidArguments
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.asking import ask_for, can_ask
from kontinue_engine.cli.connection import Connection, connect, run, say_target
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.executions import print_executions
from kontinue_engine.cli.following import explain_end, follow, say_detached, say_timeout
from kontinue_engine.cli.options import (
    GlobalOptions,
    candidates,
    function_name,
    global_options,
    is_terminal,
    text_option,
)
from kontinue_engine.cli.parameters import ParameterError, parse_arguments, parse_parameters
from kontinue_engine.cli.progress import open_progress
from kontinue_engine.cli.signatures import decode_schema, example_command

ParameterOption = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="One argument: JSON, or text where a string is wanted."),
]
ArgumentsOption = Annotated[
    str, typer.Option("--args", metavar="JSON|@FILE|-", help="All arguments as a JSON object, from a file, or stdin.")
]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="Stop watching after e.g. 90s, 5m; 0 looks once.")
]


def command(
    ctx: typer.Context,
    function: Annotated[
        str,
        typer.Argument(
            metavar="FUNCTION",
            parser=function_name,
            help="Registered name, see `kontinue functions`.",
            autocompletion=candidates("functions"),
        ),
    ],
    param: ParameterOption = None,
    args: ArgumentsOption = "",
    interactive: Annotated[  # noqa: FBT002
        bool, typer.Option("--interactive", help="Ask for the arguments that are not given.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the Execution. Default: made from the function's.")] = "",
    mutex: Annotated[str, typer.Option(help="Run only while no other Execution has this mutex.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Print the name and leave.")] = False,  # noqa: FBT002
    timeout: TimeoutOption = None,
) -> None:
    """Run a function: live tree on stderr, its result as JSON on stdout.

    Exit codes: 0 Completed or Skipped, 1 error, 2 usage, 3 Failed, 4 Canceled, 5 Blocked, 124 timeout, 130 Ctrl-C
    (the Execution goes on).
    """
    options = global_options(ctx)
    limit = duration_option(timeout, "--timeout")
    base = read_arguments(args)
    if interactive and not can_ask():
        raise typer.BadParameter(
            "there is no terminal to ask at: give arguments with -p NAME=VALUE or --args JSON|@FILE|-",
            param_hint="--interactive",
        )
    spawn_options = SpawnOptions(name=name or None, mutex=mutex or None)
    created: list[tuple[str, str]] = []

    async def main() -> int:
        async with connect(options) as connection:
            found = await connection.client.function(function)
            arguments = merge_arguments(base, param, found)
            if interactive:
                arguments |= ask_for(decode_schema(found.spec.arguments), known=arguments)
            say_target(options, connection, f"creating an Execution of {function}")
            try:
                handle = await connection.client.spawn(function, arguments, options=spawn_options)
            except InvalidArguments as error:
                raise InvalidArguments(
                    f"{error}\nIt is called like this: {example_command(found)}{options.flags()}", path=error.path
                ) from error
            created.append((handle.name, connection.namespace))
            if detach:
                if options.is_table:
                    print(handle.name)
                else:
                    await print_executions(connection, options, [handle.name], as_list=False)
                return exit_codes.OK
            return await _watch(connection, options, handle.name, limit)

    run(main, on_interrupt=lambda: say_detached(options, *created[0]) if created else exit_codes.DETACHED)


async def _watch(connection: Connection, options: GlobalOptions, name: str, limit: timedelta | None) -> int:
    try:
        execution = await follow(connection, name, open_progress(options, sys.stderr), limit=limit)
    except TimeoutError:
        return say_timeout(options, name, limit or timedelta())
    if not options.is_table:
        await print_executions(connection, options, [name], as_list=False)
    elif not isinstance(execution.status.result, msgspec.UnsetType):
        print(format_result(execution.status.result, pretty=is_terminal(sys.stdout)))
    if ending := explain_end(execution, flags=options.flags()):
        print(ending, file=sys.stderr)
    return exit_codes.exit_code_of(execution.phase)


def format_result(result: msgspec.Raw, *, pretty: bool) -> str:
    """Return a result as JSON: indented for people, as it is for programs."""
    return (msgspec.json.format(bytes(result), indent=2) if pretty else bytes(result)).decode()


def read_arguments(text: str) -> dict[str, Any]:
    """Return the object of ``--args``; empty when it was not given."""
    if not text:
        return {}
    text, source = text_option(text, "--args")
    try:
        return parse_arguments(text, source=source)
    except ParameterError as error:
        raise typer.BadParameter(str(error), param_hint="--args") from error


def merge_arguments(base: dict[str, Any], pairs: list[str] | None, function: Function) -> dict[str, Any]:
    """Return ``--args`` overlaid by ``-p``, read as the function's schema asks."""
    try:
        return base | parse_parameters(pairs or [], decode_schema(function.spec.arguments))
    except ParameterError as error:
        raise typer.BadParameter(str(error), param_hint="-p") from error
