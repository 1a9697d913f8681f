"""Internal. Times of Kubernetes' own kinds as Go writes them back: UTC, seconds or six digits. Pure."""

from __future__ import annotations

import datetime
import re
from typing import Final

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_MICRO_DIGITS: Final = len(".000000")
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def canonical_time(text: str) -> str | None:
    """Return an RFC 3339 time in UTC by whole seconds; None when ``text`` is none."""
    moment = _parse(text)
    return None if moment is None else _text(moment, "seconds")


def canonical_micro_time(text: str) -> str | None:
    """Return an RFC 3339 time in UTC with six digits; None when ``text`` is none or has another number of digits."""
    match = _TIME.fullmatch(text)
    if match is None or len(match["fraction"] or "") != _MICRO_DIGITS:
        return None
    moment = _parse(text)
    return None if moment is None else _text(moment, "microseconds")


def from_epoch(seconds: int, nanos: int, *, is_micro: bool) -> str | None:
    """Return the text of protobuf's Timestamp; None when no calendar has it."""
    try:
        moment = EPOCH + datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        return None
    return _text(moment, "microseconds" if is_micro else "seconds")


def _text(moment: datetime.datetime, precision: str) -> str:
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _parse(text: str) -> datetime.datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None
