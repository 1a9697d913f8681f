"""Internal. Handlers of create, update, patch and delete: read, change, judge, commit by compare-and-swap, answer.

A write that does not name a resourceVersion starts again when another one came between; one that names it gets 409.
The answer leaves only after the commit is durable. Called by ``router``, and by ``garbage_collector``, ``namespaces``
and ``server`` for the server's own writes. The rules of what is stored stand in ``preparation`` and ``schema``.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply import options as apply_options
from kontinue_engine.apiserver.apply.tracking import APPLIED, Tracker
from kontinue_engine.apiserver.builtin import rules
from kontinue_engine.apiserver.custom import crd_status, definitions
from kontinue_engine.apiserver.http import duplicates, requests
from kontinue_engine.apiserver.http.http_protocol import Response
from kontinue_engine.apiserver.http.requests import Target, WriteOptions
from kontinue_engine.apiserver.http.warning_headers import warning_headers
from kontinue_engine.apiserver.objects import (
    deletion,
    object_store,
    patches,
    preparation,
    scaling,
    shape,
    strategic_patch,
)
from kontinue_engine.apiserver.objects.deletion import DeleteOptions
from kontinue_engine.apiserver.objects.object_store import Entry, ObjectStore
from kontinue_engine.apiserver.objects.uids import UidSource
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    NAMESPACES,
    ResourceInfo,
)
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
_CHANGED_BY_REVISION: Final = frozenset(
    {"customresourcedefinitions.apiextensions.k8s.io", "leases.coordination.k8s.io", "poddisruptionbudgets.policy"}
)
"""Built-in kinds whose updates must say which revision they replace, as those of custom ones must."""
_CREATED_BY_UPDATE: Final = frozenset(
    {
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "endpoints",
        "events",
        "leases.coordination.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "services",
    }
)
"""Kinds that a PUT creates when they are not there."""
_NAME_RULES: Final = {
    "namespaces": metadata.dns_label_problem,
    "clusterrolebindings.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "clusterroles.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "rolebindings.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "roles.rbac.authorization.k8s.io": metadata.path_segment_problem,
}
"""What is wrong with a name, where it need not be a DNS subdomain."""
_NO_REVISION: Final = b'"resourceVersion":"",'
SERVER: Final = "kontinue-apiserver"
"""The field manager of the server's own writes."""
_PATCHES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "application/json-patch+json": patches.apply_json_patch,
    "application/merge-patch+json": patches.apply_merge_patch,
}

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
    """

    def __init__(
        self, store: ObjectStore, storage: Storage, registry: Registry, *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._storage = storage
        self._registry = registry
        self._now = now
        self._uids = UidSource()
        self._tracker = Tracker(registry, now=self.now_text)
        self.counts: Counter[tuple[str, str]] = Counter()

    async def create(
        self, target: Target, body: bytes, content_type: str, query: dict[str, str], agent: bytes
    ) -> Response:
        """Create an object.

        Raises:
            StatusError: it is refused.
        """
        options = requests.parse_write_options(query, "CreateOptions")
        owner = apply_options.owner(query, agent, "CreateOptions")
        document = requests.parse_body(body, content_type, takes_protobuf=not target.resource.custom)
        stored = await self.create_object(target, document, options, body=body, owner=owner)
        return Response(201, stored.data, headers=warning_headers(stored.warnings))

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

    async def update(
        self, target: Target, body: bytes, content_type: str, query: dict[str, str], agent: bytes
    ) -> Response:
        """Replace an object or its subresource.

        Raises:
            StatusError: it is refused.
        """
        options = requests.parse_write_options(query, "UpdateOptions")
        owner = apply_options.owner(query, agent, "UpdateOptions")
        document = requests.parse_body(body, content_type, takes_protobuf=not target.resource.custom)
        if target.subresource == "scale":
            return await self._rescale(target, lambda _scale: document, options, owner)
        document = shape.check_shape(target.resource, document)
        try:
            stored = await self.change(
                target, lambda _current: document, options, verb="update", body=body, owner=owner
            )
        except statuses.StatusError as error:
            if error.code != 404 or target.subresource or target.resource.store_key not in _CREATED_BY_UPDATE:
                raise
            fresh = {**document, "metadata": {**document["metadata"], "resourceVersion": "", "name": target.name}}
            created = await self.create_object(target, fresh, options, body=body, owner=owner)
            return Response(201, created.data, headers=warning_headers(created.warnings))
        return Response(200, stored.data, headers=warning_headers(stored.warnings))

    async def patch(
        self, target: Target, body: bytes, content_type: str, query: dict[str, str], agent: bytes
    ) -> Response:
        """Patch an object or its subresource.

        Raises:
            StatusError: it is refused.
        """
        options = requests.parse_write_options(query)
        kind = requests.media_type(content_type)
        accepted = statuses.CUSTOM_PATCH_TYPES if target.resource.custom else statuses.BUILT_IN_PATCH_TYPES
        if kind not in accepted:
            raise statuses.unsupported_media_type(accepted)
        if kind == apply_options.MEDIA_TYPE:
            return await self._apply(target, body, query)
        apply_options.refuse_force(query)
        owner = apply_options.owner(query, agent, "PatchOptions")
        patch = requests.parse_json(body)
        if "merge" in kind and not isinstance(patch, dict):
            raise statuses.bad_request("a merge patch must be an object")
        apply = _PATCHES.get(kind) or functools.partial(strategic_patch.apply_strategic_patch, target.resource)

        if target.subresource == "scale":
            return await self._rescale(target, lambda scale: apply(scale, patch), options, owner)

        def change(current: dict[str, Any]) -> dict[str, Any]:
            patched = apply(current, patch)
            return shape.check_shape(target.resource, patched, is_patched=True)

        stored = await self.change(target, change, options, verb="patch", body=body, owner=owner)
        return Response(200, stored.data, headers=warning_headers(stored.warnings))

    async def _rescale(
        self, target: Target, wanted: Callable[[Any], Any], options: WriteOptions, owner: str | bytes
    ) -> Response:
        resource = target.resource

        def change(current: dict[str, Any]) -> dict[str, Any]:
            scale = wanted(scaling.scale_of(resource, current, is_complete=False))
            return scaling.with_scale(resource, current, scale, is_patched=options.is_patch)

        whole = msgspec.structs.replace(target, subresource="")
        stored = await self.change(whole, change, options, verb="patch", owner=owner)
        return Response(200, orjson.dumps(scaling.scale_of(resource, orjson.loads(stored.data), is_complete=False)))

    async def _apply(self, target: Target, body: bytes, query: dict[str, str]) -> Response:
        apply_options.refuse_subresource(target.subresource)
        manager, force = apply_options.applier(query)
        options = requests.parse_write_options(query)
        config = apply_options.parse_configuration(target.resource, body)
        warnings = _told_of_repeated(body, options)

        def change(current: dict[str, Any]) -> dict[str, Any]:
            return self._tracker.apply(target, current, config, manager, force=force)

        for _ in range(MAX_ATTEMPTS):
            try:
                stored = await self.change(target, change, options, verb="patch", owner=APPLIED)
                return Response(200, stored.data, headers=warning_headers(warnings + stored.warnings))
            except statuses.StatusError as error:
                if error.reason != "NotFound" or target.subresource:
                    raise
            try:
                created = self._tracker.apply(target, None, config, manager, force=force)
                stored = await self.create_object(target, created, options, owner=APPLIED)
                return Response(201, stored.data, headers=warning_headers(warnings + stored.warnings))
            except statuses.StatusError as error:
                if error.reason != "AlreadyExists":  # somebody else created it in between
                    raise
        raise statuses.conflict(target.resource, target.name)

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
            updated, warnings = self._judged(resource, updated, current, options, body)
            if not target.subresource:
                updated = preparation.with_generation(resource, current, updated)
            updated = self._tracker.track(target, current, wanted, updated, owner)
            stored = self._encoded(resource, updated)
            if _is_same(stored, entry):
                return _answered(resource, entry.data, warnings)
            is_gone = "deletionTimestamp" in updated["metadata"] and not deletion.is_held(resource, updated)
            if options.is_dry_run:
                return _answered(resource, object_store.with_revision(stored, entry.rev), warnings)
            facts = self._facts(resource, updated, stored)
            try:
                rev = await self._commit(Write(entry.key, entry.rev, None if is_gone else stored, facts))
            except RevisionMismatchError:
                if wanted_rev and verb == "update":
                    raise statuses.conflict(resource, target.name) from None
                continue
            self._count(resource, target.subresource, verb)
            return _answered(resource, object_store.with_revision(stored, rev), warnings)
        raise statuses.conflict(resource, target.name)

    async def delete(self, target: Target, body: bytes, content_type: str, query: dict[str, str]) -> Response:
        """Delete an object, or mark it when a finalizer holds it.

        Raises:
            StatusError: it is refused.
        """
        options = deletion.parse_delete_options(query, body, content_type)
        marked, uid = await self.delete_object(target, options)
        if marked is not None:
            convert = target.resource.convert
            return Response(200, marked if convert is None else convert(marked))
        return Response(200, orjson.dumps(statuses.deleted(target.resource, target.name, uid)))

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
            facts = self._facts(resource, marked, stored)
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
        created, warnings = self._judged(resource, created, None, options, body)
        created = self._tracker.track(target, None, document, created, owner)
        stored = self._encoded(resource, created)
        if options.is_dry_run:
            return _answered(resource, stored.replace(_NO_REVISION, b"", 1), warnings)
        facts = self._facts(resource, created, stored)
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

    def _judged(
        self,
        resource: ResourceInfo,
        document: dict[str, Any],
        old: dict[str, Any] | None,
        options: WriteOptions,
        body: bytes,
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Prune, default and validate; returns the object and warnings."""
        causes: list[statuses.Cause] = []
        if old is None or document["metadata"] is not old["metadata"]:
            # A write of a subresource leaves metadata as it is stored, which was judged before.
            find_problem = _NAME_RULES.get(resource.group_resource, metadata.subdomain_problem)
            causes = metadata.validate(document["metadata"], find_problem=find_problem, is_custom=resource.custom)
        schema = self._registry.schema(resource)
        warnings: tuple[str, ...] = ()
        if schema is not None:
            warnings = _told_of(schema.prune(document), options, body)
            schema.default(document)
            causes = [*causes, *schema.validate(document, old)]
        elif resource is CUSTOM_RESOURCE_DEFINITIONS:
            group = crd_status.group_of(document["metadata"]["name"])
            entries = self._store.table(resource.store_key).entries()
            crds = [orjson.loads(entry.data) for entry in entries if crd_status.group_of(entry.name) == group]
            document, unknown, found = definitions.judged(
                document, old, crds, now=self.now_text(), is_patched=options.is_patch
            )
            warnings = _told_of(unknown, options, body)
            causes += found
        else:
            document, unknown, found = rules.judge(resource, document, old, is_patched=options.is_patch)
            warnings = _told_of(unknown, options, body)
            causes += found
        if causes:
            raise statuses.invalid(resource, document["metadata"].get("name", ""), causes)
        return document, warnings

    async def _commit(self, write: Write) -> int:
        if write.value is not None and len(write.value) > MAX_OBJECT_BYTES:
            raise statuses.too_large(f"request is too large: an object may have {MAX_OBJECT_BYTES} bytes at most")
        try:
            revs = await self._storage.commit((write,))
        except StorageFailedError as error:
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

    def _facts(self, resource: ResourceInfo, document: dict[str, Any], stored: bytes) -> object_store.Facts:
        document = document if resource.convert is None else orjson.loads(stored)
        return object_store.facts_of(self._registry.stored(resource.store_key), document)

    def _count(self, resource: ResourceInfo, subresource: str, verb: str) -> None:
        self.counts[f"{resource.plural}/{subresource}" if subresource else resource.plural, verb] += 1


def _told_of(dropped: list[str], options: WriteOptions, body: bytes) -> tuple[str, ...]:
    """Refuse, warn of or ignore unknown and duplicate fields, as asked; returns the warnings."""
    unknown = [f'unknown field "{path}"' for path in dropped]
    if body and options.finds_duplicates:
        unknown = duplicates.complaints(body) + unknown
    if not unknown or options.field_validation == "Ignore":
        return ()
    if options.field_validation == "Strict":
        raise statuses.undecodable(f"strict decoding error: {', '.join(unknown)}", is_patched=options.is_patch)
    return tuple(unknown)


def _told_of_repeated(body: bytes, options: WriteOptions) -> tuple[str, ...]:
    """Refuse, warn of or ignore keys that an applied configuration names twice; returns the warnings."""
    repeated = [] if options.field_validation == "Ignore" else duplicates.yaml_complaints(body)
    if repeated and options.field_validation == "Strict":
        raise statuses.bad_request(f"error strict decoding YAML: {', '.join(repeated)}")
    return tuple(repeated)


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
