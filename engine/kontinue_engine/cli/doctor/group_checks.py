"""Internal. Judges worker groups: their Leases, Functions, schedules and mutexes. Pure functions over what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import ScheduledExecution
from kontinue_engine.cli.doctor.findings import Finding, error, ok, warning
from kontinue_engine.cli.doctor.observed import Observed
from kontinue_engine.cli.shard_view import GroupKey, GroupView, build_views, group_of
from kontinue_engine.cli.text import format_age, plural
from kontinue_engine.schedules.cron import Cron, CronError
from kontinue_engine.schedules.deciding import READY
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.lease_book import GONE, LeaseBook

LATE: Final = timedelta(minutes=5)
"""How late an occurrence may be before somebody should look. Judgement."""
_GONE_STATES: Final = {state.value for state in GONE}


class Groups(msgspec.Struct, frozen=True):
    """The groups that have Leases, and which group has each function, by namespace and name."""

    views: Mapping[GroupKey, GroupView]
    owners: Mapping[tuple[str, str], str]
    seen: Observed

    def live(self, namespace: str, group: str) -> bool:
        """Tell whether a replica of a group lives, as far as the clock of its holder tells."""
        view = self.views.get((namespace, group))
        return view is not None and _lives(view, self.seen)


def groups_of(seen: Observed) -> Groups:
    """Return what is known of groups."""
    owners = {(one.metadata.namespace, one.spec.name): one.spec.worker_group for one in seen.functions or ()}
    return Groups(_views(seen), owners, seen)


def _views(seen: Observed) -> dict[GroupKey, GroupView]:
    found: dict[GroupKey, list[Lease]] = {}
    for lease in seen.leases or ():
        if (key := group_of(lease.metadata)) is not None:
            found.setdefault(key, []).append(lease)
    books = {key: LeaseBook(key[1]) for key in found}
    for key, book in books.items():
        book.replace(found[key], seen.now_s)
    views = build_views(books, found, {}, (), {}, now=seen.now, now_s=seen.now_s)
    return {(view.namespace, view.group): view for view in views}


def _lives(view: GroupView, seen: Observed) -> bool:
    return _leads(view, seen) or any(shard.state not in _GONE_STATES and not shard.is_overdue for shard in view.shards)


def check_groups(seen: Observed) -> Iterator[Finding]:
    """Replicas: who leads, who is silent, who stops, and whether they run the same code."""
    views = _views(seen)
    if seen.leases is not None and not views:
        yield warning(
            "groups", "no worker has ever run here", "kontinue worker run MODULE:APP, or kontinue manifest in a cluster"
        )
    for key, view in views.items():
        yield from _check_group(key, view, seen)


def _check_group(key: GroupKey, view: GroupView, seen: Observed) -> Iterator[Finding]:
    name = seen.named(*key, "groups")
    held = [shard for shard in view.shards if shard.lease and shard.state not in _GONE_STATES]
    silent = [shard for shard in held if shard.is_overdue]
    for shard in silent:
        yield warning(
            "groups",
            f"shard {shard.shard} on {shard.host or 'an unknown host'} has not renewed its Lease for "
            f"{format_age(shard.renewed_at, seen.now)}",
            "if its clock is right, it is dead or cannot reach the server; others take over what it had: "
            "`kontinue shards -w` shows when",
            about=name,
        )
    for shard in held:
        if shard.state == "Draining":
            yield ok("groups", f"shard {shard.shard} is about to stop, and takes no new work", about=name)
    builds = Counter(shard.build for shard in held if shard.build and not shard.is_overdue)
    if len(builds) > 1:
        counted = ", ".join(f"{count} x {build}" for build, count in builds.items())
        yield warning(
            "groups",
            f"its replicas run {len(builds)} builds: {counted}",
            "fine during a rollout; else restart those with the old code",
            about=name,
        )
    if not _lives(view, seen):
        yield error("groups", "no replica lives", "start a worker of the group; until then it waits", about=name)
    elif not _leads(view, seen):
        yield warning(
            "groups", "nobody leads: nothing is placed, scheduled or archived", "look at its workers' logs", about=name
        )
    else:
        shards = f"{plural(len(held), 'shard')}, " if view.is_sharded else ""
        yield ok("groups", f"{shards}led by {view.leader}", about=name)


def _leads(view: GroupView, seen: Observed) -> bool:
    if not view.leader or view.leader_renewed_at is None:
        return False
    lease = next(
        (
            one
            for one in seen.leases or ()
            if one.metadata.name == leases.leader_lease_name(view.group) and one.metadata.namespace == view.namespace
        ),
        None,
    )
    return lease is not None and seen.now - view.leader_renewed_at <= timedelta(
        seconds=lease.spec.lease_duration_seconds
    )


def check_functions(seen: Observed) -> Iterator[Finding]:
    """Functions whose group has no living replica."""
    if seen.functions is None or seen.leases is None:
        return
    groups = groups_of(seen)
    dead: dict[GroupKey, list[str]] = {}
    for (namespace, name), group in groups.owners.items():
        if not groups.live(namespace, group):
            dead.setdefault((namespace, group), []).append(name)
    for (namespace, group), names in dead.items():
        yield warning(
            "functions",
            f"no replica of their group {group} lives: {', '.join(names)}",
            "calls wait until one starts; if the group is gone for good: kubectl delete functions.kontinue.cloud NAME",
            about=seen.named(namespace, group, "groups"),
        )
    if seen.functions and not dead:
        yield ok("functions", f"{plural(len(seen.functions), 'function')}, all of groups that live")


def check_schedules(seen: Observed) -> Iterator[Finding]:
    """Schedules that can start nothing, or should have."""
    groups = groups_of(seen)
    for schedule in seen.schedules or ():
        about = seen.named(schedule.metadata.namespace, schedule.metadata.name, "scheduledexecutions")
        if problem := _problem_of(schedule, groups):
            what, remedy = problem
            yield error("schedules", what, remedy, about=about)
            continue
        refused = next((one for one in schedule.status.conditions if one.type == READY and one.status == "False"), None)
        if refused is not None:
            remedy = f"kubectl edit scheduledexecution {schedule.metadata.name}"
            yield warning("schedules", f"starts nothing: {refused.message or refused.reason}", remedy, about=about)
            continue
        due = schedule.status.next_schedule_time
        if due is not None and not schedule.spec.suspend and seen.now - due > LATE:
            yield warning(
                "schedules",
                f"was due {format_age(due, seen.now)} ago, and nothing has been started",
                "its group's leader starts it: kontinue shards; an earlier run may still be under way: "
                "`kubectl describe` says so",
                about=about,
            )


def _problem_of(schedule: ScheduledExecution, groups: Groups) -> tuple[str, str] | None:
    spec = schedule.spec
    try:
        Cron(spec.schedule, spec.time_zone)
    except CronError as problem:
        return str(problem), f"kubectl edit scheduledexecution {schedule.metadata.name}"
    if groups.seen.functions is not None and (schedule.metadata.namespace, spec.function) not in groups.owners:
        return f"no worker has the function {spec.function}", "kontinue functions lists those that there are"
    return None


def check_mutexes(seen: Observed) -> Iterator[Finding]:
    """Mutexes that nobody uses, or whose holder is gone."""
    if seen.executions is None or "executions" in seen.cut:
        return
    alive = {one.uid for one in seen.executions}
    for lease in seen.leases or ():
        key = group_of(lease.metadata)
        if key is None or leases.mutex_of(lease, key[1]) is None:
            continue
        about = seen.named(lease.metadata.namespace, lease.metadata.name, "leases")
        mutex = lease.metadata.annotations.get(labels.MUTEX, "")
        taken = lease.spec.acquire_time or lease.metadata.creation_timestamp
        if lease.spec.holder_identity in alive or taken is None or seen.now - taken < LATE:
            continue
        holder = lease.metadata.annotations.get(labels.EXECUTION) or lease.spec.holder_identity or "nobody"
        yield warning(
            "mutexes",
            f"mutex {mutex} is still kept for {holder}, which runs no more",
            "the group's leader frees it once it knows that nothing of it runs: if it does not, look at its log",
            about=about,
        )
