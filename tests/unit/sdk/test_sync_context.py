"""What a synchronous context makes of calls, seen at the port that carries them out."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from kontinue import SyncExecutionContext
from kontinue.ports import SyncPort


class Opened:
    """A port that keeps what is opened."""

    def __init__(self) -> None:
        self.info = SimpleNamespace(attempt=1, resumption=0, uid="u", function="f")
        self.calls: list[Any] = []

    def branch(self) -> Any:
        return SimpleNamespace(id="")

    def open(self, call: Any) -> None:
        self.calls.append(call)

    def abandon(self, calls: Any) -> None:
        del calls


def test_a_time_limit_is_called_where_its_block_begins() -> None:
    """Not in the standard library, whose ``with`` it goes through."""
    port = Opened()
    with SyncExecutionContext(cast("SyncPort", port)).timeout(timedelta(seconds=1)):
        pass
    (timer,) = port.calls
    assert timer.line.startswith("sdk/test_sync_context.py:")
