"""Internal. Judges live Executions, open Suspensions and archives. Pure functions over what was seen."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from kontinue import archives
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Phase, SuspensionKind
from kontinue_engine.cli.causes import split_mismatch, ways_out
from kontinue_engine.cli.doctor.findings import Finding, error, ok, warning
from kontinue_engine.cli.doctor.group_checks import Groups, groups_of
from kontinue_engine.cli.doctor.observed import ExecutionFacts, Observed
from kontinue_engine.cli.text import format_age, plural
from kontinue_engine.worker.options import WorkerOptions

PENDING_FOR: Final = timedelta(seconds=30)
"""Longer than a leader needs to adopt and place an Execution, after a fail-over too. Judgement."""
LONG: Final = timedelta(days=7)
"""How long somebody may take to answer. Judgement."""
SETTLING: Final = timedelta(minutes=5)
"""What has just ended is still being cleared away."""
MAX_OBJECT_BYTES: Final = 1536 * 1024
"""etcd's default limit of a request (https://etcd.io/docs/v3.6/dev-guide/limit/)."""
LARGE_BYTES: Final = MAX_OBJECT_BYTES * 2 // 3
HUGE_BYTES: Final = MAX_OBJECT_BYTES * 9 // 10
_MIB: Final = 1024 * 1024


def check_executions(seen: Observed) -> Iterator[Finding]:
    """Those that do not go on by themselves, and those that are near a limit."""
    if seen.executions is None:
        return
    groups = groups_of(seen)
    findings = [finding for one in seen.executions for finding in _check_execution(one, groups)]
    yield from findings
    if not findings:
        yield ok("executions", f"{plural(len(seen.executions), 'live one')}, none stuck or too large")


def _check_execution(one: ExecutionFacts, groups: Groups) -> Iterator[Finding]:
    seen = groups.seen
    about = seen.named(one.namespace, one.name, "executions")
    command = f"{one.name} -n {one.namespace}"
    if one.phase is Phase.BLOCKED:
        yield error(
            "executions",
            f"is Blocked: the code does not match what it has recorded\n{split_mismatch(one.message)}",
            f"{ways_out(one.name, f' -n {one.namespace}')}\n  kontinue describe {command}    # its steps",
            about=about,
        )
    if one.phase is Phase.PENDING and _is_older(one.created, PENDING_FOR, seen):
        yield from _check_pending(one, groups, about)
    budget = WorkerOptions(app="").crash_budget
    if one.crashes >= max(1, budget - 1):
        yield warning(
            "executions",
            f"{plural(one.crashes, 'runner')} died under it without a new record; it fails after {budget} by default",
            f"kontinue describe {command} tells what killed them, kontinue logs {command} what it printed",
            about=about,
        )
    if one.size >= LARGE_BYTES:
        what = f"has {one.size / _MIB:.2f} MiB; at {MAX_OBJECT_BYTES / _MIB:.1f} the server takes no more of it"
        remedy = "return less, or keep large values elsewhere and record where: docs/long-histories.md"
        yield (error if one.size >= HUGE_BYTES else warning)("executions", what, remedy, about=about)


def _check_pending(one: ExecutionFacts, groups: Groups, about: str) -> Iterator[Finding]:
    if groups.seen.functions is None or groups.seen.leases is None:
        return
    age = format_age(one.created, groups.seen.now)
    owner = groups.owners.get((one.namespace, one.function))
    if owner is None:
        names = [name for namespace, name in groups.owners if namespace == one.namespace]
        near = difflib.get_close_matches(one.function, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        yield error(
            "executions",
            f"has waited {age} for the function {one.function}, which no worker has{hint}",
            f"start a worker that has it, or kontinue cancel {one.name} -n {one.namespace}",
            about=about,
        )
    elif one.group and one.group != owner and not groups.live(one.namespace, one.group):
        yield error(
            "executions",
            f"belongs to group {one.group}, of which no replica lives; {one.function} is now of group {owner}",
            f"start a worker of {one.group}, or kontinue cancel {one.name} -n {one.namespace} and execute it anew",
            about=about,
        )
    elif not groups.live(one.namespace, one.group or owner):
        yield error(
            "executions",
            f"has waited {age}: no replica of group {one.group or owner} lives",
            "start a worker of that group",
            about=about,
        )
    elif not one.group and not one.waiting_for:
        yield warning(
            "executions",
            f"has waited {age} to be taken up by group {owner}, which lives",
            "its leader does that: look at its log",
            about=about,
        )


def check_suspensions(seen: Observed) -> Iterator[Finding]:
    """Suspensions that nobody needs any more, and people who have not answered."""
    whole = seen.executions is not None and "executions" not in seen.cut
    alive = {one.uid for one in seen.executions or ()}
    for one in seen.suspensions or ():
        about = seen.named(one.metadata.namespace, one.metadata.name, "suspensions")
        owner = parent_of(one.metadata.owner_references)
        created = one.metadata.creation_timestamp
        if whole and owner is not None and owner.uid not in alive and _is_older(created, SETTLING, seen):
            yield warning(
                "suspensions",
                f"is open, and its Execution {one.spec.execution} has ended",
                f"nothing waits for it: kubectl delete suspension {one.metadata.name} -n {one.metadata.namespace}",
                about=about,
            )
        elif one.spec.kind is SuspensionKind.MANUAL and _is_older(created, LONG, seen):
            name = f' "{one.spec.display_name}"' if one.spec.display_name else ""
            yield warning(
                "suspensions",
                f"execution {one.spec.execution} has waited {format_age(created, seen.now)} for an answer{name}",
                f"kontinue resume {one.spec.execution} -n {one.metadata.namespace}",
                about=about,
            )


def check_archives(seen: Observed) -> Iterator[Finding]:
    """Archives of which a part is missing."""
    found: dict[tuple[str, str, str], list[archives.PartKey]] = {}
    for meta in seen.archives or ():
        if (key := archives.part_key(meta)) is None:
            yield warning(
                "archives",
                "does not say which archive it is part of: somebody made or edited it by hand",
                "nothing reads it; delete it if you do not need it",
                about=seen.named(meta.namespace, meta.name, "archivedexecutions"),
            )
        elif _is_older(meta.creation_timestamp, SETTLING, seen):
            found.setdefault((meta.namespace, key.execution, key.digest), []).append(key)
    if "archivedexecutions" in seen.cut:
        return  # the other parts may stand on the next page
    for (namespace, execution, _), keys in found.items():
        missing = sorted(set(range(1, keys[0].parts + 1)) - {key.part for key in keys})
        if missing:
            yield error(
                "archives",
                f"the archive lacks {plural(len(missing), 'part')} of {keys[0].parts}: "
                f"{', '.join(map(str, missing))}. It cannot be read",
                "restore them from a backup, or delete the others",
                about=seen.named(namespace, execution, "executions"),
            )


def _is_older(created: datetime | None, age: timedelta, seen: Observed) -> bool:
    return created is not None and seen.now - created > age
