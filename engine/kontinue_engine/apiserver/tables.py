"""Internal. Server-side printing: objects as rows of a ``meta.k8s.io/v1`` Table.

Columns come from a CRD's printer columns or from ``kontinue_engine.apiserver.resources``; NAME stands first. Cells are
found by the simple JSONPath that CRDs may use: ``.a.b``, ``[0]``, ``['a.b/c']``. A row carries the object's metadata
only; whoever answers the request adds whole objects where a client asks for them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from kontinue_engine.apiserver.durations import human_duration, parse_time
from kontinue_engine.apiserver.resources import Column

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[['\"]([^'\"]*)['\"]\]")

_NAME: Final = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def build_table(
    columns: Sequence[Column], objects: Sequence[dict[str, Any]], list_metadata: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """Return the Table of ``objects``; ``list_metadata`` becomes its metadata, ages are counted to ``now``."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": [_NAME, *map(_definition, columns)],
        "rows": [
            {
                "cells": [obj["metadata"].get("name", ""), *(_cell(column, obj, now) for column in columns)],
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
        "description": column.description,
        "priority": column.priority,
    }


def _cell(column: Column, obj: dict[str, Any], now: datetime) -> Any:
    value = find(obj, column.json_path)
    if value is None:
        return None
    match column.type:
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            time = parse_time(value) if isinstance(value, str) else None
            return human_duration(now - time) if time else "<invalid>"
        case _:
            return value if isinstance(value, str) else orjson.dumps(value).decode()


def find(obj: Any, json_path: str) -> Any:
    """Return the value at a simple JSONPath, or None."""
    for key in _keys(json_path):
        if isinstance(key, int):
            obj = obj[key] if isinstance(obj, list) and key < len(obj) else None
        else:
            obj = obj.get(key) if isinstance(obj, dict) else None
        if obj is None:
            return None
    return obj


@functools.lru_cache(maxsize=1024)
def _keys(json_path: str) -> tuple[str | int, ...]:
    path = json_path if json_path.startswith((".", "[")) else f".{json_path}"
    return tuple(int(match[2]) if match[2] else (match[1] or match[3]) for match in _STEP.finditer(path))
