"""Recorded histories replayed against other code: what fits, what differs and where; nothing is ever started."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from fake_supervisor import FakeSupervisor
from kontinue.context import ExecutionContext, SyncExecutionContext
from kontinue.definition import define
from kontinue_engine.replaying.rehearsal import Rehearsal
from kontinue_engine.replaying.verdicts import Finding, Verdict
from kontinue_engine.runner.sync_host import SyncHost
from kontinue_engine.wire import frames

ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def charge(cents: int) -> str:
    ran.append(f"charge {cents}")
    return f"receipt {cents}"


def refund(cents: int) -> str:
    ran.append(f"refund {cents}")
    return f"refunded {cents}"


def pack(count: int) -> int:
    return count


packing = define(pack)


def recorded(ctx: SyncExecutionContext, cents: int) -> str:
    receipt = ctx.step(charge, cents)
    ctx.execute(packing, cents)
    ctx.sleep(timedelta(seconds=1), display_name="pause")
    return receipt


def history(fn: Callable[..., Any] = recorded, **arguments: Any) -> list[str]:
    """What a function records from its beginning to its end."""
    supervisor = FakeSupervisor()
    functions: dict[str, Any] = {"flow": define(fn, name="flow"), "pack": packing}
    supervisor.host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms)
    supervisor.activate(1, "flow", **(arguments or {"cents": 5}))
    supervisor.serve(lambda: supervisor.end() is not None)
    ran.clear()
    return supervisor.memo[1]


def rehearse(fn: Callable[..., Any], *questions: frames.Activate) -> list[Verdict]:
    loop = asyncio.new_event_loop()
    try:
        rehearsal = Rehearsal({"flow": define(fn, name="flow")}, loop)
        return [rehearsal.check(question) for question in questions]
    finally:
        loop.close()


def check(
    fn: Callable[..., Any], records: list[str], *, memo: bytes = b"", arguments: bytes = b'{"cents":5}'
) -> Verdict:
    """Replay it against other code."""
    state = memo or f'{{"build":"b1","records":[{",".join(records)}]}}'.encode()
    activate = frames.Activate(7, "ns", "ex", "uid", "flow", arguments, state, 1, 0, 0, 1_000, 0)
    return rehearse(fn, activate)[0]


@pytest.fixture
def records() -> list[str]:
    """Of a step, a child and a sleep."""
    found = history()
    assert len(found) == 3
    return found


def test_the_same_code_replays_and_starts_nothing(records: list[str]) -> None:
    """To its end, or to where the records end."""
    assert check(recorded, records) == Verdict(finding=Finding.REPLAYS, records=3, message="then returns")
    partly = check(recorded, records[:1])
    assert partly == Verdict(
        finding=Finding.REPLAYS, records=1, message="then waits for Execution " + partly.message.split()[-1]
    )
    assert ran == []


def test_async_code_replays_and_starts_nothing(records: list[str]) -> None:
    """Colours do not matter for what is recorded."""

    async def flow(ctx: ExecutionContext, cents: int) -> str:
        receipt = await ctx.step(charge, cents)
        await ctx.execute(packing, cents)
        await ctx.sleep(timedelta(days=1), display_name="pause")
        return f"{receipt} {await asyncio.gather(ctx.step(charge, 1), ctx.step(refund, 2))}"

    found = check(flow, records)
    assert found == Verdict(finding=Finding.REPLAYS, records=3, message="then waits for Step charge, Step refund")
    assert ran == []


def test_what_raises_behind_the_records_is_told(records: list[str]) -> None:
    """The records fit; what comes then is the code's business."""

    def flow(ctx: SyncExecutionContext, cents: int) -> None:
        recorded(ctx, cents)
        raise ValueError("no luck")

    found = check(flow, records)
    assert (found.finding, found.message) == (Finding.REPLAYS, "then raises builtins.ValueError: no luck")


def other_kind(ctx: SyncExecutionContext, cents: int) -> None:
    ctx.execute(packing, cents)


def other_name(ctx: SyncExecutionContext, cents: int) -> None:
    ctx.step(refund, cents)


def other_arguments(ctx: SyncExecutionContext, cents: int) -> None:
    ctx.step(charge, cents + 1)


def other_type(ctx: SyncExecutionContext, cents: int) -> None:
    def charge(cents: int) -> int:
        return cents

    ctx.step(charge, cents)


def ends_early(ctx: SyncExecutionContext, cents: int) -> str:
    return ctx.step(charge, cents)


def without_context(cents: int) -> str:
    return charge(cents)


@pytest.mark.parametrize(
    ("fn", "step", "requested"),
    [
        (other_kind, "1", r"child pack \(arguments digest .*\) at replaying/test_rehearsal.py:\d+"),
        (other_name, "1", r"step refund \(arguments digest .*\) at replaying/test_rehearsal.py:\d+"),
        (other_arguments, "1", r"step charge \(arguments digest .*\) at replaying/test_rehearsal.py:\d+"),
        (other_type, "1", r"step charge .*:\d+: stored result does not decode as int: .*"),
        (ends_early, "2", r"the function ended without this call: flow at \S+:\d+ returned"),
        (without_context, "1", r"flow at \S+:\d+ takes no context: it asks for nothing"),
    ],
)
def test_both_sides_of_a_difference_are_told_with_their_lines(
    records: list[str], fn: Callable[..., Any], step: str, requested: str
) -> None:
    """Kind, name, arguments, a value that no longer decodes, records left unread; and nothing has run."""
    found = check(fn, records)
    assert (found.finding, found.step) == (Finding.DIFFERS, step)
    name = {"1": "step charge", "2": "child pack"}[step]
    assert found.recorded.startswith(name)
    assert found.recorded.endswith("recorded by build b1")
    assert "replaying/test_rehearsal.py:" in found.recorded
    assert re.fullmatch(requested, found.requested), found.requested
    assert ran == []


def test_a_recorded_child_that_the_code_does_not_ask_for_any_more_differs(records: list[str]) -> None:
    """What it waits for instead is told."""

    def flow(ctx: SyncExecutionContext, cents: int) -> None:
        ctx.step(charge, cents)
        ctx.sleep(timedelta(seconds=1))

    found = check(flow, records)
    assert (found.step, found.recorded.split(" (")[0]) == ("2", "child pack")
    assert found.requested.startswith("timer at ")


def test_the_same_call_with_other_arguments_asks_for_what_differs_from_run_to_run(records: list[str]) -> None:
    """Only where the line is the same: then the code has probably not changed."""
    line = msgspec.json.decode(records[0])["line"]
    found = check(recorded, [records[0].replace('"digest":"', '"digest":"x')])
    assert line in found.requested
    assert "uuid, random or the time" in found.message


@pytest.mark.parametrize(
    ("memo", "recorded_side"),
    [(b'{"records":1}', "a memo that cannot be read"), (b'{"records":[{"id":"1"}]}', "a memo that cannot be read")],
)
def test_a_memo_that_cannot_be_read_differs(memo: bytes, recorded_side: str) -> None:
    """It is no step, so none is named."""
    found = check(recorded, [], memo=memo)
    assert (found.finding, found.step) == (Finding.DIFFERS, "-")
    assert recorded_side in found.recorded


def test_a_function_that_the_app_does_not_have_differs(records: list[str]) -> None:
    """A worker with this code could not run it."""
    activate = frames.Activate(1, "ns", "ex", "uid", "gone", b"{}", b"", 1, 0, 0, 1_000, 0)
    (found,) = rehearse(recorded, activate)
    assert (found.finding, found.recorded) == (Finding.DIFFERS, "function gone")


def test_of_an_execution_without_records_only_the_arguments_are_checked() -> None:
    """No line of its body runs."""

    def flow(ctx: SyncExecutionContext, cents: int) -> None:
        ran.append("body")

    def plain(cents: int) -> None:
        ran.append("body")

    assert "begins from the start" in check(flow, []).message
    assert "runs as a whole" in check(plain, []).message
    refused = check(flow, [], arguments=b'{"dollars":5}')
    assert (refused.finding, refused.recorded) == (Finding.DIFFERS, 'arguments {"dollars":5}')
    assert "cents" in refused.requested
    recorded_arguments = check(flow, [], memo=b'{"arguments":{"cents":5}}', arguments=b"{}")
    assert recorded_arguments.finding is Finding.REPLAYS
    assert ran == []


def test_one_after_the_other_is_replayed_by_one_rehearsal(records: list[str]) -> None:
    """What was left waiting by the one before says nothing to the next."""
    counts, questions = [1, 2, 3, 1], []
    for number, count in enumerate(counts, 1):
        state = f'{{"records":[{",".join(records[:count])}]}}'.encode()
        questions.append(frames.Activate(number, "ns", "ex", "uid", "flow", b'{"cents":5}', state, 1, 0, 0, 1_000, 0))
    found = rehearse(recorded, *questions)
    assert [(one.finding, one.records) for one in found] == [(Finding.REPLAYS, count) for count in counts]
    assert [one.message.split()[1] for one in found] == ["waits", "waits", "returns", "waits"]
