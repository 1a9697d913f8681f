"""Internal. A CRD's OpenAPI schema, compiled once: prune, default and validate custom objects.

Types and limits are judged by jsonschema-rs on a translated schema, lists and CEL rules by
``kontinue_engine.apiserver.object_rules``; refusals are worded as kube-apiserver words them. Called by the handlers
for every write, in the order prune, default, validate. Metadata has its own rules in
``kontinue_engine.apiserver.metadata``. No I/O.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import jsonschema_rs
import orjson

from kontinue_engine.apiserver import celrules, object_rules, pruning
from kontinue_engine.apiserver.statuses import Cause, cause, nested_too_deeply
from kontinue_engine.apiserver.values import json_equal, type_name

_COPIED_KEYWORDS: Final = frozenset(
    {
        "enum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minItems",
        "minLength",
        "minProperties",
        "multipleOf",
        "pattern",
        "required",
        "type",
        "uniqueItems",
    }
)
_DURATION: Final = re.compile(r"[-+]?(?:0|(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)", re.ASCII)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_OWN_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "byte": _is_base64,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
}
_FORMATS: Final = frozenset(
    {
        "byte",
        "cidr",
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uuid",
    }
)
"""Formats that are judged; others are ignored, as in kube-apiserver."""


class SchemaError(Exception):
    """A schema cannot be served: it is malformed, or it has a rule that this server cannot evaluate."""


class CompiledSchema:
    """Judges objects of one kind and version. Immutable; safe to share."""

    def __init__(self, openapi_schema: dict[str, Any]) -> None:
        """Compile ``openapi_schema``, the schema of whole objects.

        Raises:
            SchemaError: it cannot be compiled.
        """
        try:
            self._validator = jsonschema_rs.Draft7Validator(
                _translated(openapi_schema),
                formats=_OWN_FORMATS,
                validate_formats=True,
                pattern_options=jsonschema_rs.RegexOptions(),
                offline=True,
            )
            self._create_rules = object_rules.compile_rules(openapi_schema, has_old=False)
            self._update_rules = object_rules.compile_rules(openapi_schema, has_old=True)
        except (jsonschema_rs.ValidationError, celrules.UnknownRuleError) as error:
            raise SchemaError(str(error)) from error
        self._exact = jsonschema_rs.Draft7Validator(pruning.exact_root_schema(openapi_schema), offline=True)
        self._prune = pruning.compile_root_pruner(openapi_schema)
        self._default = pruning.compile_defaulter(openapi_schema)

    def prune(self, obj: dict[str, Any]) -> list[str]:
        """Drop unknown fields and forbidden nulls in place; return the paths of the unknown fields.

        Raises:
            StatusError: 400, ``obj`` is nested too deeply.
        """
        try:
            is_exact = self._exact.is_valid(obj)
        except ValueError as error:  # the library's: its limit is 255 levels
            raise nested_too_deeply() from error
        return [] if is_exact else self._prune(obj)

    def default(self, obj: dict[str, Any]) -> None:
        """Fill in defaults in place."""
        if self._default is not None:
            self._default(obj)

    def validate(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[Cause]:
        """Return what is wrong with ``obj``; empty when it may be stored.

        With ``old`` this is an update: transition rules apply, and what was wrong already and did not change is
        tolerated, so that a stricter CRD does not freeze stored objects.

        Raises:
            StatusError: 400, ``obj`` is nested too deeply.
        """
        causes: list[Cause] = []
        try:
            errors = [] if self._validator.is_valid(obj) else list(self._validator.iter_errors(obj))
        except ValueError as error:  # the library's: its limit is 255 levels
            raise nested_too_deeply() from error
        if errors:
            causes = [_cause(error) for error in errors if old is None or _is_changed(obj, old, error.instance_path)]
            if causes:
                return causes
        rules = self._create_rules if old is None else self._update_rules
        if rules is not None:
            rules(obj, object_rules.ABSENT if old is None else old, "", causes)
        return causes


def _translated(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) that judges like Kubernetes judges by this OpenAPI schema."""
    result = {key: value for key, value in schema.items() if key in _COPIED_KEYWORDS}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    elif schema.get(pruning.EMBEDDED):
        result["required"] = sorted({*result.get("required", ()), "apiVersion", "kind"})
    if schema.get("nullable") and "type" in result:
        result["type"] = [*_as_list(result["type"]), "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    if schema.get("format") in _FORMATS:
        result["format"] = schema["format"]
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if limit in schema:
            result[exclusive if schema.get(exclusive) else limit] = schema[limit]
    if "properties" in schema:
        result["properties"] = {key: _translated(value) for key, value in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            result[key] = _translated(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            result[key] = [_translated(value) for value in schema[key]]
    return result


def _as_list(types: str | list[str]) -> list[str]:
    return [types] if isinstance(types, str) else types


def _is_changed(obj: Any, old: Any, path: Sequence[str | int]) -> bool:
    """Tell whether the value at ``path``, or what it is part of, differs from the old one."""
    if json_equal(obj, old):
        return False
    for key in path:
        if not isinstance(key, str) or not isinstance(old, dict) or key not in old:
            return True
        obj, old = obj[key], old[key]
        if json_equal(obj, old):
            return False
    return True


def _path(keys: Sequence[str | int]) -> str:
    return "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in keys).removeprefix(".")


def _cause(error: jsonschema_rs.ValidationError) -> Cause:
    """Word one error as go-openapi and Kubernetes' field errors do."""
    path, keyword = _path(error.instance_path), error.kind.name
    value: Any = error.instance
    limit = error.kind.value
    match keyword:
        case "required":
            return cause("FieldValueRequired", _path([*error.instance_path, error.kind.as_dict()["property"]]))
        case "type":
            # Null is allowed by ``nullable``, which is no type in Kubernetes.
            wanted = ",".join(name for name in error.kind.as_dict()["types"] if name != "null")
            found = type_name(value)
            detail = f'{path} in body must be of type {wanted}: "{found}"'
            return cause("FieldValueTypeInvalid", path, value=found, detail=detail)
        case "enum":
            options = ", ".join(orjson.dumps(option).decode() for option in error.kind.as_dict()["options"])
            return cause("FieldValueNotSupported", path, value=value, detail=f"supported values: {options}")
        case "maxLength":
            return cause("FieldValueTooLong", path, detail=f"may not be more than {limit} bytes")
        case "format":
            shown = orjson.dumps(value).decode()
            detail = f"{path} in body must be of type {limit}: {shown}"
            return cause("FieldValueTypeInvalid", path, value=value, detail=detail)
        case "maxItems" | "maxProperties":
            return cause("FieldValueTooMany", path, value=len(value), detail=f"must have at most {limit} items")
        case _:
            shown = type_name(value) if isinstance(value, dict | list) else value
            detail = f"{path} in body {_complaint(keyword, error)}"
            return cause("FieldValueInvalid", path, value=shown, detail=detail)


def _complaint(keyword: str, error: jsonschema_rs.ValidationError) -> str:
    limit = error.kind.value
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
        "uniqueItems": "shouldn't contain duplicates",
        "anyOf": "must validate at least one schema (anyOf)",
        "oneOf": "must validate one and only one schema (oneOf)",
        "not": "must not validate the schema (not)",
    }
    return texts.get(keyword, error.message)
