"""Internal. What a coordinator is told at start-up: ``CoordinatorOptions``, and the command line that makes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker.pages import LOOPBACK, Address


class CoordinatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one coordinator.

    Attributes:
        namespace: of its Lease, and what it looks after; None for that of the kubeconfig.
        all_namespaces: look after everything in the cluster.
        kubeconfig: path, or None to search.
        context: of the kubeconfig, or None for the current one.
        lease: how long leadership lasts without a renewal, and how often it is renewed.
        log_level: debug, info, warning or error.
        health: where probes are answered; None: nowhere.
    """

    namespace: str | None = None
    all_namespaces: bool = False
    kubeconfig: str | None = None
    context: str | None = None
    lease: LeaseTimes = LeaseTimes(duration_s=15, renew_s=3.0)
    log_level: str = "info"
    health: Address | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m kontinue_engine.arbiter``."""
    defaults = CoordinatorOptions()
    parser = argparse.ArgumentParser(
        prog="kontinue coordinator run",
        description="Look after WaitGroups until SIGTERM; of several coordinators one works, the others stand by.",
    )
    parser.add_argument("-n", "--namespace", help="default: that of the kubeconfig")
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="look after the whole cluster (default: the namespace)"
    )
    parser.add_argument("--kubeconfig")
    parser.add_argument("--context")
    parser.add_argument(
        "--lease-duration",
        type=int,
        default=defaults.lease.duration_s,
        metavar="SECONDS",
        help="how long it may be silent before another one takes over (default: %(default)s)",
    )
    parser.add_argument(
        "--lease-renew",
        type=float,
        default=defaults.lease.renew_s,
        metavar="SECONDS",
        help="between two renewals (default: %(default)g)",
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default=defaults.log_level)
    parser.add_argument(
        "--health-port", type=_port, metavar="PORT", help="answer /livez and /readyz there (default: nowhere)"
    )
    parser.add_argument(
        "--health-host", default=LOOPBACK, metavar="ADDRESS", help=f"with --health-port (default: {LOOPBACK})"
    )
    return parser


def parse_options(arguments: Sequence[str]) -> CoordinatorOptions:
    """Return the options of a command line; exits with status 2 on a usage error."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    try:
        lease = LeaseTimes(duration_s=parsed.lease_duration, renew_s=parsed.lease_renew)
    except ValueError as error:
        parser.error(f"--lease-duration, --lease-renew: {error}")
    return CoordinatorOptions(
        namespace=parsed.namespace,
        all_namespaces=parsed.all_namespaces,
        kubeconfig=parsed.kubeconfig,
        context=parsed.context,
        lease=lease,
        log_level=parsed.log_level,
        health=Address(port=parsed.health_port, host=parsed.health_host) if parsed.health_port else None,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 1 to 65535")
    return int(text)
