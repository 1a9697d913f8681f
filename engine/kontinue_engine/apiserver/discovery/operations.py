"""Internal. What can be done with a resource, as paths of an OpenAPI v3 document: operations, parameters, answers.

kubectl looks for ``fieldValidation`` among the parameters of a PATCH that carries its group, version and kind;
generators of clients go by ``operationId``, and by what is sent and answered. Names and codes are those of
kube-apiserver. Pure. Called by ``openapi``, which gives the schemas that are referred to here.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.resources import ResourceInfo

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
SCALE: Final = "io.k8s.api.autoscaling.v1.Scale"
GVK: Final = "x-kubernetes-group-version-kind"
_PACKAGES: Final = {"apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions"}
_SCALE_KIND: Final = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
_BODY_TYPES: Final = ("application/json", "application/yaml")
_CODES: Final = {"post": (200, 201, 202), "put": (200, 201), "delete": (200, 202)}
"""By action; of all others 200."""
_OPERATIONS: Final = {
    "list": ("get", "list", "list"),
    "create": ("post", "create", "post"),
    "deletecollection": ("delete", "delete", "deletecollection"),
    "get": ("get", "read", "get"),
    "update": ("put", "replace", "put"),
    "patch": ("patch", "patch", "patch"),
    "delete": ("delete", "delete", "delete"),
}
"""Method, first word of the operationId and action of each verb."""
_OF_MANY: Final = ("list", "create", "deletecollection")
_OF_ONE: Final = ("get", "update", "patch", "delete")
_OF_SUBRESOURCES: Final = {
    "status": ("get", "update", "patch"),
    "scale": ("get", "update", "patch"),
    "finalize": ("update",),
}
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
_DELETE_PARAMETERS: Final = {
    "dryRun": "string",
    "gracePeriodSeconds": "integer",
    "orphanDependents": "boolean",
    "propagationPolicy": "string",
}


def paths_of(info: ResourceInfo) -> dict[str, Any]:
    """Return the paths of a resource: of all its objects, of one, and of one's subresources."""
    root = f"/{root_of(info)}"
    scoped = f"{root}/namespaces/{{namespace}}/{info.plural}" if info.namespaced else f"{root}/{info.plural}"
    scope = [_path_parameter("namespace")] if info.namespaced else []
    named = [*scope, _path_parameter("name")]
    paths = {
        scoped: {**_operations(info, _OF_MANY), "parameters": scope},
        f"{scoped}/{{name}}": {**_operations(info, _OF_ONE), "parameters": named},
    }
    for subresource, verbs in _OF_SUBRESOURCES.items():
        if subresource in info.subresources:
            operations = _operations(info, verbs, subresource)
            paths[f"{scoped}/{{name}}/{subresource}"] = {**operations, "parameters": named}
    if info.namespaced and "list" in info.verbs:
        everywhere = _operation(info, "list", "")
        everywhere["operationId"] = f"list{_tag(info)}{info.kind}ForAllNamespaces"
        paths[f"{root}/{info.plural}"] = {"get": everywhere, "parameters": []}
    return {path: found for path, found in paths.items() if len(found) > 1}


def root_of(info: ResourceInfo) -> str:
    """Return the path of a resource's group version, without slashes around it."""
    return f"apis/{info.group}/{info.version}" if info.group else f"api/{info.version}"


def schema_name(info: ResourceInfo, kind: str) -> str:
    """Return the name of the schema of ``kind``, one of the resource's kinds."""
    if info.custom:
        return ".".join([*reversed(info.group.split(".")), info.version, kind])
    package = _PACKAGES.get(info.group) or f"io.k8s.api.{info.group.partition('.')[0] or 'core'}"
    return f"{package}.{info.version}.{kind}"


def gvk(info: ResourceInfo, kind: str) -> dict[str, str]:
    """Return the group, version and kind that mark a schema or an operation."""
    return {"group": info.group, "version": info.version, "kind": kind}


def reference(name: str) -> dict[str, str]:
    """Return a reference to the schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _operations(info: ResourceInfo, verbs: tuple[str, ...], subresource: str = "") -> dict[str, Any]:
    return {_OPERATIONS[verb][0]: _operation(info, verb, subresource) for verb in verbs if verb in info.verbs}


def _operation(info: ResourceInfo, verb: str, subresource: str) -> dict[str, Any]:
    _, word, action = _OPERATIONS[verb]
    of = schema_name(info, info.kind) if subresource != "scale" else SCALE
    answer = schema_name(info, info.list_kind) if verb == "list" else of
    if verb.startswith("delete"):
        answer = f"{META}.Status"
    many = "Collection" if verb == "deletecollection" else ""
    scope = "Namespaced" if info.namespaced else ""
    content = {"application/json": {"schema": reference(answer)}}
    operation: dict[str, Any] = {
        "description": f"{verb} {subresource} of {info.kind}" if subresource else f"{verb} {info.kind}",
        "operationId": f"{word}{_tag(info)}{many}{scope}{info.kind}{subresource.capitalize()}",
        "parameters": _query_parameters(verb),
        "responses": {
            **{str(code): {"description": "OK", "content": content} for code in _CODES.get(action, (200,))},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        GVK: _SCALE_KIND if subresource == "scale" else gvk(info, info.kind),
    }
    if body := _body(info, verb, of):
        operation["requestBody"] = body
    return operation


def _body(info: ResourceInfo, verb: str, of: str) -> dict[str, Any]:
    if verb == "patch":
        types = statuses.CUSTOM_PATCH_TYPES if info.custom else statuses.BUILT_IN_PATCH_TYPES
        return {"required": True, "content": {name: {"schema": reference(f"{META}.Patch")} for name in types}}
    if verb in {"create", "update"}:
        return {"required": True, "content": {name: {"schema": reference(of)} for name in _BODY_TYPES}}
    if verb.startswith("delete"):
        return {"content": {name: {"schema": reference(f"{META}.DeleteOptions")} for name in _BODY_TYPES}}
    return {}


def _tag(info: ResourceInfo) -> str:
    """Return group and version as they stand in an operationId: KontinueCloudV1alpha1, CoreV1."""
    words = (info.group.removesuffix(".k8s.io") or "core").replace("-", ".").split(".")
    return "".join(word[:1].upper() + word[1:] for word in [*words, info.version])


def _query_parameters(verb: str) -> list[dict[str, Any]]:
    if verb in {"create", "update", "patch"}:
        found = [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in _WRITE_PARAMETERS.items()
        ]
        return [*found, _query("force", "boolean")] if verb == "patch" else found
    kinds = {
        "list": _LIST_PARAMETERS,
        "delete": _DELETE_PARAMETERS,
        "deletecollection": {**_DELETE_PARAMETERS, **_LIST_PARAMETERS},
    }
    without = {"watch", "allowWatchBookmarks"} if verb == "deletecollection" else set()
    return [_query(name, kind) for name, kind in kinds.get(verb, {}).items() if name not in without]


def _query(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
