"""Internal. OpenAPI v3 documents, one per group version: what kubectl reads to validate, apply and explain.

kubectl (1.29 and later) looks for three things: paths by which a resource is found, ``fieldValidation`` among the
parameters of its PATCH, and schemas that carry their group, version and kind. OpenAPI v2 is not served.
Built from ResourceInfo values, the schemas of built-in kinds from ``builtin.schemas``; ``documents`` serves the index
and the documents that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import schemas
from kontinue_engine.apiserver.resources import ResourceInfo

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_GVK: Final = "x-kubernetes-group-version-kind"
_PACKAGES: Final = {"apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions"}

_WRITE_PARAMETERS: Final = {
    "dryRun": "All: judge the request as usual but store nothing.",
    "fieldManager": "Name of who makes the change.",
    "fieldValidation": "What to do about unknown fields: Ignore, Warn or Strict.",
}
_LIST_PARAMETERS: Final = {
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "fieldSelector": "string",
    "labelSelector": "string",
    "limit": "integer",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _time(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "date-time", "description": description}


def _texts(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": {"type": "string"}}


_SHARED_SCHEMAS: Final[dict[str, Any]] = {
    f"{_META}.ObjectMeta": {
        "type": "object",
        "description": "What every object has: its name, labels and life cycle.",
        "properties": {
            "annotations": _texts("Notes for programs; not selectable."),
            "creationTimestamp": _time("When the server stored it first."),
            "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
            "deletionTimestamp": _time("When its deletion was asked for."),
            "finalizers": {
                "type": "array",
                "description": "Who must agree before it goes.",
                "items": {"type": "string"},
                "x-kubernetes-list-type": "set",
            },
            "generateName": _text("Prefix of a name that the server completes."),
            "generation": {"type": "integer", "format": "int64", "description": "Counts changes of the spec."},
            "labels": _texts("Keys and values that selectors match."),
            "managedFields": {
                "type": "array",
                "description": "Who set which fields; for server-side apply.",
                "items": {"type": "object"},
            },
            "name": _text("Unique per kind and namespace; cannot change."),
            "namespace": _text("Scope of the name; empty for kinds of the whole cluster."),
            "ownerReferences": {
                "type": "array",
                "description": "Objects that it belongs to; without any of them it is deleted.",
                "items": {"$ref": f"#/components/schemas/{_META}.OwnerReference"},
                "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-list-type": "map",
            },
            "resourceVersion": _text("Changes with every write; compare for equality only."),
            "selfLink": _text("Not used any more."),
            "uid": _text("Tells it from others of the same name, earlier or later."),
        },
    },
    f"{_META}.OwnerReference": {
        "type": "object",
        "description": "Names an object that another one belongs to.",
        "required": ["apiVersion", "kind", "name", "uid"],
        "properties": {
            "apiVersion": _text("Group and version of the owner."),
            "blockOwnerDeletion": {"type": "boolean", "description": "Foreground deletion waits for this object."},
            "controller": {"type": "boolean", "description": "Whether the owner manages it; at most one does."},
            "kind": _text("Kind of the owner."),
            "name": _text("Name of the owner."),
            "uid": _text("Uid of the owner; it decides."),
        },
    },
    f"{_META}.ListMeta": {
        "type": "object",
        "description": "Version of a list and how to go on reading it.",
        "properties": {
            "continue": _text("Token for the next page."),
            "remainingItemCount": {"type": "integer", "format": "int64"},
            "resourceVersion": _text("Version of the list; a watch may start from it."),
        },
    },
    f"{_META}.Status": {
        "type": "object",
        "description": "Answer that is no object of the resource.",
        "properties": {
            "code": {"type": "integer", "format": "int32"},
            "message": {"type": "string"},
            "reason": {"type": "string"},
            "status": {"type": "string"},
        },
    },
}


class OpenApi:
    """The documents of some resources, each made when it is first asked for."""

    def __init__(self, resources: Iterable[ResourceInfo]) -> None:
        self._groups: dict[str, list[ResourceInfo]] = {}
        for info in resources:
            self._groups.setdefault(_root(info), []).append(info)
        self._documents: dict[str, bytes] = {}

    def build_index(self) -> dict[str, Any]:
        """Return the answer of ``/openapi/v3``; a hash in each address lets clients cache the document."""
        paths = {
            root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={_hash(found)}"}
            for root, found in self._groups.items()
        }
        return {"paths": paths}

    def document(self, root: str) -> bytes | None:
        """Return the JSON document of a group version, ``api/v1`` or ``apis/GROUP/VERSION``; None: it is not served."""
        if root not in self._documents and root in self._groups:
            self._documents[root] = orjson.dumps(_document(self._groups[root]))
        return self._documents.get(root)


def _hash(resources: list[ResourceInfo]) -> str:
    said: list[Any] = [(info.plural, info.kind, info.verbs, info.subresources, info.schema) for info in resources]
    if not all(info.custom for info in resources):
        said.append(schemas.fingerprint())
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:32].upper()


def _root(info: ResourceInfo) -> str:
    return f"apis/{info.group}/{info.version}" if info.group else f"api/{info.version}"


def _document(resources: list[ResourceInfo]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    known = dict(_SHARED_SCHEMAS)
    for info in resources:
        if info.custom:
            known[_schema_name(info, info.kind)] = _object_schema(info)
            known[_schema_name(info, info.list_kind)] = _list_schema(info)
        paths |= _paths(info)
    kinds = [(i.group, i.version, kind) for i in resources if not i.custom for kind in (i.kind, i.list_kind)]
    if kinds:
        known |= schemas.schemas_of(kinds)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes-compatible API of kontinue", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": known},
    }


def _schema_name(info: ResourceInfo, kind: str) -> str:
    if info.custom:
        return ".".join([*reversed(info.group.split(".")), info.version, kind])
    package = _PACKAGES.get(info.group) or f"io.k8s.api.{info.group.partition('.')[0] or 'core'}"
    return f"{package}.{info.version}.{kind}"


def _gvk(info: ResourceInfo, kind: str) -> dict[str, str]:
    return {"group": info.group, "version": info.version, "kind": kind}


def _object_schema(info: ResourceInfo) -> dict[str, Any]:
    properties = {**info.schema.get("properties", {})}
    properties["metadata"] = {
        "description": "Name, labels and life cycle.",
        "default": {},
        "allOf": [{"$ref": f"#/components/schemas/{_META}.ObjectMeta"}],
    }
    return {**info.schema, "type": "object", "properties": properties, _GVK: [_gvk(info, info.kind)]}


def _list_schema(info: ResourceInfo) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"A list of {info.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": _text("Group and version of this schema."),
            "kind": _text(f"Always {info.list_kind}."),
            "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META}.ListMeta"}]},
            "items": {"type": "array", "items": _reference(info, info.kind)},
        },
        _GVK: [_gvk(info, info.list_kind)],
    }


def _reference(info: ResourceInfo, kind: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{_schema_name(info, kind)}"}


def _paths(info: ResourceInfo) -> dict[str, Any]:
    root = f"/{_root(info)}"
    scoped = f"{root}/namespaces/{{namespace}}/{info.plural}" if info.namespaced else f"{root}/{info.plural}"
    scope = [_path_parameter("namespace")] if info.namespaced else []
    named = [*scope, _path_parameter("name")]
    patch_types = statuses.CUSTOM_PATCH_TYPES if info.custom else statuses.BUILT_IN_PATCH_TYPES
    many: dict[str, Any] = {
        "get": _operation(info, "list", "list"),
        "post": _operation(info, "create", "post", body=("application/json",)),
        "delete": _operation(info, "deletecollection", "deletecollection"),
        "parameters": scope,
    }
    if info.verbs == ("create",):
        return {scoped: {key: many[key] for key in ("post", "parameters")}}
    single = {
        "get": _operation(info, "get", "get"),
        "put": _operation(info, "update", "put", body=("application/json",)),
        "patch": _operation(info, "patch", "patch", body=patch_types),
        "delete": _operation(info, "delete", "delete"),
        "parameters": named,
    }
    paths: dict[str, Any] = {scoped: many, f"{scoped}/{{name}}": single}
    if info.namespaced:
        paths[f"{root}/{info.plural}"] = {"get": _operation(info, "list", "list")}
    if "status" in info.subresources:
        paths[f"{scoped}/{{name}}/status"] = {key: single[key] for key in ("get", "put", "patch", "parameters")}
    return paths


def _operation(info: ResourceInfo, verb: str, action: str, *, body: tuple[str, ...] = ()) -> dict[str, Any]:
    answer = _reference(info, info.list_kind if verb == "list" else info.kind)
    if verb.startswith("delete"):
        answer = {"$ref": f"#/components/schemas/{_META}.Status"}
    operation: dict[str, Any] = {
        "description": f"{verb} {info.kind}",
        "parameters": _query_parameters(verb, has_body=bool(body)),
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": action,
        _GVK: _gvk(info, info.kind),
    }
    if body:
        schema = {"type": "object"} if verb == "patch" else _reference(info, info.kind)
        operation["requestBody"] = {"required": True, "content": {name: {"schema": schema} for name in body}}
    return operation


def _query_parameters(verb: str, *, has_body: bool) -> list[dict[str, Any]]:
    if has_body:
        return [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in _WRITE_PARAMETERS.items()
        ]
    if verb == "list":
        return [{"name": name, "in": "query", "schema": {"type": kind}} for name, kind in _LIST_PARAMETERS.items()]
    return []


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
