"""What the supervisor is told of sleeps and suspends, and which payloads fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from kontinue import durable_calls
from kontinue.api.v1alpha1 import MAX_RESULT_BYTES
from kontinue.replay.call import Call
from kontinue_engine.runner import suspension_calls
from kontinue_engine.wire import frames


@dataclass
class Approval:
    approved: bool

    def __post_init__(self) -> None:
        if not self.approved:
            raise ZeroDivisionError("of a user's validator")


def suspend(payload: Any, timeout: timedelta | None = None) -> Call:
    return durable_calls.suspend_call(payload, display_name="ask", description="why", timeout=timeout)


def ended(payload: bytes, *, timed_out: bool = False) -> frames.SuspensionEnded:
    return frames.SuspensionEnded(5, payload, timed_out)


def test_each_kind_of_wait_has_its_command() -> None:
    """And each can be abandoned."""
    timer = durable_calls.timer_call(timedelta(seconds=1), "t")
    sleep = durable_calls.timer_call(timedelta(seconds=1), "bake", is_sleep=True)
    asked = suspend(None, timedelta(seconds=2))
    started = [suspension_calls.command_of(call, "s", is_cancel=False) for call in (timer, sleep, asked)]
    assert started == [
        frames.StartTimer(1000),
        frames.StartSuspension("s", True, 1000, "bake"),
        frames.StartSuspension("s", False, 2000, "ask", "why"),
    ]
    canceled = [suspension_calls.command_of(call, "s", is_cancel=True) for call in (timer, sleep, asked)]
    assert canceled == [frames.CancelTimer(), frames.CancelSuspension("s"), frames.CancelSuspension("s")]


def test_who_waits_for_somebody_waits_for_ever_and_says_for_what() -> None:
    """The schema is that of the type."""
    command = suspension_calls.command_of(suspend(Approval), "s", is_cancel=False)
    assert isinstance(command, frames.StartSuspension)
    assert command.duration_ms == -1
    assert b'"approved"' in command.payload_schema


@pytest.mark.parametrize(
    ("payload", "refusal"),
    [
        (b'{"approved":true}', ""),
        (b'{"approved":1}', "$.approved: "),
        (b"", "$: "),
        (b'{"approved":false}', "$: ZeroDivisionError: of a user's validator"),
        (b'"' + b"x" * MAX_RESULT_BYTES + b'"', "the payload is 524,290 bytes of JSON, the limit is 524,288"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_with_its_path(payload: bytes, refusal: str) -> None:
    """A validator of the user's may raise anything."""
    found = suspension_calls.refusal_of(suspend(Approval), ended(payload))
    assert found.startswith(refusal)
    assert bool(found) == bool(refusal)


def test_where_none_is_read_every_payload_fits() -> None:
    """Nor is that of a wait refused that timed out, or that nobody makes any more."""
    assert suspension_calls.refusal_of(suspend(None), ended(b"{")) == ""
    assert suspension_calls.refusal_of(suspend(Approval), ended(b"", timed_out=True)) == ""
    assert suspension_calls.refusal_of(None, ended(b"{")) == ""
    assert suspension_calls.outcome_of(suspend(None), ended(b"{")).value == b"null"


def test_an_outcome_is_durable_once_it_is_recorded() -> None:
    """The object may be deleted before."""
    outcome = suspension_calls.outcome_of(suspend(int), ended(b"7"))
    assert (outcome.value, outcome.at_ms, outcome.is_durable) == (b"7", 5, False)
    late = suspension_calls.outcome_of(suspend(int), ended(b"", timed_out=True))
    assert late.error is not None
    assert late.error.type == durable_calls.SUSPEND_TIMEOUT
