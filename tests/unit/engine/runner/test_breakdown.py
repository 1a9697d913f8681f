"""What becomes of a failure of the engine's own code in a process that is not only a runner's."""

from __future__ import annotations

import threading

import pytest

from kontinue_engine.runner import breakdown
from kontinue_engine.runner.threads import Threads


def test_a_process_that_is_spared_lives_on_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's test run does not end by SIGKILL; the thread does, with an exception that nobody catches."""
    monkeypatch.setattr(breakdown, "_report", None)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    told: list[BaseException] = []
    was_told = threading.Event()

    def report(error: BaseException) -> None:
        told.append(error)
        was_told.set()

    breakdown.spare_process(report)
    Threads().start(lambda: 1 / 0)
    assert was_told.wait(60)
    assert [type(error) for error in told] == [ZeroDivisionError]
