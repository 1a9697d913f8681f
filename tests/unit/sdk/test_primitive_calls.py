"""What functions ask of primitives is refused where it is written, not in a worker."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kontinue import primitive_calls as calls
from kontinue.errors import ContextError

REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: calls.hold_call(calls.MUTEX, "", "lock"), "a Mutex has a name, which is a text, got ''"),
    (lambda: calls.ask_call(calls.GATE, None, "wait"), "a Gate has a name, which is a text, got None"),  # type: ignore[arg-type]
    (lambda: calls.ask_call(calls.BARRIER, 5, "arrive"), "a Barrier has a name, which is a text, got 5"),  # type: ignore[arg-type]
    (lambda: calls.count_call("w", "3", is_bound=False), "delta is a whole number, for example delta=1, got '3'"),  # type: ignore[arg-type]
    (lambda: calls.done_call("w", None, is_bound=False), "delta is a whole number, for example delta=1, got None"),  # type: ignore[arg-type]
    (lambda: calls.done_call("w", -2, is_bound=True), "done of WaitGroup/w takes a delta of 1 or more, got -2"),
    (lambda: calls.done_call("w", 0, is_bound=True), "done of WaitGroup/w takes a delta of 1 or more, got 0"),
    (lambda: calls.lease_call("l", "1"), "priority is a whole number, for example priority=1, got '1'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_makes_no_sense_is_refused(call: Callable[[], object], said: str):
    """The error names the argument, and what it should be."""
    with pytest.raises(ContextError, match=re.escape(said)):
        call()


def test_what_is_done_is_taken_off():
    """By the same call as an add, so a replay of either finds its record."""
    done, added = calls.done_call("w", 2, is_bound=False), calls.count_call("w", -2, is_bound=False)
    assert (done.name, done.digest, done.kind) == (added.name, added.digest, added.kind)
