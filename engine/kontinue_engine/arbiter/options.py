"""Internal. What a coordinator is told at start-up: ``ArbiterOptions``, and the command line that makes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from kontinue.api.konductor import group
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker import shared_options
from kontinue_engine.worker.pages import Address


class ArbiterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one coordinator.

    Attributes:
        namespace: of its Lease, and what it looks after; None for that of the kubeconfig.
        all_namespaces: look after everything in the cluster.
        api_groups: in which it looks after primitives.
        kubeconfig: path, or None to search.
        context: of the kubeconfig, or None for the current one.
        lease: how long leadership lasts without a renewal, and how often it is renewed.
        log_level: debug, info, warning or error.
        health: where probes are answered; None: nowhere.
    """

    namespace: str | None = None
    all_namespaces: bool = False
    api_groups: tuple[str, ...] = (group.GROUP,)
    kubeconfig: str | None = None
    context: str | None = None
    lease: LeaseTimes = LeaseTimes(duration_s=15, renew_s=3.0)
    log_level: str = shared_options.LOG_LEVEL
    health: Address | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m kontinue_engine.arbiter``."""
    defaults = ArbiterOptions()
    parser = argparse.ArgumentParser(
        prog="kontinue coordinator run",
        description="Look after primitives of konductor.io until SIGTERM; of several one works, the others stand by.",
    )
    shared_options.add_server(parser)
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="look after the whole cluster (default: the namespace)"
    )
    parser.add_argument(
        "--api-group",
        type=_groups,
        default=defaults.api_groups,
        metavar="GROUP,...",
        help=f"where to look after primitives: {' or '.join(group.GROUPS)}, or both (default: {group.GROUP})",
    )
    shared_options.add_lease(parser, defaults.lease, then="another one takes over")
    shared_options.add_log_level(parser)
    shared_options.add_address(parser, "health", answers="/livez and /readyz")
    return parser


def parse_options(arguments: Sequence[str]) -> ArbiterOptions:
    """Return the options of a command line; exits with status 2 on a usage error."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    return ArbiterOptions(
        namespace=parsed.namespace,
        all_namespaces=parsed.all_namespaces,
        api_groups=parsed.api_group,
        kubeconfig=parsed.kubeconfig,
        context=parsed.context,
        lease=shared_options.lease_of(parser, parsed),
        log_level=parsed.log_level,
        health=shared_options.address_of(parsed, "health"),
    )


def _groups(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := next((name for name in names if name not in group.GROUPS), None):
        raise argparse.ArgumentTypeError(f"{unknown!r}: it is one of {', '.join(group.GROUPS)}")
    return names
