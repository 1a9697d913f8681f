"""Internal. What user code prints and logs becomes ``LogLine`` frames, attributed to activation and step.

``install`` replaces ``sys.stdout`` and ``sys.stderr`` before the user's module is imported, so that handlers which the
module creates write here too. Until ``attach`` (in a runner) lines go to the file descriptor, that is to the
supervisor's log. What bypasses Python (C code, subprocesses) is read by the supervisor from the same descriptors.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from kontinue_engine.wire import frames

MAX_LINE_CHARS: Final = 16 * 1024
"""A longer line is cut into several: Kubernetes' log files do it at 16 KiB as well."""

Sink = Callable[[frames.LogLine], None]
Place = Callable[[], tuple[int, str]]
"""Returns the activation and the step id of the calling code; 0 and empty outside any."""


class Output:
    """Both replaced streams and, once attached, the root logging handler."""

    def __init__(self) -> None:
        self._stdout = LineWriter(fd=1, level="stdout")
        self._stderr = LineWriter(fd=2, level="stderr")

    def install(self) -> None:
        """Replace the process's standard streams."""
        sys.stdout = self._stdout
        sys.stderr = self._stderr

    def attach(self, sink: Sink, *, place: Place, now_ms: Callable[[], int]) -> None:
        """From now on send lines to ``sink``. Logging gets a handler unless the user's module has set one up."""
        self._stdout.attach(sink, place=place, now_ms=now_ms)
        self._stderr.attach(sink, place=place, now_ms=now_ms)
        root = logging.getLogger()
        if not root.handlers:
            root.addHandler(LogLineHandler(sink, place=place))
            root.setLevel(logging.INFO)

    def finish_lines(self, activation: int) -> None:
        """Send what the activation has printed without a newline: it will print no more for now."""
        self._stdout.finish_line(activation)
        self._stderr.finish_line(activation)


class LineWriter(io.TextIOBase):
    """A text stream that sends whole lines. Lines of different activations do not mix."""

    def __init__(self, *, fd: int, level: str) -> None:
        self._fd = fd
        self._level = level
        self._sink: Sink | None = None
        self._place: Place = lambda: (0, "")
        self._now_ms: Callable[[], int] = lambda: 0
        self._parts: dict[int, tuple[str, str]] = {}
        self._lock = threading.RLock()
        self._bytes = _ByteStream(self)

    def attach(self, sink: Sink, *, place: Place, now_ms: Callable[[], int]) -> None:
        """Send lines to ``sink`` instead of the file descriptor."""
        self._sink = sink
        self._place = place
        self._now_ms = now_ms

    def write(self, text: str, /) -> int:
        """Send the lines that ``text`` completes and keep the rest."""
        if self._sink is None:
            _write_all(self._fd, text.encode("utf-8", "backslashreplace"))
            return len(text)
        activation, step = self._place()
        with self._lock:
            _, part = self._parts.pop(activation, ("", ""))
            *lines, part = (part + text).split("\n")
            for line in lines:
                self._send(activation, step, line)
            if len(part) >= MAX_LINE_CHARS:
                self._send(activation, step, part)
            elif part:
                self._parts[activation] = (step, part)
        return len(text)

    def finish_line(self, activation: int) -> None:
        """Send the unfinished line of an activation, if there is one."""
        if self._parts:
            with self._lock:
                step, part = self._parts.pop(activation, ("", ""))
                if part:
                    self._send(activation, step, part)

    def _send(self, activation: int, step: str, line: str) -> None:
        if self._sink is not None:
            for start in range(0, max(len(line), 1), MAX_LINE_CHARS):
                text = line[start : start + MAX_LINE_CHARS].encode("utf-8", "backslashreplace").decode()
                self._sink(frames.LogLine(activation, self._level, text, step=step, at_ms=self._now_ms()))

    @property
    def buffer(self) -> io.RawIOBase:
        """The same stream for bytes, as ``sys.stdout.buffer``."""
        return self._bytes

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8, whatever the locale."""
        return "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor below, for subprocesses: the supervisor reads it."""
        return self._fd

    def reconfigure(self, **_options: Any) -> None:
        """Accept what ``sys.stdout.reconfigure`` accepts; lines are sent as UTF-8 all the same."""

    def close(self) -> None:
        """Stay open: later output of other activations must not fail."""


class _ByteStream(io.RawIOBase):
    def __init__(self, text: LineWriter) -> None:
        self._text = text

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def close(self) -> None:
        pass


class LogLineHandler(logging.Handler):
    """Sends records of the standard logging as one ``LogLine`` each, tracebacks included."""

    def __init__(self, sink: Sink, *, place: Place) -> None:
        super().__init__()
        self._sink = sink
        self._place = place

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; a record that cannot be formatted is reported on stderr, as logging does."""
        try:
            activation, step = self._place()
            text = self.format(record)[:MAX_LINE_CHARS].encode("utf-8", "backslashreplace").decode()
            at_ms = int(record.created * 1000)
            level = record.levelname.lower()
            self._sink(frames.LogLine(activation, level, text, logger=record.name, step=step, at_ms=at_ms))
        except Exception:  # noqa: BLE001 - logging never raises into user code
            self.handleError(record)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
