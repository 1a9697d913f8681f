"""Each error that a function may see or raise, provoked; docs/errors.md lists them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from datetime import timedelta

import pytest

from kontinue import App, ExecutionContext, JobTemplate, RetryPolicy, SyncExecutionContext, TimeoutPolicy, errors, step
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
HOUR = timedelta(hours=1)
seen: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.clear()


@step
def charge(amount: int) -> int:
    if amount < 0:
        raise ValueError("no debts")
    return amount


@step
def print_all() -> str:
    return "x" * 1_000_000


@app.function
def fragile() -> None:
    raise KeyError("4711")


@app.function(timeout=TimeoutPolicy(overall=HOUR))
async def slow(ctx: ExecutionContext) -> None:
    await ctx.sleep(2 * HOUR)


@app.function
async def what_it_is_told(ctx: ExecutionContext, what: str) -> str:
    try:
        match what:
            case "step":
                await ctx.step(charge, -1)
            case "too much":
                await ctx.step(print_all)
            case "child":
                await ctx.execute(fragile)
            case "late child":
                await ctx.execute(slow)
            case "job":
                (await ctx.run_job(JobTemplate(image="x"), name="job")).check()
            case "suspend":
                await ctx.suspend(timeout=HOUR, display_name="Ship?")
            case "wait":
                await ctx.wait_for(ctx.sleep(2 * HOUR), timeout=HOUR)
            case "I/O":
                await asyncio.open_connection("127.0.0.1", 1)
            case _:
                raise AssertionError(what)
    except (errors.StepFailed, errors.ChildFailed, errors.JobFailed) as error:
        kinds = [
            kind.__name__
            for kind in (ValueError, KeyError, TimeoutError, errors.InvalidResult, errors.ExecutionTimedOut)
            if error.is_a(kind)
        ]
        return f"{type(error).__name__} {kinds} {error.message}"
    except (errors.SuspendTimeout, errors.WaitTimeout, errors.ContextError) as error:
        return f"{type(error).__name__} {isinstance(error, TimeoutError)} {error}"
    return "nothing"


@app.function(retry=RetryPolicy(retries=5))
async def gives_up(ctx: ExecutionContext) -> None:
    seen["attempts"] += 1
    raise errors.NonRetryableError(f"nobody approved {ctx.execution.name}")


@app.function
def stopped(ctx: SyncExecutionContext) -> None:
    try:
        ctx.sleep(HOUR)
    except Exception:
        seen["caught as any other"] += 1
    except errors.ExecutionInterrupted:
        seen["interrupted"] += 1
        raise


@app.function
async def again(ctx: ExecutionContext, left: int) -> str:
    try:
        if left:
            ctx.continue_as_new(left - 1)
    except Exception:
        return "caught as any other"
    except errors.ContinueAsNew as error:
        seen[error.arguments.decode()] += 1
        raise
    return "done"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("step", "StepFailed ['ValueError'] no debts"),
        ("too much", "StepFailed ['InvalidResult'] result of type str is 1,000,002 bytes of JSON, the limit is"),
        ("child", "ChildFailed ['KeyError'] '4711'"),
        ("late child", "ChildFailed ['TimeoutError', 'ExecutionTimedOut'] "),
        ("job", "JobFailed [] "),
        ("suspend", "SuspendTimeout True Ship?: nobody has resumed it in time"),
        ("wait", "WaitTimeout True "),
        ("I/O", "ContextError False "),
    ],
)
async def test_what_a_function_asks_for_may_fail_as_listed(env: TestEnvironment, what: str, told: str) -> None:
    """The class, what it is a kind of, and a message that names what it is about."""
    env.use(app)
    env.jobs.fail("job", exit_code=3)
    run = await env.spawn(what_it_is_told, what)
    await env.advance(3 * HOUR)
    assert (await run.result()).startswith(told)


async def test_who_gives_up_is_not_run_again(env: TestEnvironment) -> None:
    """NonRetryableError fails the Execution at once."""
    env.use(app)
    run = await env.spawn(gives_up)
    with pytest.raises(errors.ExecutionFailed, match=r"kontinue\.errors\.NonRetryableError: nobody approved gives-up"):
        await run.result()
    assert seen["attempts"] == 1


async def test_who_is_canceled_is_interrupted_past_any_other_handler(env: TestEnvironment) -> None:
    """ExecutionInterrupted is no Exception."""
    env.use(app)
    run = await env.spawn(stopped)
    await env.advance(timedelta(minutes=1))
    await run.cancel()
    with pytest.raises(errors.ExecutionCanceled):
        await run.result()
    await env.advance(timedelta(minutes=1))
    assert seen == {"interrupted": 1}


async def test_a_new_start_passes_any_other_handler(env: TestEnvironment) -> None:
    """ContinueAsNew is no Exception."""
    env.use(app)
    assert await (await env.spawn(again, 2)).result() == "done"
    assert set(seen) == {'{"left":1}', '{"left":0}'}


def test_what_cannot_work_is_told_when_it_is_defined() -> None:
    """With file and line."""
    with pytest.raises(errors.DefinitionError, match=r"test_errors\.py:\d+"):

        @app.function
        def takes_a_socket(connection: socket.socket) -> None: ...
