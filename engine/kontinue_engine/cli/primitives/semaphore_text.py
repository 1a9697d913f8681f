"""Internal. Semaphores and Permits as text and as fields. Called by ``kontinue_engine.cli.primitives.semaphore``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kontinue.api.konductor.semaphores import Permit, Semaphore
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time


def semaphore_table(
    found: Sequence[Semaphore], now: datetime, *, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue semaphore list``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "PERMITS", "IN-USE", "AVAILABLE", "PHASE", "WAITING", "TTL", "AGE"]
    rows = []
    for one in found:
        meta, told = one.metadata, one.status
        row = [meta.name, str(one.spec.permits), _text(told.in_use), _text(told.available), _phase(one)]
        row += [str(told.waiting), one.spec.ttl, format_age(meta.creation_timestamp, now)]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def describe(found: Semaphore, permits: Sequence[Permit], now: datetime) -> str:
    """Return what ``kontinue semaphore status`` prints."""
    meta, told = found.metadata, found.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", _phase(found) or "unknown: no coordinator has seen it"),
        ("Permits", str(found.spec.permits)),
        ("In use", _text(told.in_use)),
        ("Waiting", str(told.waiting)),
        ("TTL", found.spec.ttl or "none"),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    text = format_fields(lines)
    if not permits:
        return text
    header = ["HOLDER", "PHASE", "BOUND-TO", "EXPIRES", "PERMIT"]
    rows = [
        [
            one.spec.holder,
            _permit_phase(one),
            str(one.spec.bound_to or ""),
            "" if one.status.expires_at is None else format_time(one.status.expires_at),
            one.metadata.name,
        ]
        for one in permits
    ]
    return f"{text}\n\n{format_table(header, rows)}"


def _phase(found: Semaphore) -> str:
    return "" if found.status.phase is None else found.status.phase.value


def _permit_phase(permit: Permit) -> str:
    return "Waiting" if permit.status.phase is None else permit.status.phase.value


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def fields(found: Semaphore) -> dict[str, object]:
    """Return what programs read of a Semaphore."""
    told = found.status
    shown: dict[str, object] = {"permits": found.spec.permits, "in-use": told.in_use, "available": told.available}
    return shown | {"waiting": told.waiting, "phase": _phase(found), "ttl": found.spec.ttl}


def holder_fields(permit: Permit) -> dict[str, object]:
    """Return what programs read of a Permit."""
    bound, expires_at = permit.spec.bound_to, permit.status.expires_at
    shown: dict[str, object] = {"holder": permit.spec.holder, "phase": _permit_phase(permit)}
    shown["permit"] = permit.metadata.name
    if bound is not None:
        shown["boundTo"] = {"kind": bound.kind.value, "name": bound.name}
    if expires_at is not None:
        shown["expiresAt"] = format_time(expires_at)
    return shown
