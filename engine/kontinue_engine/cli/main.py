"""Internal. ``kontinue``: finds the verb, loads its module and nothing else, and turns errors into one message.

A verb's module defines ``command`` (or ``app`` with commands below it). Modules are imported only when their verb is
called, because the client behind most of them costs more than the start of Python: nothing here imports ``kontinue``.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
import typer

from kontinue_engine.cli import entry, exit_codes, streams
from kontinue_engine.cli.options import (
    ANYTHING,
    GROUPED,
    LISTS,
    NAMES,
    NOTHING,
    OUTPUT,
    SELECTS,
    GlobalOptions,
    OutputFormat,
    color_wanted,
    hoist_globals,
    is_terminal,
    parse_groups,
    refuse_others,
    told_globals,
)
from kontinue_engine.cli.separator import ambiguous_option


class Verb(msgspec.Struct, frozen=True):
    """One verb: its name, the module behind it, its line in ``kontinue --help``, and the global options it takes."""

    name: str
    module: str
    help: str
    panel: str
    takes: frozenset[str] = ANYTHING


class Program(msgspec.Struct, frozen=True):
    """A console script: its name, its line of help, and its verbs."""

    name: str
    help: str
    verbs: tuple[Verb, ...]


ASK: Final = "__complete"
"""First word of a command line that asks for candidates; ``--`` and the words follow, the last one incomplete."""
_RUN: Final = "Run"
_LOOK: Final = "Look"
_CHANGE: Final = "Change"
_CLI: Final = "kontinue_engine.cli"
_EVERYWHERE: Final = (NAMES | {"all_namespaces", "api_groups"}) - {"output"}

_ALL: Final = GROUPED - {"selector"}
_PLACE: Final = (NAMES | {"api_groups"}) - {"output"}
_IN_PLACE: Final = NOTHING | {"namespace"}


def _primitive(name: str, about: str) -> Verb:
    return Verb(name, f"{_CLI}.primitives.{name}", about, _CHANGE, GROUPED)


VERBS: Final = (
    Verb("dev", f"{_CLI}.dev.command", "Run API server and worker on this machine.", _RUN, _IN_PLACE),
    Verb("worker", f"{_CLI}.worker", "Run functions against any API server.", _RUN, NAMES),
    Verb("coordinator", f"{_CLI}.coordinator", "Look after primitives of konductor.io.", _RUN, _EVERYWHERE),
    Verb("apiserver", f"{_CLI}.apiserver", "Run the local API server alone.", _RUN, NOTHING),
    Verb("init", f"{_CLI}.init", "A new project: an app, its test, and an image for a cluster.", _RUN, NOTHING),
    Verb("install", f"{_CLI}.install", "Kinds and roles in a cluster; --dry-run prints YAML.", _RUN, _PLACE),
    Verb("manifest", f"{_CLI}.manifest", "YAML that runs a worker group in a cluster.", _RUN, _IN_PLACE),
    Verb("execute", f"{_CLI}.execute", "Run a function; live tree, then its result.", _RUN, NAMES),
    Verb("bench", f"{_CLI}.bench", "Run a function many times: throughput, latency, API writes.", _RUN, NAMES),
    Verb("functions", f"{_CLI}.functions", "List what can be executed.", _LOOK, LISTS),
    Verb("get", f"{_CLI}.get", "List Executions, or show some.", _LOOK, LISTS),
    Verb("describe", f"{_CLI}.describe", "Attempts, tracebacks, steps, arguments of an Execution.", _LOOK, SELECTS),
    Verb("tree", f"{_CLI}.tree", "An Execution and everything below it; -w follows.", _LOOK, NAMES),
    Verb("watch", f"{_CLI}.watch", "An Execution and everything below it, to its end.", _LOOK, NAMES),
    Verb("logs", f"{_CLI}.logs", "Output of an Execution, its children and Jobs; -f follows.", _LOOK, NAMES),
    Verb("shards", f"{_CLI}.shards", "Replicas that share a worker group, who leads, what each has.", _LOOK, LISTS),
    Verb("suspensions", f"{_CLI}.suspensions", "What Executions wait for: long sleeps, and somebody.", _LOOK, LISTS),
    Verb("schedules", f"{_CLI}.schedules", "What is started at which times; suspend, resume, trigger.", _LOOK, LISTS),
    Verb("archive", f"{_CLI}.archive", "What has been archived, and what is in it.", _LOOK, LISTS),
    _primitive("mutex", "One at a time holds it."),
    _primitive("rwmutex", "Many read at a time, or one writes."),
    _primitive("once", "The first who comes does it, nobody else."),
    _primitive("lease", "One at a time holds it for a while, by priority."),
    _primitive("semaphore", "Let so many work at the same time, and no more."),
    _primitive("waitgroup", "Count workers under way, wait until all are done."),
    _primitive("barrier", "Let a known number wait for each other."),
    _primitive("gate", "Go on when all of it is so: Jobs, locks, other Gates."),
    Verb("wait", f"{_CLI}.wait", "Wait until an Execution has ended.", _LOOK, SELECTS),
    Verb("doctor", f"{_CLI}.doctor.command", "What is wrong with server, workers and Executions.", _LOOK, _ALL),
    Verb("replay", f"{_CLI}.replay", "Check recorded Executions against the code in this folder.", _LOOK, LISTS),
    Verb("result", f"{_CLI}.result", "Result of an Execution as JSON.", _LOOK, NAMES),
    Verb("resume", f"{_CLI}.resume", "End the sleeps and suspends of an Execution.", _CHANGE, SELECTS),
    Verb("cancel", f"{_CLI}.cancel", "End Executions for good.", _CHANGE, SELECTS),
    Verb("skip", f"{_CLI}.skip", "End Executions as if they had returned a result.", _CHANGE, SELECTS),
    Verb("retry", f"{_CLI}.retry", "Run Executions again that failed or were canceled.", _CHANGE, SELECTS),
    Verb("completion", f"{_CLI}.completion", "Script that completes verbs and names in your shell.", _LOOK, NOTHING),
    Verb("version", f"{_CLI}.version", "Versions of kontinue and Python.", _LOOK, OUTPUT),
)

KONTINUE: Final = Program("kontinue", "Durable Python functions on the Kubernetes API.", VERBS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_program(KONTINUE, sys.argv[1:] if arguments is None else arguments)


def run_program(
    program: Program,
    arguments: Sequence[str],
    *,
    usage_error: int = exit_codes.USAGE,
    translate: Callable[[Sequence[str]], list[str]] = list,
) -> int:
    """Run a console script and return its exit code.

    Args:
        program: the script.
        arguments: as they were typed.
        usage_error: exit code for a command line that makes no sense.
        translate: makes of it what the verbs understand; ValueError if that cannot be.
    """
    streams.prepare()
    try:
        words = _understood(program, arguments, translate)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return usage_error
    try:
        code = _run(program, words, usage_error)
    except OSError as error:
        if not streams.is_full(error):
            raise
        print(f"error: stdout: {error.strerror}", file=sys.stderr)
        code = exit_codes.ERROR
    return code if streams.finish() else code or exit_codes.ERROR


def _understood(
    program: Program, arguments: Sequence[str], translate: Callable[[Sequence[str]], list[str]]
) -> list[str]:
    if option := ambiguous_option(arguments):
        hint = f"put -- before the command, and options of {program.name} before that"
        raise ValueError(f"{option} behind a command: {hint}")
    return translate(arguments)


def _run(program: Program, arguments: Sequence[str], usage_error: int) -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    # That a watch is cut is told by the verbs that follow something, once and in their own words.
    logging.getLogger("kontinue.kube.reflector").setLevel(logging.ERROR)
    try:
        if arguments[:1] == [ASK]:
            answer = importlib.import_module(f"{_CLI}.completion").answer
            answer(arguments[2:], lambda words: build_app(words, program), program.name)
            return exit_codes.OK
        app = build_app(arguments, program)
        entry.interruptible()
        app(args=hoist_globals(arguments), prog_name=program.name)
    except SystemExit as end:
        if end.code == exit_codes.USAGE and not isinstance(end.__context__, typer.Exit):
            return usage_error  # Typer has refused the command line; a verb that chooses a code ends by Exit
        return end.code if isinstance(end.code, int) else exit_codes.ERROR
    except Exception as error:  # noqa: BLE001 - a bug is raised again
        importlib.import_module(f"{_CLI}.failures").tell(error)
        return exit_codes.ERROR
    return exit_codes.OK


def build_app(arguments: Sequence[str], program: Program = KONTINUE) -> typer.Typer:
    """Return the application, with real commands for the verbs in ``arguments`` and empty ones for others."""
    app = typer.Typer(
        name=program.name,
        help=program.help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Boxes are for people; a script neither reads them nor waits for what draws them.
        rich_markup_mode="rich" if is_terminal(sys.stdout) or is_terminal(sys.stderr) else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_read_globals)
    for verb in program.verbs:
        module = importlib.import_module(verb.module) if verb.name in arguments else None
        if module is not None and hasattr(module, "app"):
            app.add_typer(module.app, name=verb.name, rich_help_panel=verb.panel, epilog=_epilog(verb, program))
        elif module is not None:
            app.command(verb.name, rich_help_panel=verb.panel, epilog=_epilog(verb, program))(module.command)
        else:
            app.command(verb.name, help=verb.help, rich_help_panel=verb.panel)(_not_called)
    return app


def _epilog(verb: Verb, program: Program) -> str:
    return f"{told_globals(verb.takes)}\n\nWhat they mean: {program.name} --help"


def _print_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        print(importlib.import_module(f"{_CLI}.version").format_versions(GlobalOptions()))
        raise typer.Exit


def _read_globals(
    ctx: typer.Context,
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Default: the context's.")] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of lists.")] = False,  # noqa: FBT002
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    kubeconfig: Annotated[str | None, typer.Option(help="Use this file.")] = None,
    selector: Annotated[str, typer.Option("-l", "--selector", help="Label selector.")] = "",
    output: Annotated[OutputFormat, typer.Option("-o", "--output", help="Of data on stdout.")] = OutputFormat.TABLE,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False,  # noqa: FBT002
    no_color: Annotated[bool, typer.Option("--no-color", help="Nothing in colour.")] = False,  # noqa: FBT002
    api_group: Annotated[
        str, typer.Option(metavar="GROUP,...", help="API group of primitives; another one: sync.konductor.io.")
    ] = "konductor.io",
    version: Annotated[  # noqa: FBT002
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print versions and leave.")
    ] = False,
) -> None:
    del version  # printed before this is called
    options = GlobalOptions(
        namespace=namespace,
        all_namespaces=all_namespaces,
        context=context,
        kubeconfig=kubeconfig,
        selector=selector,
        output=output,
        quiet=quiet,
        color=color_wanted(no_color=no_color),
        api_groups=parse_groups(api_group),
    )
    ctx.obj = options
    for verb in VERBS:
        if verb.name == ctx.invoked_subcommand:
            refuse_others(options, f"{ctx.info_name} {verb.name}", verb.takes)


def _not_called() -> None:
    """Stand in for a verb that this call does not use."""
