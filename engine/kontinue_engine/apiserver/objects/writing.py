"""Internal. Every write of an object, a client's or the server's own: read, change, judge, commit by compare-and-swap.

A write that does not name a resourceVersion starts again when another one came between; one that names it gets 409.
It is over only when the commit is durable. Called by ``write_handlers`` for clients, and by the controllers and
``server``. The rules of what is stored stand in ``preparation`` and ``judging``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply.tracking import APPLIED, Tracker
from kontinue_engine.apiserver.http.requests import Target, WriteOptions
from kontinue_engine.apiserver.objects import deletion, object_store, preparation, shape
from kontinue_engine.apiserver.objects.deletion import DeleteOptions
from kontinue_engine.apiserver.objects.judging import Judge
from kontinue_engine.apiserver.objects.object_store import Entry, ObjectStore
from kontinue_engine.apiserver.objects.uids import UidSource
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, ResourceInfo
from kontinue_engine.apiserver.schemas import metadata
from kontinue_engine.apiserver.storage.protocol import RevisionMismatchError, Storage, StorageFailedError, Write

IMMORTAL_NAMESPACES: Final = frozenset({"default", "kube-system", "kube-public"})
"""As kube-apiserver's NamespaceLifecycle has them."""
MAX_ATTEMPTS: Final = 50
"""Judgement: times that an unconditional write starts again because another one came between."""
MAX_GENERATED_NAMES: Final = 8
"""As in kube-apiserver."""
MAX_OBJECT_BYTES: Final = 1536 * 1024
"""As etcd has it; kube-apiserver passes its refusal on as 500."""
REFUSED_FOR: Final = timedelta(minutes=1)
"""So long a refusal of the storage counts: that a small write finds room says nothing of the next one. Judgement."""
_CHANGED_BY_REVISION: Final = frozenset(
    {"customresourcedefinitions.apiextensions.k8s.io", "leases.coordination.k8s.io", "poddisruptionbudgets.policy"}
)
"""Built-in kinds whose updates must say which revision they replace, as those of custom ones must."""
_NO_REVISION: Final = b'"resourceVersion":"",'
SERVER: Final = "kontinue-apiserver"
"""The field manager of the server's own writes."""
Change = Callable[[dict[str, Any]], dict[str, Any]]
"""From the current object (resourceVersion included) to what the client wants it to be."""


class Stored(msgspec.Struct, frozen=True):
    """Outcome of a write: the object's JSON and the warnings about it."""

    data: bytes
    warnings: tuple[str, ...]


class Writer:
    """Writes of any kind.

    Attributes:
        counts: committed writes by (plural, verb), for ``/metrics``.
        tracker: of who owns which field.
    """

    def __init__(
        self, store: ObjectStore, storage: Storage, registry: Registry, *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._storage = storage
        self._registry = registry
        self._now = now
        self._uids = UidSource()
        self._judge = Judge(store, registry, now=self.now_text)
        self.tracker = Tracker(registry, now=self.now_text)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._refused: tuple[datetime, str] | None = None

    def storage_problem(self) -> str:
        """Return why the storage has lately refused a write; empty if it has not."""
        if self._refused is None or self._now() - self._refused[0] > REFUSED_FOR:
            return ""
        return self._refused[1]

    async def create_object(
        self,
        target: Target,
        document: Any,
        options: WriteOptions,
        *,
        body: bytes = b"",
        owner: str | bytes = SERVER,
    ) -> Stored:
        """Create a parsed object; the server's own writes come in here.

        Raises:
            StatusError: it is refused.
        """
        resource = target.resource
        document = shape.check_shape(resource, document)
        given = document["metadata"]
        namespace = self._namespace_for_create(target, given)
        if resource.custom:
            self._refuse_create_when_terminating(resource, given)
        if (given.get("resourceVersion") or "0") != "0" and given["resourceVersion"].isdecimal():
            raise statuses.revision_at_create()
        prefix = given.get("generateName") or ""
        for _ in range(MAX_GENERATED_NAMES if not given.get("name") and prefix else 1):
            name = given.get("name") or (_generated_name(prefix) if prefix else "")
            if not name:
                causes = [
                    statuses.cause("FieldValueRequired", "metadata.name", detail="name or generateName is required")
                ]
                raise statuses.invalid(resource, "", causes)
            try:
                return await self._create_named(target, document, namespace, name, options, body, owner)
            except statuses.StatusError as error:
                if error.reason != "AlreadyExists" or given.get("name"):
                    raise
        raise statuses.already_exists(resource, name)

    async def change(
        self,
        target: Target,
        change: Change,
        options: WriteOptions,
        *,
        verb: str,
        body: bytes = b"",
        owner: str | bytes = SERVER,
    ) -> Stored:
        """Apply ``change`` to the current object until no other write comes between.

        Raises:
            StatusError: it is refused.
        """
        resource = target.resource
        table = self._store.table(resource.store_key)
        for _ in range(MAX_ATTEMPTS):
            entry = table.get(target.namespace or "", target.name)
            if entry is None:
                raise statuses.not_found(resource, target.name)
            current = orjson.loads(entry.data if resource.convert is None else resource.convert(entry.data))
            wanted = change(current)
            wanted_rev = wanted["metadata"].get("resourceVersion") or "0"
            if wanted_rev == "0":
                wanted_rev = ""
                if owner not in {SERVER, APPLIED} and (resource.custom or resource.store_key in _CHANGED_BY_REVISION):
                    raise statuses.unspecified_revision(resource, target.name)
            elif wanted_rev != current["metadata"]["resourceVersion"]:
                if not wanted_rev.isdecimal():
                    raise statuses.bad_request(f"metadata.resourceVersion: invalid value {wanted_rev!r}")
                raise statuses.conflict(resource, target.name)
            updated = preparation.prepare_update(
                resource, current, wanted, subresource=target.subresource, is_patched=options.is_patch
            )
            updated, warnings = self._judge.judge(resource, updated, current, options, body)
            if not target.subresource:
                updated = preparation.with_generation(resource, current, updated)
            updated = self.tracker.track(target, current, wanted, updated, owner)
            stored = self._encoded(resource, updated)
            if _is_same(stored, entry):
                return _answered(resource, entry.data, warnings)
            is_gone = "deletionTimestamp" in updated["metadata"] and not deletion.is_held(resource, updated)
            if options.is_dry_run:
                return _answered(resource, object_store.with_revision(stored, entry.rev), warnings)
            facts = self._facts(resource, updated, stored, entry.facts)
            try:
                rev = await self._commit(Write(entry.key, entry.rev, None if is_gone else stored, facts))
            except RevisionMismatchError:
                if wanted_rev and verb == "update":
                    raise statuses.conflict(resource, target.name) from None
                continue
            self._count(resource, target.subresource, verb)
            return _answered(resource, object_store.with_revision(stored, rev), warnings)
        raise statuses.conflict(resource, target.name)

    async def delete_object(self, target: Target, options: DeleteOptions) -> tuple[bytes | None, str]:
        """Delete an object; returns its JSON (None: it is gone, and the answer is a Status) and its uid.

        Raises:
            StatusError: 404, 409 when a precondition does not hold, or 403 for a namespace that must stay.
        """
        resource = target.resource
        if resource is NAMESPACES and target.name in IMMORTAL_NAMESPACES:
            raise statuses.forbidden(resource, target.name, "this namespace may not be deleted")
        table = self._store.table(resource.store_key)
        for _ in range(MAX_ATTEMPTS):
            entry = table.get(target.namespace or "", target.name)
            if entry is None:
                raise statuses.not_found(resource, target.name)
            deletion.check_preconditions(resource, entry, options)
            current = orjson.loads(entry.data)
            marked = deletion.mark_deleted(
                resource, current, now=self.now_text(), propagation=options.propagation, grace_s=options.grace_s
            )
            is_held = deletion.is_held(resource, marked)
            stored = object_store.encode(marked)
            if is_held and _is_same(stored, entry):
                return entry.data, entry.facts.uid
            last = marked if is_held else deletion.shown_when_gone(resource, current, marked)
            shown = None if last is None else stored if last is marked else object_store.encode(last)
            if options.is_dry_run:
                return _shown_at(shown, entry.rev), entry.facts.uid
            facts = self._facts(resource, marked, stored, entry.facts)
            try:
                rev = await self._commit(Write(entry.key, entry.rev, stored if is_held else None, facts))
            except RevisionMismatchError:
                continue
            self._count(resource, "", "delete")
            return _shown_at(shown, rev), entry.facts.uid
        raise statuses.conflict(resource, target.name)

    def now_text(self) -> str:
        """Return the time as creationTimestamps carry it."""
        return self._now().isoformat(timespec="seconds").replace("+00:00", "Z")

    async def _create_named(
        self,
        target: Target,
        document: dict[str, Any],
        namespace: str,
        name: str,
        options: WriteOptions,
        body: bytes,
        owner: str | bytes,
    ) -> Stored:
        resource = target.resource
        table = self._store.table(resource.store_key)
        if (existing := table.get(namespace, name)) is not None:
            raise statuses.already_exists(resource, name, is_deleting=existing.facts.is_deleting)
        created = preparation.prepare_create(
            resource, document, namespace=namespace, name=name, uid=self._uids.draw(), now=self.now_text()
        )
        created, warnings = self._judge.judge(resource, created, None, options, body)
        created = self.tracker.track(target, None, document, created, owner)
        stored = self._encoded(resource, created)
        if options.is_dry_run:
            return _answered(resource, stored.replace(_NO_REVISION, b"", 1), warnings)
        facts = self._facts(resource, created, stored, None)
        key = object_store.storage_key(resource, namespace, name)
        try:
            rev = await self._commit(Write(key, 0, stored, facts))
        except RevisionMismatchError:
            raise statuses.already_exists(resource, name) from None
        self._count(resource, "", "create")
        return _answered(resource, object_store.with_revision(stored, rev), warnings)

    def _namespace_for_create(self, target: Target, given: Mapping[str, Any]) -> str:
        resource = target.resource
        if not resource.namespaced:
            return ""
        namespace = target.namespace or ""
        if given.get("namespace") and given["namespace"] != namespace:
            raise statuses.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        entry = self._store.table(NAMESPACES.store_key).get("", namespace)
        if entry is None:
            raise statuses.not_found(NAMESPACES, namespace)
        if entry.facts.is_deleting:
            problem = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = statuses.Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            raise statuses.forbidden(
                resource, str(given.get("name") or given.get("generateName") or ""), problem, causes=[cause]
            )
        return namespace

    def _refuse_create_when_terminating(self, resource: ResourceInfo, given: Mapping[str, Any]) -> None:
        crd = self._store.table(CUSTOM_RESOURCE_DEFINITIONS.store_key).get("", resource.store_key)
        if crd is not None and crd.facts.is_deleting:
            problem = "create not allowed while custom resource definition is terminating"
            raise statuses.forbidden(resource, str(given.get("name", "")), problem)

    async def _commit(self, write: Write) -> int:
        if write.value is not None and len(write.value) > MAX_OBJECT_BYTES:
            raise statuses.too_large(f"request is too large: an object may have {MAX_OBJECT_BYTES} bytes at most")
        try:
            revs = await self._storage.commit((write,))
        except StorageFailedError as error:
            self._refused = self._now(), str(error)
            raise statuses.storage_failed(str(error)) from error
        return revs[0]

    def _encoded(self, resource: ResourceInfo, document: dict[str, Any]) -> bytes:
        """Return what is stored of ``document``: in the form of the kind's storage version."""
        data = object_store.encode(document)
        if resource.convert is None:
            return data
        stored = self._registry.stored(resource.store_key)
        schema = self._registry.schema(stored) if stored is not None else None
        if stored is None or stored.convert is None or schema is None or stored.version == resource.version:
            return data
        converted = orjson.loads(stored.convert(data))
        schema.default(converted)
        return orjson.dumps(converted)

    def _facts(
        self, resource: ResourceInfo, document: dict[str, Any], stored: bytes, before: object_store.Facts | None
    ) -> object_store.Facts:
        document = document if resource.convert is None else orjson.loads(stored)
        return object_store.facts_of(self._registry.stored(resource.store_key), document, before)

    def _count(self, resource: ResourceInfo, subresource: str, verb: str) -> None:
        self.counts[f"{resource.plural}/{subresource}" if subresource else resource.plural, verb] += 1


def _answered(resource: ResourceInfo, data: bytes, warnings: tuple[str, ...]) -> Stored:
    return Stored(data if resource.convert is None else resource.convert(data), warnings)


def _generated_name(prefix: str) -> str:
    suffix = "".join(random.choices(metadata.NAME_ALPHABET, k=5))  # noqa: S311 - a name, not a secret
    return prefix[: metadata.MAX_GENERATED_PREFIX] + suffix


def _shown_at(stored: bytes | None, rev: int) -> bytes | None:
    return None if stored is None else object_store.with_revision(stored, rev)


def _is_same(stored: bytes, entry: Entry) -> bool:
    """Tell whether nothing would change: equal but for the order of members. Such a write keeps the resourceVersion."""
    if len(stored) + len(str(entry.rev)) != len(entry.data):
        return False
    filled = object_store.with_revision(stored, entry.rev)
    if filled == entry.data:
        return True
    sort = orjson.OPT_SORT_KEYS
    return orjson.dumps(orjson.loads(filled), option=sort) == orjson.dumps(orjson.loads(entry.data), option=sort)
