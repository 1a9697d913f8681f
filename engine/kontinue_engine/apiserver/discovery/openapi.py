"""Internal. OpenAPI v3 documents, one per group version: what kubectl reads to validate, apply and explain.

kubectl (1.29 and later) looks for paths by which a resource is found (``operations``), and for schemas that carry their
group, version and kind. OpenAPI v2 is an empty document: kubectl asks for it when it has found a
kind nowhere else, and then says so. Built from ResourceInfo values, the schemas of built-in kinds from
``builtin.schemas``; ``documents`` serves the index and the documents that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import orjson

from kontinue_engine.apiserver.builtin import schemas
from kontinue_engine.apiserver.discovery.operations import (
    GVK,
    META,
    SCALE,
    gvk,
    paths_of,
    reference,
    root_of,
    schema_name,
)
from kontinue_engine.apiserver.resources import ResourceInfo

V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_JSON: Final = b'{"swagger":"2.0","info":{"title":"Kubernetes","version":"unversioned"},"paths":{}}'
_V2_BINARY: Final = b"\n\x032.0\x12\x19\n\nKubernetes\x12\x0bunversionedB\x00"
"""The same as a gnostic ``openapi.v2.Document``: swagger (1), info (2: title 1, version 2) and paths (8)."""
_TEXT: Final = {"type": "string"}
_SHARED: Final = (f"{META}.ObjectMeta", f"{META}.ListMeta", f"{META}.DeleteOptions", SCALE)
"""Referred to by what is made here; their schemas are published ones."""
_OWN_SCHEMAS: Final[dict[str, Any]] = {
    f"{META}.Patch": {"description": "A change, in the form that its content type says.", "type": "object"},
    f"{META}.Status": {
        "type": "object",
        "description": "Answer that is no object of the resource.",
        "properties": {
            "apiVersion": _TEXT,
            "kind": _TEXT,
            "metadata": {"default": {}, "allOf": [reference(f"{META}.ListMeta")]},
            "status": {**_TEXT, "description": "Success or Failure."},
            "message": {**_TEXT, "description": "For people."},
            "reason": {**_TEXT, "description": "For programs, in one word."},
            "details": {"allOf": [reference(f"{META}.StatusDetails")]},
            "code": {"type": "integer", "format": "int32", "description": "That of HTTP."},
        },
        GVK: [{"group": "", "version": "v1", "kind": "Status"}],
    },
    f"{META}.StatusDetails": {
        "type": "object",
        "description": "What the answer is about, and what is wrong with it.",
        "properties": {
            "name": _TEXT,
            "group": _TEXT,
            "kind": _TEXT,
            "uid": _TEXT,
            "retryAfterSeconds": {"type": "integer", "format": "int32"},
            "causes": {"type": "array", "items": {"allOf": [reference(f"{META}.StatusCause")]}},
        },
    },
    f"{META}.StatusCause": {
        "type": "object",
        "description": "One of several things that are wrong.",
        "properties": {"reason": _TEXT, "message": _TEXT, "field": _TEXT},
    },
}


def document_v2(accept: str) -> tuple[bytes, str]:
    """Return the empty document of OpenAPI v2 and its content type, binary where ``accept`` names that form."""
    return (_V2_BINARY, V2_PROTOBUF) if "proto-openapi.spec.v2" in accept else (_V2_JSON, "application/json")


class OpenApi:
    """The documents of some resources, each made when it is first asked for."""

    def __init__(self, resources: Iterable[ResourceInfo]) -> None:
        self._groups: dict[str, list[ResourceInfo]] = {}
        for info in resources:
            self._groups.setdefault(root_of(info), []).append(info)
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
    said = [(info.plural, info.kind, info.verbs, info.subresources, info.schema) for info in resources]
    return hashlib.sha256(orjson.dumps([said, schemas.fingerprint()])).hexdigest()[:32].upper()


def _document(resources: list[ResourceInfo]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    kinds = [(i.group, i.version, kind) for i in resources if not i.custom for kind in (i.kind, i.list_kind)]
    known = {**_OWN_SCHEMAS, **schemas.schemas_of(kinds, _SHARED)}
    for info in resources:
        if info.custom:
            known[schema_name(info, info.kind)] = _object_schema(info)
            known[schema_name(info, info.list_kind)] = _list_schema(info)
        paths |= paths_of(info)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes-compatible API of kontinue", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": known},
    }


def _object_schema(info: ResourceInfo) -> dict[str, Any]:
    properties = {**info.schema.get("properties", {})}
    properties["metadata"] = {
        "description": "Name, labels and life cycle.",
        "allOf": [reference(f"{META}.ObjectMeta")],
    }
    return {**info.schema, "type": "object", "properties": properties, GVK: [gvk(info, info.kind)]}


def _list_schema(info: ResourceInfo) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"A list of {info.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": {**_TEXT, "description": "Group and version of this schema."},
            "kind": {**_TEXT, "description": f"Always {info.list_kind}."},
            "metadata": {"allOf": [reference(f"{META}.ListMeta")]},
            "items": {"type": "array", "items": reference(schema_name(info, info.kind))},
        },
        GVK: [gvk(info, info.list_kind)],
    }
