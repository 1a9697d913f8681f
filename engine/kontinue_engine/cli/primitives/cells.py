"""Internal. Values of primitives as they stand in tables, and as programs are told them. Pure."""

from __future__ import annotations

import enum
from datetime import datetime

from kontinue.api.konductor.group import lasting
from kontinue_engine.cli.text import format_age, format_time

UNSEEN = "unknown: no coordinator has seen it"
"""The phase of what a coordinator has yet to look at."""


def phase_text(phase: enum.StrEnum | None) -> str:
    """Return a phase; empty where no coordinator has given it one."""
    return "" if phase is None else phase.value


def number_text(number: int | None) -> str:
    """Return a number; empty for one that nobody knows."""
    return "" if number is None else str(number)


def length_text(text: str) -> str:
    """Return a ttl or a timeout; ``none`` for one that is unset or 0."""
    return "none" if lasting(text) == (None, "") else text


def since(at: datetime | None, now: datetime) -> str:
    """Return how long ago that was; empty for never."""
    return format_age(at, now) if at else ""


def time_field(at: datetime | None) -> str | None:
    """Return a time for programs; None for never."""
    return None if at is None else format_time(at)
