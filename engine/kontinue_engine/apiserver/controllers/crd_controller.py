"""Internal. Serves what the stored CustomResourceDefinitions define, and empties those that are deleted.

Told by the object store of every committed change of a CRD, before its writer is answered: so a kind is served, and
discovery shows it, when the answer arrives. In the background it gives names that became free to CRDs that wait for
them, and deletes the objects of a kind whose CRD is deleted; the CRD goes when the last of them has gone.
Writes through ``writing.Writer``; what a CRD's status says is decided by ``crd_status``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.controllers.background import PLAIN_WRITE, RETRY_S, Line, delete_all, log_refusal
from kontinue_engine.apiserver.custom import crd_status
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.reads.watch import WatchHub
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS


class CrdController:
    """The controller; ``run`` is a task of the server."""

    def __init__(self, store: ObjectStore, registry: Registry, writer: Writer, hub: WatchHub) -> None:
        self._store = store
        self._registry = registry
        self._writer = writer
        self._hub = hub
        self._line = Line()

    async def install(self, crds: Iterable[dict[str, Any]]) -> None:
        """Store ``crds`` as objects, or bring those that are stored up to date.

        Raises:
            StatusError: one cannot be stored.
        """
        for crd in crds:
            name = crd["metadata"]["name"]
            if self._entry(name) is None:
                await self._writer.create_object(Target(CUSTOM_RESOURCE_DEFINITIONS, "", "", ""), crd, PLAIN_WRITE)
            else:
                await self._writer.change(_target(name), _with_spec(crd), PLAIN_WRITE, verb="update")

    def serve_all(self) -> None:
        """Serve what is stored, at start."""
        for entry in self._entries():
            self._serve(entry)
            self._line.add((entry.name,))

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Serve what changed, and put in line what has to be done about it."""
        if store_key != CUSTOM_RESOURCE_DEFINITIONS.store_key:
            if self._is_ending(store_key):
                self._line.add((store_key,))
            return
        for event in events:
            if event.new is not None:
                self._serve(event.new)
                self._line.add((event.new.name,))
            elif event.old is not None:
                self._registry.forget(event.old.name)
                self._hub.end(event.old.name)
            if event.old is not None and _frees_names(event.old, event.new):
                group = crd_status.group_of(event.old.name)
                self._line.add(entry.name for entry in self._entries() if crd_status.group_of(entry.name) == group)

    async def run(self) -> None:
        """Do what is in line, for ever."""
        while True:
            for name in await self._line.take():
                try:
                    await self._reconcile(name)
                except statuses.StatusError as error:
                    log_refusal("custom resources", name, error)
                    if error.code >= 500:
                        await asyncio.sleep(RETRY_S)
                        self._line.add((name,))

    def _entries(self) -> list[Entry]:
        return list(self._store.table(CUSTOM_RESOURCE_DEFINITIONS.store_key).entries())

    def _entry(self, name: str) -> Entry | None:
        return self._store.table(CUSTOM_RESOURCE_DEFINITIONS.store_key).get("", name)

    def _is_ending(self, store_key: str) -> bool:
        entry = self._entry(store_key)
        return entry is not None and entry.facts.is_deleting

    def _serve(self, entry: Entry) -> None:
        is_known = self._registry.stored(entry.name) is not None
        if not self._registry.define(orjson.loads(entry.data)):
            return
        resource = self._registry.stored(entry.name)
        schema = self._registry.schema(resource) if resource is not None else None
        if resource is not None and schema is not None:
            # What was stored under another schema is read under this one.
            self._store.renew(resource, _renewal(schema.prune, schema.default), before_rev=entry.rev)
        if is_known:
            self._hub.end(entry.name)

    async def _reconcile(self, name: str) -> None:
        entry = self._entry(name)
        if entry is None:
            return
        if not entry.facts.is_deleting:
            # The names are looked at by every write; one that changes nothing else is not stored.
            await self._writer.change(_target(name), lambda current: current, PLAIN_WRITE, verb="update")
        elif crd_status.CLEANUP_FINALIZER in (orjson.loads(entry.data)["metadata"].get("finalizers") or []):
            await self._clean_up(name)

    async def _clean_up(self, name: str) -> None:
        resource = self._registry.stored(name)
        table = self._store.table(name)
        if resource is not None:
            doomed = [entry for entry in table.entries() if not entry.facts.is_deleting]
            await delete_all(self._writer, resource, doomed)
        if next(table.entries(), None) is None:
            await self._writer.change(_target(name), _without_finalizer, PLAIN_WRITE, verb="update")


def _frees_names(old: Entry, new: Entry | None) -> bool:
    return new is None or _accepted_names(old) != _accepted_names(new)


def _accepted_names(entry: Entry) -> dict[str, Any]:
    return (orjson.loads(entry.data).get("status") or {}).get("acceptedNames") or {}


def _target(name: str) -> Target:
    return Target(CUSTOM_RESOURCE_DEFINITIONS, "", name, "")


def _with_spec(crd: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(current: dict[str, Any]) -> dict[str, Any]:
        metadata = current["metadata"]
        for key in ("annotations", "labels"):
            if key in crd["metadata"]:
                metadata = {**metadata, key: {**(metadata.get(key) or {}), **crd["metadata"][key]}}
        return {**current, "metadata": metadata, "spec": crd["spec"]}

    return change


def _without_finalizer(current: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(current["metadata"])
    metadata["finalizers"] = [name for name in metadata.get("finalizers") or [] if name != crd_status.CLEANUP_FINALIZER]
    return {**current, "metadata": metadata}


def _renewal(
    prune: Callable[[dict[str, Any]], list[str]], default: Callable[[dict[str, Any]], None]
) -> Callable[[dict[str, Any]], None]:
    def renew(document: dict[str, Any]) -> None:
        prune(document)
        default(document)

    return renew
