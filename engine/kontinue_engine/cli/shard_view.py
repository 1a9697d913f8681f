"""Internal. Worker groups, their shards and who leads, from Leases and counts of Executions. Pure.

``build_views`` makes them and ``format_views`` writes them as text; ``kontinue shards`` encodes them as JSON or YAML.
Whoever has seen a Lease only once cannot tell whether its holder lives: states come from what the Lease says, and the
time of the last renewal, by its holder's clock, is only shown. With ``-w`` a book has been kept meanwhile, as replicas
keep it, and a silent holder is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Event, Lease, ObjectMeta
from kontinue.api.v1alpha1 import TERMINAL_PHASES, Phase
from kontinue_engine.cli.text import format_age, format_table, plural, shorten
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.lease_book import LeaseBook, Shard, ShardState

LIVE_PHASES: Final = tuple(phase for phase in Phase if phase not in TERMINAL_PHASES)
MAX_EVENTS: Final = 5
"""The last ones of a group; the rest is in ``kubectl get events``."""
_BUILD_WIDTH: Final = 12
_EXPECTED = {ShardState.LIVE, ShardState.DRAINING}

GroupKey = tuple[str, str]
"""Namespace and worker group."""
Counts = Mapping[GroupKey, Mapping[str, Counter[Phase]]]
"""Live Executions by group, by shard label (empty for none) and by phase."""


class ShardView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One shard.

    Attributes:
        shard: its id; empty for what no shard has yet.
        state: as the Lease tells; ``Unknown`` for a label that no Lease belongs to, ``Unassigned`` for no label.
        renewed_at: by the clock of its holder.
        is_overdue: nobody renewed it for its duration, if that clock agrees with ours.
        executions: live ones, by phase.
    """

    shard: str
    state: str
    is_leader: bool = False
    renewed_at: datetime | None = None
    is_overdue: bool = False
    lease: str = ""
    lease_duration_seconds: int = 0
    acquired_at: datetime | None = None
    host: str = ""
    pid: int = 0
    pod_uid: str = ""
    build: str = ""
    incarnation: str = ""
    executions: dict[str, int] = {}


class MutexView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A mutex that an Execution holds."""

    mutex: str
    holder: str
    since: datetime | None


class EventView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened to one of the group's Leases."""

    at: datetime | None
    lease: str
    reason: str
    message: str


class GroupView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One worker group.

    Attributes:
        is_sharded: whether replicas share its Executions now; else the leader runs all of them.
        leader: shard id of who leads; empty for nobody.
        leader_renewed_at: by the leader's clock.
        shards: those with a Lease, then what is in none of them.
    """

    namespace: str
    group: str
    is_sharded: bool
    leader: str
    leader_host: str
    leader_renewed_at: datetime | None
    shards: list[ShardView]
    mutexes: list[MutexView]
    events: list[EventView]


def build_views(
    books: Mapping[GroupKey, LeaseBook],
    found: Mapping[GroupKey, Sequence[Lease]],
    counts: Counts,
    events: Sequence[Event],
    names: Mapping[str, str],
    *,
    now: datetime,
    now_s: float,
) -> list[GroupView]:
    """Return the groups that have a Lease or a live Execution, by name.

    Args:
        books: have seen the Leases.
        found: all Leases.
        counts: of live Executions.
        events: about Leases.
        names: of live Executions by uid.
        now: wall time, for what is overdue.
        now_s: monotonic time, as the books know it.
    """
    views = []
    for key in sorted(found.keys() | counts.keys()):
        book = books.get(key) or LeaseBook(key[1])
        views.append(_view(key, book.shards(now_s), found.get(key, ()), counts.get(key, {}), events, names, now))
    return views


def group_of(metadata: ObjectMeta) -> GroupKey | None:
    """Return which group an object belongs to; None for objects of others."""
    group = metadata.labels.get(labels.WORKER_GROUP)
    return (metadata.namespace, group) if group else None


def _view(
    key: GroupKey,
    shards: Sequence[Shard],
    found: Sequence[Lease],
    counts: Mapping[str, Counter[Phase]],
    events: Sequence[Event],
    names: Mapping[str, str],
    now: datetime,
) -> GroupView:
    namespace, group = key
    by_name = {lease.metadata.name: lease for lease in found}
    leading = by_name.get(leases.leader_lease_name(group))
    leader = leases.holder_of(leading) if leading is not None else leases.ReplicaIdentity(shard="", incarnation="")
    known = [_shard_view(shard, leader.shard and leader.incarnation, counts.get(shard.name), now) for shard in shards]
    others = [
        ShardView(shard=name, state="Unknown" if name else "Unassigned", executions=_by_phase(count))
        for name, count in sorted(counts.items())
        if name not in {shard.name for shard in shards}
    ]
    return GroupView(
        namespace=namespace,
        group=group,
        is_sharded=any(shard.lease.spec.holder_identity for shard in shards) or bool(shards and not leader.shard),
        leader=leader.shard,
        leader_host=leader.host if leader.shard else "",  # a Lease that was given back still names its last host
        leader_renewed_at=leading.spec.renew_time if leading is not None and leader.shard else None,
        shards=known + others,
        mutexes=_mutexes(group, found, names),
        events=_events(namespace, by_name, events),
    )


def _shard_view(shard: Shard, leader: str, count: Counter[Phase] | None, now: datetime) -> ShardView:
    spec, holder = shard.lease.spec, leases.holder_of(shard.lease)
    limit = timedelta(seconds=spec.lease_duration_seconds)
    return ShardView(
        shard=shard.name,
        state=shard.state.value,
        is_leader=bool(leader) and leader == holder.incarnation and bool(holder.shard),
        renewed_at=spec.renew_time,
        is_overdue=shard.state in _EXPECTED and spec.renew_time is not None and now - spec.renew_time > limit,
        lease=shard.lease.metadata.name,
        lease_duration_seconds=spec.lease_duration_seconds,
        acquired_at=spec.acquire_time,
        host=holder.host,
        pid=holder.pid,
        pod_uid=holder.pod_uid,
        build=holder.build,
        incarnation=holder.incarnation,
        executions=_by_phase(count or Counter()),
    )


def _by_phase(count: Counter[Phase]) -> dict[str, int]:
    return {phase.value: count[phase] for phase in LIVE_PHASES}


def _mutexes(group: str, found: Iterable[Lease], names: Mapping[str, str]) -> list[MutexView]:
    return [
        MutexView(
            mutex=lease.metadata.annotations.get(labels.MUTEX, key),
            holder=names.get(holder, holder),
            since=lease.spec.acquire_time,
        )
        for lease in found
        if (key := leases.mutex_of(lease, group)) is not None and (holder := lease.spec.holder_identity)
    ]


def _events(namespace: str, by_name: Mapping[str, Lease], events: Iterable[Event]) -> list[EventView]:
    ours = [
        EventView(
            at=event.last_timestamp or event.first_timestamp,
            lease=event.involved_object.name,
            reason=event.reason,
            message=event.message,
        )
        for event in events
        if event.metadata.namespace == namespace and event.involved_object.name in by_name
    ]
    return sorted(ours, key=lambda event: event.at.isoformat() if event.at else "")[-MAX_EVENTS:]


def format_views(
    views: Sequence[GroupView], now: datetime, *, wide: bool, with_namespace: bool, width: int | None = None
) -> str:
    """Return all groups as text, their tables cut to ``width`` columns of a terminal."""
    return "\n\n".join(_format_view(view, now, wide=wide, with_namespace=with_namespace, width=width) for view in views)


def _format_view(view: GroupView, now: datetime, *, wide: bool, with_namespace: bool, width: int | None) -> str:
    name = f"{view.namespace}/{view.group}" if with_namespace else view.group
    headline = f"Group {name}: {_headline(view, now)}"
    parts = [f"{headline}\n{_shard_table(view, now, wide=wide, width=width)}" if view.shards else headline]
    if wide and view.mutexes:
        rows = [[mutex.mutex, mutex.holder, format_age(mutex.since, now)] for mutex in view.mutexes]
        parts.append(format_table(["MUTEX", "HOLDER", "HELD-FOR"], rows, width=width))
    if view.events:
        rows = [[format_age(event.at, now), event.reason, event.message] for event in view.events]
        parts.append(format_table(["AGE", "EVENT", "MESSAGE"], rows, width=width))
    return "\n\n".join(parts)


def _headline(view: GroupView, now: datetime) -> str:
    held = sum(1 for shard in view.shards if shard.lease and shard.state not in {"Released", "Expired"})
    leader = f"{view.leader} on {view.leader_host}" if view.leader_host not in {"", view.leader} else view.leader
    renewed = f", renewed {format_age(view.leader_renewed_at, now)} ago" if view.leader_renewed_at else ""
    if view.is_sharded and leader and not any(shard.is_leader for shard in view.shards):
        return f"{leader}, which is not sharded, runs all of it{renewed}; {plural(held, 'shard')} in waiting"
    if view.is_sharded:
        return f"{plural(held, 'shard')}, " + (f"led by {leader}{renewed}" if leader else "nobody leads")
    return f"not sharded, {leader} runs all of it{renewed}" if leader else "nobody runs it"


def _shard_table(view: GroupView, now: datetime, *, wide: bool, width: int | None) -> str:
    header = ["SHARD", "STATE", "LEADER", "RENEWED", *(phase.upper() for phase in LIVE_PHASES), "HOST", "BUILD"]
    if wide:
        header += ["PID", "POD", "INCARNATION", "HELD-FOR", "DURATION", "LEASE"]
    rows = []
    for shard in view.shards:
        row = [
            shard.shard or "-",
            shard.state if view.is_sharded or shard.lease else "-",  # without shards, labels mean nothing
            "*" if shard.is_leader else "",
            _renewed(shard, now),
            *(str(shard.executions.get(phase.value, 0)) for phase in LIVE_PHASES),
            shard.host,
            shard.build if wide else shorten(shard.build, _BUILD_WIDTH),
        ]
        if wide:
            duration = f"{shard.lease_duration_seconds}s" if shard.lease else ""
            held_for = format_age(shard.acquired_at, now) if shard.acquired_at else ""
            row += [str(shard.pid or ""), shard.pod_uid, shard.incarnation, held_for, duration, shard.lease]
        rows.append(row)
    return format_table(header, rows, width=width)


def _renewed(shard: ShardView, now: datetime) -> str:
    if shard.renewed_at is None:
        return ""
    return f"{format_age(shard.renewed_at, now)} ago" + (", overdue" if shard.is_overdue else "")
