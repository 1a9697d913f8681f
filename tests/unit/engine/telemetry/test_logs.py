"""Logs as JSON lines, written by a thread so that a slow reader of stdout stops nobody."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from kontinue_engine.telemetry import logs

LIMIT_S = 10.0


class GatedStream(io.StringIO):
    """A stream whose reader has fallen asleep."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def write(self, text: str) -> int:
        assert self.gate.wait(LIMIT_S)
        return super().write(text)


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _flush() -> None:
    for handler in logging.getLogger().handlers:
        handler.flush()


def test_what_is_true_of_a_process_is_said_in_each_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in those of libraries; what a line says itself counts more."""
    monkeypatch.setattr(logs, "_process", {})
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.describe_process(namespace="ns", group="g", shard="w-0")
    logs.get_logger("shop").info("worker ready", group="mine")
    logging.getLogger("other").warning("full")
    _flush()
    first, second = _lines(stream)
    assert (first["namespace"], first["group"], first["shard"]) == ("ns", "mine", "w-0")
    assert (second["namespace"], second["group"], second["shard"]) == ("ns", "g", "w-0")


def test_a_line_is_a_json_object_with_event_and_fields() -> None:
    """Our own events and records of the standard library take the same way, in order."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get_logger("shop").info("worker ready", pid=5)
    logging.getLogger("other").warning("disk %s", "full", extra={"free": 0})
    logs.get_logger("shop").debug("not shown")
    _flush()
    first, second = _lines(stream)
    assert (first["event"], first["level"], first["logger"], first["pid"]) == ("worker ready", "info", "shop", 5)
    assert (second["event"], second["level"], second["free"]) == ("disk full", "warning", 0)


def test_who_logs_does_not_wait_for_the_reader_and_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor goes on; memory is bounded; the log says how much is missing, and where."""
    monkeypatch.setattr(logs, "MAX_WAITING_CHARS", 5_000)
    stream = GatedStream()
    logs.configure(stream=stream)
    log = logs.get_logger("shop")
    for number in range(1000):
        log.info("output", number=number)
    stream.gate.set()
    _flush()
    log.info("afterwards")
    _flush()
    *lines, last = _lines(stream)
    written = [line["number"] for line in lines if line["event"] == "output"]
    dropped = [line["count"] for line in lines if line["event"] == "log lines dropped"]
    assert 20 < len(written) < 500
    assert sum(dropped) == 1000 - len(written)
    assert written == sorted(written)
    assert last["event"] == "afterwards"


class BrokenStream(io.StringIO):
    """A pipe without a reader."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError


def test_a_reader_that_has_gone_stops_nobody() -> None:
    """There is nobody left to tell, and the next line is tried all the same."""
    stream = BrokenStream()
    logs.configure(stream=stream)
    for _ in range(3):
        logs.get_logger("shop").info("output")
        _flush()
    assert stream.tries == 3
