"""Internal. From API objects to what ``placement`` knows of them, and from its commands back to objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ApiStruct, Condition, Lease, LeaseSpec, ObjectMeta, parent_of
from kontinue.api.v1alpha1 import Execution, ExecutionMutex, ExecutionOwner, ExecutionStatus, Phase, WaitingFor
from kontinue_engine.sharding.assignment import Orphan
from kontinue_engine.sharding.leases import ReplicaIdentity, mutex_key, mutex_lease_name, retries_of
from kontinue_engine.sharding.limits import Applicant
from kontinue_engine.sharding.mutexes import Contender, Grant
from kontinue_engine.sharding.placement import Found, Move, Newcomer


class PlacedSpec(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's spec."""

    function: str = ""
    mutex: ExecutionMutex | None = None


class PlacedStatus(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's status."""

    phase: Phase | None = None
    owner: ExecutionOwner | None = None
    observed_retries: int = 0
    waiting_for: list[WaitingFor] = []
    conditions: list[Condition] = []


class PlacedExecution(ApiStruct, frozen=True, kw_only=True):
    """An Execution without what placement does not read: arguments, memo, result."""

    metadata: ObjectMeta
    spec: PlacedSpec = PlacedSpec()
    status: PlacedStatus = PlacedStatus()


HasMutex = PlacedExecution | Execution
"""What the leader of a sharded group watches, and what the one replica of any other group does."""


def newcomer_of(execution: PlacedExecution) -> Newcomer:
    """Return an Execution without a shard, as the leader needs it."""
    meta = execution.metadata
    return Newcomer(
        uid=meta.uid,
        name=meta.name,
        version=meta.resource_version,
        mutex=execution.spec.mutex.name if execution.spec.mutex else "",
    )


def found_of(execution: PlacedExecution, *, shard: str, lost_by: str, now_ms: int) -> Found:
    """Return an Execution whose shard nobody has.

    Args:
        execution: as listed.
        shard: whose sweep has found it; empty for shards without a Lease.
        lost_by: incarnation that died with the shard; empty if its replica stopped in order.
        now_ms: wall time.
    """
    meta = execution.metadata
    orphan = Orphan(
        uid=meta.uid,
        name=meta.name,
        version=meta.resource_version,
        shard=shard,
        needs_parent_group=_needs_parent_group(meta),
        mutex=execution.spec.mutex.name if execution.spec.mutex else "",
        lost_by=lost_by,
        was_owned=bool(lost_by)
        and execution.status.owner is not None
        and execution.status.owner.incarnation == lost_by,
        deaths=deaths_of(meta.annotations),
    )
    return Found(orphan=orphan, wakes_in_s=_wakes_in_s(execution, now_ms))


def applicant_of(execution: PlacedExecution) -> Applicant:
    """Return an Execution of a function with a limit, as the leader needs it."""
    meta = execution.metadata
    return Applicant(
        uid=meta.uid,
        name=meta.name,
        function=execution.spec.function,
        created_s=created_s_of(meta),
        retries=execution.status.observed_retries,
    )


def contender_of(execution: HasMutex, *, is_sharded: bool) -> Contender | None:
    """Return an Execution as the leader needs it that grants mutexes; None if it has no mutex."""
    meta, mutex = execution.metadata, execution.spec.mutex
    if mutex is None:
        return None
    return Contender(
        uid=meta.uid,
        name=meta.name,
        version=meta.resource_version,
        mutex=mutex.name,
        shard=meta.labels.get(labels.SHARD, "") if is_sharded else "",
        created_s=created_s_of(meta),
        has_started=has_begun(execution.status),
        retries=execution.status.observed_retries,
        deaths=deaths_of(meta.annotations),
        needs_parent_group=_needs_parent_group(meta),
    )


def has_begun(status: PlacedStatus | ExecutionStatus) -> bool:
    """Tell whether somebody has written that it ran, and it has not ended since: it has what it needs.

    Of one that is retried somebody has written that it ran; but that has ended, and it has to get everything anew.
    """
    return status.owner is not None and status.phase is not Phase.PENDING


def created_s_of(meta: ObjectMeta) -> float:
    """Return when an object was created, in seconds since 1970; servers tell full seconds."""
    return meta.creation_timestamp.timestamp() if meta.creation_timestamp is not None else 0.0


def granted(grant: Grant, *, group: str, now: datetime) -> Lease:
    """Return the Lease of a mutex, to be created or to replace the one that its last holder has left."""
    to, last = grant.to, grant.lease
    notes = {labels.MUTEX: to.mutex, labels.EXECUTION: to.name}
    if to.shard:
        notes[labels.SHARD] = to.shard
    if to.retries:
        notes[labels.OBSERVED_RETRIES] = str(to.retries)
    if last is not None:
        kept = {key: note for key, note in last.metadata.annotations.items() if key != labels.OBSERVED_RETRIES}
        metadata = msgspec.structs.replace(last.metadata, annotations={**kept, **notes})
    else:
        metadata = ObjectMeta(
            name=mutex_lease_name(group, to.mutex),
            labels={labels.WORKER_GROUP: group, labels.MUTEX: mutex_key(to.mutex)},
            annotations=notes,
        )
    transitions = last.spec.lease_transitions + 1 if last is not None else 0
    spec = LeaseSpec(holder_identity=to.uid, acquire_time=now, lease_transitions=transitions)
    return Lease(metadata=metadata, spec=spec)


def deaths_of(annotations: Mapping[str, str]) -> int:
    """Return how many replicas died that an Execution was assigned to."""
    return labels.number_in(annotations.get(labels.DEATHS)) or 0


def move_patch(move: Move, *, group: str) -> dict[str, Any]:
    """Return the merge patch that moves an Execution, if it is still what was seen."""
    wanted: dict[str, str] = {labels.SHARD: move.shard}
    notes: dict[str, str | None] = {}
    if move.mutex:
        wanted[labels.MUTEX] = mutex_key(move.mutex)
    orphan = move.orphan
    if orphan is not None:
        if orphan.needs_parent_group:
            # Its parent may be in another shard from now on: this is how its replica learns of the child's end.
            wanted[labels.PARENT_GROUP] = group
        if orphan.was_owned:
            # Stays until the next owner dies: how replicas ended that have not claimed it tells nothing of this one.
            notes[labels.LOST_BY] = orphan.lost_by
        # Also 0: it may have been started where it was, so it is claimed before it runs, with a higher fencing token.
        notes[labels.DEATHS] = str(orphan.deaths + bool(orphan.lost_by))
    metadata: dict[str, Any] = {"resourceVersion": move.version, "labels": wanted}
    if notes:
        metadata["annotations"] = notes
    return {"metadata": metadata}


def expired(lease: Lease, *, by: ReplicaIdentity) -> Lease:
    """Return the Lease of a dead shard as the leader leaves it: without a holder, with the mark of who judged."""
    metadata = msgspec.structs.replace(
        lease.metadata, annotations={**lease.metadata.annotations, labels.EXPIRED_BY: by.incarnation}
    )
    return msgspec.structs.replace(
        lease, metadata=metadata, spec=msgspec.structs.replace(lease.spec, holder_identity="")
    )


def is_grant_of(lease: Lease, uid: str, status: ExecutionStatus) -> bool:
    """Tell whether the Lease of a mutex gives it to an Execution, as it is now.

    What was granted before somebody retried it was for a run that has ended, and others may have it by now: a replica
    that sees Leases late must not start the next one by that. See ``mutexes.Contender.retries``.
    """
    is_holder = lease.spec.holder_identity == uid
    return is_holder and (has_begun(status) or retries_of(lease) == status.observed_retries)


def is_granted_here(lease: Lease, shard: str) -> bool:
    """Tell whether a mutex was granted to an Execution that its leader saw in this shard.

    Otherwise one of the two has not seen yet where the Execution is, and another replica may take it for its own, too.
    """
    return lease.metadata.annotations.get(labels.SHARD, "") == shard


def _needs_parent_group(meta: ObjectMeta) -> bool:
    return labels.PARENT_GROUP not in meta.labels and parent_of(meta.owner_references) is not None


def _wakes_in_s(execution: PlacedExecution, now_ms: int) -> float | None:
    """Return the seconds until it can go on by itself: 0 for one that can run, None for one that only waits."""
    status = execution.status
    if status.phase not in {Phase.SUSPENDED, Phase.BACKOFF, Phase.BLOCKED}:
        return 0.0
    times_s = [item.until.timestamp() - now_ms / 1000 for item in status.waiting_for if item.until is not None]
    if times_s:
        return max(0.0, min(times_s))
    return 0.0 if status.phase is Phase.BACKOFF else None
