"""Internal. How long what has ended is kept, and which archives of it count. Pure.

Called by the leader's duty (``kontinue_engine.coordinator.retention``), which carries it out, and by that over
schedules, whose history leaves alone what is archived. Of children a ttl counts for nothing: they go with their root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from kontinue.api.meta import Condition, ObjectMeta, OwnerReference, parent_of
from kontinue.api.v1alpha1 import Execution, ExecutionDefaults, ExecutionTTL
from kontinue.archives import PartKey
from kontinue_engine.lifecycle.conditions import STOPPED, is_stopped
from kontinue_engine.lifecycle.statuses import limit_ms
from kontinue_engine.lifecycle.times import ms_of

UNCLAIMED_PATIENCE_S: Final = 600.0
"""An Execution that ended before anybody wrote that it ran counts as stopped once it was seen so for so long.
Judgement: who has it without having said so hears of its end within seconds, or has lost its Lease within a minute."""


class Due(msgspec.Struct, frozen=True):
    """When what becomes of something that has ended, in milliseconds since 1970; None for never.

    Attributes:
        archive_ms: its tree is replaced by an archive.
        delete_ms: it is deleted, or its archive.
    """

    archive_ms: int | None
    delete_ms: int | None

    @property
    def first_ms(self) -> int | None:
        """When something has to be done first."""
        return self.archive_ms if self.archive_ms is not None else self.delete_ms


NEVER: Final = Due(None, None)
_LAST_MS: Final = ms_of(datetime(9999, 12, 31, tzinfo=UTC))


def ttl_of(
    spec: ExecutionTTL | None,
    recorded: ExecutionDefaults | None,
    function: ExecutionDefaults | None,
    worker: ExecutionTTL | None,
    *,
    has_run: bool,
) -> ExecutionTTL | None:
    """Return the ttl that counts, as a whole: a ttl without a time keeps for ever.

    Args:
        spec: of the Execution.
        recorded: defaults of its function when it first ran.
        function: defaults of its function now, for one that ended before it ran.
        worker: of the group's workers.
        has_run: whether there was an attempt.
    """
    known = recorded if has_run else function
    if spec is not None:
        return spec
    return known.ttl if known is not None and known.ttl is not None else worker


def due_of(ttl: ExecutionTTL | None, ended_ms: int) -> Due:
    """Return when what is due of something that ended at ``ended_ms``. Nothing is archived to be deleted at once."""
    if ttl is None:
        return NEVER
    archive_ms, delete_ms = limit_ms(ttl.archive_after), limit_ms(ttl.delete_after)
    if archive_ms is not None and delete_ms is not None and delete_ms <= archive_ms:
        archive_ms = None
    return Due(_after(ended_ms, archive_ms), _after(ended_ms, delete_ms))


def _after(ended_ms: int, length_ms: int | None) -> int | None:
    """Return the time; what no date can name never comes."""
    return None if length_ms is None or ended_ms + length_ms > _LAST_MS else ended_ms + length_ms


def is_archived(ttl: ExecutionTTL | None) -> bool:
    """Tell whether what has this ttl is archived before it is deleted."""
    return due_of(ttl, 0).archive_ms is not None


def ended_ms(meta: ObjectMeta, finished_at: datetime | None, conditions: Sequence[Condition]) -> int | None:
    """Return when an Execution that has ended did so; a client's cancel does not say, its Stopped does."""
    stopped = (one.last_transition_time for one in conditions if one.type == STOPPED)
    known = finished_at or next(stopped, None) or meta.creation_timestamp
    return None if known is None else ms_of(known)


def is_root(meta: ObjectMeta) -> bool:
    """Tell whether an Execution has no parent."""
    return parent_of(meta.owner_references) is None


def is_unclaimed(execution: Execution) -> bool:
    """Tell whether an Execution has ended, and nobody has ever written that it ran, nor that it has stopped."""
    status = execution.status
    return execution.phase.is_terminal and status.owner is None and not is_stopped(status.conditions)


def why_not_at_rest(execution: Execution, unclaimed_s: float) -> str:
    """Return why an Execution must not go yet; empty if nothing of it runs, and nobody wants that it runs again.

    Args:
        execution: as it is now.
        unclaimed_s: for how long ``is_unclaimed`` has been true of it.
    """
    name, status = execution.metadata.name, execution.status
    if not execution.phase.is_terminal:
        return f"{name} is {execution.phase.value}"
    if execution.is_retry_requested:
        return f"a retry of {name} is asked for"
    if is_stopped(status.conditions):
        return ""
    if status.owner is None and unclaimed_s >= UNCLAIMED_PATIENCE_S:
        return ""
    return f"{name} may still be stopping"


def below(root: str, owners: Mapping[str, Sequence[OwnerReference]]) -> frozenset[str]:
    """Return the uids of what descends from a root, that aside.

    Args:
        root: its uid.
        owners: uid -> owners of that Execution.
    """
    children: dict[str, list[str]] = {}
    for uid, references in owners.items():
        parent = parent_of(references)
        if parent is not None:
            children.setdefault(parent.uid, []).append(uid)
    found: set[str] = set()
    left = [root]
    while left:
        new = [uid for uid in children.get(left.pop(), ()) if uid not in found and uid != root]
        found.update(new)
        left += new
    return frozenset(found)


class StoredPart(msgspec.Struct, frozen=True):
    """A part of an archive that exists.

    Attributes:
        key: which part of which archive.
        meta: of the object.
    """

    key: PartKey
    meta: ObjectMeta


def superfluous(parts: Iterable[StoredPart], living: int | None) -> list[StoredPart]:
    """Return the first parts of archives of one Execution that do not count; the others of each go with that.

    Args:
        parts: all that exist, read after the Execution was.
        living: resourceVersion of the Execution; None if it is gone.
    """
    archives: dict[str, list[StoredPart]] = {}
    for one in parts:
        archives.setdefault(one.key.digest, []).append(one)
    if living is not None:
        drop = [digest for digest, found in archives.items() if found[0].key.version < living]
    else:
        whole = [digest for digest, found in archives.items() if is_whole(found)]
        kept = max(whole, key=lambda digest: _order(archives[digest][0].key), default=None)
        drop = [digest for digest, found in archives.items() if digest != kept and (kept or not _was_whole(found))]
    return [one for digest in drop for one in archives[digest] if one.key.part == 1]


def _order(key: PartKey) -> tuple[int, int, str]:
    return key.version, key.newest, key.digest


def is_whole(parts: Sequence[StoredPart]) -> bool:
    """Tell whether an archive has all of its parts."""
    return bool(parts) and {one.key.part for one in parts} >= set(range(1, parts[0].key.parts + 1))


def _was_whole(parts: Sequence[StoredPart]) -> bool:
    """Tell whether the last part of an archive was written, so that what is missing was deleted since."""
    return any(one.key.part == one.key.parts for one in parts)


def is_settled(parts: Sequence[StoredPart]) -> bool:
    """Tell whether these are the parts of one archive, and all of them: nothing has to be looked at."""
    return len({one.key.digest for one in parts}) <= 1 and is_whole(parts)
