"""Internal. A Function's JSON Schemas as one line that a programmer reads: ``build(target: string, opt: integer = 2)``.

Pure. Also makes the command line that calls a function, with placeholders for all that is required.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kontinue.api.v1alpha1 import Function

_SAMPLES: Final = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
_FORMATS: Final = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
_MAX_DEPTH: Final = 4
"""Levels of placeholders within one another: a type may require itself. Judgement: deeper ones nobody reads."""


def format_signature(function: Function) -> str:
    """Return the function's call signature with JSON types."""
    schema = decode_schema(function.spec.arguments)
    required = set(schema.get("required", ()))
    parameters = []
    for name, property_schema in properties(schema).items():
        text = f"{name}: {type_name(property_schema, schema)}"
        if name not in required:
            text += f" = {_json(property_schema.get('default'))}" if "default" in property_schema else " = ..."
        parameters.append(text)
    result = decode_schema(function.spec.result)
    arrow = f" -> {type_name(result, result)}" if result else ""
    return f"{function.spec.name}({', '.join(parameters)}){arrow}"


def example_command(function: Function) -> str:
    """Return a ``kontinue execute`` line that calls the function; values are placeholders to be replaced."""
    schema = decode_schema(function.spec.arguments)
    required = set(schema.get("required", ()))
    words = [
        f"-p {name}={shlex.quote(_as_text(_sample(property_schema, schema)))}"
        for name, property_schema in properties(schema).items()
        if name in required
    ]
    return " ".join(["kontinue execute", function.spec.name, *words])


def decode_schema(raw: msgspec.Raw | msgspec.UnsetType) -> dict[str, Any]:
    """Return the schema with a ``$ref`` at its top resolved; empty when there is none."""
    if isinstance(raw, msgspec.UnsetType):
        return {}
    schema = msgspec.json.decode(raw)
    return resolved(schema, schema) if isinstance(schema, dict) else {}


def properties(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of an object's members, by name."""
    return {
        name: resolved(value, schema) if isinstance(value, dict) else {}
        for name, value in schema.get("properties", {}).items()
    }


def resolved(schema: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without the ``$ref`` at its top."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return schema
    target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
    kept = {key: value for key, value in schema.items() if key != "$ref"}
    definitions = {"$defs": root["$defs"]} if schema is root else {}
    return {**target, **kept, **definitions}


def type_name(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return what a schema allows, in a few words: ``integer``, ``[string]``, ``"stable" | "beta"``."""
    schema = resolved(dict(schema), root)
    if "enum" in schema:
        return " | ".join(_json(value) for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(type_name(option, root) for option in schema[key])
    declared = schema.get("type")
    if isinstance(declared, list):
        return " | ".join(declared)
    if declared == "array":
        items = schema.get("items")
        return f"[{type_name(items, root)}]" if isinstance(items, dict) and items else "array"
    if declared == "object" and "title" in schema:
        return str(schema["title"])
    return str(declared or "any")


def _sample(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value that a schema takes, with what it requires inside, to be replaced."""
    schema = resolved(dict(schema), root)
    if "enum" in schema:
        return schema["enum"][0]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        optional = depth > 0 and {"type": "null"} in options
        return None if optional else _sample(options[0], root, depth)
    kind = schema.get("type")
    if kind in {"object", "array"} and depth >= _MAX_DEPTH:
        return {} if kind == "object" else []
    if kind == "object":
        required, members = schema.get("required", ()), properties({**schema, "$defs": root.get("$defs", {})})
        return {name: _sample(member, root, depth + 1) for name, member in members.items() if name in required}
    if kind == "array":
        first = schema.get("prefixItems", [])
        items = [*first, *[schema.get("items", {})] * (schema.get("minItems", 0) - len(first))]
        return [_sample(item, root, depth + 1) for item in items]
    return _SAMPLES.get(str(kind), _FORMATS.get(str(schema.get("format")), "TEXT"))


def _as_text(value: Any) -> str:
    """Return a value as ``-p`` takes it."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
