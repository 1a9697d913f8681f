"""Internal. ``-p name=value`` and ``--args``: text from the shell to the arguments object of an Execution. Pure.

The function's JSON Schema decides how a value is read: ``-p version=1.10`` stays the text ``1.10`` where the function
wants a string, and becomes a number where it wants one. Whether the whole fits is checked by the client, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class ParameterError(ValueError):
    """A parameter that cannot be read; the message says which one and how to write it."""


def parse_arguments(text: str, *, source: str) -> dict[str, Any]:
    """Parse the JSON object of ``--args``; ``source`` names it in errors.

    Raises:
        ParameterError: not JSON, or not an object.
    """
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ParameterError(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ParameterError(f'{source} must be a JSON object such as {{"name": "Ada"}}, not {_json_type(value)}')
    return value


def parse_parameters(pairs: Sequence[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parse ``name=value`` pairs; ``schema`` is the function's arguments schema, None where there is none.

    Raises:
        ParameterError: a pair without ``=``, or a name given twice.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ParameterError(f"-p {pair!r}: write it as -p name=value")
        if name in arguments:
            raise ParameterError(f"-p {name} is given twice; pass a list as JSON: -p '{name}=[1, 2]'")
        arguments[name] = read_value(text, _property_schema(name, schema or {}), schema or {})
    return arguments


def json_types(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that ``schema`` allows; empty means that anything may come."""
    schema = _resolve(schema, root)
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(declared)
    if "enum" in schema:
        return frozenset(_json_type(value) for value in schema["enum"])
    if "const" in schema:
        return frozenset({_json_type(schema["const"])})
    for key in ("anyOf", "oneOf"):
        if key in schema:
            options = [json_types(option, root) for option in schema[key]]
            return frozenset().union(*options) if all(options) else frozenset()
    return frozenset()


def read_value(text: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the value that a text means where ``schema`` is wanted: JSON, or the text itself."""
    types = json_types(schema, root)
    if types == {"string"}:
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    kind = _json_type(value)
    fits = not types or kind in types or (kind == "integer" and "number" in types)
    return text if not fits and "string" in types else value


def _property_schema(name: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found = _resolve(root, root).get("properties", {}).get(name, {})
    return found if isinstance(found, Mapping) else {}


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(8):  # a $ref may lead to a $ref; eight is far more than any generator writes
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        schema = target
    return schema


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
