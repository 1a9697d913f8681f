"""Attempts: when they come, what they keep, and what they run again."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, RetryPolicy, SyncExecutionContext, current_step, step
from kontinue.api.v1alpha1 import Phase
from kontinue.client import ChildPolicy
from kontinue.errors import ExecutionFailed
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
runs: Counter[str] = Counter()
fails: Counter[str] = Counter()
keys: dict[str, list[str]] = {}
MINUTES = RetryPolicy(retries=3, backoff=timedelta(minutes=1), multiplier=2)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    runs.clear()
    fails.clear()
    keys.clear()


def stumble(what: str) -> str:
    runs[what] += 1
    if runs[what] <= fails[what]:
        raise ValueError(f"{what} {runs[what]}")
    return what


@step
async def work(what: str) -> str:
    keys.setdefault(what, []).append(current_step().idempotency_key)
    return stumble(what)


@app.function
async def child(ctx: ExecutionContext, what: str) -> str:
    await ctx.step(work, f"{what} prepared")
    return await ctx.step(work, what)


@app.function(retry=MINUTES)
def plain(what: str) -> str:
    return stumble(what)


@app.function(retry=MINUTES)
async def branches(ctx: ExecutionContext) -> list[str]:
    await ctx.sleep(timedelta(days=1))
    async with asyncio.TaskGroup() as tasks:
        left = tasks.create_task(ctx.step(work, "left"))
        right = tasks.create_task(ctx.execute(child, "right"))
    return [left.result(), right.result(), await ctx.step(work, "end")]


@app.function(retry=RetryPolicy(retries=3, backoff=timedelta(), child_policy="RetryAll"))
async def anew(ctx: ExecutionContext) -> str:
    await ctx.execute(child, "first")
    return await ctx.step(work, "second")


@app.function(retry=RetryPolicy(retries=1, backoff=timedelta(), child_policy="None"))
async def unforgiving(ctx: ExecutionContext) -> str:
    return await ctx.execute(child, "only")


@app.function(retry=MINUTES)
async def cleans_up(ctx: ExecutionContext, ok: str) -> str:
    try:
        return await ctx.step(work, "main")
    except Exception:
        await ctx.step(work, "cleaned up")
        raise


@app.function(retry=MINUTES)
async def other_path(ctx: ExecutionContext) -> str:
    """What it asks for as its second call depends on whether the first one has failed."""
    try:
        await ctx.step(work, "main")
    except Exception:
        await ctx.execute(child, "plan b")
        raise
    return await ctx.execute(child, "plan a")


@app.function(retry=MINUTES)
async def leaves_one_behind(ctx: ExecutionContext) -> str:
    """Its handler starts a child that no later attempt asks for."""
    try:
        return await ctx.step(work, "main")
    except Exception:
        await ctx.spawn(slow, "behind")
        await ctx.step(work, "cleaned up")
        raise


@app.function(retry=MINUTES)
async def in_time(ctx: ExecutionContext, what: str) -> str:
    return await ctx.wait_for(ctx.execute(slow, what), timedelta(minutes=5))


@app.function(retry=MINUTES)
def in_time_sync(ctx: SyncExecutionContext, what: str) -> str:
    with ctx.timeout(timedelta(minutes=5)):
        return ctx.execute(slow, what)


@app.function
async def slow(ctx: ExecutionContext, what: str) -> str:
    runs[what] += 1
    await ctx.sleep(timedelta(minutes=10) if runs[what] <= fails[what] else timedelta())
    return what


@app.function(retry=RetryPolicy(retries=5, backoff=timedelta(), non_retryable=(KeyError,)))
async def picky(ctx: ExecutionContext) -> None:
    await ctx.step(refuse)


@step
async def refuse() -> None:
    runs["refuse"] += 1
    raise KeyError("no such thing")


@app.function
async def keeps(ctx: ExecutionContext) -> list[str]:
    first = await ctx.execute(child, "one")
    return [first, await ctx.execute(child, "two")]


async def test_pauses_grow_from_attempt_to_attempt(env: TestEnvironment) -> None:
    """One, two, four minutes; while it waits it says until when."""
    env.use(app)
    fails["it"] = 3
    began = env.now
    run = await env.spawn(plain, "it")
    await env.advance(timedelta(seconds=30))
    waiting = await run.get()
    assert (waiting.phase, waiting.status.waiting_for[0].name) == (Phase.BACKOFF, "attempt 2")
    assert await run.result() == "it"
    assert timedelta(minutes=7) <= env.now - began < timedelta(minutes=7, seconds=1)
    assert run.writes == 5


async def test_what_succeeded_is_not_run_again_in_any_branch(env: TestEnvironment) -> None:
    """Nor slept again; the child that failed keeps what it had done."""
    env.use(app)
    fails.update(left=1, right=1)
    began = env.now
    run = await env.spawn(branches)
    assert await run.result() == ["left", "right", "end"]
    assert runs["right prepared"] == 1
    assert max(runs.values()) <= 2
    assert env.now - began < timedelta(days=1, minutes=10)


@pytest.mark.parametrize("at", ["left", "right", "end"])
async def test_crashes_in_any_attempt_change_nothing(env: TestEnvironment, at: str) -> None:
    """Whether the runner dies before or after the failure; a failure that nobody has recorded may not come again."""
    env.use(app)
    fails[at] = 1
    env.crash_after("work", times=2)
    run = await env.spawn(branches)
    assert await run.result() == ["left", "right", "end"]
    assert (await run.get()).status.attempt_count <= 2


async def test_a_new_worker_begins_the_next_attempt(env: TestEnvironment) -> None:
    """The pause goes on while nobody is there."""
    env.use(app)
    fails["it"] = 1
    run = await env.spawn(plain, "it")
    await env.advance(timedelta(seconds=10))
    await env.restart_worker()
    began = env.now
    assert await run.result() == "it"
    assert timedelta(seconds=49) <= env.now - began <= timedelta(seconds=51)
    assert (await run.get()).status.resumptions == 0


async def test_retry_all_forgets_everything(env: TestEnvironment) -> None:
    """Children of each attempt are their own, and so are the keys of its steps."""
    env.use(app)
    fails["second"] = 2
    run = await env.spawn(anew)
    assert await run.result() == "second"
    assert (runs["first"], runs["first prepared"]) == (3, 3)
    assert len(set(keys["second"])) == 3


async def test_a_failing_step_keeps_its_key(env: TestEnvironment) -> None:
    """A receiver that has seen the first try recognises the second one."""
    env.use(app)
    fails["main"] = 2
    run = await env.spawn(cleans_up, "x")
    assert await run.result() == "main"
    assert len(keys["main"]) == 3
    assert len(set(keys["main"])) == 1


async def test_none_takes_a_failed_child_as_it_is(env: TestEnvironment) -> None:
    """Then retries cannot help, and each is over at once."""
    env.use(app)
    fails["only"] = 1
    run = await env.spawn(unforgiving)
    with pytest.raises(ExecutionFailed, match="only 1"):
        await run.result()
    assert ((await run.get()).status.attempt_count, runs["only"]) == (2, 1)


async def test_an_attempt_may_take_another_path(env: TestEnvironment) -> None:
    """The same call, by its place in the program, may ask for something else: it gets a child of its own."""
    env.use(app)
    fails["main"] = 1
    run = await env.spawn(other_path)
    assert await run.result() == "plan a"
    assert (runs["plan a"], runs["plan b"]) == (1, 1)


@pytest.mark.parametrize("function", [in_time, in_time_sync], ids=["async", "sync"])
async def test_a_wait_that_took_too_long_is_waited_for_again(env: TestEnvironment, function: Any) -> None:
    """Its timer is to blame, so the next attempt has the whole time again; the child that was given up runs again."""
    env.use(app)
    fails["it"] = 1
    run = await env.spawn(function, "it")
    assert await run.result() == "it"
    assert (await run.get()).status.attempt_count == 2


async def test_a_child_that_no_later_attempt_asks_for_is_canceled(env: TestEnvironment) -> None:
    """Nobody waits for what was started after the failure."""
    env.use(app)
    fails.update(main=1, behind=1)
    run = await env.spawn(leaves_one_behind)
    await env.advance(timedelta(seconds=30))
    children = await env._world.call(env._world.client.get_child_executions(run.name))
    assert [child.phase for child in children] == [Phase.CANCELED]
    assert await run.result() == "main"


async def test_exceptions_of_the_policy_fail_at_once(env: TestEnvironment) -> None:
    """Also when a step has raised them."""
    env.use(app)
    run = await env.spawn(picky)
    with pytest.raises(ExecutionFailed):
        await run.result()
    assert (runs["refuse"], (await run.get()).status.reason) == (1, "NonRetryable")


async def test_somebody_asks_for_a_retry(env: TestEnvironment) -> None:
    """It goes on with what it had; a second one begins where the first one ended."""
    env.use(app)
    fails.update(two=2)
    run = await env.spawn(keeps)
    for _ in range(2):
        with pytest.raises(ExecutionFailed):
            await run.result()
        await run.retry()
    assert await run.result() == ["one", "two"]
    assert (runs["one"], runs["two prepared"], runs["two"]) == (1, 1, 3)


async def test_somebody_has_everything_run_anew(env: TestEnvironment) -> None:
    """As if it had not run before."""
    env.use(app)
    fails.update(two=1)
    run = await env.spawn(keeps)
    with pytest.raises(ExecutionFailed):
        await run.result()
    await run.retry(child_policy=ChildPolicy.RETRY_ALL)
    assert await run.result() == ["one", "two"]
    assert (runs["one"], runs["two prepared"], runs["two"]) == (2, 2, 2)


async def test_a_canceled_one_is_retried_with_its_children(env: TestEnvironment) -> None:
    """They were canceled with it."""
    env.use(app)
    fails["it"] = 1
    run = await env.spawn(in_time, "it")
    await env.advance(timedelta(minutes=1))
    await run.cancel()
    await env.advance(timedelta(seconds=10))
    await run.retry()
    assert await run.result() == "it"
