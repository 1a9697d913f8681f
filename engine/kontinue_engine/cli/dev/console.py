"""Internal. What ``kontinue dev`` prints on stderr: log lines for people, at a rate that a terminal bears."""

from __future__ import annotations

import sys
from typing import Final, TextIO

from kontinue_engine.cli import log_lines
from kontinue_engine.cli.text import DIM, RED, indent, paint, plural

MAX_LINES_PER_S: Final = 200
"""More can't be read and would cost the parent more CPU than a runner has; the log files hold every line."""

SOURCE_WIDTH: Final = len("worker-0")
"""Of the names before log lines: those of ten workers are aligned."""

SILENT_LOGGERS: Final = frozenset({"kontinue.kube.reflector", "kontinue_engine.kube.lease"})
"""Their warnings say that the server is away, which ``dev`` has said already: it restarts it."""


class LineLimiter:
    """Lets a number of lines pass per second and counts the rest."""

    def __init__(self, max_per_s: int) -> None:
        self._max = max_per_s
        self._second = -1
        self._passed = 0
        self._dropped = 0

    def admit(self, now_s: float) -> tuple[bool, int]:
        """Return whether this line passes, and how many were dropped in the seconds before (told once)."""
        told = 0
        if int(now_s) != self._second:
            told, self._dropped = self._dropped, 0
            self._second, self._passed = int(now_s), 0
        if self._passed >= self._max:
            self._dropped += 1
            return False, told
        self._passed += 1
        return True, told


class Console:
    """Prints on stderr."""

    def __init__(self, *, color: bool, quiet: bool, stream: TextIO | None = None) -> None:
        self._color = color
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._limiter = LineLimiter(MAX_LINES_PER_S)

    def say(self, text: str) -> None:
        """Print a message of ``dev`` itself, always."""
        self._print(text)

    def warn(self, text: str) -> None:
        """Print a message that something is wrong."""
        self._print(paint(text, RED, color=self._color))

    def field(self, label: str, text: str) -> None:
        """Print one line of the summary at the start."""
        self._print(f"  {paint(label.ljust(10), DIM, color=self._color)} {text}")

    def log_line(self, line: bytes, *, now_s: float, source: str = "") -> None:
        """Print a log line of a child, behind its name; raw text is passed on as it is, debug lines are left out."""
        fields = log_lines.parse_log_line(line)
        level = str(fields.get("level", "info")).lower() if fields else "error"
        if level == "debug" or (self._quiet and level == "info"):
            return
        if level == "warning" and fields and fields.get("logger") in SILENT_LOGGERS:
            return
        admitted, dropped = self._limiter.admit(now_s)
        if dropped:
            self._print(paint(f"... {plural(dropped, 'more line')} in the log files", DIM, color=self._color))
        if admitted or level in {"error", "critical"}:
            text = log_lines.format_log_line(fields, color=self._color) if fields else line.decode(errors="replace")
            self._print(indent(text, paint(f"{source:<{SOURCE_WIDTH}} ", DIM, color=self._color)) if source else text)

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            self._stream = open("/dev/null", "w")  # noqa: SIM115  the reader left; keep serving
