"""Go duration strings (``5s``, ``1h30m``), as every duration of the API is written. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")


def parse(text: str) -> timedelta:
    """Return the duration that ``text`` names; below a microsecond it is rounded.

    Raises:
        ValueError: not a Go duration, or too long for a timedelta. The message says what is accepted.
    """
    if text == "0":
        return timedelta()
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: expected numbers with a unit, such as 500ms, 5s, 10m or 1h30m")
    nanoseconds = sum(_scaled(number, _NANOSECONDS[unit]) for number, unit in _PART.findall(match[2]))
    try:
        duration = timedelta(microseconds=(nanoseconds + 500) // 1000)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long: at most {timedelta.max.days} days") from error
    return -duration if match[1] == "-" else duration


def format_(duration: timedelta) -> str:
    """Return ``duration`` in its shortest exact form: ``1h30m``, ``5s``, ``1.5s``, ``250ms``, ``0s``."""
    total = duration // timedelta(microseconds=1)
    if total == 0:
        return "0s"
    sign, total = ("-", -total) if total < 0 else ("", total)
    if total < 1_000:
        return f"{sign}{total}us"
    if total < 1_000_000:
        return f"{sign}{_decimal(total, 1_000)}ms"
    minutes, microseconds = divmod(total, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else ""]
    parts.append(f"{_decimal(microseconds, 1_000_000)}s" if microseconds else "")
    return sign + "".join(parts)


def _scaled(number: str, unit: int) -> int:
    """Return ``number`` (decimal text) times ``unit``, without the rounding of floats."""
    whole, _, fraction = number.partition(".")
    return int(whole or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0").rstrip(".") if rest else str(whole)
