"""Internal. Pruning and defaulting of custom objects, compiled once per schema into closures.

``compile_pruner`` drops what the schema does not know, and nulls that it does not allow (as kube-apiserver does, so a
client may send null for "unset"); ``compile_defaulter`` fills in defaults. Both change the object in place. What has
nothing to prune or fill compiles to None and costs nothing. ``exact_root_schema`` tells in one call of a JSON Schema
validator that there is nothing to prune, which is the usual case. Called by
``kontinue_engine.apiserver.schemas.schema``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
EMBEDDED: Final = "x-kubernetes-embedded-resource"
OBJECT_META_FIELDS: Final = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_WHOLE_OBJECT_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})
_NOTHING: Final[list[str]] = []
_SCALAR: Final[dict[str, Any]] = {"type": ["boolean", "null", "number", "string"]}
_NOT_NULL: Final[dict[str, Any]] = {"type": ["array", "boolean", "number", "object", "string"]}

Pruner = Callable[[Any], list[str]]
"""Prunes a value in place and returns the paths of unknown fields that it dropped."""
Defaulter = Callable[[Any], None]


def compile_root_pruner(schema: dict[str, Any]) -> Pruner:
    """Compile the pruner of whole objects: ``apiVersion`` and ``kind`` stay, metadata keeps Kubernetes' fields."""
    return _object_pruner(schema, is_whole=True)


def _compile_pruner(schema: dict[str, Any]) -> Pruner | None:
    if "items" in schema:
        return _array_pruner(schema)
    if "properties" in schema or schema.get(EMBEDDED):
        return _object_pruner(schema, is_whole=bool(schema.get(EMBEDDED)))
    if isinstance(schema.get("additionalProperties"), dict):
        return _map_pruner(_compile_pruner(schema["additionalProperties"]))
    if schema.get("additionalProperties") is True and not schema.get(PRESERVE):
        return _map_pruner(_prune_all)
    if schema.get("type") == "object" and not schema.get(PRESERVE) and not schema.get("additionalProperties"):
        return _object_pruner(schema, is_whole=False)
    return None


def _object_pruner(schema: dict[str, Any], *, is_whole: bool) -> Pruner:
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    known = frozenset(properties) | (_WHOLE_OBJECT_FIELDS if is_whole else frozenset())
    keeps_unknown = bool(schema.get(PRESERVE))
    keeps_null = frozenset(key for key, value in properties.items() if value.get("nullable") or "default" in value)
    compiled = {key: pruner for key, value in properties.items() if (pruner := _compile_pruner(value))}
    if is_whole:
        compiled["metadata"] = _prune_embedded_metadata if schema.get(EMBEDDED) else _prune_metadata
    children = tuple(compiled.items())

    def prune(value: Any) -> list[str]:
        if not isinstance(value, dict):
            return _NOTHING
        dropped = _NOTHING
        if not keeps_unknown and not value.keys() <= known:
            dropped = [key for key in value if key not in known]
            for key in dropped:
                del value[key]
        if None in value.values():
            for key in [key for key in value if value[key] is None and key in known and key not in keeps_null]:
                del value[key]
        for key, child in children:
            below = value.get(key)
            if below is not None and (paths := child(below)):
                dropped = dropped + [_join(key, path) for path in paths]
        return dropped

    return prune


def _prune_metadata(metadata: Any) -> list[str]:
    if not isinstance(metadata, dict) or metadata.keys() <= OBJECT_META_FIELDS:
        return _NOTHING
    dropped = [key for key in metadata if key not in OBJECT_META_FIELDS]
    for key in dropped:
        del metadata[key]
    return dropped


def _prune_embedded_metadata(metadata: Any) -> list[str]:
    """Prune, and take nulls for absent, or for "" in a map of texts: that of the object itself comes without them."""
    if not isinstance(metadata, dict):
        return _NOTHING
    for key in [key for key, value in metadata.items() if value is None]:
        del metadata[key]
    for key in ("annotations", "labels"):
        if isinstance(texts := metadata.get(key), dict):
            metadata[key] = {name: "" if text is None else text for name, text in texts.items()}
    return _prune_metadata(metadata)


def _array_pruner(schema: dict[str, Any]) -> Pruner | None:
    child = _compile_pruner(schema["items"])
    if child is None:
        return None

    def prune(value: Any) -> list[str]:
        if not isinstance(value, list):
            return _NOTHING
        return [_join(f"[{index}]", path) for index, item in enumerate(value) for path in child(item)]

    return prune


def _prune_all(value: Any) -> list[str]:
    """Drop every field: what a map may hold of which no schema says anything."""
    dropped: list[str] = []
    if isinstance(value, dict):
        dropped = list(value)
        value.clear()
    elif isinstance(value, list):
        dropped = [_join(f"[{index}]", path) for index, item in enumerate(value) for path in _prune_all(item)]
    return dropped


def _map_pruner(child: Pruner | None) -> Pruner | None:
    if child is None:
        return None

    def prune(value: Any) -> list[str]:
        if not isinstance(value, dict):
            return _NOTHING
        return [_join(key, path) for key, item in value.items() for path in child(item)]

    return prune


def exact_root_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema whose instances are whole objects that ``compile_root_pruner`` leaves as they are.

    It mirrors the pruners below case by case; what it does not hold for may still have nothing to prune.
    """
    return _exact_object(schema, is_whole=True)


def _exact(schema: dict[str, Any]) -> dict[str, Any]:
    if "items" in schema:
        return {"items": _exact(schema["items"])}
    if "properties" in schema or schema.get(EMBEDDED):
        return _exact_object(schema, is_whole=bool(schema.get(EMBEDDED)))
    if isinstance(schema.get("additionalProperties"), dict):
        return {"additionalProperties": _exact(schema["additionalProperties"])}
    if schema.get("additionalProperties") is True and not schema.get(PRESERVE):
        return {"additionalProperties": _SCALAR}
    if schema.get("type") == "object" and not schema.get(PRESERVE) and not schema.get("additionalProperties"):
        return _exact_object(schema, is_whole=False)
    return {}


def _exact_object(schema: dict[str, Any], *, is_whole: bool) -> dict[str, Any]:
    members: dict[str, Any] = dict.fromkeys(_WHOLE_OBJECT_FIELDS, _NOT_NULL) if is_whole else {}
    for key, value in schema.get("properties", {}).items():
        keeps_null = value.get("nullable") or "default" in value
        members[key] = _exact(value) | ({} if keeps_null else _NOT_NULL)
    if is_whole:
        members["metadata"] = _NOT_NULL | {"propertyNames": {"enum": sorted(OBJECT_META_FIELDS)}}
        if schema.get(EMBEDDED):
            texts = {"additionalProperties": _NOT_NULL} | _NOT_NULL
            members["metadata"] |= {
                "properties": {"annotations": texts, "labels": texts},
                "additionalProperties": _NOT_NULL,
            }
    return {"properties": members, "additionalProperties": bool(schema.get(PRESERVE))}


def _join(key: str, path: str) -> str:
    return f"{key}{path}" if path.startswith("[") else f"{key}.{path}"


def compile_defaulter(schema: dict[str, Any]) -> Defaulter | None:
    """Compile what fills in defaults: where a key is missing, or null and not nullable. None without any default."""
    if "items" in schema:
        return _array_defaulter(schema["items"])
    if "properties" in schema:
        return _object_defaulter(schema["properties"])
    if isinstance(schema.get("additionalProperties"), dict):
        return _map_defaulter(schema["additionalProperties"])
    return None


def _object_defaulter(properties: dict[str, dict[str, Any]]) -> Defaulter | None:
    # Encoded once and decoded per use: the cheapest deep copy.
    defaults = tuple(
        (key, orjson.dumps(value["default"]), bool(value.get("nullable")))
        for key, value in properties.items()
        if "default" in value
    )
    children = tuple((key, child) for key, value in properties.items() if (child := compile_defaulter(value)))
    if not defaults and not children:
        return None

    def fill(value: Any) -> None:
        if not isinstance(value, dict):
            return
        for key, encoded, is_nullable in defaults:
            if key not in value or (value[key] is None and not is_nullable):
                value[key] = orjson.loads(encoded)
        for key, child in children:
            if key in value:
                child(value[key])

    return fill


def _array_defaulter(items: dict[str, Any]) -> Defaulter | None:
    child = compile_defaulter(items)
    if child is None:
        return None

    def fill(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                child(item)

    return fill


def _map_defaulter(entries: dict[str, Any]) -> Defaulter | None:
    child = compile_defaulter(entries)
    if child is None:
        return None

    def fill(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                child(item)

    return fill
