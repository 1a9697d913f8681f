"""A kind with every sort of list and object, and configurations of it."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.apply.ownership import Rules
from kontinue_engine.apiserver.apply.types import compile_type

TEXT = {"type": "string"}
SPEC: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "inner": {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
    "whole": {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "x-kubernetes-map-type": "atomic"},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "texts": {"type": "object", "additionalProperties": TEXT},
    "plain": {"type": "array", "items": TEXT},
    "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
    "map": {
        "type": "array",
        "items": {"type": "object", "properties": {"name": TEXT, "value": TEXT, "port": {"type": "integer"}}},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
}


@pytest.fixture(scope="session")
def rules() -> Rules:
    """Rules of the main resource of that kind, in its one version."""
    kind = compile_type({"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}})
    return Rules(
        version="example.com/v1",
        type_of=lambda version: kind if version == "example.com/v1" else None,
        ignored=frozenset(),
        now="2026-01-01T00:00:00Z",
    )
