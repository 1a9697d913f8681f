"""Suspends and long sleeps in a test environment: what they cost, what survives a worker, what is done by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, SuspendTimeout, SyncExecutionContext
from kontinue.api.v1alpha1 import PAYLOAD_INVALID, Phase
from kontinue.errors import InvalidPayload, InvalidState, NotFound
from kontinue.kube import requests
from kontinue_engine.testing import Stuck, TestEnvironment, TestSuspension

DAY = timedelta(days=1)
app = App(group="waiting")


@app.function
async def nap(ctx: ExecutionContext) -> None:
    await ctx.sleep(30 * DAY, display_name="bake")


@app.function
def nap_in_a_thread(ctx: SyncExecutionContext) -> None:
    ctx.sleep(30 * DAY, display_name="bake")


@app.function
async def ask(ctx: ExecutionContext) -> int:
    return await ctx.suspend(int, display_name="how many?")


@app.function
def ask_in_a_thread(ctx: SyncExecutionContext) -> int:
    return ctx.suspend(int, display_name="how many?")


@app.function
async def nobody(ctx: ExecutionContext) -> str:
    try:
        await ctx.suspend(timeout=2 * DAY)
    except SuspendTimeout as error:
        return str(error)
    return "somebody"


@pytest.fixture(params=[True, False], ids=["replayed", "not replayed"])
async def env(request: pytest.FixtureRequest) -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment(replay=request.param) as environment:
        environment.use(app)
        yield environment


async def patch(env: TestEnvironment, asked: TestSuspension, body: Any, *, status: bool = False) -> None:
    subresource: Any = "status" if status else ""
    sent = env.client.kube.send(
        requests.merge_patch(requests.SUSPENSIONS, "default", asked.name, body, subresource=subresource)
    )
    await sent


@pytest.mark.parametrize("function", [nap, nap_in_a_thread])
async def test_a_long_sleep_costs_four_writes(env: TestEnvironment, function: Any) -> None:
    """Created, Suspended, completed, and its record, besides create and end."""
    run = await env.spawn(function)
    await run.result()
    assert run.writes == 6


@pytest.mark.parametrize("function", [ask, ask_in_a_thread])
async def test_a_suspend_costs_four_writes_too(env: TestEnvironment, function: Any) -> None:
    """And that it runs, which shows after 50 ms."""
    run = await env.spawn(function)
    await env.advance(DAY)
    assert (await run.get()).phase is Phase.SUSPENDED
    await (await run.suspension("how many?")).resume(7)
    assert await run.result() == 7
    assert run.writes == 7


async def test_who_sleeps_is_not_run_by_a_new_worker_before_its_time(env: TestEnvironment) -> None:
    """It holds no runner, and is replayed once there is something to go on with."""
    runs = [await env.spawn(nap) for _ in range(20)]
    await env.advance(DAY)
    await env.restart_worker()
    await env.advance(DAY)
    assert {(one.phase, one.status.resumptions) for one in [await run.get() for run in runs]} == {(Phase.SUSPENDED, 0)}
    for run in runs:
        await run.result()


async def test_what_is_resumed_while_nobody_looks_is_found(env: TestEnvironment) -> None:
    """A new worker lists what is still open."""
    run = await env.spawn(ask)
    await env.advance(DAY)
    await (await run.suspension("how many?")).resume(3)
    await env.restart_worker()
    assert await run.result() == 3


async def test_a_payload_that_does_not_fit_is_refused(env: TestEnvironment) -> None:
    """By the client before anything is changed, by the worker with a condition; the wait goes on."""
    run = await env.spawn(ask)
    asked = await run.suspension("how many?")
    with pytest.raises(InvalidPayload, match=r"\$"):
        await asked.resume("many")
    await patch(env, asked, {"status": {"phase": "Completed", "payload": "many"}}, status=True)
    await env.advance(DAY)
    refused = await asked.get()
    assert refused.is_open
    assert [(one.type, one.status) for one in refused.status.conditions] == [(PAYLOAD_INVALID, "True")]
    await env.restart_worker()
    await asked.resume(7)
    assert await run.result() == 7
    with pytest.raises(InvalidState):
        await asked.resume(8)


@app.function
async def ask_later(ctx: ExecutionContext, after_s: int) -> int:
    await ctx.sleep(timedelta(seconds=after_s), display_name="bake")
    return await ctx.suspend(int, display_name="how many?", timeout=DAY)


async def test_a_wait_that_never_comes_is_an_error_that_names_those_that_do(env: TestEnvironment) -> None:
    """At once: nobody answers what it waits for, so nothing else will follow."""
    run = await env.spawn(ask)
    before = env.now
    with pytest.raises(Stuck, match=r"waits for 'nope'.* has waited for 'how many\?'") as caught:
        await run.suspension("nope")
    assert f"{run.name} (ask), Suspended" in str(caught.value)
    assert env.now - before < DAY
    await (await run.suspension("how many?")).resume(7)
    assert await run.result() == 7


async def test_a_wait_of_an_execution_that_ends_without_one_is_an_error_too(env: TestEnvironment) -> None:
    """What was open on the way is named, although it is closed by now; of one without a name, that it has none."""
    run = await env.spawn(nobody)
    with pytest.raises(Stuck, match=r"waits for 'nope'.* has waited for ''"):
        await run.suspension("nope")
    assert await run.result() == "nobody has resumed it in time"
    with pytest.raises(Stuck, match=r"waits for 'nope'.* has waited for nothing"):
        await run.suspension("nope")


@pytest.mark.parametrize("after_s", [1, 6, 60, 64, 65, 66, 70, 3580, 3599, 3600, 3601, 30 * 86_400])
async def test_a_wait_that_comes_later_is_found_before_it_is_over(env: TestEnvironment, after_s: int) -> None:
    """Time moves as far as it has to, and not to the end of what was asked for."""
    run = await env.spawn(ask_later, after_s)
    before = env.now
    asked = await run.suspension("how many?")
    assert timedelta(seconds=after_s) <= env.now - before < timedelta(seconds=after_s + 120)
    await asked.resume(7)
    assert await run.result() == 7


async def test_nobody_answers_in_time(env: TestEnvironment) -> None:
    """Also when the worker dies meanwhile."""
    run = await env.spawn(nobody)
    before = env.now
    await env.advance(DAY)
    await env.restart_worker()
    assert await run.result() == "nobody has resumed it in time"
    assert env.now - before == 2 * DAY


async def test_the_end_of_a_sleep_can_be_moved(env: TestEnvironment) -> None:
    """Earlier or later; a new worker reads it as it stands then."""
    run, later = await env.spawn(nap), await env.spawn(nap)
    before = env.now
    await patch(env, await run.suspension("bake"), {"spec": {"resumeAt": (before + DAY).isoformat()}})
    await patch(env, await later.suspension("bake"), {"spec": {"resumeAt": (before + 90 * DAY).isoformat()}})
    await run.result()
    assert env.now == before + DAY
    await env.restart_worker()
    await later.result()
    assert env.now == before + 90 * DAY


async def test_a_deleted_suspension_is_made_again(env: TestEnvironment) -> None:
    """With the end that it had, also if no worker was there to see it."""
    run = await env.spawn(nap)
    before = env.now
    asked = await run.suspension("bake")
    first = await asked.get()
    for _ in range(2):
        await env.advance(DAY)
        await env.client.kube.send(requests.delete(requests.SUSPENSIONS, "default", asked.name))
        await env.restart_worker()
        await env.advance(DAY)
        again = await asked.get()
        assert (again.spec, again.metadata.uid != first.metadata.uid) == (first.spec, True)
    await run.result()
    assert env.now == before + 30 * DAY


async def test_nobody_is_asked_by_an_execution_that_has_ended(env: TestEnvironment) -> None:
    """What it waited for is deleted."""
    run = await env.spawn(ask)
    asked = await run.suspension("how many?")
    await run.cancel()
    await env.advance(timedelta(seconds=10))
    with pytest.raises(NotFound):
        await asked.get()
