"""Internal. Times at which something ends, and those that count from the creation of a Barrier or a Gate.

Pure: time is an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from kontinue.api.meta import ObjectMeta

SECOND: Final = timedelta(seconds=1)
"""What a creationTimestamp leaves out, at most."""
LAST: Final = datetime.max.replace(tzinfo=UTC)


def started_at(metadata: ObjectMeta, now: datetime) -> datetime:
    """Return when it was created: its own time is in whole seconds, so somebody who looks at once knows better."""
    created = metadata.creation_timestamp or now
    return max(created, min(now, created + SECOND))


def after(start: datetime, length: timedelta) -> datetime:
    """Return a date so long after another, or the last one that there is: in a status may stand any date."""
    try:
        return start + length
    except OverflowError:
        return LAST
