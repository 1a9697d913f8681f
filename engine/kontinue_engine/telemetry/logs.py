"""Internal. Structured logs: one JSON object a line on stdout, with a constant event string and key-values.

``get_logger(__name__)`` gives a logger whose methods take event and fields; ``configure`` chooses where lines go and is
called once by each process's main. Records of the standard ``logging`` module take the same way (``extra`` becomes
fields). Lines are plain dictionaries with keys ``time``, ``level``, ``event``, ``logger``, what is true of the whole
process (``describe_process``), and the fields; docs/observability.md names those that people may rely on.
"""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import IO, Any, Final

import orjson

MAX_WAITING_CHARS: Final = 8 * 1024 * 1024
"""Most text that waits to be written; judgement: some seconds of a flood, and a small part of a worker's memory."""

FLUSH_S: Final = 2.0
"""How long the end of the process waits for its last lines; judgement."""

_process: dict[str, object] = {}
"""Fields of all lines."""

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Logger:
    """Writes events of one module."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        """What happens to every Execution; off by default."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """What an operator may want to know."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """What went wrong and was dealt with."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """What went wrong and needs somebody."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields})


def get_logger(name: str) -> Logger:
    """Return the logger of a module."""
    return Logger(name)


class JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_process,
        }
        fields = record.__dict__.get("fields")
        if fields is None:
            fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class ThreadHandler(logging.Handler):
    """Writes lines in a thread: a reader of stdout that is slow, or stands still, does not stop the event loop.

    What the reader is too slow for is dropped, and a line in its place says how much.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._waiting_chars = 0
        self._dropped = 0
        self._is_writing = False
        threading.Thread(target=self._serve, name="kontinue-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record's line to the thread."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)
            return
        with self._changed:
            if self._waiting_chars > MAX_WAITING_CHARS:
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting_chars += len(line)
            self._changed.notify()

    def flush(self) -> None:
        """Wait until everything is written, but not for a reader that stands still. At exit, logging calls it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._is_writing, FLUSH_S)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                self._is_writing = True
                lines, self._lines, self._waiting_chars = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
            if dropped:
                lines.append(self.format(_dropped_record(dropped)))
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # the reader has gone, or the stream is closed: nobody is left to tell
                continue


def _dropped_record(count: int) -> logging.LogRecord:
    fields = {"count": count}
    attributes = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log lines dropped"}
    return logging.makeLogRecord({**attributes, "fields": fields})


def describe_process(**fields: object) -> None:
    """Put fields into all lines from now on; a line's own of the same name counts more."""
    _process.update(fields)


def configure(*, level: str = "info", stream: IO[str] | None = None) -> None:
    """Send every record of this process to ``stream`` (stdout by default) as JSON lines."""
    handler = ThreadHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
