"""Internal. Text for people: durations, ages, times, columns, colours. Pure: no stream, no clock.

Every verb writes times as this module does: an age where something began, a duration where it took as long, the time
itself where somebody may have to compare it with a log.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from kontinue.api import durations
from kontinue.api.v1alpha1 import Phase

GLYPHS: Final = {
    Phase.PENDING: "·",
    Phase.EXECUTING: "▸",
    Phase.SUSPENDED: "‖",
    Phase.BACKOFF: "↻",
    Phase.BLOCKED: "■",
    Phase.COMPLETED: "✓",
    Phase.FAILED: "✗",
    Phase.CANCELED: "⊘",
    Phase.SKIPPED: "»",
}
_COLORS: Final = {
    Phase.PENDING: "2",
    Phase.EXECUTING: "36",
    Phase.SUSPENDED: "34",
    Phase.BACKOFF: "33",
    Phase.BLOCKED: "35",
    Phase.COMPLETED: "32",
    Phase.FAILED: "31",
    Phase.CANCELED: "33",
    Phase.SKIPPED: "32",
}
DIM: Final = "2"
RED: Final = "31"
_DAYS_FROM_H: Final = 100
"""Hours are easier to compare with a limit that was set in hours. Judgement."""
_NOW: Final = timedelta(seconds=1)
"""What was due this lately is being seen to."""
_BLANKS: Final = 3
_MIN_COLUMN: Final = 10
"""Of a column that has to shrink: what is left of a text is still a hint."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def paint(text: str, code: str, *, color: bool) -> str:
    """Return ``text`` in the ANSI style ``code``, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if color and code and text else text


def paint_phase(text: str, phase: Phase, *, color: bool) -> str:
    """Return ``text`` in the colour of ``phase``."""
    return paint(text, _COLORS[phase], color=color)


def format_duration(duration: timedelta | None) -> str:
    """Return a duration with the precision that people want: ``35ms``, ``1.2s``, ``3m05s``, ``2h10m``, ``30d``.

    A negative one is that of two clocks which differ, and no time at all.
    """
    if duration is None:
        return "-"
    seconds = max(0.0, duration.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < _DAYS_FROM_H:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h" if hours else f"{days}d"


def format_due(at: datetime, now: datetime) -> str:
    """Return when something is due, seen from now: ``in 3m05s``, ``now``, ``12s ago``."""
    if at > now:
        return f"in {format_duration(at - now)}"
    return "now" if now - at < _NOW else f"{format_duration(now - at)} ago"


def format_time(at: datetime) -> str:
    """Return a time to the second, as kubectl prints it; steps that follow faster are told apart by their order."""
    return at.isoformat(timespec="seconds")


def format_age(since: datetime | None, now: datetime) -> str:
    """Return an age as kubectl prints it: one or two units."""
    if since is None:
        return "<unknown>"
    seconds = max(0, int((now - since).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 48:
        return f"{hours}h"
    return f"{hours // 24}d"


def parse_duration(text: str) -> timedelta:
    """Parse a limit of time: as the API writes durations (``1m30s``), or a plain number of seconds.

    Raises:
        ValueError: the text is no duration, or a negative one.
    """
    text = text.strip()
    duration = durations.parse(f"{text}s" if re.fullmatch(r"-?\d+(\.\d+)?", text) else text)
    if duration < timedelta():
        raise ValueError(f"{text!r} is negative")
    return duration


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None = None) -> str:
    """Return columns as kubectl aligns them: three blanks between, no trailing blanks.

    Args:
        header: of the columns.
        rows: their cells.
        width: of the terminal: the widest columns, never the first, are cut until lines fit, as far as that can be.
            None cuts nothing.
    """
    return "\n".join(GrowingTable(header, width=width).lines(rows))


class GrowingTable:
    """A table whose rows come one after the other; a column gets wider when a row needs it, from there on."""

    def __init__(self, header: Sequence[str], *, width: int | None = None) -> None:
        self._header = list(header)
        self._widths = [display_width(cell) for cell in header]
        self._width = width
        self._has_header = False

    def lines(self, rows: Iterable[Sequence[str]]) -> list[str]:
        """Return rows as lines, the header before the first ones."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        for row in cells:
            self._widths = [max(known, display_width(cell)) for known, cell in zip(self._widths, row, strict=True)]
        shown = cells if self._has_header else [self._header, *cells]
        self._has_header = True
        widths = self._widths
        if self._width is not None:
            widths = _shrink(widths, [display_width(cell) for cell in self._header], self._width)
        return [
            (" " * _BLANKS).join(_fit(cell, room) for cell, room in zip(row, widths, strict=True)).rstrip()
            for row in shown
        ]


def _shrink(widths: Sequence[int], headers: Sequence[int], width: int) -> list[int]:
    found = list(widths)
    excess = sum(found) + _BLANKS * (len(found) - 1) - width
    while excess > 0:
        spare, column = max(
            ((room - max(headers[number], _MIN_COLUMN), number) for number, room in enumerate(found) if number),
            default=(0, 0),
        )
        if spare <= 0:
            break
        cut = min(spare, excess)
        found[column] -= cut
        excess -= cut
    return found


def _fit(cell: str, room: int) -> str:
    short = cell if display_width(cell) <= room else shorten(cell, room)
    return short + " " * (room - display_width(short))


def format_fields(fields: Iterable[tuple[str, str]]) -> str:
    """Return what is known of one object, a line for each title with its value."""
    return "\n".join(f"{f'{title}:':<12}{one_line(value)}" for title, value in fields)


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each wide character, none for a combining one."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def shorten(text: str, length: int) -> str:
    """Return the text in one line, cut to ``length`` columns with an ellipsis."""
    line = one_line(text)
    if max(len(line), display_width(line)) <= length:
        return line
    room = length - 1
    kept = 0
    for kept, character in enumerate(line):  # noqa: B007 - how far it came is what is wanted
        room -= max(1, _columns(character))
        if room < 0:
            break
    return line[:kept] + "…" if length > 0 else ""


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 step``, ``2 steps``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def indent(text: str, prefix: str) -> str:
    """Return ``text`` with ``prefix`` before each line."""
    return "\n".join(prefix + line for line in text.rstrip("\n").split("\n"))


def one_line(text: str) -> str:
    """Return a text of somebody's without what breaks a row or the terminal: line feeds and escapes."""
    return _CONTROL.sub(" ", text)
