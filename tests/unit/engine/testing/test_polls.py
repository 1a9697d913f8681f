"""Polls in a test environment: what they cost, what survives a worker, what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, SyncExecutionContext, WaitTimeout, step
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.errors import ExecutionFailed, StepFailed
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.testing import TestEnvironment

MINUTE = timedelta(minutes=1)
app = App(group="polling")


class Outside:
    """What the conditions look at."""

    def __init__(self) -> None:
        self.looks = 0
        self.holds_at = 5

    def look(self) -> str | None:
        self.looks += 1
        return f"look {self.looks}" if self.looks >= self.holds_at else None


outside = Outside()


async def look_async() -> str | None:
    return outside.look()


def look_in_thread() -> str | None:
    return outside.look()


@step(name="broken")
async def fail() -> int | None:
    raise ValueError("no such host")


@app.function
async def wait_async(ctx: ExecutionContext, seconds: int) -> str:
    return await ctx.poll(look_async, every=timedelta(seconds=seconds))


@app.function
async def wait_in_thread(ctx: ExecutionContext, seconds: int) -> str:
    return await ctx.poll(look_in_thread, every=timedelta(seconds=seconds))


@app.function
async def wait_for_lambda(ctx: ExecutionContext, seconds: int) -> str:
    return await ctx.poll(lambda: look_async(), every=timedelta(seconds=seconds))


@app.function
def wait_sync(ctx: SyncExecutionContext, seconds: int) -> str:
    return ctx.poll(look_in_thread, every=timedelta(seconds=seconds))


@app.function
def wait_for_truth(ctx: SyncExecutionContext, seconds: int) -> str:
    is_true = ctx.poll(lambda: outside.look() is not None, every=timedelta(seconds=seconds))
    return f"look {outside.looks}" if is_true else ""


@app.function
async def give_up(ctx: ExecutionContext) -> str:
    try:
        return await ctx.poll(look_async, every=MINUTE, timeout=timedelta(minutes=10, seconds=30))
    except WaitTimeout as error:
        return str(error)


@app.function
def give_up_sync(ctx: SyncExecutionContext) -> str:
    try:
        return ctx.poll(look_in_thread, every=MINUTE, timeout=timedelta(minutes=10, seconds=30))
    except WaitTimeout as error:
        return str(error)


@app.function
async def look_at_the_broken(ctx: ExecutionContext) -> int:
    return await ctx.poll(fail, every=MINUTE)


@app.function
async def race(ctx: ExecutionContext) -> int:
    winner, _ = await ctx.race(ctx.poll(look_async, every=MINUTE), ctx.sleep(timedelta(minutes=3, seconds=30)))
    await ctx.sleep(timedelta(hours=1))
    return winner


@app.function
async def race_somebody(ctx: ExecutionContext) -> int:
    every = timedelta(seconds=1)
    winner, _ = await ctx.race(ctx.poll(look_async, every=every), ctx.suspend(display_name="anybody"))
    return winner


@pytest.fixture(params=[True, False], ids=["replayed", "not replayed"])
async def env(request: pytest.FixtureRequest) -> AsyncIterator[TestEnvironment]:
    outside.__init__()  # type: ignore[misc]
    async with TestEnvironment(replay=request.param) as environment:
        environment.use(app)
        yield environment


async def suspended(env: TestEnvironment, run: Any) -> Execution:
    """Wait until the worker that lives now has looked, and the Execution is Suspended."""
    before = outside.looks
    for _ in range(100):
        await env.advance(timedelta(seconds=1))
        execution: Execution = await run.get()
        if outside.looks > before and execution.phase is Phase.SUSPENDED:
            return execution
    raise AssertionError(f"it is {execution.phase} after {outside.looks} looks")


WAITS = [wait_async, wait_in_thread, wait_for_lambda, wait_sync, wait_for_truth]


@pytest.mark.parametrize("function", WAITS)
@pytest.mark.parametrize("seconds", [1, 60])
async def test_a_condition_is_looked_at_until_it_holds(env: TestEnvironment, function: Any, seconds: int) -> None:
    """With the pause in between, and the first time at once."""
    before = env.now
    run = await env.spawn(function, seconds)
    assert await run.result() == "look 5"
    assert env.now - before == timedelta(seconds=4 * seconds)
    assert outside.looks == 5


@pytest.mark.parametrize("function", [wait_async, wait_sync])
async def test_looks_cost_no_writes_and_leave_one_record(env: TestEnvironment, function: Any) -> None:
    """Created, Suspended, the record, the end: however often it is looked at."""
    outside.holds_at = 200
    run = await env.spawn(function, 60)
    await env.advance(timedelta(hours=1))
    waiting = await run.get()
    assert waiting.phase is Phase.SUSPENDED
    assert [(item.kind, item.name) for item in waiting.status.waiting_for] == [
        ("Poll", "look_async" if function is wait_async else "look_in_thread")
    ]
    assert await run.result() == "look 200"
    assert run.writes == 4
    memo = parse_memo((await run.get()).status.state)
    assert len(memo.records) == 1


@pytest.mark.parametrize("function", [wait_async, wait_sync])
async def test_what_polls_says_so_from_the_first_pause_on(env: TestEnvironment, function: Any) -> None:
    """However short the pauses are: it would be Pending as long as nothing is written."""
    outside.holds_at = 30
    run = await env.spawn(function, 1)
    await env.advance(timedelta(milliseconds=900))
    waiting = await run.get()
    assert (waiting.phase, [item.kind for item in waiting.status.waiting_for]) == (Phase.SUSPENDED, ["Poll"])


async def test_what_polls_and_waits_for_something_else_is_executing_until_it_is_suspended(
    env: TestEnvironment,
) -> None:
    """As one that only waits for that."""
    outside.holds_at = 30
    run = await env.spawn(race_somebody)
    await env.advance(timedelta(milliseconds=900))
    assert (await run.get()).phase is Phase.EXECUTING


@pytest.mark.parametrize("function", [wait_async, wait_sync])
async def test_short_pauses_cost_no_more_writes(env: TestEnvironment, function: Any) -> None:
    """It is Suspended after the first one, and then until the condition holds."""
    outside.holds_at = 30
    run = await env.spawn(function, 1)
    waiting = await suspended(env, run)
    assert [item.kind for item in waiting.status.waiting_for] == ["Poll"]
    assert await run.result() == "look 30"
    assert run.writes <= 4


@pytest.mark.parametrize("function", [wait_async, wait_sync])
@pytest.mark.parametrize("seconds", [1, 5])
async def test_workers_that_die_between_looks_are_not_charged(
    env: TestEnvironment, function: Any, seconds: int
) -> None:
    """However short the pauses are, and however many workers die without a new record."""
    outside.holds_at = 1000
    run = await env.spawn(function, seconds)
    for _ in range(6):
        await suspended(env, run)
        await env.restart_worker()
    assert (await run.get()).status.crashes == 0
    outside.holds_at = 0
    await run.result()


async def test_looks_do_not_hide_that_it_waits_for_something_else_as_well(env: TestEnvironment) -> None:
    """Nobody knows how long that takes; so it is Suspended after the same time, and stays so."""
    outside.holds_at = 200
    run = await env.spawn(race_somebody)
    await env.advance(timedelta(seconds=8))
    waiting = await run.get()
    assert waiting.phase is Phase.SUSPENDED
    assert {item.kind for item in waiting.status.waiting_for} == {"Poll", "Suspension"}
    writes = run.writes
    await env.advance(timedelta(minutes=1))
    assert run.writes == writes
    await (await run.suspension("anybody")).resume()
    assert await run.result() == 1


@pytest.mark.parametrize("function", [wait_async, wait_sync])
async def test_a_new_worker_goes_on(env: TestEnvironment, function: Any) -> None:
    """It looks at once: nobody remembers when the last look was."""
    outside.holds_at = 3
    run = await env.spawn(function, 60)
    before = env.now
    await env.advance(timedelta(seconds=90))
    assert outside.looks == 2
    await env.restart_worker()
    assert await run.result() == "look 3"
    assert env.now - before == timedelta(seconds=90)


@pytest.mark.parametrize("function", [give_up, give_up_sync])
async def test_a_limit_strikes_between_looks(env: TestEnvironment, function: Any) -> None:
    """Also if the worker dies meanwhile; and then nobody looks any more."""
    outside.holds_at = 200
    run = await env.spawn(function)
    before = env.now
    await env.advance(timedelta(minutes=5, seconds=30))
    await env.restart_worker()
    assert await run.result() == "ctx.poll took longer than 0:10:30"
    assert env.now - before == timedelta(minutes=10, seconds=30)
    looks = outside.looks
    await env.advance(timedelta(hours=1))
    assert outside.looks == looks


async def test_a_condition_that_raises_ends_the_poll(env: TestEnvironment) -> None:
    """Like a step; ``@step`` gives it retries."""
    run = await env.spawn(look_at_the_broken)
    with pytest.raises(ExecutionFailed, match="no such host") as failed:
        await run.result()
    assert failed.value.type == f"{StepFailed.__module__}.{StepFailed.__qualname__}"


async def test_a_poll_that_lost_a_race_is_forgotten(env: TestEnvironment) -> None:
    """Nobody looks any more."""
    outside.holds_at = 200
    run = await env.spawn(race)
    assert await run.result() == 1
    assert outside.looks == 4
