"""Internal. The life of namespaces: those that always exist, and emptying the ones that are deleted.

Level-based like the garbage collector: whatever stands in a namespace that terminates or does not exist is deleted,
and the namespace goes when it is empty. Woken by the object store; writes through ``writing.Writer``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.controllers.background import PLAIN_WRITE, RETRY_S, Line, delete_all, log_refusal
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects import namespace_rules, preparation
from kontinue_engine.apiserver.objects.object_store import Entry, Event, ObjectStore
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import NAMESPACES

ALWAYS_THERE: Final = ("default", "kube-system", "kube-public", "kube-node-lease")


class NamespaceController:
    """Creates the namespaces that always exist and finishes deletes; ``run`` is a task of the server."""

    def __init__(self, store: ObjectStore, registry: Registry, writer: Writer) -> None:
        self._store = store
        self._registry = registry
        self._writer = writer
        self._line = Line()

    async def create_missing(self) -> None:
        """Create the namespaces that always exist."""
        for name in ALWAYS_THERE:
            if self._entry(name) is None:
                target = Target(NAMESPACES, "", "", "")
                await self._writer.create_object(target, {"metadata": {"name": name}}, PLAIN_WRITE)

    def on_events(self, store_key: str, events: Sequence[Event]) -> None:
        """Put in line each namespace that may have to be emptied or finished."""
        if store_key == NAMESPACES.store_key:
            for event in events:
                if event.new is not None and event.new.facts.is_deleting:
                    self._line.add((event.new.name,))
            return
        entries = (event.new or event.old for event in events)
        names = {entry.namespace for entry in entries if entry is not None and entry.namespace}
        self._line.add(filter(self._is_going, names))

    def add_all(self) -> None:
        """Put in line, at start, every namespace that terminates, or is gone and left something behind."""
        names = {entry.name for entry in self._store.table(NAMESPACES.store_key).entries()}
        for _, table in self._store.tables():
            names.update(filter(None, table.namespaces))
        self._line.add(filter(self._is_going, names))

    async def run(self) -> None:
        """Empty what is in line, for ever."""
        while True:
            for name in await self._line.take():
                try:
                    await self._empty(name)
                except statuses.StatusError as error:
                    log_refusal("namespaces", name, error)
                    if error.code != 409:
                        await asyncio.sleep(RETRY_S)
                    self._line.add((name,))

    def _entry(self, name: str) -> Entry | None:
        return self._store.table(NAMESPACES.store_key).get("", name)

    def _is_going(self, name: str) -> bool:
        entry = self._entry(name)
        return entry is None or entry.facts.is_deleting

    async def _empty(self, name: str) -> None:
        if not self._is_going(name):
            return
        for store_key, table in self._store.tables():
            resource = self._registry.stored(store_key)
            if resource is not None:
                doomed = [entry for entry in table.entries(name) if not entry.facts.is_deleting]
                await delete_all(self._writer, resource, doomed)
        if self._entry(name) is None:
            return
        remaining, finalizers = self._left_in(name)
        await self._report(name, remaining, finalizers)
        # Objects held by finalizers put the namespace in line again when they go.
        if not remaining:
            await self._finalize(name)

    def _left_in(self, name: str) -> tuple[Counter[str], Counter[str]]:
        """Count what is still there, by resource and by the finalizers that hold it."""
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for store_key, table in self._store.tables():
            resource = self._registry.stored(store_key)
            if resource is not None:
                for entry in table.entries(name):
                    remaining[f"{resource.plural}.{resource.group}"] += 1
                    finalizers.update(orjson.loads(entry.data)["metadata"].get("finalizers") or ())
        return remaining, finalizers

    async def _report(self, name: str, remaining: Counter[str], finalizers: Counter[str]) -> None:
        now = self._writer.now_text()

        def change(current: dict[str, Any]) -> dict[str, Any]:
            status = current.get("status") or {}
            conditions = namespace_rules.conditions(remaining, finalizers, status.get("conditions") or [], now=now)
            return {**current, "status": {**status, "conditions": conditions}}

        await self._writer.change(Target(NAMESPACES, "", name, "status"), change, PLAIN_WRITE, verb="update")

    async def _finalize(self, name: str) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            finalizers = (current.get("spec") or {}).get("finalizers") or []
            kept = [finalizer for finalizer in finalizers if finalizer != preparation.NAMESPACE_FINALIZER]
            return {**current, "spec": {"finalizers": kept}}

        target = Target(NAMESPACES, "", name, "finalize")
        await self._writer.change(target, change, PLAIN_WRITE, verb="update")
