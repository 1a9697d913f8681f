"""Code that changes under a running Execution: what is Blocked, and what goes on. The code that fits goes on always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, FunctionDefinition, step
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionBlocked
from kontinue_engine.testing import TestEnvironment

Body = Callable[[ExecutionContext], Coroutine[Any, Any, str]]
WEEK = timedelta(days=7)


@step
async def first(text: str = "a") -> str:
    return text


@step
async def second(text: str = "b") -> str:
    return text


def deployed(body: Body) -> tuple[App, FunctionDefinition[[], str]]:
    app = App(group="g")
    return app, app.function(name="flow")(body)


async def recorded(ctx: ExecutionContext) -> str:
    """What ran until it slept."""
    one = await ctx.step(first)
    two = await ctx.step(second)
    await ctx.sleep(WEEK)
    return one + two


async def goes_on_otherwise(ctx: ExecutionContext) -> str:
    one = await ctx.step(first)
    two = await ctx.step(second)
    await ctx.sleep(WEEK)
    return f"{two}{one}{await ctx.step(first, 'c')}"


async def runs_them_together(ctx: ExecutionContext) -> str:
    one, two = await asyncio.gather(ctx.step(first), ctx.step(second))
    await ctx.sleep(WEEK)
    return one + two


async def sleeps_longer(ctx: ExecutionContext) -> str:
    one = await ctx.step(first)
    two = await ctx.step(second)
    await ctx.sleep(2 * WEEK)
    return one + two


async def has_one_more(ctx: ExecutionContext) -> str:
    await ctx.step(second)
    return await recorded(ctx)


async def has_one_less(ctx: ExecutionContext) -> str:
    one = await ctx.step(first)
    await ctx.sleep(WEEK)
    return one


async def has_another_order(ctx: ExecutionContext) -> str:
    two = await ctx.step(second)
    one = await ctx.step(first)
    await ctx.sleep(WEEK)
    return one + two


async def has_other_arguments(ctx: ExecutionContext) -> str:
    one = await ctx.step(first, "x")
    two = await ctx.step(second)
    await ctx.sleep(WEEK)
    return one + two


async def sleeps_instead(ctx: ExecutionContext) -> str:
    await ctx.sleep(WEEK)
    return ""


async def does_nothing_any_more(ctx: ExecutionContext) -> str:
    return ctx.execution.name


@pytest.mark.parametrize(
    ("body", "expected"),
    [(recorded, "ab"), (goes_on_otherwise, "bac"), (runs_them_together, "ab"), (sleeps_longer, "ab")],
)
async def test_code_that_asks_for_the_same_goes_on(env: TestEnvironment, body: Body, expected: str) -> None:
    """What comes after the last record is free; so is how long a sleep that has begun was to be."""
    before, flow = deployed(recorded)
    env.use(before)
    run = await env.spawn(flow)
    begin = env.now
    await env.advance(timedelta(days=1))
    await env.restart_worker(deployed(body)[0])
    assert await run.result() == expected
    assert env.now - begin < WEEK + timedelta(minutes=1)


@pytest.mark.parametrize(
    "body",
    [has_one_more, has_one_less, has_another_order, has_other_arguments, sleeps_instead, does_nothing_any_more],
)
async def test_code_that_asks_for_something_else_is_blocked_until_code_comes_that_fits(
    env: TestEnvironment, body: Body
) -> None:
    """Both sides are shown; nothing of the new code's effects has happened, and the old code goes on."""
    before, flow = deployed(recorded)
    env.use(before)
    run = await env.spawn(flow)
    await env.advance(timedelta(days=1))
    await env.restart_worker(deployed(body)[0])
    with pytest.raises(ExecutionBlocked) as caught:
        await run.result()
    assert "recorded" in str(caught.value)
    assert "requested" in str(caught.value)
    blocked = await run.get()
    assert blocked.phase is Phase.BLOCKED
    assert [item.kind for item in blocked.status.waiting_for] == ["Build"]
    await env.restart_worker(before)
    assert await run.result() == "ab"
