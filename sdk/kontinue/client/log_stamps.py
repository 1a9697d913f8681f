"""A log with the time before each line, as a kubelet sends it, told without: and where to go on after a cut. Pure.

A log that is followed for hours is cut now and then. It is asked for again from the second before its last line on, and
what was told already is left out, to the byte. Lines are known by their times, in whatever order these stand: stdout
and stderr of one container overtake each other. Called by ``kontinue.client.pod_log``.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

_MAX_STAMP: Final = 64
"""Bytes: what has no space by then is no time."""
_BACK_S: Final = 1
"""How far before its last line a log is asked for again: so much may lines be out of order. Judgement."""
_KEPT_S: Final = 2 * _BACK_S
"""How far back it is known what was told: the last line may itself be ``_BACK_S`` behind."""
_FRACTION: Final = re.compile(r"\.(\d{1,9})")

_Key = tuple[int, str]
"""Seconds since the epoch, and the fraction of nine digits."""


class StampedLog:
    """What was told of one log. ``begin`` comes before the bytes of each answer.

    Args:
        keeps_times: tell each line with its time.
    """

    def __init__(self, *, keeps_times: bool = False) -> None:
        self.since = ""
        """Time from which to ask again, RFC 3339; empty while nothing was told."""
        self._keeps_times = keeps_times
        self._head = b""
        self._is_text = False
        self._line: _Key | None = None
        """Time of this line."""
        self._is_skipped = False
        self._dropped = 0
        """Bytes of this line that were told before the cut, and are to come yet."""
        self._second: int | None = None
        """Of the last line."""
        self._told: dict[int, Counter[_Key]] = {}
        """How many lines were told to their end, by their times, of each of the last seconds."""
        self._open: tuple[_Key, int] | None = None
        """A line that was not told to its end: its time, and how many bytes."""
        self._known: Counter[_Key] = Counter()
        """Lines told before the cut that this answer has not repeated yet."""
        self._known_open: tuple[_Key, int] | None = None

    def begin(self) -> None:
        """Another answer follows, from ``since`` on."""
        self._known = Counter[_Key]()
        for told in self._told.values():
            self._known.update(told)
        self._known_open = self._open
        self._head = b""
        self._is_text = False

    def feed(self, data: bytes) -> bytes:
        """Return what is new."""
        told: list[bytes] = []
        while data:
            if not self._is_text:
                head, space, data = (self._head + data).partition(b" ")
                if not space and len(head) < _MAX_STAMP:
                    self._head = head
                    break
                self._head = b""
                self._is_text = True
                self._line = _key_of(head)
                if self._line is not None:
                    told.append(self._begin_line(self._line, head))
                else:  # text like any other
                    self._is_skipped, self._dropped = False, 0
                    data = head + space + data
                continue
            text, end, data = data.partition(b"\n")
            if not self._is_skipped:
                told.append(self._tell(text + end))
            if end:
                self._is_text = False
        return b"".join(told)

    def _begin_line(self, key: _Key, head: bytes) -> bytes:
        """Decide what becomes of a line by its time; return what is told before its text."""
        self._dropped = 0
        self._is_skipped = self._known[key] > 0
        if self._is_skipped:
            self._known[key] -= 1
            return b""
        before = head + b" " if self._keeps_times else b""
        if self._known_open is not None and self._known_open[0] == key:
            self._dropped = self._known_open[1]
            before = b""
        elif self._open is not None:  # its rest is lost: the log was rotated, or the container killed
            before = b"\n" + before
        self._known_open = None
        self._open = (key, self._dropped)
        if key[0] != self._second:
            self._second = key[0]
            self.since = _since(head.decode("ascii"))
            for second in [one for one in self._told if one < key[0] - _KEPT_S]:
                del self._told[second]
        return before

    def _tell(self, text: bytes) -> bytes:
        new = text[self._dropped :]
        self._dropped = max(0, self._dropped - len(text))
        if self._line is None:
            return new
        if text.endswith(b"\n"):
            self._told.setdefault(self._line[0], Counter())[self._line] += 1
            self._open = None
        elif self._open is not None:
            self._open = (self._line, self._open[1] + len(new))
        return new


def _key_of(head: bytes) -> _Key | None:
    try:
        text = head.decode("ascii")
        when = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    fraction = _FRACTION.search(text)
    return int(when.timestamp()), (fraction[1] if fraction else "").ljust(9, "0")


def _since(stamp: str) -> str:
    """Return the time to ask from when this one stands before the last line."""
    when = datetime.fromisoformat(_FRACTION.sub("", stamp)) - timedelta(seconds=_BACK_S)
    return when.isoformat().replace("+00:00", "Z")
