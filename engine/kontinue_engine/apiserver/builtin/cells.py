"""Internal. What rows of Kubernetes' own kinds are made of: columns, ages, fields by path, selectors as text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver.durations import human_duration, parse_time
from kontinue_engine.apiserver.resources import Column

Document = dict[str, Any]
Cells = Callable[[Document, datetime], list[Any]]
NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"


def columns(*names: str, wide: Sequence[str] = ()) -> tuple[Column, ...]:
    """Return columns of text; a name may end in ``:integer`` or ``:boolean``."""
    found = []
    for index, name in enumerate((*names, *wide)):
        title, _, kind = name.partition(":")
        form = "name" if title == "Name" else ""
        priority = 0 if index < len(names) else 1
        found.append(Column(name=title, type=kind or "string", json_path="", format=form, priority=priority))
    return tuple(found)


def age(moment: Any, now: datetime) -> str:
    """Return the time since ``moment`` as people read it."""
    time = parse_time(moment) if isinstance(moment, str) else None
    return human_duration(now - time) if time else UNKNOWN


def named(*cells: Callable[[Document], Any], wide: Sequence[Callable[[Document], Any]] = ()) -> Cells:
    """Return a row of name, ``cells``, age, and the wide ones."""

    def row(obj: Document, now: datetime) -> list[Any]:
        metadata = obj["metadata"]
        return [
            metadata["name"],
            *(cell(obj) for cell in cells),
            age(metadata.get("creationTimestamp"), now),
            *(cell(obj) for cell in wide),
        ]

    return row


def get(path: str, default: Any) -> Callable[[Document], Any]:
    """Return what finds the value at a dotted path, or ``default``."""
    keys = path.split(".")

    def cell(obj: Document) -> Any:
        value: Any = obj
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return default if value is None else value

    return cell


def labels_text(labels: Document | None) -> str:
    """Return labels in the form of a query."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Document | None) -> str:
    """Return a LabelSelector in the form of a query."""
    if selector is None:
        return NONE
    terms = {key: f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()}
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms[key] = forms.get(expression.get("operator", ""), f"!{key}")
    return ",".join(terms[key] for key in sorted(terms)) or NONE
