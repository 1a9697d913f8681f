"""Internal. Text for people: durations, ages, columns, colours. Pure: no stream, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

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


def paint(text: str, code: str, *, color: bool) -> str:
    """Return ``text`` in the ANSI style ``code``, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if color and code and text else text


def paint_phase(text: str, phase: Phase, *, color: bool) -> str:
    """Return ``text`` in the colour of ``phase``."""
    return paint(text, _COLORS[phase], color=color)


def format_duration(duration: timedelta | None) -> str:
    """Return a duration with the precision that people want: ``35ms``, ``1.2s``, ``3m05s``, ``2h10m``."""
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
    return f"{hours}h{minutes:02d}m"


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
    duration = durations.parse(f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text)
    if duration < timedelta():
        raise ValueError(f"{text!r} is negative")
    return duration


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns as kubectl aligns them: three blanks between, nothing cut, no trailing blanks."""
    lines = [list(header), *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def shorten(text: str, length: int) -> str:
    """Return the first line of ``text``, cut to ``length`` characters with an ellipsis."""
    line = _one_line(text)
    return line if len(line) <= length else line[: max(0, length - 1)] + "…"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 step``, ``2 steps``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def indent(text: str, prefix: str) -> str:
    """Return ``text`` with ``prefix`` before each line."""
    return "\n".join(prefix + line for line in text.rstrip("\n").split("\n"))


def server_address(url: str) -> str:
    """Return scheme, host and port of a server's URL: the local server carries its token in the path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")) if "\n" in text else text
