"""Internal. Server-side printing: objects as rows of a ``meta.k8s.io/v1`` Table.

Columns come from a CRD's printer columns, NAME stands first, and cells are found by their JSONPath (``json_path``).
Those of built-in kinds are computed (``builtin.printing``). A row carries the object's metadata only; whoever answers
the request adds whole objects where a client asks for them.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from kontinue_engine.apiserver.durations import human_duration, parse_time
from kontinue_engine.apiserver.reads import json_path
from kontinue_engine.apiserver.resources import Column

_MIN_INTEGER: Final = -(2**63)
_EXPONENTS: Final = range(-4, 6)
"""Of the numbers that Go writes without one."""
_NAME: Final = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def build_table(
    columns: Sequence[Column],
    objects: Sequence[dict[str, Any]],
    list_metadata: dict[str, Any],
    now: datetime,
    *,
    cells: Callable[[dict[str, Any], datetime], list[Any]] | None = None,
) -> dict[str, Any]:
    """Return the Table of ``objects``; ``list_metadata`` becomes its metadata, ages are counted to ``now``.

    With ``cells`` a row is what it returns and NAME is one of the columns.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": [*(() if cells else (_NAME,)), *map(_definition, columns)],
        "rows": [
            {
                "cells": cells(obj, now)
                if cells
                else [obj["metadata"].get("name", ""), *(_cell(column, obj, now) for column in columns)],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": obj["metadata"],
                },
            }
            for obj in objects
        ],
    }


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or _described_by(column),
        "priority": column.priority,
    }


def _described_by(column: Column) -> str:
    return f"Custom resource definition column (in JSONPath format): {column.json_path}" if column.json_path else ""


def _cell(column: Column, obj: dict[str, Any], now: datetime) -> Any:
    value = json_path.find(obj, column.json_path)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match column.type:
        case "integer":
            return _integer(value) if is_number else None
        case "number":
            return value if is_number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now) if isinstance(value, str) else None
        case _:
            return _text(value)


def _integer(number: float) -> int:
    # What does not fit becomes what Go makes of it.
    return int(number) if _MIN_INTEGER <= number < -_MIN_INTEGER else _MIN_INTEGER


def _age(text: str, now: datetime) -> str:
    time = parse_time(text)
    if time is None:
        return "<invalid>" if text else "<unknown>"
    return human_duration(now - time)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _shortest(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _shortest(number: float) -> str:
    """Write a number as Go prints it: ``2``, ``3.7``, ``1e+30``."""
    sign, digits, exponent = decimal.Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - JSON has no NaN
    exponent += len(digits) - 1
    if exponent in _EXPONENTS:
        return format(decimal.Decimal(repr(number)).normalize(), "f")
    first, *rest = map(str, digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if sign else ''}{first}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
