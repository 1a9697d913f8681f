"""A poll is checked where it stands, and knows whether its condition holds."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, step
from kontinue.errors import ContextError, DefinitionError
from kontinue.poll_calls import PollRequest, poll_call, step_of
from kontinue.replay.call import Outcome
from kontinue.replay.records import RecordedError, RecordKind

SECOND = timedelta(seconds=1)
app = App(group="g")


@app.function
def build() -> None: ...


def find() -> int | None:
    return None


async def find_async() -> int | None:
    return 7


@step(name="look")
def named() -> int | None:
    return None


def polled(check: Any, **changes: Any) -> Any:
    return poll_call(check, **{"every": SECOND, "timeout": None, "may_be_async": True, **changes})


@pytest.mark.parametrize(
    ("check", "name"),
    [(find, "find"), (named, "look"), (lambda: None, "condition"), (functools.partial(find), "condition")],
)
def test_a_poll_is_called_like_its_condition(check: Any, name: str) -> None:
    """What has no name is a condition; where it stands is told, too."""
    call = polled(check)
    assert (call.kind, call.name) == (RecordKind.POLL, name)
    assert call.line.startswith("sdk/test_poll_calls.py:")


def test_only_none_and_false_mean_not_yet() -> None:
    """Zero and nothing are something; a failure is the end."""
    request = polled(find).request
    assert isinstance(request, PollRequest)
    assert [request.holds(Outcome(at_ms=1, value=value)) for value in (b"null", b"false", b"0", b'""', b"[]")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert request.holds(Outcome(at_ms=1, error=RecordedError(type="ValueError")))


async def test_what_is_not_async_is_called_in_a_thread() -> None:
    """And a lambda may return something to await."""
    for check, found in ((find, None), (find_async, 7), (lambda: find_async(), 7)):
        assert await step_of(polled(check).request).fn() is found


def test_mistakes_are_said_where_the_poll_stands() -> None:
    """With what is expected instead."""
    for every in (timedelta(), -SECOND):
        with pytest.raises(ContextError, match="a pause of at least a millisecond"):
            polled(find, every=every)
    with pytest.raises(ContextError, match=r"ctx\.poll\(every=\.\.\.\) takes a timedelta"):
        polled(find, every=5)
    with pytest.raises(ContextError, match=r"ctx\.poll\(timeout=\.\.\.\) takes at most"):
        polled(find, timeout=timedelta.max)
    for check in (build, 5):
        with pytest.raises(DefinitionError, match=r"ctx\.poll takes a function without parameters"):
            polled(check)
    with pytest.raises(DefinitionError, match="a sync function needs a sync one"):
        polled(find_async, may_be_async=False)
