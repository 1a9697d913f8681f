"""Internal. Who runs a group in the other way: sharded or not. Pure; for ``kontinue_engine.coordinator.exclusion``.

A replica without ``--sharding`` holds leadership alone; one with it holds a shard for as long as it lives, and perhaps
leadership, too.
"""

from __future__ import annotations

from kontinue_engine.sharding import leases
from kontinue_engine.sharding.lease_book import GONE, LeaseBook, Sighting


def find(book: LeaseBook, group: str, *, now_s: float, sharding: bool) -> list[Sighting]:
    """Return the Leases whose holders run the group in the other way, or did so before they died.

    Args:
        book: Leases of the group, as listed at one moment.
        group: worker group.
        now_s: monotonic time.
        sharding: whether who asks has ``--sharding``.
    """
    held = [shard for shard in book.shards(now_s) if shard.state not in GONE]
    if not sharding:
        return [sighting for shard in held if (sighting := book.get(shard.lease.metadata.name)) is not None]
    leader = book.get(leases.leader_lease_name(group))
    if leader is None or not leader.lease.spec.holder_identity:
        return []
    is_sharded = leases.holder_of(leader.lease).incarnation in {shard.incarnation for shard in held} - {""}
    return [] if is_sharded else [leader]
