"""Internal. Plain JSON values: equality as JSON means it, type names as schemas spell them, limits. No I/O."""

from __future__ import annotations

from typing import Any, Final

import orjson

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""Largest request body, as in kube-apiserver."""
MAX_NESTING: Final = 250
"""Levels of an object. orjson writes 254; answers add four at most: a watch event, its Table, the rows, a row."""


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
