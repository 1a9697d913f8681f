"""Internal. A CRD's OpenAPI schema, compiled once: prune, default and validate custom objects.

Types and limits are judged by jsonschema-rs on a translated schema, lists and CEL rules by
``kontinue_engine.apiserver.schemas.object_rules``; refusals are worded as kube-apiserver words them. Called by the
handlers for every write, in the order prune, default, validate. Metadata has its own rules in
``kontinue_engine.apiserver.schemas.metadata``. No I/O.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import jsonschema_rs

from kontinue_engine.apiserver.schemas import celrules, formats, object_rules, pruning, schema_causes
from kontinue_engine.apiserver.statuses import Cause, nested_too_deeply
from kontinue_engine.apiserver.values import json_equal

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
MAX_ERRORS: Final = 1000
"""Judgement: whoever corrects these sees the next ones; a wrong list of numbers would make an answer of 80 MB."""
_PATTERNS: Final = jsonschema_rs.RegexOptions()
"""Of an engine without backtracking: its time grows with the text, not with what could be tried."""
_INTEGERS: Final = {"int32": (-(2**31), 2**31 - 1)}
_ANY_INTEGER: Final = (-(2**63), 2**63 - 1)
_BLOCKING: Final = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
"""What keeps CEL rules from being asked: they may rely on the types."""
UNCHECKED: Final = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    schema_causes.NO_FIELD,
)
_FLOAT: Final = 3.4028234663852886e38


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
                formats=formats.FORMATS,
                validate_formats=True,
                pattern_options=_PATTERNS,
                offline=True,
            )
            self._embedded = object_rules.compile_embedded(openapi_schema)
            self._lists = object_rules.compile_lists(openapi_schema)
            self._create_rules = object_rules.compile_cel(openapi_schema, has_old=False)
            self._update_rules = object_rules.compile_cel(openapi_schema, has_old=True)
        except (jsonschema_rs.ValidationError, celrules.UnknownRuleError) as error:
            raise SchemaError(str(error)) from error
        self._schema = openapi_schema
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
            MalformedError: an embedded resource cannot be read.
            StatusError: 400, ``obj`` is nested too deeply.
        """
        causes: list[Cause] = []
        try:
            if not self._validator.is_valid(obj):
                errors = self._validator.iter_errors(obj)
                found = (one for one in errors if old is None or _is_changed(obj, old, one.instance_path, self._schema))
                causes = schema_causes.causes(itertools.islice(found, MAX_ERRORS), self._schema)
        except ValueError as error:  # the library's: its limit is 255 levels
            raise nested_too_deeply() from error
        before = object_rules.ABSENT if old is None else old
        if self._embedded is not None:
            self._embedded(obj, before, "", causes)
        if self._lists is not None:
            causes += self._list_causes(obj, before)
        if causes and self._update_rules is not None and any(one.reason in _BLOCKING for one in causes):
            return [*causes, UNCHECKED]
        rules = self._create_rules if old is None else self._update_rules
        if rules is not None:
            rules(obj, before, "", causes)
        return causes

    def _list_causes(self, obj: dict[str, Any], before: Any) -> list[Cause]:
        causes: list[Cause] = []
        if self._lists is not None:
            self._lists(obj, before, "", causes)
            if causes and before is not object_rules.ABSENT:
                was_wrong: list[Cause] = []
                self._lists(before, object_rules.ABSENT, "", was_wrong)
                return [] if was_wrong else causes
        return causes


def is_pattern(text: str) -> bool:
    """Tell whether ``text`` is a regular expression that schemas may have here."""
    try:
        jsonschema_rs.Draft7Validator({"pattern": text}, pattern_options=_PATTERNS, offline=True)
    except jsonschema_rs.ValidationError:
        return False
    return True


def _translated(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) that judges like Kubernetes judges by this OpenAPI schema."""
    result = {key: value for key, value in schema.items() if key in _COPIED_KEYWORDS}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    elif schema.get(pruning.EMBEDDED):
        result["required"] = sorted({*result.get("required", ()), "apiVersion", "kind"})
    if schema.get("nullable") and "type" in result:
        result["type"] = [*_as_list(result["type"]), "null"]
    if schema.get("format") in (formats.FORMATS.keys() | formats.NATIVE) and schema.get("type") == "string":
        result["format"] = schema["format"]
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if limit in schema:
            result[exclusive if schema.get(exclusive) else limit] = schema[limit]
    if limits := _limits(schema):
        result |= {"if": True, schema_causes.RANGE: limits}
    if "required" in result:
        result["required"] = list(dict.fromkeys(result["required"]))
    if "properties" in schema:
        result["properties"] = {key: _translated(value) for key, value in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            result[key] = _translated(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if schema.get(key):
            result[key] = [_translated(value) for value in schema[key]]
    return result


def _limits(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the limits that the format of a number sets."""
    form = schema.get("format", "")
    if schema.get("type") == "integer":
        low, high = _INTEGERS.get(form, _ANY_INTEGER)
        return {"minimum": low, "maximum": high}
    if schema.get("type") == "number" and form == "float":
        return {"minimum": -_FLOAT, "maximum": _FLOAT}
    return {}


def _as_list(types: str | list[str]) -> list[str]:
    return [types] if isinstance(types, str) else types


def _is_changed(obj: Any, old: Any, path: Sequence[str | int], schema: dict[str, Any]) -> bool:
    """Tell whether the value at ``path``, or what it is part of, differs from the old one."""
    if json_equal(obj, old):
        return False
    for key in path:
        obj = obj[key]
        found, old = _old_part(obj, old, key, schema)
        if not found:
            return True
        if json_equal(obj, old):
            return False
        below = schema.get("items") if isinstance(key, int) else (schema.get("properties") or {}).get(key)
        below = schema.get("additionalProperties") if below is None else below
        schema = below if isinstance(below, dict) else {}
    return True


def _old_part(new: Any, old: Any, key: str | int, schema: dict[str, Any]) -> tuple[bool, Any]:
    """Return whether there was a part like ``new`` under ``key`` of ``old``, and that part."""
    if isinstance(key, str):
        is_known = isinstance(old, dict) and key in old and schema.get("x-kubernetes-map-type") != "atomic"
        return is_known, old[key] if is_known else None
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys and isinstance(old, list) and isinstance(new, dict):
        # Only items of a list map have an identity by which the old one is found.
        for item in old:
            if isinstance(item, dict) and all(item.get(name) == new.get(name) for name in keys):
                return True, item
    return False, None
