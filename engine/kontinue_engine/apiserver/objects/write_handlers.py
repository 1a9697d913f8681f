"""Internal. Handlers of create, update, patch and delete: from a request to a write of an object, and to its answer.

Options, bodies and media types are read here; what a patch makes of an object is said by ``patches``,
``strategic_patch`` and ``scaling``, and an apply by ``kontinue_engine.apiserver.apply``. Called by ``router``; commits
through ``writing``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply import options as apply_options
from kontinue_engine.apiserver.apply.tracking import APPLIED
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.http.http_protocol import Response
from kontinue_engine.apiserver.http.requests import Target, WriteOptions
from kontinue_engine.apiserver.http.warning_headers import warning_headers
from kontinue_engine.apiserver.objects import deletion, judging, patches, scaling, shape, strategic_patch
from kontinue_engine.apiserver.objects.writing import MAX_ATTEMPTS, Writer
from kontinue_engine.apiserver.schemas.metadata import check_name

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
_PATCHES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "application/json-patch+json": patches.apply_json_patch,
    "application/merge-patch+json": patches.apply_merge_patch,
}


class WriteHandlers:
    """Answers requests that write."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

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
        stored = await self._writer.create_object(target, document, options, body=body, owner=owner)
        return Response(201, stored.data, headers=warning_headers(stored.warnings))

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
        check_name(document["metadata"], target.name)
        try:
            stored = await self._writer.change(
                target, lambda _current: document, options, verb="update", body=body, owner=owner
            )
        except statuses.StatusError as error:
            if error.code != 404 or target.subresource or target.resource.store_key not in _CREATED_BY_UPDATE:
                raise
            fresh = {**document, "metadata": {**document["metadata"], "resourceVersion": ""}}
            created = await self._writer.create_object(target, fresh, options, body=body, owner=owner)
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

        stored = await self._writer.change(target, change, options, verb="patch", body=body, owner=owner)
        return Response(200, stored.data, headers=warning_headers(stored.warnings))

    async def delete(self, target: Target, body: bytes, content_type: str, query: dict[str, str]) -> Response:
        """Delete an object, or mark it when a finalizer holds it.

        Raises:
            StatusError: it is refused.
        """
        options = deletion.parse_delete_options(query, body, content_type)
        marked, uid = await self._writer.delete_object(target, options)
        if marked is not None:
            convert = target.resource.convert
            return Response(200, marked if convert is None else convert(marked))
        return Response(200, orjson.dumps(statuses.deleted(target.resource, target.name, uid)))

    async def _rescale(
        self, target: Target, wanted: Callable[[Any], Any], options: WriteOptions, owner: str | bytes
    ) -> Response:
        resource = target.resource

        def change(current: dict[str, Any]) -> dict[str, Any]:
            scale = wanted(scaling.scale_of(resource, current, is_complete=False))
            return scaling.with_scale(resource, current, scale, is_patched=options.is_patch)

        whole = msgspec.structs.replace(target, subresource="")
        stored = await self._writer.change(whole, change, options, verb="patch", owner=owner)
        return Response(200, orjson.dumps(scaling.scale_of(resource, orjson.loads(stored.data), is_complete=False)))

    async def _apply(self, target: Target, body: bytes, query: dict[str, str]) -> Response:
        apply_options.refuse_subresource(target.subresource)
        manager, force = apply_options.applier(query)
        options = requests.parse_write_options(query)
        config = apply_options.parse_configuration(target.resource, body)
        warnings = judging.told_of_repeated(body, options)

        def change(current: dict[str, Any]) -> dict[str, Any]:
            return shape.check_shape(
                target.resource, self._writer.tracker.apply(target, current, config, manager, force=force)
            )

        for _ in range(MAX_ATTEMPTS):
            try:
                stored = await self._writer.change(target, change, options, verb="patch", owner=APPLIED)
                return Response(200, stored.data, headers=warning_headers(warnings + stored.warnings))
            except statuses.StatusError as error:
                if error.reason != "NotFound" or target.subresource:
                    raise
            try:
                created = self._writer.tracker.apply(target, None, config, manager, force=force)
                stored = await self._writer.create_object(target, created, options, owner=APPLIED)
                return Response(201, stored.data, headers=warning_headers(warnings + stored.warnings))
            except statuses.StatusError as error:
                if error.reason != "AlreadyExists":  # somebody else created it in between
                    raise
        raise statuses.conflict(target.resource, target.name)
