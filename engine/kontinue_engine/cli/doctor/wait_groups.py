"""Internal. Reads and judges WaitGroups that wait for holders, for ``kontinue doctor``. Pure.

Only a coordinator notices that a holder has died. On a local server ``kontinue dev`` does what one does, without a
Lease: there nothing follows from its absence.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import msgspec

from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.api.meta import Lease
from kontinue_engine.cli.doctor.findings import Finding, error, ok, warning
from kontinue_engine.cli.doctor.observed import Observed, WaitGroupFacts
from kontinue_engine.cli.text import plural

_LOCAL: Final = "+kontinue"
"""How a local server's version ends."""


def wait_group_facts(raw: msgspec.Raw) -> WaitGroupFacts:
    """Return what matters of a WaitGroup."""
    found = msgspec.json.decode(raw, type=WaitGroup)
    counts = [one.count for one in found.status.holders if one.count]
    return WaitGroupFacts(
        name=found.metadata.name, namespace=found.metadata.namespace, holders=len(counts), held=sum(counts)
    )


def check_waitgroups(seen: Observed) -> Iterator[Finding]:
    """Those with counts that belong to a Pod or an Execution, where nobody would notice its death."""
    bound = [one for one in seen.wait_groups or () if one.holders]
    if not bound or seen.coordinators is None or seen.server.version.endswith(_LOCAL):
        return
    living = sorted({one.metadata.namespace for one in seen.coordinators if _is_kept(one, seen)})
    if living:  # one of another namespace may look after all of them: its Lease does not tell
        where = f"a coordinator works in namespace {', '.join(living)}"
        yield ok("waitgroups", f"{plural(len(bound), 'WaitGroup')} with holders; {where}")
        return
    for one in bound:
        about = seen.named(one.namespace, one.name, "waitgroups")
        what = f"{plural(one.holders, 'holder')} with {one.held} of its counter; should one die, nobody takes that off"
        command = f"kontinue coordinator run -n {one.namespace}{seen.server.group_option}"
        remedy = f"{command}, or the chart kontinue-coordinator (docs/coordination.md)"
        if seen.sees_all_coordinators:
            yield error("waitgroups", f"{what}: no coordinator keeps a Lease", remedy, about=about)
        else:
            hidden = "no coordinator keeps a Lease in this namespace, and Leases of others you may not see"
            yield warning("waitgroups", f"{what}: {hidden}", f"if none works for all namespaces: {remedy}", about=about)


def _is_kept(lease: Lease, seen: Observed) -> bool:
    spec = lease.spec
    if not spec.holder_identity or spec.renew_time is None:
        return False
    return seen.now - spec.renew_time <= timedelta(seconds=spec.lease_duration_seconds)
