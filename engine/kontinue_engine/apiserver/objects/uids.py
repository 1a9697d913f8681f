"""Internal. Uids of objects: UUIDs of version 4, cheaper than ``uuid.uuid4``.

Randomness comes from the operating system as there, but a few KiB at a time and not by a system call per uid, and no
UUID object is made on the way to the text. Not safe across a fork; the server does not fork. Called by ``writing``.
"""

from __future__ import annotations

import os
from typing import Final

UIDS_PER_DRAW: Final = 256
_UID_BYTES: Final = 16
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit that carries the variant of RFC 9562: its upper two bits are fixed, the lower two stay random."""


class UidSource:
    """Draws uids."""

    def __init__(self) -> None:
        self._digits = ""
        self._position = 0

    def draw(self) -> str:
        """Return a fresh uid."""
        if self._position == len(self._digits):
            self._digits = os.urandom(UIDS_PER_DRAW * _UID_BYTES).hex()
            self._position = 0
        start = self._position
        self._position = end = start + 2 * _UID_BYTES
        digits = self._digits[start:end]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANTS[digits[16]]}{digits[17:20]}-{digits[20:]}"
