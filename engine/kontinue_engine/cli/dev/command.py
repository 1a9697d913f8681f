"""Internal. ``kontinue dev module:app``: parses, takes the data directory and the port, runs a session."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from kontinue_engine.cli.dev.commands import DevOptions, Jobs
from kontinue_engine.cli.dev.console import Console
from kontinue_engine.cli.dev.data_dir import DataDir, choose_port, unusable
from kontinue_engine.cli.dev.session import Session
from kontinue_engine.cli.options import global_options
from kontinue_engine.pool.limits import default_sync_runners
from kontinue_engine.sharding.leases import LeaseTimes

DEFAULT_PORT: Final = 6470
"""Fixed, so that a kubeconfig in a shell stays right; not registered with IANA for anything common."""
MAX_REPLICAS: Final = 32
"""A judgement: more than any laptop has cores, and each is a supervisor, a zygote and its runners."""


def command(
    ctx: typer.Context,
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the App is, e.g. app:app.")],
    replicas: Annotated[int, typer.Option(min=1, max=MAX_REPLICAS, help="Workers that share the Executions.")] = 1,
    runners: Annotated[
        int | None, typer.Option(min=1, help="Sync runners of each worker. Default: one per core, shared among them.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Database, kubeconfig and logs.")] = Path(".kontinue"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API server; 0 picks a free one.")] = DEFAULT_PORT,
    reload: Annotated[bool, typer.Option(help="Restart the workers when the app's code changes.")] = True,  # noqa: FBT002
    app_dir: Annotated[Path, typer.Option(help="Folder that the module is imported from.", file_okay=False)] = Path(),
    jobs: Annotated[
        Jobs, typer.Option(help="Jobs and Pods: run their commands as local processes, or leave them to kubectl.")
    ] = Jobs.MANUAL,
    lease_duration: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long a worker may be silent before it is replaced.")
    ] = LeaseTimes().duration_s,
    lease_renew: Annotated[
        float, typer.Option(metavar="SECONDS", help="Between two renewals of a worker's Leases.")
    ] = LeaseTimes().renew_s,
) -> None:
    """Run API server and worker here, or a sharded group of workers, and restart each when it ends."""
    options = global_options(ctx)
    if not all(part.strip() for part in app.partition(":")):
        raise typer.BadParameter(f"{app!r}: write it as module:app, for example app:app", param_hint="MODULE:APP")
    if not app_dir.is_dir():
        raise typer.BadParameter(f"{app_dir} is not a folder", param_hint="--app-dir")
    try:
        lease = LeaseTimes(duration_s=lease_duration, renew_s=lease_renew)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lease-duration, --lease-renew") from error
    with DataDir(data_dir) as locked:
        dev_options = DevOptions(
            app=app,
            app_dir=app_dir.resolve(),
            namespace=options.namespace or "default",
            port=choose_port(port),
            replicas=replicas,
            runners=runners,
            cores=default_sync_runners(),
            reload=reload,
            lease=lease if lease != LeaseTimes() else None,
            jobs=jobs,
        )
        console = Console(color=options.colors_on(sys.stderr), quiet=options.quiet)
        try:
            session = Session(dev_options, locked, console)
        except OSError as error:  # its log files do not open
            raise unusable(locked.path, error) from error
        code = asyncio.run(session.run())
    raise typer.Exit(code)
