"""Processes that are none of our children, seen from outside."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between the opening and the reading
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
