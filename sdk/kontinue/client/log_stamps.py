"""A log with the time before each line, as a kubelet sends it, told without: and where to go on after a cut. Pure.

A log that is followed for hours is cut now and then. It is asked for again from the last second on, and what was told
already is left out, to the byte. Called by ``kontinue.client.job_logs``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

_MAX_STAMP: Final = 64
"""Bytes: what has no space by then is no time."""

_Key = tuple[int, str]
"""Seconds since the epoch, and the fraction of nine digits."""


class StampedLog:
    """What was told of one log. ``begin`` comes before the bytes of each answer."""

    def __init__(self) -> None:
        self.since = ""
        """Time from which to ask again, RFC 3339; empty while nothing was told."""
        self._head = b""
        self._is_text = False
        self._is_skipped = False
        self._dropped = 0
        self._last: _Key | None = None
        self._lines = 0
        """With that time, told to their end."""
        self._told = 0
        """Bytes of the line after these."""
        self._known: tuple[_Key, int, int] | None = None
        """What was told before the cut: time of the last line, ``_lines`` and ``_told``."""

    def begin(self) -> None:
        """Another answer follows, from ``since`` on."""
        self._known = None if self._last is None else (self._last, self._lines, self._told)
        self._head = b""
        self._is_text = False

    def feed(self, data: bytes) -> bytes:
        """Return what is new, without the times."""
        told: list[bytes] = []
        while data:
            if not self._is_text:
                head, space, data = (self._head + data).partition(b" ")
                if not space and len(head) < _MAX_STAMP:
                    self._head = head
                    break
                self._head = b""
                self._is_text = True
                data = self._begin_line(head, space + data)
                continue
            text, end, data = data.partition(b"\n")
            if not self._is_skipped:
                told.append(self._tell(text + end))
            if end:
                self._is_text = False
        return b"".join(told)

    def _begin_line(self, head: bytes, rest: bytes) -> bytes:
        """Take the time of a line, and return the text after it."""
        self._dropped = 0
        self._is_skipped = False
        key = _key_of(head)
        if key is None:  # no time: text like any other
            return head + rest
        if self._known is not None:
            last, lines, told = self._known
            if key < last or (key == last and lines):
                self._known = (last, lines - (key == last), told)
                self._is_skipped = True
                return rest[1:]
            self._dropped = told if key == last else 0
            self._known = None
        if key != self._last:
            self._last, self._lines = key, 0
            self.since = head.decode()[:19] + _zone_of(head.decode())
        self._told = self._dropped
        return rest[1:]

    def _tell(self, text: bytes) -> bytes:
        new = text[self._dropped :]
        self._dropped = max(0, self._dropped - len(text))
        self._told += len(new)
        if text.endswith(b"\n"):
            self._lines += 1
            self._told = 0
        return new


def _key_of(head: bytes) -> _Key | None:
    try:
        text = head.decode("ascii")
        when = datetime.fromisoformat(text[:19] + _zone_of(text))
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    fraction = text[20:].rstrip("Z").partition("+")[0].partition("-")[0] if text[19:20] == "." else ""
    return int(when.timestamp()), fraction.ljust(9, "0")


def _zone_of(text: str) -> str:
    """Return what a time says after its fraction of a second."""
    return text[19:].lstrip(".0123456789")
