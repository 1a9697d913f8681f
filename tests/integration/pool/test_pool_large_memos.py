"""What a function collects is larger than its history may be."""

import asyncio
from typing import Any

import msgspec
import pytest

from kontinue.replay.limits import MAX_REFUSALS
from kontinue.replay.records import Record
from kontinue_engine.wire import frames

FUNCTIONS = """
import contextlib
from pathlib import Path
from kontinue import StepFailed

@app.function
def child(n: int) -> str:
    return "x" * 500_000

def large(n: int) -> str:
    return "x" * 500_000

@app.function
def sync_map(ctx: SyncExecutionContext, path: str) -> int:
    try:
        return sum(map(len, ctx.map(child, range(140))))
    finally:
        Path(path).touch()

@app.function
async def async_map(ctx: ExecutionContext, path: str) -> int:
    try:
        return sum(map(len, await ctx.map(child, range(140))))
    finally:
        Path(path).touch()

@app.function
def sync_steps(ctx: SyncExecutionContext, path: str) -> None:
    for n in range(100):
        ctx.step(large, n)

@app.function
async def async_steps(ctx: ExecutionContext, path: str) -> None:
    for n in range(100):
        await ctx.step(large, n)

@app.function
def sync_stubborn(ctx: SyncExecutionContext) -> None:
    while True:
        with contextlib.suppress(StepFailed):
            ctx.step(large, 0)

@app.function
async def async_stubborn(ctx: ExecutionContext) -> None:
    while True:
        with contextlib.suppress(StepFailed):
            await ctx.step(large, 0)

@app.function
def sync_next() -> str:
    return "next"

@app.function
async def async_next() -> str:
    return "next"
"""


async def _serve(running: Any) -> None:
    """Answer everything that the function asks for, for ever."""
    seen = 0
    result = b'"' + b"x" * 500_000 + b'"'
    while True:
        for frame in running.heard.frames[seen:]:
            seen += 1
            if isinstance(frame, frames.RecordsProduced):
                running.pool.send(frames.StepRecorded(frame.activation, frame.flush))
            if isinstance(frame, frames.StepRequested) and isinstance(frame.command, frames.CreateChild):
                outcome = frames.ChildFinished(frame.command.name, "uid", 1, "Completed", 5, result)
                running.pool.send(frames.StepArrived(frame.activation, frame.step, outcome))
        await asyncio.sleep(0.005)


def _refused(running: Any, end: frames.Failed) -> list[int]:
    """Return the numbers of all records that say that something did not fit."""
    produced = [frame for frame in running.heard.frames if isinstance(frame, frames.RecordsProduced)]
    encoded = [record for frame in produced for record in frame.records] + end.records
    records = [msgspec.json.decode(record.json, type=Record) for record in encoded]
    return [record.seq for record in records if record.error and record.error.type == "kontinue.errors.LimitExceeded"]


@pytest.mark.parametrize("function", ["sync_map", "async_map", "sync_steps", "async_steps"])
async def test_a_call_past_the_limit_of_a_history_fails_and_nothing_else(
    start_pool: Any, tmp_path: Any, function: str
) -> None:
    """The message has sizes and remedy, every record is kept, and the runner serves on.

    Outcomes that arrive before the function has ended do not fit either: they are to blame, too, and nothing else is.
    """
    running = await start_pool(FUNCTIONS)
    pids = await running.ready(2)
    serving = asyncio.create_task(_serve(running))
    activation = running.submit(function, path=str(tmp_path / "finally"))
    await running.heard.until(lambda: activation in running.heard.ends)
    end = running.heard.ends[activation]
    assert isinstance(end, frames.Failed)
    assert end.reason == "UserError"
    assert end.seqs
    assert end.seqs == _refused(running, end)
    assert "kontinue.errors.LimitExceeded" in end.error.message
    assert "the limit is 33,554,432: return less from steps and children" in end.error.message
    assert (tmp_path / "finally").exists() == function.endswith("map")
    assert await running.call(function.split("_")[0] + "_next") == "next"
    assert await running.ready(2) == pids
    serving.cancel()


@pytest.mark.parametrize("function", ["sync_stubborn", "async_stubborn"])
async def test_who_catches_refusals_for_ever_is_ended(start_pool: Any, function: str) -> None:
    """Its history does not grow for ever, another attempt would do the same, and the runner serves on."""
    running = await start_pool(FUNCTIONS)
    pids = await running.ready(2)
    serving = asyncio.create_task(_serve(running))
    activation = running.submit(function)
    await running.heard.until(lambda: activation in running.heard.ends)
    end = running.heard.ends[activation]
    assert isinstance(end, frames.Failed)
    assert (end.reason, end.error.type) == ("NonRetryable", "kontinue.errors.LimitExceeded")
    assert len(_refused(running, end)) == MAX_REFUSALS
    assert await running.call(function.split("_")[0] + "_next") == "next"
    assert await running.ready(2) == pids
    serving.cancel()
