"""Internal. Leases and LeaseRequests as text and as fields. Called by ``kontinue_engine.cli.primitives.lease``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kontinue.api.konductor.leases import Lease, LeaseRequest
from kontinue_engine.cli.text import format_age, format_fields, format_table, format_time


def lease_table(found: Sequence[Lease], now: datetime, *, with_namespace: bool, width: int | None = None) -> str:
    """Return the table of ``kontinue lease list``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "HOLDER", "PHASE", "ACQUIRED", "RENEWALS", "WAITING", "TOKEN", "AGE"]
    rows = []
    for one in found:
        meta, told = one.metadata, one.status
        acquired = format_age(told.acquired_at, now) if told.acquired_at else ""
        row = [meta.name, told.holder, _phase(one), acquired, str(told.renew_count), str(told.waiting)]
        row += [str(told.token), format_age(meta.creation_timestamp, now)]
        rows.append([meta.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)


def describe(lease: Lease, found: Sequence[LeaseRequest], now: datetime) -> str:
    """Return what ``kontinue lease status`` prints."""
    meta, told = lease.metadata, lease.status
    lines = [
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Phase", _phase(lease) or "unknown: no coordinator has seen it"),
        ("Holder", told.holder or "nobody"),
        ("Token", str(told.token)),
        ("Renewals", str(told.renew_count)),
        ("Waiting", str(told.waiting)),
        ("TTL", told.ttl or lease.spec.ttl or "none"),
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
            _request_phase(one),
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
    shown: dict[str, object] = {"holder": told.holder, "phase": _phase(lease), "token": told.token}
    shown |= {"ttl": told.ttl or lease.spec.ttl, "priority": lease.spec.priority, "waiting": told.waiting}
    shown["renewals"] = told.renew_count
    shown["acquiredAt"] = None if told.acquired_at is None else format_time(told.acquired_at)
    shown["expiresAt"] = None if told.expires_at is None else format_time(told.expires_at)
    return shown


def request_fields(request: LeaseRequest) -> dict[str, object]:
    """Return what programs read of a LeaseRequest."""
    shown: dict[str, object] = {"request": request.metadata.name, "holder": request.spec.holder}
    return shown | {"phase": _request_phase(request), "priority": request.spec.priority}


def _phase(lease: Lease) -> str:
    return "" if lease.status.phase is None else lease.status.phase.value


def _request_phase(request: LeaseRequest) -> str:
    return "" if request.status.phase is None else request.status.phase.value
