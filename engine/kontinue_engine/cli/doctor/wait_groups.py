"""Internal. Reads and judges WaitGroups that wait for holders, for ``kontinue doctor``. Pure.

Only a coordinator notices that a holder has died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue_engine.cli.doctor import coordinators
from kontinue_engine.cli.doctor.findings import Finding, ok
from kontinue_engine.cli.doctor.observed import Observed, WaitGroupFacts
from kontinue_engine.cli.text import plural


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
    if not bound or not coordinators.may_be_missed(seen):
        return
    working = {one.namespace: coordinators.who_works(seen, one.namespace) for one in bound}
    for who, count in Counter(working[one.namespace] for one in bound if working[one.namespace]).items():
        yield ok("waitgroups", f"{plural(count, 'WaitGroup')} with holders; {who}")
    for one in bound:
        if working[one.namespace]:
            continue
        about = seen.named(one.namespace, one.name, "waitgroups")
        what = f"{plural(one.holders, 'holder')} with {one.held} of its counter; should one die, nobody takes that off"
        yield coordinators.none_works(seen, "waitgroups", what, namespace=one.namespace, about=about)
