"""Several activations are active on an async runner, and one kills it: who is to blame is found out."""

import asyncio
import os
import signal
from typing import Any

import pytest

from kontinue_engine.wire import frames

FUNCTIONS = """
import asyncio
from pathlib import Path

@app.function
async def poison(ctx: ExecutionContext, go: str) -> None:
    await ctx.step(poisonous_step, go)

async def poisonous_step(go: str) -> None:
    while not Path(go).exists():
        await asyncio.sleep(0.01)
    os._exit(7)

@app.function
async def poison_beside_a_timer(ctx: ExecutionContext, go: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ctx.sleep(timedelta(hours=1)))
        tasks.create_task(ctx.step(poisonous_step, go))

@app.function
async def poison_after_a_timer(ctx: ExecutionContext, go: str) -> None:
    await ctx.sleep(timedelta(hours=1))
    await ctx.step(poisonous_step, go)

@app.function
async def innocent(ctx: ExecutionContext, go: str) -> str:
    return await ctx.step(innocent_step, go)

async def innocent_step(go: str) -> str:
    while not Path(go).exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return "done"

@app.function
def one_step(ctx: SyncExecutionContext) -> int:
    return ctx.step(sync_step)

def sync_step() -> int:
    return 1

@app.function
def die() -> None:
    os._exit(3)

@app.function
async def nap(s: float) -> int:
    await asyncio.sleep(s)
    return os.getpid()

@app.function
async def sleeper(ctx: ExecutionContext) -> None:
    await ctx.sleep(timedelta(hours=1))
"""


async def _record_steps(running: Any) -> None:
    """Acknowledge records as a supervisor does, for ever."""
    seen = 0
    while True:
        await running.heard.until(lambda: True)
        for frame in running.heard.frames[seen:]:
            seen += 1
            if isinstance(frame, frames.RecordsProduced):
                running.pool.send(frames.StepRecorded(frame.activation, frame.flush))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("function", ["poison", "poison_beside_a_timer"])
async def test_an_async_step_that_ends_the_process_is_to_blame(start_pool: Any, tmp_path: Any, function: str) -> None:
    """A step runs in the runner while the function waits for it: not to charge it would be a loop for ever."""
    running = await start_pool(FUNCTIONS)
    victim = running.submit(function, go=str(tmp_path / "go"))
    await running.running(victim)
    (tmp_path / "go").touch()
    lost = await running.lost(victim)
    assert (lost.was_active, lost.was_alone) == (True, True)


async def test_suspects_run_again_alone_and_only_the_poisonous_one_is_lost_again(
    start_pool: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innocent ones complete, and nobody is to be charged but who was alone."""
    monkeypatch.setattr("kontinue_engine.pool.runner_process.ALONE_PARKED_S", 60.0)
    running = await start_pool(FUNCTIONS)
    recording = asyncio.create_task(_record_steps(running))
    go = str(tmp_path / "go")
    first = [running.submit(function, go=go) for function in ("innocent", "poison", "innocent")]
    for activation in first:
        await running.running(activation)
    (tmp_path / "go").touch()
    for activation in first:
        lost = await running.lost(activation)
        assert (lost.was_active, lost.was_alone) == (True, False)
    before = running.submit("innocent", alone=True, go=go)
    for _ in range(2):
        lost = await running.lost(running.submit("poison", alone=True, go=go))
        assert (lost.was_active, lost.was_alone) == (True, True)
    after = running.submit("innocent", alone=True, go=go)
    assert [await running.result(activation) for activation in (before, after)] == ["done", "done"]
    recording.cancel()


async def test_nothing_is_started_beside_one_that_runs_alone(start_pool: Any) -> None:
    """It waits until the runner is idle, goes before all others, and these start once it has ended or is parked."""
    running = await start_pool(FUNCTIONS)
    busy = running.submit("nap", s=0.2)
    await running.running(busy)
    fresh = running.submit("nap", s=0.0)
    await running.result(fresh)
    alone = [running.submit("nap", alone=True, s=0.1) for _ in range(2)]
    parked = running.submit("sleeper", alone=True)
    later = running.submit("nap", s=0.0)
    await running.result(later)
    kinds = (frames.Running, frames.Waiting, frames.Completed)
    told = [
        (type(frame).__name__, frame.activation)
        for frame in running.heard.frames
        if isinstance(frame, kinds) and frame.activation != fresh
    ]
    assert told == [
        ("Running", busy),
        ("Completed", busy),
        ("Running", alone[0]),
        ("Completed", alone[0]),
        ("Running", alone[1]),
        ("Completed", alone[1]),
        ("Running", parked),
        ("Waiting", parked),
        ("Running", later),
        ("Completed", later),
    ]


async def test_one_that_runs_alone_stays_alone_while_it_is_parked_for_a_moment(
    start_pool: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a replayed function waits for has often happened already; or it would be lost in company again and again."""
    monkeypatch.setattr("kontinue_engine.pool.runner_process.ALONE_PARKED_S", 60.0)
    running = await start_pool(FUNCTIONS)
    (tmp_path / "go").touch()
    alone = running.submit("poison_after_a_timer", alone=True, go=str(tmp_path / "go"))
    await running.heard.until(lambda: any(isinstance(frame, frames.Waiting) for frame in running.heard.frames))
    other = running.submit("nap", s=0.0)
    (request,) = [frame for frame in running.heard.frames if isinstance(frame, frames.StepRequested)]
    await asyncio.sleep(0.05)
    running.pool.send(frames.StepArrived(alone, request.step, frames.TimerFired(at_ms=5)))
    lost = await running.lost(alone)
    assert (lost.was_active, lost.was_alone) == (True, True)
    assert await running.result(other) > 0


async def test_one_that_was_to_run_alone_is_canceled_or_forgotten_like_any_other(start_pool: Any) -> None:
    """The runner is not reserved for it any more."""
    running = await start_pool(FUNCTIONS)
    (pid,) = [runner.pid for runner in running.pool.runners() if runner.colour == "async"]
    busy = running.submit("nap", s=0.2)
    await running.running(busy)
    canceled, forgotten = (running.submit("nap", alone=True, s=60) for _ in range(2))
    running.pool.send(frames.CancelActivation(canceled, "stop"))
    running.pool.forget(forgotten)
    assert await running.call("nap", s=0.0) == pid
    assert running.heard.ends[canceled] == frames.Interrupted(canceled)
    started = running.submit("nap", alone=True, s=60)
    await running.running(started)
    running.pool.send(frames.CancelActivation(started, "stop"))
    assert await running.call("nap", s=0.0) == pid


async def test_who_waits_for_a_record_on_a_sync_runner_is_not_to_blame(start_pool: Any) -> None:
    """Its step is over; what kills the runner then is the one that has the slot."""
    running = await start_pool(FUNCTIONS)
    waiting = running.submit("one_step")
    await running.heard.until(lambda: any(isinstance(frame, frames.Waiting) for frame in running.heard.frames))
    lost = await running.lost(running.submit("die"))
    assert (lost.was_active, lost.was_alone) == (True, True)
    lost = await running.lost(waiting)
    assert (lost.was_active, lost.was_alone) == (False, False)


async def test_an_idle_runner_that_is_killed_blames_nobody(start_pool: Any) -> None:
    """What is parked there is lost without having been active."""
    running = await start_pool(FUNCTIONS)
    (pid,) = [runner.pid for runner in running.pool.runners() if runner.colour == "async"]
    parked = running.submit("sleeper")
    await running.heard.until(lambda: any(isinstance(frame, frames.Waiting) for frame in running.heard.frames))
    os.kill(pid, signal.SIGKILL)
    lost = await running.lost(parked)
    assert (lost.was_active, lost.was_alone) == (False, False)
