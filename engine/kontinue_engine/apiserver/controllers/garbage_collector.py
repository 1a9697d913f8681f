"""Internal. Deletes objects whose owners are gone, and finishes Foreground and Orphan deletes.

Follows Kubernetes' garbage collector: an owner counts by uid; a dependent goes when none of its owners lives, and
loses the dead references otherwise. Level-based: a key is put in line whenever something about it changed, and judged
by what is stored when its turn comes. Woken by the object store; writes through ``writing.Writer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.controllers.background import BATCH_OBJECTS, PLAIN_WRITE, RETRY_S, Line, log_refusal
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects import deletion
from kontinue_engine.apiserver.objects.deletion import DeleteOptions
from kontinue_engine.apiserver.objects.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import EVENTS

_EVENTS_PREFIX: Final = f"{EVENTS.store_key}/"
"""Of Events, which the collector leaves alone, as that of Kubernetes does: they expire."""


class _Metadata(msgspec.Struct, rename="camel"):
    owner_references: list[dict[str, Any]] | None = None


class _Referring(msgspec.Struct):
    """The one part of an object that is read of each that is created with an owner: the rest is skipped."""

    metadata: _Metadata


_read_referring: Final = msgspec.json.Decoder(_Referring).decode


class GarbageCollector:
    """The collector; ``run`` is a task of the server."""

    def __init__(self, store: ObjectStore, registry: Registry, writer: Writer) -> None:
        self._store = store
        self._registry = registry
        self._writer = writer
        self._line = Line()

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Put in line what a batch of changes may have orphaned or released."""
        if store_key == EVENTS.store_key:
            return
        dependents, by_uid = self._store.dependents, self._store.by_uid
        for event in events:
            old, new = event.old, event.new
            if old is not None:
                # What waits for this object to go, or to block it no longer.
                for uid in old.facts.owners:
                    if (owner := by_uid.get(uid)) is not None and owner.facts.is_deleting:
                        self._line.add((owner.key,))
            if new is None:
                if old is not None and (keys := dependents.get(old.facts.uid)):
                    self._line.add(keys)
            elif new.facts.is_deleting or (new.facts.owners and self._may_be_orphaned(old, new)):
                self._line.add((new.key,))

    def add_all(self) -> None:
        """Put everything in line that has owners or is being deleted: at start, nobody tells what happened before."""
        for _, table in self._store.tables():
            self._line.add(entry.key for entry in table.entries() if entry.facts.owners or entry.facts.is_deleting)

    async def run(self) -> None:
        """Judge what is in line, for ever; what could not be written is tried again."""
        while True:
            keys = await self._line.take(BATCH_OBJECTS)
            failed = [key for key in await asyncio.gather(*map(self._judge_safely, keys)) if key]
            if failed:
                await asyncio.sleep(RETRY_S)
                self._line.add(failed)

    def _may_be_orphaned(self, old: Entry | None, new: Entry) -> bool:
        """Tell whether an owner may be gone; the references are only read when they are new."""
        by_uid = self._store.by_uid
        for uid in new.facts.owners:
            owner = by_uid.get(uid)
            if owner is None or owner.facts.is_deleting:
                return True
        if old is not None and old.facts.owners == new.facts.owners:
            return False
        return any(self._is_gone(reference, new) for reference in _references(new))

    async def _judge_safely(self, key: str) -> str:
        try:
            await self._judge(key)
        except statuses.StatusError as error:
            log_refusal("garbage collector", key, error)
            if error.code == 409:  # it changed meanwhile: judged anew
                self._line.add((key,))
            return key if error.code >= 500 else ""
        return ""

    async def _judge(self, key: str) -> None:
        entry = self._store.entry(key)
        if entry is None or key.startswith(_EVENTS_PREFIX):
            return
        if entry.facts.is_deleting:
            await self._finish_delete(entry)
        elif entry.facts.owners:
            await self._judge_dependent(entry)

    async def _judge_dependent(self, entry: Entry) -> None:
        references = _references(entry)
        gone = [reference for reference in references if self._is_gone(reference, entry)]
        waiting = [reference for reference in references if reference not in gone and self._waits_for(reference)]
        if not gone and not waiting:
            return
        if len(gone) + len(waiting) < len(references):
            await self._without_owners(entry, {reference["uid"] for reference in (*gone, *waiting)})
            return
        dependents = self._dependents(entry) if waiting else []
        if any(_is_deleted_in_foreground(dependent) for dependent in dependents):
            await self._unblock_owners(entry)  # a circle, in which each would wait for the other
        keeps_policy = any(finalizer in deletion.COLLECTOR_FINALIZERS for finalizer in _finalizers(entry))
        await self._delete(entry, "Foreground" if dependents else "" if keeps_policy else "Background")

    def _is_gone(self, reference: dict[str, Any], entry: Entry) -> bool:
        """Tell whether no owner is where ``reference`` says; one of a kind that is not served cannot be judged."""
        resource = self._registry.find_kind(reference["apiVersion"], reference["kind"])
        if resource is None or (resource.namespaced and not entry.namespace):
            return False
        namespace = entry.namespace if resource.namespaced else ""
        owner = self._store.table(resource.store_key).get(namespace, reference["name"])
        return owner is None or owner.facts.uid != reference["uid"]

    def _waits_for(self, reference: dict[str, Any]) -> bool:
        owner = self._store.by_uid.get(reference["uid"])
        return owner is not None and _is_deleted_in_foreground(owner)

    def _dependents(self, owner: Entry) -> list[Entry]:
        keys = self._store.dependents.get(owner.facts.uid, ())
        return [entry for key in keys if (entry := self._store.entry(key)) and not key.startswith(_EVENTS_PREFIX)]

    async def _finish_delete(self, owner: Entry) -> None:
        finalizers = _finalizers(owner)
        dependents = self._dependents(owner)
        if deletion.ORPHAN_FINALIZER in finalizers:
            for entry in dependents:
                await self._without_owners(entry, {owner.facts.uid})
            await self._without_finalizer(owner, deletion.ORPHAN_FINALIZER)
        elif deletion.FOREGROUND_FINALIZER in finalizers:
            if not any(_blocks(entry, owner.facts.uid) for entry in dependents):
                await self._without_finalizer(owner, deletion.FOREGROUND_FINALIZER)
            self._line.add(entry.key for entry in dependents if not entry.facts.is_deleting)

    async def _delete(self, entry: Entry, propagation: str) -> None:
        options = DeleteOptions(entry.facts.uid, str(entry.rev), propagation)
        await self._writer.delete_object(self._target(entry), options)

    async def _without_owners(self, entry: Entry, uids: set[str]) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            metadata = dict(current["metadata"])
            kept = [owner for owner in metadata.get("ownerReferences") or [] if owner["uid"] not in uids]
            metadata["ownerReferences"] = kept or None
            return {**current, "metadata": metadata}

        await self._writer.change(self._target(entry), change, PLAIN_WRITE, verb="patch")

    async def _unblock_owners(self, entry: Entry) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            owners = current["metadata"].get("ownerReferences") or []
            kept = [{key: owner[key] for key in owner if key != "blockOwnerDeletion"} for owner in owners]
            return {**current, "metadata": {**current["metadata"], "ownerReferences": kept}}

        await self._writer.change(self._target(entry), change, PLAIN_WRITE, verb="patch")

    async def _without_finalizer(self, entry: Entry, finalizer: str) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            metadata = dict(current["metadata"])
            kept = [name for name in metadata.get("finalizers") or [] if name != finalizer]
            metadata["finalizers"] = kept or None
            return {**current, "metadata": metadata}

        await self._writer.change(self._target(entry), change, PLAIN_WRITE, verb="patch")

    def _target(self, entry: Entry) -> Target:
        resource = self._registry.stored(entry.key.partition("/")[0])
        if resource is None:
            raise statuses.StatusError(404, "NotFound", f"{entry.key} is of a kind that is not served")
        return Target(resource, entry.namespace, entry.name, "")


def _references(entry: Entry) -> list[dict[str, Any]]:
    return _read_referring(entry.data).metadata.owner_references or []


def _is_deleted_in_foreground(entry: Entry) -> bool:
    return entry.facts.is_deleting and deletion.FOREGROUND_FINALIZER in _finalizers(entry)


def _finalizers(entry: Entry) -> list[str]:
    return orjson.loads(entry.data)["metadata"].get("finalizers") or []


def _blocks(entry: Entry, uid: str) -> bool:
    return any(reference["uid"] == uid and reference.get("blockOwnerDeletion") for reference in _references(entry))
