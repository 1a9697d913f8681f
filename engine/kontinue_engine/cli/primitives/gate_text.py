"""Internal. Gates as text and as fields. Called by ``kontinue_engine.cli.primitives.gate``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kontinue.api.konductor.gates import Gate, GateCondition, GateConditionStatus
from kontinue_engine.cli.primitives.cells import UNSEEN, length_text, phase_text, since
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time


def gate_rows(one: Gate, now: datetime) -> list[list[str]]:
    """Return a Gate in ``kontinue gate list``, a line for each condition."""
    meta, told = one.metadata, one.status
    about = [
        meta.name,
        phase_text(one.phase),
        told.met,
        since(told.opened_at, now),
        since(meta.creation_timestamp, now),
    ]
    blank = [""] * len(about)
    return [[*(blank if number else about), *condition] for number, condition in enumerate(_conditions(one))]


def describe(found: Gate, now: datetime) -> str:
    """Return what ``kontinue gate status`` prints."""
    meta, told = found.metadata, found.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", phase_text(found.phase) or UNSEEN),
        ("Met", told.met),
        ("Override", found.spec.override or "none"),
        ("Timeout", length_text(found.spec.timeout)),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    if told.opened_at is not None:
        lines.append(("Opened", format_time(told.opened_at)))
    text = format_fields(lines)
    return f"{text}\n\n{format_table(['CONDITION', 'IS-MET'], _conditions(found))}"


def fields(found: Gate) -> dict[str, object]:
    """Return what programs read of a Gate."""
    told = found.status
    shown: dict[str, object] = {"phase": phase_text(found.phase), "met": told.met, "timeout": found.spec.timeout}
    shown["override"] = "" if found.spec.override is None else found.spec.override.value
    shown["conditions"] = [_told(one) for one in told.condition_statuses]
    if told.opened_at is not None:
        shown["opened"] = format_time(told.opened_at)
    return shown


def _told(condition: GateConditionStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": condition.type.value, "name": condition.name}
    if condition.namespace:
        shown["namespace"] = condition.namespace
    return shown | {
        "state": condition.state.value if condition.state else "",
        "met": condition.met,
        "message": condition.message,
    }


def _asked(condition: GateCondition) -> str:
    return f"{condition} (it exists)" if condition.value == 0 else str(condition)


def _conditions(found: Gate) -> list[list[str]]:
    """Return what is known of each condition: what it asks for, and whether it is met, or why not."""
    told = {(one.type, one.namespace, one.name, one.state): one for one in found.status.condition_statuses}
    rows = []
    for asked in found.spec.conditions:
        known = told.get((asked.type, asked.namespace, asked.name, asked.state))
        rows.append([_asked(asked), "" if known is None else "yes" if known.met else f"no: {known.message}"])
    return rows
