"""Internal. ``kontinue coordinator run``: becomes a coordinator process. The command of a container image.

The coordinator parses its options itself (``kontinue_engine.arbiter.options``), as a worker does; here they are passed
on as they are.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import typer

from kontinue_engine.cli.options import global_options

app = typer.Typer(help="Look after primitives of konductor.io: permits, holders, edited counters, times to live.")

_PASS_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.callback()
def coordinator() -> None:
    """Look after primitives of konductor.io: permits, holders, edited counters, times to live."""


@app.command("run", context_settings=_PASS_ON)
def run_coordinator(ctx: typer.Context) -> None:
    """Run a coordinator until SIGTERM; `kontinue coordinator run --help` lists its options."""
    options = global_options(ctx)
    found = {"--namespace": options.namespace, "--kubeconfig": options.kubeconfig, "--context": options.context}
    command = ["-m", "kontinue_engine.arbiter", *ctx.args]
    for name, value in found.items():
        command += [name, value] if value else []
    command += ["--api-group", ",".join(options.api_groups)]
    command += ["--all-namespaces"] if options.all_namespaces else []
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606  it takes our place, no shell is involved
