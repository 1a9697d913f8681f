"""A small program, async and sync, whose runner dies after each of its durable calls, before and after the record."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from kontinue import App, ExecutionContext, FunctionDefinition, SyncExecutionContext, current_step, step
from kontinue_engine.testing import TestEnvironment

app = App(group="shop")
CALLS = ["reserve", "pay", "notify", "pack", "cooling-off"]
effects: Counter[str] = Counter()
keys: set[str] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    effects.clear()
    keys.clear()


def effect(name: str) -> None:
    effects[name] += 1
    keys.add(current_step().idempotency_key)


@step
async def reserve(items: list[str]) -> int:
    effect("reserve")
    return len(items)


@step
def pay(amount: int) -> str:
    effect("pay")
    return f"receipt-{amount}"


@step
async def notify(text: str) -> None:
    effect("notify")


@app.function
def pack(item: str, *, receipt: str) -> str:
    effects["pack"] += 1
    return f"{item}/{receipt}"


@app.function
async def order(ctx: ExecutionContext, items: list[str]) -> list[str]:
    count = await ctx.step(reserve, items)
    receipt, _ = await asyncio.gather(
        ctx.step(pay, 10 * count), ctx.sleep(timedelta(days=14), display_name="cooling-off")
    )
    parcels = await ctx.map(pack, items, receipt=receipt)
    await ctx.step(notify, ", ".join(parcels))
    return parcels


@app.function
def order_in_threads(ctx: SyncExecutionContext, items: list[str]) -> list[str]:
    count = ctx.step(reserve_in_thread, items)
    ctx.sleep(timedelta(days=14), display_name="cooling-off")
    receipt = ctx.step(pay, 10 * count)
    parcels = ctx.map(pack, items, receipt=receipt)
    ctx.step(notify_in_thread, ", ".join(parcels))
    return list(parcels)


@step(name="reserve")
def reserve_in_thread(items: list[str]) -> int:
    effect("reserve")
    return len(items)


@step(name="notify")
def notify_in_thread(text: str) -> None:
    effect("notify")


Order = FunctionDefinition[[list[str]], list[str]]
EXPECTED = ["hat/receipt-20", "coat/receipt-20"]


@pytest.mark.parametrize("function", [order, order_in_threads], ids=["async", "sync"])
@pytest.mark.parametrize("recorded", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_crash_after_any_call_changes_nothing_but_that_an_unrecorded_step_runs_again(
    env: TestEnvironment, function: Order, call: str, recorded: bool
) -> None:
    """Same result; each effect once, the one whose record was lost at most twice, under one key."""
    env.use(app)
    env.crash_after(call, recorded=recorded)
    run = await env.spawn(function, ["hat", "coat"])
    assert await run.result() == EXPECTED
    assert effects == {"reserve": 1, "pay": 1, "notify": 1, "pack": 2} | (
        {call: 2} if call in effects and not recorded and call != "pack" else {}
    )
    assert len(keys) == 3
    # A new record gives the whole budget of crashes back; after the last one there is none.
    assert (await run.get()).status.crashes == int(recorded and call == "notify")


@pytest.mark.parametrize("function", [order, order_in_threads], ids=["async", "sync"])
async def test_a_crash_after_every_call_is_survived(env: TestEnvironment, function: Order) -> None:
    """Each record gives the budget anew."""
    env.use(app)
    env.crash_after()
    env.crash_after(recorded=True)
    run = await env.spawn(function, ["hat", "coat"])
    assert await run.result() == EXPECTED
    assert effects == {"reserve": 2, "pay": 2, "notify": 2, "pack": 2}
    assert len(keys) == 3


@pytest.mark.parametrize("function", [order, order_in_threads], ids=["async", "sync"])
@pytest.mark.parametrize("days", [0, 1, 13, 20])
async def test_the_death_of_the_worker_at_any_time_changes_nothing(
    env: TestEnvironment, function: Order, days: int
) -> None:
    """Nothing that is recorded runs again, and no sleep begins anew."""
    env.use(app)
    begin = env.now
    run = await env.spawn(function, ["hat", "coat"])
    await env.advance(timedelta(days=days))
    await env.restart_worker()
    assert await run.result() == EXPECTED
    assert effects == {"reserve": 1, "pay": 1, "notify": 1, "pack": 2}
    finished = (await run.get()).status.finished_at
    assert finished is not None
    assert finished - begin < timedelta(days=14, seconds=1)
