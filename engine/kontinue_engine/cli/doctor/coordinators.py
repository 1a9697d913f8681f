"""Internal. Which coordinators work, and what is said where one is needed and none does. Pure.

Each keeps a Lease, also the one in ``kontinue dev``. Called by ``wait_groups``, ``primitives`` and
``kontinue_engine.cli.primitives.operator``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from kontinue.api.meta import Lease
from kontinue_engine.cli.doctor.findings import Finding, error, warning
from kontinue_engine.cli.doctor.observed import Observed


def may_be_missed(seen: Observed) -> bool:
    """Tell whether it would be known that none works."""
    return seen.coordinators is not None


def living(seen: Observed) -> list[str]:
    """Return the namespaces of those that work. One may look after all namespaces: its Lease does not tell."""
    return sorted({one.metadata.namespace for one in seen.coordinators or () if is_kept(one, seen.now)})


def none_works(seen: Observed, check: str, what: str, *, namespace: str, about: str) -> Finding:
    """Return the finding that nobody does what is needed.

    Args:
        seen: everything.
        check: its name.
        what: what is not done, or would not be.
        namespace: where.
        about: the object.
    """
    remedy = how_to_start(f" -n {namespace}{seen.server.group_option}")
    if seen.sees_all_coordinators:
        return error(check, f"{what}: no coordinator keeps a Lease", remedy, about=about)
    hidden = "no coordinator keeps a Lease in this namespace, and Leases of others you may not see"
    return warning(check, f"{what}: {hidden}", f"if none works for all namespaces: {remedy}", about=about)


def how_to_start(flags: str) -> str:
    """Return how one is started, with options that say for what."""
    return f"kontinue coordinator run{flags}, or the chart kontinue-coordinator (docs/coordination.md)"


def is_kept(lease: Lease, now: datetime) -> bool:
    """Tell whether somebody has renewed a Lease in time."""
    spec = lease.spec
    if not spec.holder_identity or spec.renew_time is None:
        return False
    return now - spec.renew_time <= timedelta(seconds=spec.lease_duration_seconds)
