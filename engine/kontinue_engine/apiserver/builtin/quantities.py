"""Internal. Kubernetes quantities (``500m``, ``1Gi``) in their canonical form, as Go writes them back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_UP, Context, Decimal
from typing import Final

_QUANTITY: Final = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?", re.ASCII
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_MAX_DIGITS: Final = 64
"""Judgement: no amount of anything needs more; arithmetic on thousands of digits would block the server."""
_MAX_EXPONENT: Final = 99
_MAX_BINARY: Final = 2**63 - 1
"""Where Kubernetes ends amounts with a suffix such as Ki."""
_EXACT: Final = Context(prec=_MAX_DIGITS + 2 * _MAX_EXPONENT)


def canonical(text: str) -> str | None:
    """Return the quantity with the largest suffix that leaves a whole number; None when ``text`` is none."""
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        return None
    number, exponent, suffix = Decimal(match[1]), match[2], match[3] or ""
    if exponent:
        if abs(int(exponent[1:])) > _MAX_EXPONENT:
            return None
        amount = number.scaleb(int(exponent[1:]), _EXACT)
        return _scaled(amount, suffix_of=lambda power: f"e{power}" if power else "", max_power=_EXACT.prec)
    if suffix in _BINARY:
        amount = _EXACT.multiply(number, Decimal(1024 ** _BINARY[suffix]))
        amount = min(max(amount, Decimal(-_MAX_BINARY)), Decimal(_MAX_BINARY))
        if abs(amount) < 1024 or amount != amount.to_integral_value():
            return _scaled(amount, suffix_of=_decimal_suffix)
        return _binary(int(amount))
    return _scaled(number.scaleb(_DECIMAL[suffix], _EXACT), suffix_of=_decimal_suffix)


def _binary(amount: int) -> str:
    power = 0
    while amount % 1024 == 0 and power < len(_BINARY):
        amount //= 1024
        power += 1
    return f"{amount}{('', *_BINARY)[power]}"


def _decimal_suffix(power: int) -> str:
    return next(suffix for suffix, known in _DECIMAL.items() if known == power)


def _scaled(amount: Decimal, *, suffix_of: Callable[[int], str], max_power: int = 18) -> str:
    nano = int(amount.scaleb(9, _EXACT).to_integral_value(rounding=ROUND_UP))
    if nano == 0:
        return "0"
    power = -9
    while nano % 1000 == 0 and power < max_power:
        nano //= 1000
        power += 3
    return f"{nano}{suffix_of(power)}"
