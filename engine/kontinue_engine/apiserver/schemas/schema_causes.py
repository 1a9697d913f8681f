"""Internal. What a JSON Schema validator found, worded as kube-apiserver words it: reason, message and field.

kube-apiserver leaves the field of some complaints empty, which reads ``<nil>``; so do we, for clients that look at it.
Called by ``kontinue_engine.apiserver.schemas.schema``, whose translated schemas give the errors. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import jsonschema_rs
import orjson

from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import type_name

NO_FIELD: Final = "<nil>"
RANGE: Final = "then"
"""Under this keyword, which CRDs do not have, the translated schema limits numbers to their format."""


def causes(errors: Iterable[jsonschema_rs.ValidationError], schema: dict[str, Any]) -> list[Cause]:
    """Word ``errors`` of an object that was judged by the translation of the OpenAPI ``schema``."""
    found: list[Cause] = []
    for error in errors:
        found += _causes(error, schema)
    return list(dict.fromkeys(found))


def _causes(error: jsonschema_rs.ValidationError, schema: dict[str, Any]) -> Iterable[Cause]:
    path = _path(error.instance_path)
    kind, at = error.kind.name, list(error.schema_path)
    if RANGE in at:
        yield from _range_causes(error, path, schema)
        return
    yield from _word(error, path, schema)
    if kind in {"anyOf", "oneOf"}:
        branches: list[list[jsonschema_rs.ValidationError]] = error.kind.as_dict().get("context", [])
        if branches and all(branches):
            for inner in min(branches, key=len):
                yield from _causes(inner, schema)
    if "allOf" in at:
        outer = _path(error.instance_path[: _depth(at[: at.index("allOf")])])
        yield Cause(
            "FieldValueInvalid", f'Invalid value: "": "{outer}" must validate all the schemas (allOf)', NO_FIELD
        )


def _depth(keywords: Sequence[str | int]) -> int:
    """Return how many steps down an object the keywords of a schema lead."""
    depth, position = 0, 0
    while position < len(keywords):
        keyword = keywords[position]
        depth += keyword in {"properties", "items", "additionalProperties"}
        position += 2 if keyword in {"properties", "allOf", "anyOf", "oneOf"} else 1
    return depth


def _path(keys: Sequence[str | int]) -> str:
    return "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in keys).removeprefix(".")


def _format_of(schema: dict[str, Any], keys: Sequence[str | int]) -> tuple[str, str]:
    """Return the type and format of a field."""
    for key in keys:
        if isinstance(key, int):
            schema = schema.get("items") or {}
        else:
            below = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
            schema = below if isinstance(below, dict) else {}
    return schema.get("type", ""), schema.get("format", "")


def _range_causes(error: jsonschema_rs.ValidationError, path: str, schema: dict[str, Any]) -> Iterable[Cause]:
    kind, form = _format_of(schema, error.instance_path)
    if kind == "integer" and form != "int32":
        yield _wrong_type(path, "integer", "number")
    yield _unchecked(path, kind, form)


def _unchecked(path: str, kind: str, form: str) -> Cause:
    named = f"with format {form}" if form else "(default format)"
    return Cause(
        "FieldValueInvalid", f'Invalid value: "": Checked value must be of type {kind} {named} in {path}', NO_FIELD
    )


def _wrong_type(path: str, wanted: str, found: str) -> Cause:
    detail = f'{path} in body must be of type {wanted}: "{found}"'
    return cause("FieldValueTypeInvalid", path, value=found, detail=detail)


def _word(error: jsonschema_rs.ValidationError, path: str, schema: dict[str, Any]) -> Iterable[Cause]:
    value: Any = error.instance
    match error.kind.name:
        case "required":
            yield cause("FieldValueRequired", _path([*error.instance_path, error.kind.as_dict()["property"]]))
        case "type":
            yield from _type_causes(error, path, schema)
        case "enum":
            options = error.kind.as_dict()["options"]
            listed = ", ".join(f'"{one}"' if isinstance(one, str) else f'"{_json(one)}"' for one in options)
            yield cause("FieldValueNotSupported", path, value=value, detail=f"supported values: {listed}")
        case "maxLength":
            yield cause("FieldValueTooLong", path, detail=f"may not be more than {error.kind.value} bytes")
        case "format":
            detail = f"{path} in body must be of type {error.kind.value}: {_json(value)}"
            yield cause("FieldValueTypeInvalid", path, value=value, detail=detail)
        case "maxItems" | "maxProperties":
            detail = f"must have at most {error.kind.value} items"
            yield cause("FieldValueTooMany", path, value=len(value), detail=detail)
        case "anyOf" | "oneOf" | "not":
            message = f'Invalid value: "": "{path}" {_junction(error)}'
            yield Cause("FieldValueInvalid", message, NO_FIELD)
        case keyword:
            shown = len(value) if isinstance(value, dict | list) else value
            yield cause("FieldValueInvalid", path, value=shown, detail=f"{path} in body {_complaint(keyword, error)}")


def _type_causes(error: jsonschema_rs.ValidationError, path: str, schema: dict[str, Any]) -> Iterable[Cause]:
    # Null is allowed by ``nullable``, which is no type in Kubernetes.
    wanted = ",".join(name for name in error.kind.as_dict()["types"] if name != "null")
    value = error.instance
    _, form = _format_of(schema, error.instance_path)
    if wanted == "integer" and isinstance(value, float):
        if form in {"int32", "int64"}:
            yield _wrong_type(path, form, "float64")
        else:
            yield _wrong_type(path, "integer", "number")
        yield _unchecked(path, "integer", form)
    else:
        yield _wrong_type(path, wanted, type_name(value))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _junction(error: jsonschema_rs.ValidationError) -> str:
    match error.kind.name:
        case "anyOf":
            return "must validate at least one schema (anyOf)"
        case "not":
            return "must not validate the schema (not)"
        case _:
            branches = error.kind.as_dict().get("context", [])
            valid = sum(not branch for branch in branches)
            found = f"{valid} valid alternatives" if valid else "none valid"
            return f"must validate one and only one schema (oneOf). Found {found}"


def _complaint(keyword: str, error: jsonschema_rs.ValidationError) -> str:
    limit = _short(error.kind.value)
    texts = {
        "minLength": f"should be at least {limit} chars long",
        "minItems": f"should have at least {limit} items",
        "minProperties": f"should have at least {limit} properties",
        "minimum": f"should be greater than or equal to {limit}",
        "exclusiveMinimum": f"should be greater than {limit}",
        "maximum": f"should be less than or equal to {limit}",
        "exclusiveMaximum": f"should be less than {limit}",
        "multipleOf": f"should be a multiple of {limit}",
        "pattern": f"should match '{limit}'",
    }
    return texts.get(keyword, error.message)


def _short(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number.is_integer() else number
