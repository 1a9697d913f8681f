"""Primitives in functions: what is waited for and held, over replays, crashes, new attempts and ends of the Execution."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, PrimitiveFailed, RetryPolicy, SyncExecutionContext, TimeoutPolicy
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionCanceled, ExecutionFailed, NotFound, WaitTimeout
from kontinue.sync import Barrier, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue_engine.testing import Stuck, TestEnvironment

app = App(group="g")
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ledger: list[str] = []


@pytest.fixture(autouse=True)
def clean_ledger() -> None:
    ledger.clear()


def noted(text: str) -> None:
    ledger.append(text)


@app.function
async def in_turn(ctx: ExecutionContext, name: str) -> int:
    async with ctx.mutex("m") as lock:
        await ctx.step(noted, f"{name} in")
        await ctx.sleep(MINUTE)
        await ctx.step(noted, f"{name} out")
    return lock.token


@app.function
def in_turn_sync(ctx: SyncExecutionContext, name: str) -> int:
    with ctx.mutex("m") as lock:
        ctx.step(noted, f"{name} in")
        ctx.sleep(MINUTE)
        ctx.step(noted, f"{name} out")
    return lock.token


@app.function
async def counts(ctx: ExecutionContext) -> list[int]:
    group = ctx.wait_group("w")
    return [await group.add(2), await group.done(), await group.done()]


@app.function
async def waits(ctx: ExecutionContext) -> str:
    await ctx.wait_group("w").wait()
    return "done"


@pytest.mark.parametrize("function", [in_turn, in_turn_sync])
async def test_a_mutex_is_held_by_one_execution_at_a_time(env: TestEnvironment, function: Any) -> None:
    """Over replays after each call; tokens grow."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    first, second = await env.spawn(function, "a"), await env.spawn(function, "b")
    assert {await first.result(), await second.result()} == {1, 2}
    assert ledger in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])
    assert not await mutex.is_locked()


async def test_what_is_counted_counts_once(env: TestEnvironment) -> None:
    """Whatever crashes between the write and its record."""
    env.use(app)
    env.crash_after()
    group = WaitGroup("w", env.client)
    await group.create()
    assert await (await env.spawn(counts)).result() == [2, 1, 0]
    assert (await group.status()).added == 2


async def test_a_wait_outlives_workers(env: TestEnvironment) -> None:
    """What it waits for stands in the status; whoever takes the Execution over waits on."""
    env.use(app)
    group = WaitGroup("w", env.client)
    await group.create()
    await group.add(1)
    run = await env.spawn(waits)
    await env.advance(MINUTE)
    found = await run.get()
    assert found.status.phase is Phase.SUSPENDED
    assert [(one.kind, one.name) for one in found.status.waiting_for] == [("WaitGroup", "w")]
    await env.restart_worker()
    await env.advance(MINUTE)
    await group.done()
    assert await run.result() == "done"
