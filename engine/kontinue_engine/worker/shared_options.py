"""Internal. Options that workers and coordinators have in common: server, Lease, pages, log.

Each pair adds options to a parser, and reads what was said; and words of a command line as values, or a reason why
not. Called by ``options`` and ``kontinue_engine.arbiter.options``.
"""

from __future__ import annotations

import argparse
import math
from typing import Final

from kontinue_engine.sharding.fates import STOPPING_S
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker.pages import LOOPBACK, Address

LOG_LEVEL: Final = "info"


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add where the API server is, and which namespace is meant."""
    parser.add_argument("-n", "--namespace", help="default: that of the kubeconfig")
    parser.add_argument("--kubeconfig")
    parser.add_argument("--context")


def add_lease(parser: argparse.ArgumentParser, defaults: LeaseTimes, *, then: str) -> None:
    """Add how long a Lease lasts.

    Args:
        parser: of the process.
        defaults: what it is if nothing is said.
        then: what happens to whoever is silent for longer, as in "it is replaced".
    """
    parser.add_argument(
        "--lease-duration",
        type=positive,
        default=defaults.duration_s,
        metavar="SECONDS",
        help=f"how long it may be silent before {then} (default: %(default)s)",
    )
    parser.add_argument(
        "--lease-renew",
        type=seconds,
        default=defaults.renew_s,
        metavar="SECONDS",
        help="between two renewals (default: %(default)g)",
    )


def lease_of(
    parser: argparse.ArgumentParser, parsed: argparse.Namespace, *, stopping_s: float = STOPPING_S
) -> LeaseTimes:
    """Return what was said; exits with status 2 if no Lease can be kept so."""
    try:
        return LeaseTimes(duration_s=parsed.lease_duration, renew_s=parsed.lease_renew, stopping_s=stopping_s)
    except ValueError as error:
        parser.error(f"--lease-duration, --lease-renew: {error}")


def add_address(parser: argparse.ArgumentParser, name: str, *, answers: str) -> None:
    """Add ``--NAME-port`` and ``--NAME-host``: where pages are served."""
    parser.add_argument(f"--{name}-port", type=port, metavar="PORT", help=f"answer {answers} there (default: nowhere)")
    parser.add_argument(
        f"--{name}-host", default=LOOPBACK, metavar="ADDRESS", help=f"with --{name}-port (default: {LOOPBACK})"
    )


def address_of(parsed: argparse.Namespace, name: str) -> Address | None:
    """Return what was said; None: nowhere."""
    chosen: int | None = getattr(parsed, f"{name}_port")
    return Address(port=chosen, host=getattr(parsed, f"{name}_host")) if chosen else None


def add_log_level(parser: argparse.ArgumentParser) -> None:
    """Add how much is logged."""
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default=LOG_LEVEL)


def positive(text: str) -> int:
    """Return a number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def count(text: str) -> int:
    """Return a number that may be 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return int(text)


def port(text: str) -> int:
    """Return a port of TCP."""
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 1 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Return a length of time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value
