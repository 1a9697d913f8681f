"""What users give to calls of ``kontinue.sync``: a TypeError names the argument, and what it should be."""

from __future__ import annotations

from datetime import timedelta

from kontinue.api import durations
from kontinue.api.konductor.group import Holder
from kontinue.options import require_duration, require_type


def duration_text(name: str, value: timedelta | None) -> str:
    """Return a duration as it stands in a spec; empty if there is none.

    Raises:
        TypeError: it is no duration.
    """
    require_duration(name, value)
    return durations.format_(value) if value else ""


def require_number(name: str, value: object) -> None:
    """Raise TypeError if it is no whole number."""
    require_type(name, value, int, f"{name}=1")


def require_holder(value: object) -> None:
    """Raise TypeError if it is neither a name nor a Holder."""
    require_type("holder", value, (str, Holder), 'holder="worker-1"')


def require_holder_name(value: object) -> None:
    """Raise TypeError if it is no name."""
    require_type("holder", value, str, 'holder="worker-1"')
