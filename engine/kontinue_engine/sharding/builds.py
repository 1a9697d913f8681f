"""Internal. Which replicas of a group run other code than the leader. Pure; for what the leader does only if none does.

A group is of one build when a rolling update has ended, or has been taken back.
"""

from __future__ import annotations

from collections.abc import Iterable

from kontinue_engine.sharding import leases
from kontinue_engine.sharding.lease_book import GONE, Shard


def of_other_builds(shards: Iterable[Shard], build: str) -> list[str]:
    """Return the shards whose replica does not say that it runs ``build``.

    One that is about to stop counts, and a silent one too: only when its Lease is gone is it known to be dead.
    """
    return [shard.name for shard in shards if shard.state not in GONE and leases.holder_of(shard.lease).build != build]
