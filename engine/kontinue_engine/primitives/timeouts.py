"""Internal. Times at which something ends, and those that count from the creation of a Barrier or a Gate.

Pure: time is an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from kontinue.api import durations
from kontinue.api.meta import ObjectMeta

SECOND: Final = timedelta(seconds=1)
"""What a creationTimestamp leaves out, at most."""
LONGEST: Final = timedelta(days=36_500)
LAST: Final = datetime.max.replace(tzinfo=UTC)


def started_at(metadata: ObjectMeta, now: datetime) -> datetime:
    """Return when it was created: its own time is in whole seconds, so somebody who looks at once knows better."""
    created = metadata.creation_timestamp or now
    return max(created, min(now, created + SECOND))


def limit(text: str) -> tuple[timedelta | None, str]:
    """Return how long a timeout is, None without one, and why it cannot be followed; empty if it can."""
    if not text:
        return None, ""
    try:
        return min(durations.parse(text), LONGEST), ""
    except ValueError as error:
        return None, str(error)


def after(start: datetime, length: timedelta) -> datetime:
    """Return a date so long after another, or the last one that there is: in a status may stand any date."""
    try:
        return start + length
    except OverflowError:
        return LAST
