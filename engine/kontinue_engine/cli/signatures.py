"""Internal. A Function's JSON Schemas as one line that a programmer reads: ``build(target: string, opt: integer = 2)``.

Pure. Also makes the command line that calls a function, with a placeholder for each required parameter.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from kontinue.api.v1alpha1 import Function

_PLACEHOLDERS = {"integer": "1", "number": "1.5", "boolean": "true", "array": "[]", "object": "{}", "null": "null"}


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
        f"-p {name}={shlex.quote(placeholder(property_schema, schema))}"
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


def placeholder(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return a text that ``-p`` takes for a schema, to be replaced."""
    schema = resolved(dict(schema), root)
    if "enum" in schema:
        return str(schema["enum"][0])
    return _PLACEHOLDERS.get(str(schema.get("type")), "TEXT")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
