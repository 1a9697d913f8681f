"""Internal. What one replica is told at start-up: ``WorkerOptions``, and the command line that makes them.

Parsed with argparse, because a supervisor must not load the CLI's libraries (memory is a budget).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from kontinue.api import durations
from kontinue.api.v1alpha1 import ExecutionTTL
from kontinue_engine.sharding.fates import STOPPING_MARGIN_S, STOPPING_S
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker import shared_options
from kontinue_engine.worker.pages import Address
from kontinue_engine.worker.shared_options import count, positive, seconds

GRACE_S: Final = 3.0
"""How long active work may go on after SIGTERM; what is left is killed and resumed by the next replica (judgement)."""

CANCEL_GRACE_S: Final = 5.0
"""How long code may clean up before its runner is killed, and what else is on it runs again elsewhere (judgement)."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one replica.

    Attributes:
        app: ``module:attribute`` of the user's App.
        app_dir: put first on ``sys.path`` of runners.
        namespace: None for that of the kubeconfig.
        group: overrides the App's group; None keeps it.
        kubeconfig: path, or None to search.
        context: of the kubeconfig, or None for the current one.
        shard: shard id; None for the host name.
        sync_runners: number of runners for sync functions; None for one per core.
        async_runners: number of runners for async functions.
        max_active: how many Executions this replica runs at once, those that wait for something aside; None for as many
            as its runners take.
        runner_memory_bytes: a runner above it is killed; None for its part of the container's limit, if there is one.
        recycle_after: a runner that has started so many activations is replaced; None for never.
        recycle_above_bytes: a runner above it is replaced; None for a part of what it may use, if that is limited.
        crash_budget: runner deaths without a new record that an Execution survives.
        sharding: share the group's Executions with other replicas; else one replica runs all, and others stand by.
        lease: how long this replica's Leases last, and how often they are renewed.
        take_ownership: take over functions that other groups have registered.
        prune: delete Functions of the group that its apps no longer have.
        ttl: of root Executions for which neither their spec nor their function says anything; None keeps them.
        grace_s: how long active work may go on after SIGTERM.
        cancel_grace_s: how long code may clean up after a cancel, a skip or the end of its time.
        max_in_flight: requests to the API server at a time.
        log_level: debug, info, warning or error.
        health: where probes are answered; None: nowhere.
        metrics: where Prometheus is answered; None: nowhere.
    """

    app: str
    app_dir: str = "."
    namespace: str | None = None
    group: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    shard: str | None = None
    sync_runners: int | None = None
    async_runners: int = 1
    max_active: int | None = None
    runner_memory_bytes: int | None = None
    recycle_after: int | None = None
    recycle_above_bytes: int | None = None
    crash_budget: int = 3
    sharding: bool = False
    lease: LeaseTimes = LeaseTimes()
    take_ownership: bool = False
    prune: bool = True
    ttl: ExecutionTTL | None = None
    grace_s: float = GRACE_S
    cancel_grace_s: float = CANCEL_GRACE_S
    max_in_flight: int = 64
    log_level: str = shared_options.LOG_LEVEL
    health: Address | None = None
    metrics: Address | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m kontinue_engine.worker``."""
    defaults = WorkerOptions(app="")
    parser = argparse.ArgumentParser(
        prog="kontinue worker run", description="Run one replica of a worker group until SIGTERM."
    )
    parser.add_argument("app", metavar="MODULE:APP", help="the App, for example shop.jobs:app")
    parser.add_argument("--app-dir", default=defaults.app_dir, help="where to import it from (default: here)")
    shared_options.add_server(parser)
    parser.add_argument("--group", help="worker group (default: the App's)")
    parser.add_argument("--shard", help="shard id (default: host name)")
    parser.add_argument("--sync-runners", type=positive, help="default: one per core")
    parser.add_argument("--async-runners", type=positive, default=defaults.async_runners)
    parser.add_argument(
        "--max-active",
        type=positive,
        metavar="N",
        help="run at most N Executions at once, those that wait for something aside (default: what runners take)",
    )
    parser.add_argument(
        "--runner-memory-mib",
        type=positive,
        help="kill a runner above this (default: its part of the container's limit)",
    )
    parser.add_argument(
        "--recycle-after",
        type=positive,
        metavar="N",
        help="replace a runner once it has started N activations and nothing is active there (default: never)",
    )
    parser.add_argument(
        "--recycle-above-mib",
        type=positive,
        metavar="MIB",
        help="replace a runner above this once nothing is active there (default: 80%% of what it is killed above)",
    )
    parser.add_argument(
        "--crash-budget",
        type=count,
        default=defaults.crash_budget,
        metavar="N",
        help="runner deaths, out of memory or otherwise, that an Execution survives without a new record "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--sharding",
        action="store_true",
        help="share the group's Executions with other replicas (default: one runs all)",
    )
    shared_options.add_lease(parser, defaults.lease, then="it is replaced")
    parser.add_argument(
        "--take-ownership",
        action="store_true",
        help="take over functions that other worker groups have registered (default: refuse to start)",
    )
    parser.add_argument(
        "--no-prune",
        dest="prune",
        action="store_false",
        help="keep Functions of the group that the app no longer has (default: delete them)",
    )
    for what, then in (("archive", "archived"), ("delete", "deleted, or their archives")):
        parser.add_argument(
            f"--{what}-after",
            type=_duration,
            metavar="DURATION",
            help=f"when Executions without a ttl are {then}, after their end, as 24h (default: never)",
        )
    parser.add_argument("--grace", type=seconds, default=defaults.grace_s, metavar="SECONDS")
    parser.add_argument(
        "--cancel-grace",
        type=seconds,
        default=defaults.cancel_grace_s,
        metavar="SECONDS",
        help="how long code may clean up after a cancel, a skip or a timeout; then its runner is killed. The same for "
        "all replicas of a group (default: %(default)g)",
    )
    parser.add_argument("--max-in-flight", type=positive, default=defaults.max_in_flight, metavar="REQUESTS")
    shared_options.add_log_level(parser)
    shared_options.add_address(parser, "health", answers="/livez and /readyz")
    shared_options.add_address(parser, "metrics", answers="/metrics")
    return parser


def parse_options(arguments: Sequence[str]) -> WorkerOptions:
    """Return the options of a command line; exits with status 2 on a usage error."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    stopping_s = max(STOPPING_S, parsed.cancel_grace + STOPPING_MARGIN_S)
    return WorkerOptions(
        app=parsed.app,
        app_dir=parsed.app_dir,
        namespace=parsed.namespace,
        group=parsed.group,
        kubeconfig=parsed.kubeconfig,
        context=parsed.context,
        shard=parsed.shard,
        sync_runners=parsed.sync_runners,
        async_runners=parsed.async_runners,
        max_active=parsed.max_active,
        runner_memory_bytes=parsed.runner_memory_mib * 2**20 if parsed.runner_memory_mib else None,
        recycle_after=parsed.recycle_after,
        recycle_above_bytes=parsed.recycle_above_mib * 2**20 if parsed.recycle_above_mib else None,
        crash_budget=parsed.crash_budget,
        sharding=parsed.sharding,
        lease=shared_options.lease_of(parser, parsed, stopping_s=stopping_s),
        take_ownership=parsed.take_ownership,
        prune=parsed.prune,
        ttl=_ttl(parsed.archive_after, parsed.delete_after),
        grace_s=parsed.grace,
        cancel_grace_s=parsed.cancel_grace,
        max_in_flight=parsed.max_in_flight,
        log_level=parsed.log_level,
        health=shared_options.address_of(parsed, "health"),
        metrics=shared_options.address_of(parsed, "metrics"),
    )


def _ttl(archive_after: str | None, delete_after: str | None) -> ExecutionTTL | None:
    if archive_after is None and delete_after is None:
        return None
    return ExecutionTTL(archive_after=archive_after or "", delete_after=delete_after or "")


def _duration(text: str) -> str:
    try:
        length = durations.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if length <= timedelta():
        raise argparse.ArgumentTypeError(f"{text} is no length of time; leave the option out for never")
    return text
