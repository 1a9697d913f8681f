"""Internal. ``kontinue worker run module:app``: becomes a worker process. The command of a container image."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kontinue.kube.config import load_config
from kontinue_engine.cli.options import global_options

app = typer.Typer(help="Run functions against any API server.", no_args_is_help=True)


@app.callback()
def worker() -> None:
    """Run functions against any API server."""


@app.command("run")
def run_worker(
    ctx: typer.Context,
    module: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the App is, e.g. app:app.")],
    group: Annotated[str, typer.Option(help="Worker group. Default: the App's.")] = "",
    runners: Annotated[int | None, typer.Option(min=1, help="Sync runners. Default: one per core.")] = None,
    async_runners: Annotated[int | None, typer.Option(min=1, help="Async runners. Default: 1.")] = None,
    log_file: Annotated[Path | None, typer.Option(help="JSON log lines go there too.")] = None,
) -> None:
    """Run one replica of a worker group until SIGTERM. JSON log lines on stdout."""
    options = global_options(ctx)
    config = load_config(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
    command = [module, "--namespace", config.namespace]
    optional = {
        "--kubeconfig": options.kubeconfig,
        "--context": options.context,
        "--group": group,
        "--sync-runners": runners,
        "--async-runners": async_runners,
        "--log-file": log_file,
    }
    for name, value in optional.items():
        if value is not None and value != "":
            command += [name, str(value)]
    os.execv(sys.executable, [sys.executable, "-m", "kontinue_engine.worker", *command])  # noqa: S606
