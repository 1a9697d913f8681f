"""Internal. Checks that the rules of Kubernetes' own kinds share; each adds causes to a list. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_equal

Document = dict[str, Any]
Rule = Callable[[Document, "Document | None", list[Cause]], None]
"""Adds what is wrong with (new, old; None: created) to the causes."""
_IMMUTABLE: Final = "field is immutable"


def require(causes: list[Cause], holder: Document, key: str, path: str, detail: str = "") -> bool:
    """Add a cause unless ``holder`` has something under ``key``; tell whether it has."""
    if holder.get(key):
        return True
    causes.append(cause("FieldValueRequired", f"{path}.{key}".removeprefix("."), detail=detail))
    return False


def at_least(causes: list[Cause], holder: Document, keys: Sequence[str], path: str, *, least: int = 0) -> None:
    """Add a cause for every number that is less."""
    for key in keys:
        value = holder.get(key)
        if isinstance(value, int) and value < least:
            detail = f"must be greater than or equal to {least}" if least == 0 else "must be greater than 0"
            causes.append(cause("FieldValueInvalid", f"{path}.{key}", value=value, detail=detail))


def unchanged(causes: list[Cause], new: Document, old: Document, keys: Sequence[str], path: str) -> None:
    """Add a cause for every field that differs."""
    for key in keys:
        if not json_equal(new.get(key), old.get(key)):
            field = f"{path}.{key}".removeprefix(".")
            causes.append(cause("FieldValueInvalid", field, value=new.get(key), detail=_IMMUTABLE))


def one_of(causes: list[Cause], value: Any, supported: Sequence[str], path: str) -> None:
    """Add a cause when ``value`` is none of ``supported``."""
    if value not in supported:
        listed = ", ".join(f'"{option}"' for option in supported)
        causes.append(cause("FieldValueNotSupported", path, value=value or "", detail=f"supported values: {listed}"))
