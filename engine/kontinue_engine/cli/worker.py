"""Internal. ``kontinue worker run module:app``: becomes a worker process. The command of a container image.

The worker parses its options itself (``kontinue_engine.worker.options``), without the libraries of the command line;
here they are passed on as they are.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import typer

from kontinue_engine.cli.options import global_options

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
