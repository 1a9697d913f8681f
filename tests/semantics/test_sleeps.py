"""Sleeps and durable waits: when they end, and in which order, over replays, crashes and deaths of workers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kontinue import App, ExecutionContext, SyncExecutionContext, step
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
DAY = timedelta(days=1)


@app.function
async def naps(ctx: ExecutionContext, seconds: list[float]) -> list[float]:
    """Wakes in the order of the times, not of the calls."""
    woken: list[float] = []

    async def nap(duration_s: float) -> None:
        await ctx.sleep(timedelta(seconds=duration_s))
        woken.append(duration_s)

    await asyncio.gather(*map(nap, seconds))
    return woken


@app.function
def naps_in_threads(ctx: SyncExecutionContext, seconds: list[float]) -> float:
    ctx.sleep(timedelta(seconds=seconds[0]))  # until then it is the time of creation, in full seconds
    begin = ctx.now()
    for duration_s in seconds[1:]:
        ctx.sleep(timedelta(seconds=duration_s))
    return (ctx.now() - begin).total_seconds()


@step
async def ask() -> str:
    return "yes"


@app.function
async def ask_with_limit(ctx: ExecutionContext, delay_s: int) -> str:
    async def asked() -> str:
        await ctx.sleep(timedelta(seconds=delay_s))
        return await ctx.step(ask)

    try:
        async with asyncio.timeout(3600):
            return await asked()
    except TimeoutError:
        return "nobody answered"


async def test_sleeps_end_in_the_order_of_their_times(env: TestEnvironment) -> None:
    """From milliseconds to a century."""
    env.use(app)
    seconds = [3_155_760_000.0, 0.001, 86_400.0, 5.0, 0.5]
    assert await (await env.spawn(naps, seconds)).result() == sorted(seconds)


async def test_the_program_sees_the_time_that_has_passed(env: TestEnvironment) -> None:
    """``ctx.now()`` moves by the sleeps, to the millisecond."""
    env.use(app)
    env.crash_after()
    first, *naps = 10.0, 1.5, 86_400.0, 0.25
    assert await (await env.spawn(naps_in_threads, [first, *naps])).result() == sum(naps)


@pytest.mark.parametrize(("delay_s", "expected"), [(10, "yes"), (7200, "nobody answered")])
async def test_asyncios_own_timeout_is_durable(env: TestEnvironment, delay_s: int, expected: str) -> None:
    """Its timer is a record like others: crashes after each call do not change who comes first."""
    env.use(app)
    env.crash_after(recorded=True)
    assert await (await env.spawn(ask_with_limit, delay_s)).result() == expected


async def test_a_short_sleep_stays_executing_and_a_long_one_is_suspended_with_its_end(env: TestEnvironment) -> None:
    """What ``kubectl`` shows explains itself."""
    env.use(app)
    short, long = await env.spawn(naps, [4.0]), await env.spawn(naps, [86_400.0])
    await env.advance(timedelta(seconds=1))
    assert (await short.get()).phase is Phase.EXECUTING
    suspended = await long.get()
    assert suspended.phase is Phase.SUSPENDED
    (waiting,) = suspended.status.waiting_for
    assert waiting.until is not None
    assert abs(waiting.until - env.now - (DAY - timedelta(seconds=1))) < timedelta(seconds=1)


async def test_a_sleep_that_ended_while_no_worker_lived_ends_at_once_with_the_next_one(env: TestEnvironment) -> None:
    """The wake time is in the memo."""
    env.use(app)
    run = await env.spawn(naps, [60.0])
    await env.advance(timedelta(seconds=59))
    for _ in range(3):
        await env.restart_worker()
    await env.advance(timedelta(seconds=2))
    assert (await run.get()).phase is Phase.COMPLETED
