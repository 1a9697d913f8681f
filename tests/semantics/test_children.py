"""Children: found again by their names after whatever has happened, with their results and their errors."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from kontinue import App, ChildFailed, ExecutionContext, RetryPolicy, SyncExecutionContext
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionFailed, NotFound
from kontinue.kube import requests
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.testing import TestEnvironment, TestExecution
from kontinue_engine.testing.supervisor import NAMESPACE

app = App(group="g")
started: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    started.clear()


@app.function
def square(number: int) -> int:
    started.append(number)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


@app.function
async def patient(ctx: ExecutionContext, days: int) -> int:
    await ctx.sleep(timedelta(days=days))
    return days


@app.function
async def squares(ctx: ExecutionContext, numbers: list[int]) -> list[int]:
    return await ctx.map(square, numbers)


@app.function
def squares_in_threads(ctx: SyncExecutionContext, numbers: list[int]) -> list[int]:
    return list(ctx.map(square.options(parallelism=2), numbers))


@app.function
async def tree(ctx: ExecutionContext, depth: int) -> int:
    if not depth:
        return 1
    left, right = await asyncio.gather(ctx.execute(tree, depth - 1), ctx.execute(tree, depth - 1))
    return left + right


@app.function
async def forgives(ctx: ExecutionContext) -> str:
    try:
        return str(await ctx.execute(square, -3))
    except ChildFailed as error:
        return f"{error.phase}, {error.is_a(ValueError)}: {error.message}"


@app.function
async def first_of(ctx: ExecutionContext, days: list[int]) -> int:
    children = [await ctx.spawn(patient, one) for one in days]
    _, winner = await ctx.race(*children)
    return winner


@app.function
async def sees_cancel(ctx: ExecutionContext, days: int) -> int:
    return await ctx.execute(patient.options(name="the-child"), days)


@pytest.mark.parametrize("function", [squares, squares_in_threads], ids=["async", "sync"])
async def test_each_child_runs_once_however_often_its_parent_dies(env: TestEnvironment, function: Any) -> None:
    """Created by name; a replay finds it."""
    env.use(app)
    env.crash_after()
    run = await env.spawn(function, list(range(6)))
    assert await run.result() == [0, 1, 4, 9, 16, 25]
    assert sorted(started) == list(range(6))


async def test_a_tree_of_children_costs_two_writes_for_each_of_them(env: TestEnvironment) -> None:
    """Their creation and their end: outcomes ride on their parents' next write. Replays write nothing."""
    env.use(app)
    run = await env.spawn(tree, 4)
    assert await run.result() == 16
    assert run.writes == 2 * (2**5 - 1)


async def test_the_error_of_a_child_is_the_same_on_each_replay(env: TestEnvironment) -> None:
    """What the original class was is recorded."""
    env.use(app)
    env.crash_after(recorded=True)
    assert await (await env.spawn(forgives)).result() == "Failed, True: -3 is negative"


async def test_an_error_that_nobody_handles_goes_up(env: TestEnvironment) -> None:
    """With the child's error in the parent's."""
    env.use(app)
    with pytest.raises(ExecutionFailed, match=r"ChildFailed: builtins.ValueError: -1 is negative"):
        await (await env.spawn(squares, [1, -1])).result()


async def test_of_a_race_the_losers_are_left_to_their_handles(env: TestEnvironment) -> None:
    """The first is the one whose time comes first, after a crash too; time goes no further."""
    env.use(app)
    begin = env.now
    env.crash_after(recorded=True)
    assert await (await env.spawn(first_of, [9, 2, 5])).result() == 2
    assert env.now - begin < timedelta(days=2, minutes=1)


async def test_a_canceled_parent_takes_its_children_along(env: TestEnvironment) -> None:
    """Nothing that it has started goes on."""
    env.use(app)
    run = await env.spawn(sees_cancel, 3)
    await env.advance(timedelta(days=1))
    await run.cancel()
    await env.advance(timedelta(minutes=1))
    parent = await run.get()
    assert parent.phase is Phase.CANCELED
    assert [condition.type for condition in parent.status.conditions] == ["Stopped"]
    again = await env.spawn(patient.options(name="another"), 0)
    assert await again.result() == 0


@app.function
async def waits_for_all(ctx: ExecutionContext, count: int) -> list[str]:
    async def end_of(days: int) -> str:
        try:
            return str(await ctx.execute(patient, days))
        except ChildFailed as error:
            return f"{error.phase}: {error.is_a(NotFound)}"

    return await asyncio.gather(*(end_of(days) for days in range(1, count + 1)))


@app.function(retry=RetryPolicy(retries=1, backoff=timedelta(minutes=1)))
async def tries_again(ctx: ExecutionContext) -> int:
    return await ctx.execute(patient, 3)


async def delete_child(env: TestEnvironment, run: TestExecution[Any], days: int) -> None:
    """Delete the child that sleeps for so many days, as anybody may."""
    for child in await env.client.get_child_executions(run.name):
        if msgspec.json.decode(child.spec.arguments) == {"days": days}:
            await env.client.kube.send(requests.delete(requests.EXECUTIONS, NAMESPACE, child.metadata.name))


@pytest.mark.parametrize("moment", ["live", "restarted", "dead"])
async def test_a_child_that_somebody_deletes_is_not_started_again(env: TestEnvironment, moment: str) -> None:
    """Its parent gets that as a cancel: with a runner, without one after a restart, and if no worker lives then."""
    env.use(app)
    run = await env.spawn(waits_for_all, 15)
    await env.advance(timedelta(hours=1))
    if moment == "restarted":
        await env.restart_worker()
        await env.advance(timedelta(hours=1))
    if moment == "dead":
        env._world._workers[-1].die()
    await delete_child(env, run, 14)
    if moment == "dead":
        await env.restart_worker()
    assert await run.result() == [str(days) for days in range(1, 14)] + ["Canceled: True", "15"]


async def test_what_is_known_of_children_costs_no_write(env: TestEnvironment) -> None:
    """It is written with what is written anyway, and gone when the outcomes are recorded."""
    env.use(app)
    run = await env.spawn(waits_for_all, 3)
    await env.advance(timedelta(hours=1))
    waiting = parse_memo((await run.get()).status.state)
    assert len(waiting.begun) == 3
    assert run.writes == 3 + 3 * 3  # created, Executing, Suspended; each child created and Suspended, by a Suspension
    await run.result()
    assert parse_memo((await run.get()).status.state).begun == {}


async def test_a_new_attempt_starts_a_child_anew_that_somebody_has_deleted(env: TestEnvironment) -> None:
    """As it does with one that was canceled."""
    env.use(app)
    run = await env.spawn(tries_again)
    await env.advance(timedelta(hours=1))
    env._world._workers[-1].die()
    await delete_child(env, run, 3)
    await env.restart_worker()
    assert await run.result() == 3
    assert (await run.get()).status.attempt_count == 2
