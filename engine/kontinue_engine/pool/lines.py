"""Internal. Bytes of an output pipe to lines of text. Sans-io; used for runners and for the zygote."""

from __future__ import annotations

from typing import Final

MAX_LINE_BYTES: Final = 16 * 1024
"""A longer line is cut into several, as runners do with theirs."""

MAX_LINES: Final = 1000
"""Lines of one read that are passed on one by one, at about 12 us each; what follows, only where lines are tiny, is
passed on together. A flood of newlines must not occupy the supervisor: 64 KiB of them would take half a second."""


class OutputLines:
    """Collects bytes and returns whole lines."""

    def __init__(self) -> None:
        self._part = b""

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the lines that they complete."""
        *lines, part = (self._part + data).split(b"\n")
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [b"\n".join(lines[MAX_LINES:])]
        while len(part) >= MAX_LINE_BYTES:
            lines.append(part[:MAX_LINE_BYTES])
            part = part[MAX_LINE_BYTES:]
        self._part = part
        return [
            line[start : start + MAX_LINE_BYTES].decode("utf-8", "replace")
            for line in lines
            for start in range(0, max(len(line), 1), MAX_LINE_BYTES)
        ]

    def finish(self) -> list[str]:
        """Return the last line if it has no newline."""
        return self.feed(b"\n") if self._part else []
