"""Internal. JSON log lines of worker and server as lines for people.

Pure. Used by ``kontinue dev`` (everything, as it comes) and ``kontinue logs`` (one tree, from the files).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue_engine.cli.text import DIM, RED, indent, paint

_SHOWN_ELSEWHERE: Final = frozenset(
    {
        "time",
        "level",
        "event",
        "execution",
        "uid",
        "stream",
        "text",
        "step",
        "traceback",
        "exception",
        "namespace",
        "logger",
    }
)
_OF_ITS_WORKER: Final = frozenset({"group", "shard", "attempt"})
"""Said of each Execution, and known to who reads the lines of one; the message of an attempt that fails has its
number."""
_LEVEL_COLORS: Final = {"warning": "33", "error": RED, "critical": RED}


def parse_log_line(line: bytes) -> dict[str, Any] | None:
    """Return the fields of a JSON log line; None for anything else (a crash's last words, for example)."""
    if not line.startswith(b"{"):
        return None
    try:
        fields = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def format_log_line(fields: Mapping[str, Any], *, color: bool) -> str:
    """Return the line for people: time, execution, then user output or the event with its data."""
    level = str(fields.get("level", "info")).lower()
    head = paint(_clock(fields.get("time")), DIM, color=color)
    execution = str(fields.get("execution", ""))
    if fields.get("event") == "output":
        text = str(fields.get("text", "")).rstrip("\n")
        bar = paint("|", RED if fields.get("stream") == "stderr" else DIM, color=color)
        prefix = f"{head} {paint(execution, '36', color=color)} {bar} "
        return indent(text, prefix)
    event = paint(str(fields.get("event", "")), _LEVEL_COLORS.get(level, ""), color=color)
    hidden = _SHOWN_ELSEWHERE | _OF_ITS_WORKER if execution else _SHOWN_ELSEWHERE
    data = " ".join(
        f"{key}={_value(value)}" for key, value in fields.items() if key not in hidden and value not in ("", None)
    )
    line = " ".join(part for part in (head, paint(execution, "36", color=color), event, data) if part)
    traceback = str(fields.get("traceback") or fields.get("exception") or "").strip()
    return f"{line}\n{indent(traceback, '    ')}" if traceback else line


def _clock(time: Any) -> str:
    if isinstance(time, (int, float)):
        return datetime.fromtimestamp(time).astimezone().strftime("%H:%M:%S")
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "--:--:--"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else msgspec.json.encode(value).decode()
    return msgspec.json.encode(value).decode()
