"""Runners that are replaced while everything goes on: by count, by memory, and because a step has kept a thread."""

from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.pool.options import LostReason, RunnerInfo, RunnerState
from kontinue_engine.wire import frames

FUNCTIONS = """
import asyncio
from pathlib import Path
from kontinue import StepFailed, step

def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)

@app.function
def pid() -> int:
    return os.getpid()

@app.function
async def async_pid() -> int:
    return os.getpid()

@app.function
def until(path: str) -> int:
    try:
        wait_for(path)
        return os.getpid()
    finally:
        Path(path + "-finally").touch()

@app.function
async def async_until(path: str) -> int:
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
    return os.getpid()

@app.function
def parked(ctx: SyncExecutionContext, path: str) -> None:
    try:
        ctx.sleep(timedelta(hours=1))
    finally:
        Path(path).touch()

@app.function
async def async_parked(ctx: ExecutionContext, path: str) -> None:
    try:
        await ctx.sleep(timedelta(hours=1))
    finally:
        Path(path).touch()

@step(timeout=timedelta(milliseconds=20))
def stuck() -> None:
    time.sleep(3600)

@app.function
def leaves_a_thread(ctx: SyncExecutionContext) -> int:
    try:
        ctx.step(stuck)
    except StepFailed:
        return os.getpid()

@app.function
async def async_leaves_a_thread(ctx: ExecutionContext) -> int:
    try:
        await ctx.step(stuck)
    except StepFailed:
        return os.getpid()

kept = []

@app.function
def grow(mib: int) -> int:
    kept.extend(bytearray(b"x") * (1 << 20) for _ in range(mib))
    return os.getpid()

@app.function
async def async_grow(mib: int, path: str) -> int:
    kept.extend(bytearray(b"x") * (1 << 20) for _ in range(mib))
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
    return os.getpid()
"""


def runner_of(running: Any, activation: int) -> RunnerInfo:
    (found,) = [one for one in running.pool.runners() if activation in one.activations]
    return found


def states(running: Any) -> list[str]:
    return [one.state for one in running.pool.runners()]


async def parks(running: Any, activation: int) -> None:
    await running.heard.until(
        lambda: any(
            isinstance(event, frames.Waiting) and event.activation == activation for event in running.heard.frames
        )
    )


async def test_a_runner_is_recycled_after_a_number_of_activations(start_pool: Any) -> None:
    """Leaks of user code end with the runner; nothing is lost."""
    running = await start_pool(FUNCTIONS, recycle_after=3)
    pids = [await running.call("pid") for _ in range(9)]
    assert len(set(pids)) >= 3
    assert max(pids.count(pid) for pid in pids) == 3
    assert not running.heard.lost


async def test_a_recycled_runner_finishes_what_is_active_and_no_finally_of_parked_work_runs(
    start_pool: Any, tmp_path: Path
) -> None:
    """Eviction never unwinds user code: what only waits is lost at once, uncharged and silently."""
    running = await start_pool(FUNCTIONS, recycle_after=2)
    waiting = running.submit("parked", path=str(tmp_path / "parked-finally"))
    await parks(running, waiting)
    pid = runner_of(running, waiting).pid
    active = running.submit("until", path=str(tmp_path / "go"))
    lost = await running.lost(waiting)
    assert (lost.was_active, lost.reason) == (False, LostReason.EVICTED)
    assert lost.message == "the runner was recycled after 2 activations"
    later = running.submit("pid")
    (tmp_path / "go").touch()
    assert await running.result(active) == pid
    assert await running.result(later) != pid
    assert (tmp_path / "go-finally").exists()
    assert not (tmp_path / "parked-finally").exists()
    assert set(running.heard.lost) == {waiting}


@pytest.mark.parametrize("prefix", ["", "async_"])
async def test_what_parks_on_a_runner_that_is_on_its_way_out_is_let_go(
    start_pool: Any, tmp_path: Path, prefix: str
) -> None:
    """The runner ends, another one is there, and frames for what was lost are ignored."""
    running = await start_pool(FUNCTIONS, recycle_after=1)
    activation = running.submit(f"{prefix}parked", path=str(tmp_path / "finally"))
    lost = await running.lost(activation)
    assert (lost.was_active, lost.reason) == (False, LostReason.EVICTED)
    running.pool.send(frames.StepArrived(activation, "0", frames.TimerFired(at_ms=5)))
    await running.ready(2)
    assert activation not in running.heard.ends
    assert not (tmp_path / "finally").exists()


async def test_others_start_beside_what_a_recycled_async_runner_still_has(start_pool: Any, tmp_path: Path) -> None:
    """One runner has all async functions: while its long ones end, new ones must not wait for them."""
    running = await start_pool(FUNCTIONS, sync_runners=1, recycle_after=1)
    long = running.submit("async_until", path=str(tmp_path / "go"))
    await running.heard.until(lambda: states(running).count(RunnerState.DRAINING) == 1)
    old = runner_of(running, long).pid
    assert await running.call("async_pid") != old
    assert runner_of(running, long).pid == old
    (tmp_path / "go").touch()
    assert await running.result(long) == old
    await running.ready(2)
    assert not running.heard.lost


async def test_one_runner_at_a_time_is_on_its_way_out(start_pool: Any, tmp_path: Path) -> None:
    """Else those that wait for something long would become more and more processes."""
    running = await start_pool(FUNCTIONS, recycle_after=1)
    first = running.submit("async_until", path=str(tmp_path / "go"))
    await running.heard.until(lambda: states(running).count(RunnerState.DRAINING) == 1)
    others = [running.submit("async_until", path=str(tmp_path / "go")) for _ in range(3)]
    for other in others:
        await running.running(other)
    assert len({runner_of(running, other).pid for other in others}) == 1
    assert states(running).count(RunnerState.DRAINING) == 1
    (tmp_path / "go").touch()
    for activation in (first, *others):
        await running.result(activation)
    assert not running.heard.lost


@pytest.mark.parametrize("prefix", ["", "async_"])
async def test_a_runner_that_a_step_has_kept_a_thread_of_is_replaced(start_pool: Any, prefix: str) -> None:
    """Only its end ends the thread. What is active goes on: the step has failed, and its function knows."""
    running = await start_pool(FUNCTIONS)
    activation = running.submit(f"{prefix}leaves_a_thread")
    await running.heard.until(lambda: any(isinstance(event, frames.RecordsProduced) for event in running.heard.frames))
    (produced,) = [event for event in running.heard.frames if isinstance(event, frames.RecordsProduced)]
    running.pool.send(frames.StepRecorded(activation, produced.flush))
    pid = await running.result(activation)
    await running.heard.until(lambda: pid not in [one.pid for one in running.pool.runners()])
    await running.ready(2)
    assert not running.heard.lost


@pytest.mark.slow
async def test_a_runner_that_has_grown_is_replaced_after_its_work(start_pool: Any) -> None:
    """Nothing is lost, nobody charged; the next one starts small."""
    running = await start_pool(FUNCTIONS, recycle_above_bytes=100 << 20)
    small = await running.call("pid")
    assert await running.call("grow", mib=120) == small
    await running.heard.until(lambda: small not in [one.pid for one in running.pool.runners()])
    assert await running.call("pid") != small
    assert not running.heard.lost


@pytest.mark.slow
async def test_a_runner_and_its_successor_have_room_for_one(start_pool: Any, tmp_path: Path) -> None:
    """Together past the limit, the older one is killed. Its work is not to blame; alone on a runner it has all room."""
    running = await start_pool(FUNCTIONS, recycle_above_bytes=100 << 20, memory_limit_bytes=230 << 20)
    first = running.submit("async_grow", mib=110, path=str(tmp_path / "go"))
    await running.heard.until(lambda: states(running).count(RunnerState.DRAINING) == 1)
    second = running.submit("async_grow", mib=110, path=str(tmp_path / "go"))
    lost = await running.lost(first)
    assert (lost.was_active, lost.was_alone, lost.reason) == (True, False, LostReason.OUT_OF_MEMORY)
    assert lost.message.endswith("MiB of memory, the limit is 230 MiB")
    (tmp_path / "go").touch()
    await running.result(second)
    assert set(running.heard.lost) == {first}


@pytest.mark.slow
async def test_what_is_to_run_alone_has_all_that_a_runner_may_use(start_pool: Any, tmp_path: Path) -> None:
    """It is not moved on for its memory: that is how it came to run alone."""
    running = await start_pool(FUNCTIONS, recycle_above_bytes=60 << 20, memory_limit_bytes=1 << 30)
    other = running.submit("grow", mib=80)
    suspect = running.submit("async_grow", alone=True, mib=80, path=str(tmp_path / "go"))
    pid = await running.result(other)
    await running.heard.until(lambda: pid not in [one.pid for one in running.pool.runners()])
    await running.running(suspect)
    assert RunnerState.DRAINING not in states(running)
    alone = runner_of(running, suspect).pid
    (tmp_path / "go").touch()
    assert await running.result(suspect) == alone
    await running.heard.until(lambda: alone not in [one.pid for one in running.pool.runners()])
    assert not running.heard.lost
