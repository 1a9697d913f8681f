"""Internal. Which processes a ``kontinue dev`` has, and how each is started. Pure.

One worker runs its group alone and is called ``worker``. Several share the group: they are called ``worker-0`` and so
on, which are their shard ids, too, so that a worker which is started again takes its own shard back at once.
Called by ``kontinue_engine.cli.dev.session``.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path

import msgspec

from kontinue_engine.cli.dev.supervision import SERVER
from kontinue_engine.sharding.leases import LeaseTimes


class Jobs(enum.StrEnum):
    """Who ends the Jobs and Pods that functions run, where there is no Kubernetes."""

    MANUAL = "manual"
    """Whoever patches their statuses."""
    PROCESS = "process"
    """Processes of this machine that run their commands."""


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        app: ``module:app``.
        app_dir: folder that the module is imported from.
        namespace: of the workers.
        port: of the API server; chosen already, never 0.
        replicas: workers; more than one share the group's Executions.
        runners: sync runners of each worker; None for one per core, shared among them.
        cores: that this process may use.
        reload: whether edited code restarts the workers.
        lease: how long their Leases last and how often they are renewed; None for the worker's own default.
        jobs: who ends Jobs and Pods.
    """

    app: str
    app_dir: Path
    namespace: str
    port: int
    replicas: int = 1
    runners: int | None = None
    cores: int = 1
    reload: bool = True
    lease: LeaseTimes | None = None
    jobs: Jobs = Jobs.MANUAL


def worker_names(options: DevOptions) -> list[str]:
    """Return the names of the workers, which are their shard ids if there are several."""
    return ["worker"] if options.replicas == 1 else [f"worker-{number}" for number in range(options.replicas)]


def command_of(name: str, options: DevOptions, *, data_dir: Path, kubeconfig: Path) -> list[str]:
    """Return the command line of the server or of a worker."""
    if name == SERVER:
        return [
            sys.executable,
            "-m",
            "kontinue_engine.apiserver",
            "--data-dir",
            str(data_dir),
            "--port",
            f"{options.port}",
        ]
    arguments = [options.app, "--namespace", options.namespace, "--kubeconfig", str(kubeconfig)]
    if options.replicas > 1:
        arguments += ["--sharding", "--shard", name]
    if options.lease is not None:
        arguments += ["--lease-duration", f"{options.lease.duration_s}", "--lease-renew", f"{options.lease.renew_s:g}"]
    runners = _runners_of(worker_names(options).index(name), options)
    if runners is not None:
        arguments += ["--sync-runners", str(runners)]
    return [sys.executable, "-m", "kontinue_engine.worker", *arguments]


def _runners_of(number: int, options: DevOptions) -> int | None:
    """Return the sync runners of a worker; None leaves it to the worker, which has the machine to itself."""
    if options.runners is not None or options.replicas == 1:
        return options.runners
    share, rest = divmod(options.cores, options.replicas)
    return max(1, share + (number < rest))
