"""What a runner asks of objects of ``konductor.io``: ids, and what records say of holds."""

from __future__ import annotations

from typing import Any

import msgspec

from kontinue.primitive_calls import Held, count_call, hold_call, release_call
from kontinue.replay.call import Call
from kontinue.replay.records import Record, RecordedError, RecordKind
from kontinue_engine.runner import primitive_calls
from kontinue_engine.wire import frames


def opened(call: Call, step: str) -> Call:
    call.id = step
    return call


def command(call: Call, **changes: Any) -> Any:
    about: dict[str, Any] = {"uid": "u", "run": "0.0", "is_cancel": False, "may_repeat": False, "since_ms": 7}
    about |= changes
    return primitive_calls.command_of(call, **about)


def test_what_is_held_has_one_id_in_all_attempts() -> None:
    """That of its release, too; another Execution or step has another one."""
    hold = opened(hold_call("Mutex", "m", "lock"), "1")
    asked = command(hold)
    assert isinstance(asked, frames.AskPrimitive)
    assert (asked.kind, asked.name, asked.verb, asked.options, len(asked.id)) == ("Mutex", "m", "lock", b"{}", 20)
    release = opened(release_call(hold, failure="x"), "2")
    same = [command(hold, run="1.3"), command(release), command(hold, is_cancel=True)]
    assert {one.id for one in same} == {asked.id}
    assert isinstance(same[2], frames.WithdrawPrimitive)
    others = [command(hold, uid="v"), command(opened(hold_call("Mutex", "m", "lock"), "3"))]
    assert asked.id not in {one.id for one in others}
    assert msgspec.json.decode(same[1].options) == {"failure": "x"}


def test_what_counts_has_another_id_in_another_attempt() -> None:
    """It may count something else."""
    call = opened(count_call("w", 2, is_bound=False), "1")
    assert command(call).id == command(call).id
    assert command(call).id != command(call, run="0.1").id
    assert command(call, may_repeat=True).may_repeat
    assert command(call).since_ms == 7


def test_records_say_what_is_held_and_given_back() -> None:
    """Not those of other calls, nor of what was not to be had."""
    hold = Record(id="1", kind=RecordKind.HOLD, name="Mutex/m", digest="d", seq=1, at_ms=0)
    release = msgspec.structs.replace(hold, id="2", kind=RecordKind.RELEASE, digest="1")
    refused = msgspec.structs.replace(hold, error=RecordedError(type="x"))
    said = [primitive_calls.encoded("s", b"{}", one) for one in (None, hold, release, refused)]
    assert [(one.holds, one.frees) for one in said] == [(False, ""), (True, ""), (False, "1"), (False, "")]


def test_an_answer_is_read_as_what_was_asked_for() -> None:
    """With the token of a lock."""
    hold = hold_call("Mutex", "m", "lock")
    assert hold.request.decode(b'{"name":"m","token":3}') == Held("m", 3)
