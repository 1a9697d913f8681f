"""Internal. The string formats that kube-apiserver judges in custom objects, each as a predicate; others are ignored.

They are as lenient as the original: a duration may be ``2 weeks``, an IPv4 address may lead its numbers with zeros.
Called by ``kontinue_engine.apiserver.schemas.schema``. Pure.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Final

_GO_DURATION: Final = re.compile(r"[-+]?(?:0|(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_WORDY_DURATION: Final = re.compile(r"(?<!\d)\d++\s*+([A-Za-zµ]+)")
"""Both of these take what they can at once and give nothing back: a long text costs its length, not its square."""
_UNITS: Final = frozenset({"ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"})
_UNIT_WORDS: Final = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[tT]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[zZ]|[+-]\d\d:\d\d)", re.ASCII
)
_BYTE: Final = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"
_UUID: Final = r"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{}[0-9a-f]{{3}}-?{}[0-9a-f]{{3}}-?[0-9a-f]{{12}}"
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HOST_LABEL: Final = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_COLOR: Final = r"\s*(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*"


def _matches(expression: str, flags: int = 0) -> Callable[[str], bool]:
    compiled = re.compile(expression, re.ASCII | flags)
    return lambda text: compiled.fullmatch(text) is not None


def _is_duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    units = (unit.lower() for unit in _WORDY_DURATION.findall(text))
    return any(unit in _UNITS or unit.startswith(_UNIT_WORDS) for unit in units)


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    return match is not None and _is_date(match[1])


def _is_ipv4(text: str) -> bool:
    numbers = text.rpartition(":")[2].split(".") if text.startswith("::ffff:") else text.split(".")
    return len(numbers) == 4 and all(re.fullmatch(r"[0-9]{1,3}", one) and int(one) < 256 for one in numbers)


def _is_ipv6(text: str) -> bool:
    head, colon, tail = text.rpartition(":")
    if "." in tail:
        if not _is_ipv4(tail):
            return False
        text = f"{head}{colon}0:0"
    left, gap, right = text.partition("::")
    groups = [group for part in (left, right) for group in (part.split(":") if part else [])]
    is_long_enough = len(groups) < 8 if gap else len(groups) == 8
    return ":" in text and is_long_enough and all(re.fullmatch("[0-9a-fA-F]{1,4}", group) for group in groups)


def _is_cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    limit = 32 if _is_ipv4(address) else 128 if _is_ipv6(address) else -1
    return bool(slash) and bits.isascii() and bits.isdecimal() and int(bits) <= limit


def _is_isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    return sum((10 - at) * (10 if digit == "X" else int(digit)) for at, digit in enumerate(digits)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    return sum((3 if at % 2 else 1) * int(digit) for at, digit in enumerate(digits)) % 10 == 0


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _is_hostname(text: str) -> bool:
    return len(text) <= 255 and _is_host(text)


_is_host: Final = _matches(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")

NATIVE: Final = frozenset({"date-time"})
"""Judged alike by the validator itself, and much faster."""
FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches("[0-9a-fA-F]{24}"),
    "byte": _matches(_BYTE),
    "cidr": _is_cidr,
    "creditcard": _is_credit_card,
    "date": _is_date,
    "datetime": _is_time,
    "duration": _is_duration,
    "email": _matches(r"(?:[^<>]*<)?[^\s@<>]+@[^\s@<>]+>?"),
    "hexcolor": _matches("#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "k8s-long-name": lambda text: len(text) <= 253 and re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", text) is not None,
    "k8s-short-name": _matches(_LABEL),
    "mac": _matches(
        r"(?:[0-9a-fA-F]{2}([:-]))(?:[0-9a-fA-F]{2}\1){4}(?:[0-9a-fA-F]{2}\1[0-9a-fA-F]{2}\1)?[0-9a-fA-F]{2}"
    ),
    "rgbcolor": _matches(rf"rgb\({_COLOR},{_COLOR},{_COLOR}\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _matches(r"(?:/|[a-zA-Z][a-zA-Z0-9+.-]*:)[^\s\x00-\x1f\x7f]*"),
    "uuid": _matches(_UUID.format("[0-9a-f]", "[0-9a-f]"), re.IGNORECASE),
    "uuid3": _matches(_UUID.format("3", "[0-9a-f]"), re.IGNORECASE),
    "uuid4": _matches(_UUID.format("4", "[89ab]"), re.IGNORECASE),
    "uuid5": _matches(_UUID.format("5", "[89ab]"), re.IGNORECASE),
}
