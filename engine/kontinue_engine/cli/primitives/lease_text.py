"""Internal. Leases and LeaseRequests as text and as fields. Called by ``kontinue_engine.cli.primitives.lease``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kontinue.api.konductor.leases import Lease, LeaseRequest
from kontinue_engine.cli.primitives.cells import UNSEEN, length_text, phase_text, since, time_field
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time


def lease_rows(one: Lease, now: datetime) -> list[list[str]]:
    """Return a Lease in ``kontinue lease list``."""
    meta, told = one.metadata, one.status
    row = [meta.name, told.holder, phase_text(told.phase), since(told.acquired_at, now), str(told.renew_count)]
    return [[*row, str(told.waiting), str(told.token), since(meta.creation_timestamp, now)]]


def describe(lease: Lease, found: Sequence[LeaseRequest], now: datetime) -> str:
    """Return what ``kontinue lease status`` prints."""
    meta, told = lease.metadata, lease.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", phase_text(lease.status.phase) or UNSEEN),
        ("Holder", told.holder or "nobody"),
        ("Token", str(told.token)),
        ("Renewals", str(told.renew_count)),
        ("Waiting", str(told.waiting)),
        ("TTL", length_text(told.ttl or lease.spec.ttl)),
        ("Priority", str(lease.spec.priority)),
        ("Age", format_age(meta.creation_timestamp, now)),
    ]
    lines += [("Acquired", format_time(told.acquired_at))] if told.acquired_at else []
    lines += [("Expires", format_time(told.expires_at))] if told.expires_at else []
    text = format_fields(lines)
    if not found:
        return text
    rows = [
        [
            one.spec.holder,
            phase_text(one.status.phase),
            "" if one.spec.priority is None else str(one.spec.priority),
            str(one.spec.bound_to or ""),
            one.metadata.name,
        ]
        for one in found
    ]
    return f"{text}\n\n{format_table(['HOLDER', 'PHASE', 'PRIORITY', 'BOUND-TO', 'REQUEST'], rows)}"


def fields(lease: Lease) -> dict[str, object]:
    """Return what programs read of a Lease."""
    told = lease.status
    shown: dict[str, object] = {"holder": told.holder, "phase": phase_text(told.phase), "token": told.token}
    shown |= {"ttl": told.ttl or lease.spec.ttl, "priority": lease.spec.priority, "waiting": told.waiting}
    shown["renewals"] = told.renew_count
    shown["acquiredAt"] = time_field(told.acquired_at)
    shown["expiresAt"] = time_field(told.expires_at)
    return shown


def request_fields(request: LeaseRequest) -> dict[str, object]:
    """Return what programs read of a LeaseRequest."""
    shown: dict[str, object] = {"request": request.metadata.name, "holder": request.spec.holder}
    return shown | {"phase": phase_text(request.status.phase), "priority": request.spec.priority}
