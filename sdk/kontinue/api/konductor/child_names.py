"""Names of objects that belong to a parent and a holder, such as Permits and Arrivals. Pure.

The plain join is ambiguous, ("a", "b-c") and ("a-b", "c") give the same, may be too long, and holders may be any text.
Then a hash of both is appended: the same two always give the same name, and two others another one.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_NAME: Final = 253
MAX_LABEL: Final = 63
_HASH: Final = 10
"""Hexadecimal digits: 40 bits."""

_PLAIN: Final = re.compile(r"[a-z0-9]+")
_FOREIGN: Final = re.compile(r"[^a-z0-9.]+")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def child_name(parent: str, holder: str, *, suffix: str = "") -> str:
    """Return ``parent-holder``, with a hash where that could be meant otherwise or could not be a name.

    Args:
        parent: name of an object.
        holder: any text.
        suffix: appended, to tell several of one holder apart; lower-case letters and digits.
    """
    if _PLAIN.fullmatch(parent) and _PLAIN.fullmatch(holder):
        name = "-".join(filter(None, (parent, holder, suffix)))
        if len(name) <= MAX_LABEL:
            return name
    ending = "-".join(filter(None, (_hash(f"{parent}/{holder}"), suffix)))
    readable = _readable(f"{parent}-{_readable(holder) or 'x'}")[: MAX_NAME - len(ending) - 1].rstrip("-.")
    return f"{readable}-{ending}"


def label_value(name: str) -> str:
    """Return a name as the value of a label: itself, or its begin and a hash."""
    if len(name) <= MAX_LABEL and _LABEL.fullmatch(name):
        return name
    return f"{_readable(name)[: MAX_LABEL - _HASH - 1].rstrip('-.')}-{_hash(name)}".lstrip("-")


def _readable(text: str) -> str:
    """Return what a person recognises, of characters that may stand in a name."""
    plain = re.sub(r"[-.]*\.[-.]*", ".", _FOREIGN.sub("-", text.lower()))
    return plain.strip("-.")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH]
