"""Internal. Plain JSON values: equality as JSON means it, whole numbers, type names as schemas spell them. No I/O."""

from __future__ import annotations

from typing import Any, Final

import orjson

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""Largest request body, as in kube-apiserver."""
MAX_NESTING: Final = 250
"""Levels of an object. orjson writes 254; answers add four at most: a watch event, its Table, the rows, a row."""
_INTEGERS: Final = 2**63
"""What is larger stays a float, in Kubernetes too."""


def json_equal(left: Any, right: Any) -> bool:
    """Compare as JSON does: ``True`` is not ``1``, ``1`` is ``1.0``."""
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    return bool(left == right)


def json_identical(left: Any, right: Any) -> bool:
    """Compare what no schema describes as kube-apiserver does, apart from the order of members: 1 is not 1.0."""
    if left is right:
        return True
    sort = orjson.OPT_SORT_KEYS
    return orjson.dumps(left, option=sort) == orjson.dumps(right, option=sort)


def with_whole_numbers(value: Any) -> Any:
    """Return ``value`` with integers for floats that are whole, however deep: what Go's encoder makes of them."""
    if isinstance(value, dict):
        return {key: with_whole_numbers(below) for key, below in value.items()}
    if isinstance(value, list):
        return [with_whole_numbers(below) for below in value]
    return whole_number(value)


def whole_number(value: Any) -> Any:
    """Return ``value``, or the integer that it is equal to."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _INTEGERS else value


def type_name(value: Any) -> str:
    """Return the JSON Schema type of ``value``."""
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
