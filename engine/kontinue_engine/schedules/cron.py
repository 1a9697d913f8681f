"""Internal. Cron expressions of five fields, in a time zone: which times they name. Pure.

The grammar and what happens when clocks change are Debian cron's, by the library cronsim: a fixed time that does not
exist comes right after the gap, one that exists twice comes once, and expressions with a star for minute or hour go by
the time that passes. Kubernetes' macros (``@daily``) are understood; seconds are not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Kubernetes' CronJobs know the same ones."""

_LOOK_BACK: Final = tuple(timedelta(hours=hours) for hours in (2, 48, 35 * 24, 400 * 24, 9 * 366 * 24))
"""How far back ``last_until`` looks, in turns: few steps both for an expression that names each minute and for one that
names each 29th of February."""


class CronError(ValueError):
    """An expression or a time zone that nobody can follow. The message says what is wrong with which one."""


class Cron:
    """A schedule.

    Args:
        expression: five fields, or a macro.
        time_zone: a name of the IANA database; empty means UTC.

    Raises:
        CronError: one of them is not what it should be, or names no time at all.
    """

    def __init__(self, expression: str, time_zone: str = "") -> None:
        self._zone = _zone(time_zone)
        self._expression = _checked(expression)

    def next_after(self, after: datetime) -> datetime | None:
        """Return the first time later than ``after``, in UTC; None if there is none in the next 50 years."""
        try:
            times = CronSim(self._expression, after.astimezone(self._zone))
            while (found := next(times).astimezone(UTC)) <= after:
                pass  # the clock was set back: a local time earlier than this one, seen again
        except StopIteration:
            return None
        return found

    def last_until(self, now: datetime, *, since: datetime) -> datetime | None:
        """Return the last time in (``since``, ``now``], in UTC; None if there is none."""
        for look_back in _LOOK_BACK:
            start = max(since, now - look_back)
            last = None
            found = self.next_after(start)
            while found is not None and found <= now:
                last, found = found, self.next_after(found)
            if last is not None or start == since:
                return last
        return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder, an absolute path, a file that is no zone
        raise CronError(
            f"timeZone {name!r} is unknown: use a name of the IANA database, such as Europe/Berlin"
        ) from None


def _checked(text: str) -> str:
    expression = MACROS.get(text.strip().lower(), text)
    fields = len(expression.split())
    if text.lstrip().startswith("@") and expression == text:
        raise CronError(f"schedule {text!r} is unknown: there are {', '.join(MACROS)}, or five fields")
    if fields != len(("minute", "hour", "day of month", "month", "day of week")):
        raise CronError(
            f"schedule {text!r} has {fields} fields: expected five, as in '30 2 * * mon-fri' "
            "(minute, hour, day of month, month, day of week)"
        )
    try:
        CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise CronError(f"schedule {text!r} is not a cron expression: {str(error).lower()}") from None
    return expression
