"""Internal. Rules that JSON Schema cannot say: unique lists, embedded resources, CEL rules with the value before.

Compiled once per schema into a tree that reaches only the places where such rules stand. Called by
``kontinue_engine.apiserver.schemas.schema`` after the types were judged. A value of a wrong type can still come here,
when it was stored under an older schema and is tolerated: rules pass over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver.schemas import celrules, metadata
from kontinue_engine.apiserver.schemas.schema_causes import NO_FIELD
from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_identical

_TYPES: Final[dict[str, type]] = {"object": dict, "array": list, "string": str}

ABSENT: Final = object()
"""Stands for the old value where there is none; null is a value."""

Checker = Callable[[Any, Any, str, list[Cause]], None]
"""Checks (value, old value or ABSENT, path) and appends what is wrong."""


_Here = Callable[[dict[str, Any]], Iterable[Checker | None]]
"""Compiles what stands at one place of a schema, not below it."""


class MalformedError(Exception):
    """An embedded resource is none: it cannot be read at all. The message names the field."""


def compile_lists(schema: dict[str, Any]) -> Checker | None:
    """Compile the rules of unique lists at and below ``schema``; None when there are none."""
    return _compile(schema, lambda here: (_unique(here),))


def compile_embedded(schema: dict[str, Any]) -> Checker | None:
    """Compile the rules of embedded resources at and below ``schema``; None when there are none.

    The checker raises MalformedError where a resource cannot be read.
    """
    return _compile(schema, lambda here: (_embedded(here),))


def compile_cel(schema: dict[str, Any], *, has_old: bool) -> Checker | None:
    """Compile the CEL rules at and below ``schema``; None when there are none.

    Transition rules are left out unless ``has_old``: a create has nothing to compare with.

    Raises:
        UnknownRuleError: a CEL rule is not in the table.
    """
    return _compile(schema, lambda here: (_cel(here.get("x-kubernetes-validations") or [], has_old=has_old),))


def _compile(schema: dict[str, Any], here: _Here) -> Checker | None:
    checkers = [
        checker
        for checker in (
            *here(schema),
            _properties(schema.get("properties") or {}, here),
            _entries(schema.get("additionalProperties"), here),
            _items(schema, here),
        )
        if checker
    ]
    if not checkers:
        return None
    expected = _TYPES.get(schema.get("type", ""), object)

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        # What did not change is tolerated (ratcheting); a write of a subresource leaves most of the object as it is.
        if value is not old and isinstance(value, expected):
            for checker in checkers:
                checker(value, old, path, causes)

    return check


def _cel(entries: list[dict[str, Any]], *, has_old: bool) -> Checker | None:
    compiled = [celrules.compile_rule(entry) for entry in entries]
    rules = tuple(rule for rule in compiled if has_old or not rule.is_transition)
    if not rules:
        return None

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        for rule in rules:
            if rule.is_transition and type(old) is not type(value):
                continue
            # What was wrong before and did not change is tolerated (ratcheting).
            if not rule.holds(value, old) and (old is ABSENT or not json_identical(value, old)):
                field = f"{path}{rule.field}" if path else rule.field.removeprefix(".") or NO_FIELD
                shown = {} if isinstance(value, dict | list) else {"value": value}
                causes.append(cause(rule.reason, field, **shown, detail=rule.message))

    return check


def _unique(schema: dict[str, Any]) -> Checker | None:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in {"set", "map"}:
        return None
    keys: list[str] = schema.get("x-kubernetes-list-map-keys") or []

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        _ = old
        counts: dict[bytes, int] = {}
        for index, item in enumerate(value):
            if kind == "map" and not isinstance(item, dict):
                detail = "must be an object for an array of list-type map"
                causes.append(cause("FieldValueInvalid", f"{path}[{index}]", value=item, detail=detail))
                continue
            identity = _identity(item, keys) if kind == "map" else item
            encoded = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)
            counts[encoded] = counts.get(encoded, 0) + 1
            if counts[encoded] == 2:  # told once per value
                causes.append(cause("FieldValueDuplicate", f"{path}[{index}]", value=identity))

    return check


def _embedded(schema: dict[str, Any]) -> Checker | None:
    if not schema.get("x-kubernetes-embedded-resource"):
        return None

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        _ = old
        version, kind = value.get("apiVersion"), value.get("kind")
        if isinstance(version, str) and version.count("/") > 1:
            detail = f"unexpected GroupVersion string: {version}"
            causes.append(cause("FieldValueInvalid", f"{path}.apiVersion", value=version, detail=detail))
        for key, text in (("apiVersion", version), ("kind", kind)):
            if text is not None and not isinstance(text, str):
                wrong = cause("FieldValueInvalid", f"{path}.{key}", value=text, detail="must be a string")
                raise MalformedError(str(wrong))
            if text == "":
                causes.append(cause("FieldValueInvalid", f"{path}.{key}", value=text, detail="must not be empty"))
        if kind and isinstance(kind, str) and (problem := metadata.dns_1035_label_problem(kind.lower())):
            detail = f"may have mixed case, but should otherwise match: {problem}"
            causes.append(cause("FieldValueInvalid", f"{path}.kind", value=kind, detail=detail))
        if (given := value.get("metadata")) is not None:
            _check_types(given, f"{path}.metadata")
            causes += [
                msgspec.structs.replace(one, field=f"{path}.{one.field}")
                for one in metadata.validate({**given, "name": "any"})
            ]

    return check


def _check_types(given: Any, path: str) -> None:
    try:
        msgspec.convert(given, metadata.ObjectMeta)
    except msgspec.ValidationError as error:
        wrong = cause("FieldValueInvalid", path, value=given, detail=str(error))
        raise MalformedError(str(wrong)) from error


def _identity(item: Any, keys: list[str]) -> Any:
    return {key: item.get(key) for key in keys} if isinstance(item, dict) else item


def _properties(properties: dict[str, dict[str, Any]], here: _Here) -> Checker | None:
    children = tuple((key, child) for key, value in properties.items() if (child := _compile(value, here)))
    if not children:
        return None

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        before = old if isinstance(old, dict) else {}
        for key, child in children:
            if key in value:
                child(value[key], before.get(key, ABSENT), f"{path}.{key}" if path else key, causes)

    return check


def _entries(entries: Any, here: _Here) -> Checker | None:
    child = _compile(entries, here) if isinstance(entries, dict) else None
    if child is None:
        return None

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        before = old if isinstance(old, dict) else {}
        for key, item in value.items():
            child(item, before.get(key, ABSENT), f"{path}[{key}]", causes)

    return check


def _items(schema: dict[str, Any], here: _Here) -> Checker | None:
    child = _compile(schema["items"], here) if "items" in schema else None
    if child is None:
        return None
    keys: list[str] = schema.get("x-kubernetes-list-map-keys") or []

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        # Only items of a list map have an identity by which the old one is found.
        before = old if keys and isinstance(old, list) else []
        old_by_key = {orjson.dumps(_identity(item, keys)): item for item in before}
        for index, item in enumerate(value):
            was = old_by_key.get(orjson.dumps(_identity(item, keys)), ABSENT) if keys else ABSENT
            child(item, was, f"{path}[{index}]", causes)

    return check
