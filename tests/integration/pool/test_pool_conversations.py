import contextlib
import os
import random
import signal
from typing import Any

import pytest

from kontinue_engine.wire import frames

FUNCTIONS = """
import asyncio

@app.function
def sync_sleeper(ctx: SyncExecutionContext, path: str) -> str:
    try:
        print("before")
        ctx.sleep(timedelta(hours=1))
        return ctx.step(sync_step)
    finally:
        open(path, "w").close()

def sync_step() -> str:
    print("in the step")
    return "slept"

@app.function
async def async_sleeper(ctx: ExecutionContext, path: str) -> str:
    try:
        print("before")
        await ctx.sleep(timedelta(hours=1))
        return await ctx.step(async_step)
    finally:
        open(path, "w").close()

async def async_step() -> str:
    print("in the step")
    return "slept"

@app.function
def length(text: str) -> int:
    return len(text)

@app.function
def short(x: int) -> int:
    time.sleep(0.002)
    return x
"""

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


def _heard(running: Any, kind: type[frames.Frame], activation: int) -> list[Any]:
    return [event for event in running.heard.frames if isinstance(event, kind) and event.activation == activation]


async def _parked(running: Any, activation: int) -> frames.StepRequested:
    await running.heard.until(lambda: _heard(running, frames.Waiting, activation))
    (request,) = _heard(running, frames.StepRequested, activation)
    return request


@COLOURS
async def test_a_parked_activation_goes_on_where_it_is(start_pool: Any, tmp_path: Any, colour: str) -> None:
    """Timer and records are the supervisor's; the answer reaches the same thread or task, without replay."""
    running = await start_pool(FUNCTIONS)
    activation = running.submit(f"{colour}_sleeper", path=str(tmp_path / "finally"))
    request = await _parked(running, activation)
    assert isinstance(request.command, frames.StartSuspension)
    assert (request.command.is_sleep, request.command.duration_ms) == (True, 3_600_000)
    assert len({runner.pid for runner in running.pool.runners()}) == 2
    running.pool.send(frames.StepArrived(activation, request.step, frames.TimerFired(at_ms=5)))
    await running.heard.until(lambda: _heard(running, frames.RecordsProduced, activation))
    running.pool.send(frames.StepRecorded(activation, _heard(running, frames.RecordsProduced, activation)[-1].flush))
    assert await running.result(activation) == "slept"
    lines = [line for _, line in running.heard.lines]
    assert [(line.activation, line.text, bool(line.step)) for line in lines] == [
        (activation, "before", False),
        (activation, "in the step", True),
    ]


@COLOURS
async def test_a_parked_activation_is_canceled(start_pool: Any, tmp_path: Any, colour: str) -> None:
    """A cancel does raise in user code; the runner says when that has ended."""
    running = await start_pool(FUNCTIONS)
    activation = running.submit(f"{colour}_sleeper", path=str(tmp_path / "finally"))
    await _parked(running, activation)
    running.pool.send(frames.CancelActivation(activation, "not needed"))
    await running.heard.until(lambda: activation in running.heard.ends)
    assert running.heard.ends[activation] == frames.Interrupted(activation)
    assert (tmp_path / "finally").exists()


async def test_activations_larger_than_a_pipe_arrive_whole(start_pool: Any) -> None:
    """Writing never blocks the supervisor: what does not fit into the pipe follows when there is room."""
    running = await start_pool(FUNCTIONS)
    for _ in range(3):
        await running.call("length", text="")
    activations = [running.submit("length", text="x" * size) for size in range(200_000, 250_000, 5_000)]
    assert [await running.result(activation) for activation in activations] == list(range(200_000, 250_000, 5_000))


async def test_under_random_kills_every_activation_ends_exactly_once(start_pool: Any) -> None:
    """Ended or lost, never both, never neither; and only what was active is lost."""
    running = await start_pool(FUNCTIONS, sync_runners=3)
    rng = random.Random(1)
    wanted = {running.submit("short", x=x): x for x in range(400)}
    kills = 0

    def kill_and_resubmit() -> bool:
        nonlocal kills
        for activation in wanted.keys() & running.heard.lost.keys():
            x = wanted.pop(activation)
            wanted[running.submit("short", x=x)] = x
        busy = [runner.pid for runner in running.pool.runners() if runner.state == "Ready" and runner.activations]
        if kills < 8 and busy and len(running.heard.ends) > 40 * kills:
            with contextlib.suppress(ProcessLookupError):  # killed before, which the pool has not heard of yet
                os.kill(rng.choice(busy), signal.SIGKILL)
                kills += 1
        return wanted.keys() <= running.heard.ends.keys()

    await running.heard.until(kill_and_resubmit)
    assert kills == 8
    assert all(lost.was_active for lost in running.heard.lost.values())
    assert not running.heard.ends.keys() & running.heard.lost.keys()
    ended = [event for event in running.heard.frames if isinstance(event, frames.Completed)]
    assert {event.activation: int(event.result) for event in ended} == wanted
    assert len(ended) == 400
