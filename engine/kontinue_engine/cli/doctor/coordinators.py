"""Internal. Which coordinators work, and what is said where one is needed and none does. Pure.

Each keeps a Lease, also the one in ``kontinue dev``. Called by ``wait_groups``, ``primitives`` and
``kontinue_engine.cli.primitives.operator``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.cli.doctor.findings import Finding, error, warning
from kontinue_engine.cli.doctor.observed import Observed


def may_be_missed(seen: Observed) -> bool:
    """Tell whether it would be known that none works."""
    return seen.coordinators is not None


def scope_of(lease: Lease) -> str | None:
    """Return the namespace that a coordinator looks after, ``*`` for all; None: it is of an earlier version."""
    return lease.metadata.annotations.get(labels.LOOKS_AFTER)


def looks_after(lease: Lease, namespace: str) -> bool | None:
    """Tell whether a coordinator looks after a namespace; None if it does not say."""
    scope = scope_of(lease)
    if scope is None:
        return True if lease.metadata.namespace == namespace else None
    return scope in {labels.ALL_NAMESPACES, namespace}


def who_works(seen: Observed, namespace: str) -> str:
    """Return who looks after a namespace, or may do so, as a clause; empty if nobody does."""
    found = [(looks_after(one, namespace), one) for one in _living(seen)]
    likely = sorted((one for one in found if one[0] is not False), key=lambda one: one[0] is None)
    return _told(likely[0][1], namespace) if likely else ""


def _living(seen: Observed) -> list[Lease]:
    return [one for one in seen.coordinators or () if is_kept(one, seen.now)]


def _told(lease: Lease, namespace: str) -> str:
    where = lease.metadata.namespace
    match scope_of(lease):
        case labels.ALL_NAMESPACES:
            return f"a coordinator in namespace {where} looks after all namespaces"
        case None if where == namespace:
            return f"a coordinator works in namespace {where}"
        case None:
            return (
                f"a coordinator of an earlier version works in namespace {where}, and does not say for which namespaces"
            )
        case _:
            return f"a coordinator looks after namespace {namespace}"


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
        return error(check, f"{what}: {_nobody(seen, namespace)}", remedy, about=about)
    hidden = "no coordinator keeps a Lease in this namespace, and Leases of others you may not see"
    return warning(check, f"{what}: {hidden}", f"if none works for all namespaces: {remedy}", about=about)


def _nobody(seen: Observed, namespace: str) -> str:
    if others := sorted({scope for one in _living(seen) if (scope := scope_of(one))}):
        return f"no coordinator looks after namespace {namespace}: one does after namespace {', '.join(others)}"
    return "no coordinator keeps a Lease"


def how_to_start(flags: str) -> str:
    """Return how one is started, with options that say for what."""
    return f"kontinue coordinator run{flags}, or the chart kontinue-coordinator (docs/coordination.md)"


def is_kept(lease: Lease, now: datetime) -> bool:
    """Tell whether somebody has renewed a Lease in time."""
    spec = lease.spec
    if not spec.holder_identity or spec.renew_time is None:
        return False
    return now - spec.renew_time <= timedelta(seconds=spec.lease_duration_seconds)
