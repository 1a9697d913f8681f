"""Internal. The rules of server-side apply: what an apply and an update do to the object and to who owns its fields.

Applying takes over the fields of the configuration, removes those that the same manager applied before and nobody else
owns, and conflicts where it would change what others own. Updating takes what it changes. Pure; called by
``kontinue_engine.apiserver.apply.tracking``, which knows kinds and requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kontinue_engine.apiserver.apply import field_sets, merging, typed_values
from kontinue_engine.apiserver.apply.field_sets import EMPTY, FieldSet, Path, field
from kontinue_engine.apiserver.apply.managers import Manager, Owned, Owners, capped
from kontinue_engine.apiserver.apply.typed_values import Changes
from kontinue_engine.apiserver.apply.types import Type
from kontinue_engine.apiserver.values import json_equal

_NEVER_OWNED: Final[FieldSet] = frozenset(
    {
        field("apiVersion"),
        field("kind"),
        field("metadata"),
        *(
            field("metadata", name)
            for name in (
                "clusterName",
                "creationTimestamp",
                "generation",
                "managedFields",
                "name",
                "namespace",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    }
)
_CURRENT: Final = Manager("", "", "", "")
"""Stands for the update that is being made, until it is known whether it took anything."""


class Rules(msgspec.Struct, frozen=True):
    """What the request is about.

    Attributes:
        version: apiVersion of the request.
        type_of: how objects are owned in an apiVersion; None for one that is not served any more.
        ignored: what the request cannot change, such as ``status`` of the main resource.
        now: time of the request.
    """

    version: str
    type_of: Callable[[str], Type | None]
    ignored: FieldSet
    now: str

    def kind(self) -> Type:
        """Return how objects of the request's version are owned."""
        found = self.type_of(self.version)
        if found is None:
            raise LookupError(f"{self.version} is not served")
        return found


class ConflictError(Exception):
    """An apply would change fields of others.

    Attributes:
        conflicts: whose and which.
    """

    def __init__(self, conflicts: list[tuple[Manager, Path]]) -> None:
        super().__init__(f"{len(conflicts)} conflicts")
        self.conflicts = conflicts


def update(rules: Rules, old: Any, new: Any, owners: Owners, manager: Manager) -> Owners:
    """Return who owns what after ``manager`` wrote ``new`` over ``old``."""
    settled, changes = _settled(rules, old, new, _reconciled(rules, owners), _CURRENT, force=True)
    taken = field_sets.without_subtrees(changes.added | changes.modified, rules.ignored) - _NEVER_OWNED
    if taken:
        before = settled[manager].fields if manager in settled else EMPTY
        settled[manager] = Owned(before | taken, rules.version, rules.now)
    return capped(settled)


def apply(rules: Rules, live: Any, config: Any, owners: Owners, manager: Manager, *, force: bool) -> tuple[Any, Owners]:
    """Return the object and who owns what after ``manager`` applied ``config`` over ``live``.

    Raises:
        ConflictError: it would change what others own, and ``force`` is not set.
    """
    kind = rules.kind()
    owners = _reconciled(rules, owners)
    last = owners.get(manager)
    fields = field_sets.without_subtrees(typed_values.field_set(kind, config), rules.ignored)
    claimed = {**owners, manager: Owned(fields, rules.version, last.time if last else None)}
    merged = merging.merge(kind, live, config)
    applied = _without_abandoned(rules, merged, claimed, last, fields)
    settled, _ = _settled(rules, live, applied, claimed, manager, force=force)
    mine = settled.pop(manager, None)
    kept = mine.fields - _NEVER_OWNED if mine else EMPTY
    if kept:
        time = rules.now if not json_equal(live, applied) else claimed[manager].time
        settled[manager] = Owned(kept, rules.version, time)
    return applied, settled


def _reconciled(rules: Rules, owners: Owners) -> Owners:
    """Follow a schema that changed what is owned as a whole since the fields were written."""
    return {
        manager: owned._replace(fields=merging.reconciled(kind, owned.fields))
        for manager, owned in owners.items()
        if (kind := rules.type_of(owned.api_version))
    }


def _settled(
    rules: Rules, old: Any, new: Any, owners: Owners, manager: Manager, *, force: bool
) -> tuple[Owners, Changes]:
    """Take from the others what ``manager`` changed or removed; returns the owners that have something left."""
    known: dict[str, Changes] = {}
    settled: Owners = {}
    conflicts: list[tuple[Manager, Path]] = []
    for other, owned in owners.items():
        kept = owned.fields
        if other != manager:
            changes = _changes(rules, old, new, owned.api_version, known)
            lost = kept & (changes.modified | changes.added)
            conflicts += [(other, path) for path in sorted(lost)]
            kept = kept - lost - changes.removed
        if kept:
            settled[other] = owned._replace(fields=kept)
    if conflicts and not force:
        raise ConflictError(sorted(conflicts))
    return settled, _changes(rules, old, new, rules.version, known)


def _changes(rules: Rules, old: Any, new: Any, version: str, known: dict[str, Changes]) -> Changes:
    if version not in known:
        kind = rules.type_of(version) or rules.kind()
        known[version] = typed_values.compare(kind, old, new).without(rules.ignored)
    return known[version]


def _without_abandoned(rules: Rules, merged: Any, owners: Owners, last: Owned | None, fields: FieldSet) -> Any:
    """Return ``merged`` without what its manager applied last time and not now (``fields``), and nobody else owns."""
    if last is None or last.fields <= fields:
        return merged
    kind = rules.type_of(last.api_version)
    if kind is None:
        return merged
    was_applied = merging.with_named_fields(kind, last.fields)
    pruned = merging.remove(kind, merged, was_applied)
    versions = dict.fromkeys([last.api_version, *(owned.api_version for owned in owners.values())])
    for version in versions:
        served = rules.type_of(version)
        if served is not None:
            owned_fields = [owned.fields for owned in owners.values() if owned.api_version == version]
            pruned = _with_owned(served, merged, pruned, EMPTY.union(*owned_fields))
    # What went with the rest, though the manager never applied it, comes back.
    gone = _named(kind, merged) - _named(kind, pruned)
    return merging.remove(kind, merged, gone & was_applied)


def _with_owned(kind: Type, merged: Any, pruned: Any, owned: FieldSet) -> Any:
    kept = _named(kind, pruned) | merging.with_named_fields(kind, owned)
    return merging.remove(kind, merged, _named(kind, merged) - kept)


def _named(kind: Type, value: Any) -> FieldSet:
    return merging.with_named_fields(kind, typed_values.field_set(kind, value))
