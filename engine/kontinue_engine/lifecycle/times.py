"""Internal. Milliseconds since the epoch, as decisions count them, and times as objects carry them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def time_of(at_ms: int) -> datetime:
    """Return the time as objects carry it."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)


def ms_of(time: datetime) -> int:
    """Return the milliseconds of a time that an object carries."""
    return round(time.timestamp() * 1000)
