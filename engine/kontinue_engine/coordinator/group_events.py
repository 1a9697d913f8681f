"""Internal. What Kubernetes Events say about a group: who leads, which shard is dead, what was moved, who is fenced.

They stand on Leases, where ``kubectl describe lease`` and ``kontinue shards`` show them. A dead shard may have had
100,000 Executions: their moves are told by counts, and one by one only as long as they are few.
Called by ``campaign``, ``placement`` and ``kontinue_engine.worker``.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from kontinue.api.meta import Lease, ObjectReference
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.leases import ReplicaIdentity
from kontinue_engine.sharding.placement import STRAYS, Move

LEADER_ELECTED: Final = "LeaderElected"
LEADERSHIP_LOST: Final = "LeadershipLost"
SHARD_DEAD: Final = "ShardDead"
REASSIGNED: Final = "Reassigned"
FENCED: Final = "Fenced"
RESUMED: Final = "Resumed"

QUIET_S: Final = 5.0
"""Moves off a shard are told once there was none for so long. Judgement: bursts are a few hundred milliseconds."""
AT_LATEST_S: Final = 60.0
"""Moves that go on for long are told so often: 100,000 take a quarter of an hour. Judgement."""
FEW: Final = 10
"""So many of what is told together get an Event each. Judgement: more would cost as much as the moves themselves."""
TARGETS: Final = 5
"""So many shards are named in one Event."""


def elected(events: EventRecorder, lease: HeldLease) -> None:
    """Tell that we lead."""
    events.record(lease.reference, "Normal", LEADER_ELECTED, f"{lease.holder.shard} leads the group")


def lost(events: EventRecorder, lease: HeldLease, reason: str) -> None:
    """Tell that we do not lead any more, although we did not give it up."""
    events.record(lease.reference, "Warning", LEADERSHIP_LOST, f"{lease.holder.shard} leads no more: {reason}")


def fenced(events: EventRecorder, lease: HeldLease) -> None:
    """Tell that we stand still; it is written when the API server answers again, if that is soon."""
    message = f"{lease.holder.shard} could not renew its Lease in time: its runners are stopped, it writes nothing"
    events.record(lease.reference, "Warning", FENCED, message)


def resumed(events: EventRecorder, lease: HeldLease) -> None:
    """Tell that we go on."""
    message = f"{lease.holder.shard} has renewed its Lease, which nobody had taken: its runners go on"
    events.record(lease.reference, "Normal", RESUMED, message)


def shard_dead(events: EventRecorder, lease: Lease, *, shard: str, by: ReplicaIdentity) -> None:
    """Tell that a leader took a shard's Lease from its silent holder."""
    host = leases.holder_of(lease).host
    where = f" on host {host}" if host else ""
    message = (
        f"{shard}{where} had not renewed its Lease for {lease.spec.lease_duration_seconds} s: "
        f"{by.shard}, the leader, has taken it away"
    )
    events.record(reference_to(lease), "Warning", SHARD_DEAD, message)


def reference_to(lease: Lease) -> ObjectReference:
    """Return what an Event about the Lease names."""
    meta = lease.metadata
    return ObjectReference(
        api_version=lease.api_version, kind=lease.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid
    )


class Summary(msgspec.Struct, frozen=True):
    """What was moved off one shard; ``shard`` is empty for those of shards without a Lease."""

    shard: str
    message: str


class _Count(msgspec.Struct):
    first_s: float
    last_s: float
    targets: Counter[str]
    has_died: bool = False


class Moves:
    """Counts what is moved off shards without a replica. Sans-io: fed with time."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def add(self, move: Move, now_s: float) -> str | None:
        """Count one; return the message of an Event of its own, or None if it is told with others only."""
        orphan = move.orphan
        if orphan is None:
            return None
        count = self._counts.setdefault(orphan.shard, _Count(now_s, now_s, Counter()))
        count.last_s = now_s
        count.targets[move.shard] += 1
        count.has_died = count.has_died or bool(orphan.lost_by)
        if count.targets.total() > FEW:
            return None
        return f"moved{f' from {orphan.shard}' if orphan.shard else ''} to {move.shard}: {_why(orphan.shard, count)}"

    def take(self, now_s: float, *, all_of_them: bool = False) -> list[Summary]:
        """Remove and return what is to be told now."""
        due = [
            shard
            for shard, count in self._counts.items()
            if all_of_them or now_s - count.last_s >= QUIET_S or now_s - count.first_s >= AT_LATEST_S
        ]
        return [Summary(shard, _summary(shard, self._counts.pop(shard))) for shard in due]


def _summary(shard: str, count: _Count) -> str:
    named = count.targets.most_common(TARGETS)
    more = len(count.targets) - len(named)
    targets = ", ".join(f"{target} ({moved})" for target, moved in named) + (f" and {more} more" if more else "")
    total = count.targets.total()
    return f"{total} Execution{'s' * (total > 1)} moved to {targets}: {_why(shard, count)}"


def _why(shard: str, count: _Count) -> str:
    if shard == STRAYS:
        return "no replica has the shard of that label"
    return f"{shard} is dead" if count.has_died else f"{shard} has stopped"
