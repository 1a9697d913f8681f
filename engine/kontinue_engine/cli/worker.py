"""Internal. ``kontinue worker run module:app``: becomes a worker process. The command of a container image.

The worker parses its options itself (``kontinue_engine.worker.options``), without the libraries of the command line;
here they are passed on as they are. ``worker check`` imports the module as a worker would, and ends.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from kontinue_engine.cli.options import global_options, note
from kontinue_engine.cli.text import plural
from kontinue_engine.errors import AppLoadFailedError

app = typer.Typer(help="Run functions against any API server.", no_args_is_help=True)

_PASS_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.callback()
def worker() -> None:
    """Run functions against any API server."""


@app.command("run", context_settings=_PASS_ON)
def run_worker(ctx: typer.Context) -> None:
    """Run one replica of a worker group until SIGTERM; `kontinue worker run --help` lists its options."""
    options = global_options(ctx)
    found = {"--namespace": options.namespace, "--kubeconfig": options.kubeconfig, "--context": options.context}
    command = ["-m", "kontinue_engine.worker", *ctx.args]
    for name, value in found.items():
        command += [name, value] if value else []
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606  it takes our place, no shell is involved


@app.command("check")
def check_app(
    ctx: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the App is, e.g. app:app.")],
    app_dir: Annotated[Path, typer.Option(help="Folder that the module is imported from.", file_okay=False)] = Path(),
) -> None:
    """Import the App as a worker would, and print its functions: for CI. Asks no server."""
    options = global_options(ctx)
    app_check = importlib.import_module("kontinue_engine.cli.app_check")  # `run` must not pay for it
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not what we have found
            group, functions = app_check.load(spec, app_dir)
    except AppLoadFailedError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise
    print(app_check.format_functions(functions, options.output))
    note(options, f"{spec} can be imported: {plural(len(functions), 'function')} of group {group}")
