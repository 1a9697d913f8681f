"""Internal. Deletes objects whose owners are gone, and finishes Foreground and Orphan deletes.

Follows Kubernetes' garbage collector: an owner counts by uid; a dependent goes when none of its owners lives, and
loses the dead references otherwise. Level-based: a key is put in line whenever something about it changed, and judged
by what is stored when its turn comes. Woken by the object store; writes through ``writing.Writer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import preparation, statuses
from kontinue_engine.apiserver.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.requests import DeleteOptions, Target, WriteOptions
from kontinue_engine.apiserver.writing import Writer

BATCH_OBJECTS: Final = 64
"""Judgement: judged at once, so that their deletes share a commit and other requests get their turn."""
RETRY_S: Final = 1.0
PLAIN_WRITE: Final = WriteOptions(is_dry_run=False, field_validation="Ignore")


class GarbageCollector:
    """The collector; ``run`` is a task of the server."""

    def __init__(self, store: ObjectStore, registry: Registry, writer: Writer) -> None:
        self._store = store
        self._registry = registry
        self._writer = writer
        self._queue: dict[str, None] = {}
        self._wake = asyncio.Event()

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Put in line what a batch of changes may have orphaned or released."""
        _ = store_key
        dependents, by_uid = self._store.dependents, self._store.by_uid
        for event in events:
            old, new = event.old, event.new
            if new is None and old is not None:
                if keys := dependents.get(old.facts.uid):
                    self._add(keys)
                for uid in old.facts.owners:
                    if (owner := by_uid.get(uid)) is not None and owner.facts.is_deleting:
                        self._add((owner.key,))
            elif new is not None:
                if new.facts.owners and any(uid not in by_uid for uid in new.facts.owners):
                    self._add((new.key,))
                if new.facts.is_deleting:
                    self._add((new.key,))

    def add_all(self) -> None:
        """Put everything in line that has owners or is being deleted: at start, nobody tells what happened before."""
        for _, table in self._store.tables():
            self._add(entry.key for entry in table.entries() if entry.facts.owners or entry.facts.is_deleting)

    async def run(self) -> None:
        """Judge what is in line, for ever; what could not be written is tried again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                keys = list(self._queue)[:BATCH_OBJECTS]
                for key in keys:
                    del self._queue[key]
                failed = [key for key in await asyncio.gather(*map(self._judge_safely, keys)) if key]
                if failed:
                    await asyncio.sleep(RETRY_S)
                    self._add(failed)

    def _add(self, keys: Iterable[str]) -> None:
        self._queue.update(dict.fromkeys(keys))
        if self._queue:
            self._wake.set()

    async def _judge_safely(self, key: str) -> str:
        try:
            await self._judge(key)
        except statuses.StatusError as error:
            # Gone or changed meanwhile: the change itself puts it in line again. Anything else is tried again.
            return key if error.code >= 500 else ""
        return ""

    async def _judge(self, key: str) -> None:
        entry = self._store.entry(key)
        if entry is None:
            return
        if entry.facts.is_deleting:
            await self._finish_delete(entry)
        elif entry.facts.owners:
            await self._judge_dependent(entry)

    async def _judge_dependent(self, entry: Entry) -> None:
        references: list[dict[str, Any]] = orjson.loads(entry.data)["metadata"].get("ownerReferences") or []
        gone = [reference for reference in references if self._is_gone(reference, entry)]
        waiting = [reference for reference in references if reference not in gone and self._waits_for(reference)]
        solid = len(references) - len(gone) - len(waiting)
        if not gone and not waiting:
            return
        if solid == 0:
            propagation = "Foreground" if waiting and self._store.dependents.get(entry.facts.uid) else "Background"
            await self._delete(entry, propagation)
        elif gone:
            dead = {reference["uid"] for reference in gone}
            await self._without_owners(entry, dead)

    def _is_gone(self, reference: dict[str, Any], entry: Entry) -> bool:
        owner = self._store.by_uid.get(reference["uid"])
        if owner is not None:
            return owner.namespace not in {"", entry.namespace}
        # An owner of a kind that this server does not serve cannot be judged.
        resource = self._registry.find_kind(reference["apiVersion"], reference["kind"])
        return resource is not None and not (resource.namespaced and not entry.namespace)

    def _waits_for(self, reference: dict[str, Any]) -> bool:
        owner = self._store.by_uid.get(reference["uid"])
        return (
            owner is not None
            and owner.facts.is_deleting
            and bool(reference.get("blockOwnerDeletion"))
            and preparation.FOREGROUND_FINALIZER in _finalizers(owner)
        )

    async def _finish_delete(self, owner: Entry) -> None:
        finalizers = _finalizers(owner)
        dependents = [
            entry for key in self._store.dependents.get(owner.facts.uid, ()) if (entry := self._store.entry(key))
        ]
        if preparation.ORPHAN_FINALIZER in finalizers:
            for entry in dependents:
                await self._without_owners(entry, {owner.facts.uid})
            await self._without_finalizer(owner, preparation.ORPHAN_FINALIZER)
        elif preparation.FOREGROUND_FINALIZER in finalizers:
            blocking = [entry for entry in dependents if _blocks(entry, owner.facts.uid)]
            if not blocking:
                await self._without_finalizer(owner, preparation.FOREGROUND_FINALIZER)
            self._add(entry.key for entry in blocking if not entry.facts.is_deleting)

    async def _delete(self, entry: Entry, propagation: str) -> None:
        options = DeleteOptions(entry.facts.uid, str(entry.rev), propagation, is_dry_run=False)
        await self._writer.delete_object(self._target(entry), options)

    async def _without_owners(self, entry: Entry, uids: set[str]) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            metadata = dict(current["metadata"])
            kept = [owner for owner in metadata.get("ownerReferences") or [] if owner["uid"] not in uids]
            metadata["ownerReferences"] = kept or None
            return {**current, "metadata": metadata}

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


def _finalizers(entry: Entry) -> list[str]:
    return orjson.loads(entry.data)["metadata"].get("finalizers") or []


def _blocks(entry: Entry, uid: str) -> bool:
    references = orjson.loads(entry.data)["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == uid and reference.get("blockOwnerDeletion") for reference in references)
