"""Internal. Semaphores and Permits as text and as fields. Called by ``kontinue_engine.cli.primitives.semaphore``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kontinue.api.konductor.semaphores import Permit, Semaphore
from kontinue_engine.cli.primitives.cells import UNSEEN, length_text, number_text, phase_text, since
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time


def semaphore_rows(one: Semaphore, now: datetime) -> list[list[str]]:
    """Return a Semaphore in ``kontinue semaphore list``."""
    meta, told = one.metadata, one.status
    row = [meta.name, str(one.spec.permits), number_text(told.in_use), number_text(told.available)]
    return [[*row, phase_text(told.phase), str(told.waiting), one.spec.ttl, since(meta.creation_timestamp, now)]]


def describe(found: Semaphore, permits: Sequence[Permit], now: datetime) -> str:
    """Return what ``kontinue semaphore status`` prints."""
    meta, told = found.metadata, found.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", phase_text(found.status.phase) or UNSEEN),
        ("Permits", str(found.spec.permits)),
        ("In use", number_text(told.in_use)),
        ("Waiting", str(told.waiting)),
        ("TTL", length_text(found.spec.ttl)),
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


def _permit_phase(permit: Permit) -> str:
    return "Waiting" if permit.status.phase is None else permit.status.phase.value


def fields(found: Semaphore) -> dict[str, object]:
    """Return what programs read of a Semaphore."""
    told = found.status
    shown: dict[str, object] = {"permits": found.spec.permits, "in-use": told.in_use, "available": told.available}
    return shown | {"waiting": told.waiting, "phase": phase_text(found.status.phase), "ttl": found.spec.ttl}


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
