"""Limits of time, in whatever an Execution does when they strike: over replays, crashes and deaths of workers."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta

import pytest

from kontinue import App, ExecutionContext, RetryPolicy, StepFailed, SyncExecutionContext, TimeoutPolicy, step
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ChildFailed, ExecutionFailed, ExecutionInterrupted
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ledger: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.clear()


@step
async def charge() -> str:
    ledger["charged"] += 1
    return "receipt"


@app.function(timeout=TimeoutPolicy(attempt=timedelta(seconds=3)))
async def buy(ctx: ExecutionContext) -> str:
    """Waits too long in its first attempt, and not long enough to be Suspended."""
    receipt = await ctx.step(charge)
    try:
        await ctx.sleep(timedelta(seconds=4 if ctx.execution.attempt == 1 else 1))
    finally:
        ledger["cleaned up"] += 1
    return receipt


@app.function(timeout=TimeoutPolicy(attempt=MINUTE))
async def nap(ctx: ExecutionContext, days: int) -> str:
    for _ in range(days):
        await ctx.sleep(DAY)
        await ctx.step(charge)
    return "rested"


@app.function
async def rest(ctx: ExecutionContext, days: int) -> str:
    try:
        await ctx.sleep(days * DAY)
    except asyncio.CancelledError:
        ledger["cleaned up"] += 1
        raise
    ledger["rested"] += 1
    return "rested"


@app.function
async def delegate(ctx: ExecutionContext, days: int) -> str:
    limited = rest.options(timeout=TimeoutPolicy(overall=HOUR))
    try:
        return await ctx.execute(limited, days)
    except ChildFailed as error:
        return f"{error.phase}: {error.is_a(TimeoutError)}"


@app.function
async def delegate_all(ctx: ExecutionContext) -> list[str]:
    return await ctx.map(rest, [2, 3])


@app.function(retry=RetryPolicy(retries=99, backoff=timedelta(minutes=45)), timeout=TimeoutPolicy(overall=HOUR))
async def fail_again(ctx: ExecutionContext) -> None:
    ledger["failed"] += 1
    raise ValueError("again")


@app.function
def rest_in_thread(ctx: SyncExecutionContext, days: int) -> None:
    try:
        ctx.sleep(days * DAY)
    except ExecutionInterrupted as error:
        ledger[str(error)] += 1
        raise


async def test_an_attempt_that_takes_too_long_is_followed_by_another_one(env: TestEnvironment) -> None:
    """It is told to end and may clean up; what it had recorded is not done again."""
    env.use(app)
    run = await env.spawn(buy.options(retry=RetryPolicy(retries=1, backoff=timedelta(seconds=1))))
    assert await run.result() == "receipt"
    assert ledger == {"charged": 1, "cleaned up": 2}
    first, second = (await run.get()).status.attempts
    assert (first.phase, first.reason, second.phase) == (Phase.FAILED, "AttemptTimeout", Phase.COMPLETED)
    assert "attempt 1 took longer than 3s (timeout.attempt in defaults of function buy)" in first.message


async def test_the_last_attempt_that_takes_too_long_fails(env: TestEnvironment) -> None:
    """Whoever waits is told what it was."""
    env.use(app)
    run = await env.spawn(buy)
    with pytest.raises(ExecutionFailed, match="attempt 1 took longer than 3s") as raised:
        await run.result()
    assert raised.value.type == "kontinue.errors.ExecutionTimedOut"
    ended = await run.get()
    assert (ended.phase, is_stopped(ended.status.conditions)) == (Phase.FAILED, True)


async def test_an_attempt_may_sleep_for_as_long_as_it_likes(env: TestEnvironment) -> None:
    """Its time stands still while it is Suspended, and starts anew each time that it goes on."""
    env.use(app)
    assert await (await env.spawn(nap, 30)).result() == "rested"


async def test_an_attempt_whose_worker_is_away_is_ended_by_the_next_one(env: TestEnvironment) -> None:
    """Its start stands in its status: no worker has to live through it."""
    env.use(app)
    run = await env.spawn(buy)
    for _ in range(3):
        await env.advance(timedelta(milliseconds=600))
        await env.restart_worker()
    await env.advance(timedelta(seconds=1))
    assert (await run.get()).phase is Phase.EXECUTING
    await env.advance(timedelta(milliseconds=500))
    assert (await run.get()).status.reason == "AttemptTimeout"


async def test_a_deadline_ends_a_sleep(env: TestEnvironment) -> None:
    """Code that waits in memory is told, and may clean up."""
    env.use(app)
    run = await env.spawn(rest.options(timeout=TimeoutPolicy(overall=HOUR)), 2)
    begin = env.now
    with pytest.raises(ExecutionFailed, match=r"1h \(timeout.overall in spec.timeout\).*it was Suspended, waiting for"):
        await run.result()
    assert HOUR <= env.now - begin < HOUR + timedelta(seconds=10)
    assert (await run.get()).status.reason == "OverallTimeout"
    await env.advance(timedelta(seconds=1))
    assert is_stopped((await run.get()).status.conditions)
    assert ledger == {"cleaned up": 1}


async def test_sync_code_is_told_what_its_time_was(env: TestEnvironment) -> None:
    """As ExecutionInterrupted, in the call in which it waits."""
    env.use(app)
    run = await env.spawn(rest_in_thread.options(timeout=TimeoutPolicy(overall=HOUR)), 2)
    with pytest.raises(ExecutionFailed, match="has not ended within its time"):
        await run.result()
    await env.advance(timedelta(seconds=1))
    (told,) = ledger
    assert told.startswith("it has not ended within its time of 1h")


async def test_a_deadline_that_nobody_has_seen_pass_strikes_when_a_worker_comes(env: TestEnvironment) -> None:
    """It stands in the status since the first write."""
    env.use(app)
    run = await env.spawn(rest.options(timeout=TimeoutPolicy(overall=HOUR)), 2)
    await env.advance(timedelta(minutes=59))
    await env.restart_worker()
    assert (await run.get()).phase is Phase.SUSPENDED
    await env.advance(2 * MINUTE)
    assert (await run.get()).status.reason == "OverallTimeout"


async def test_a_deadline_counts_pauses_and_ends_them(env: TestEnvironment) -> None:
    """However many retries are left. The last attempt has failed for a reason of its own, and keeps it."""
    env.use(app)
    run = await env.spawn(fail_again)
    with pytest.raises(ExecutionFailed, match=r"OverallTimeout: it has not ended within its time.*it was Backoff"):
        await run.result()
    assert ledger["failed"] == 2
    ended = await run.get()
    assert [attempt.reason for attempt in ended.status.attempts] == ["UserError", "UserError"]


async def test_a_parent_can_tell_a_timeout_from_other_failures(env: TestEnvironment) -> None:
    """By ``is_a(TimeoutError)``, on the first run as on replays."""
    env.use(app)
    assert await (await env.spawn(delegate, 2)).result() == "Failed: True"
    assert await (await env.spawn(delegate, 0)).result() == "rested"


async def test_children_end_with_their_parent() -> None:
    """A timeout is an end like others: those that wait in memory are told, and nobody goes on."""
    async with TestEnvironment(replay=False) as env:
        env.use(app)
        run = await env.spawn(delegate_all.options(timeout=TimeoutPolicy(overall=HOUR)))
        with pytest.raises(ExecutionFailed):
            await run.result()
        await env.advance(3 * DAY)
        assert ledger == {"cleaned up": 2}


async def test_a_retry_gets_a_new_deadline(env: TestEnvironment) -> None:
    """Who asks for it after the timeout has an hour again."""
    env.use(app)
    run = await env.spawn(fail_again)
    with pytest.raises(ExecutionFailed):
        await run.result()
    await env.advance(DAY)
    await run.retry()
    await env.advance(MINUTE)
    again = await run.get()
    assert (again.phase, ledger["failed"]) == (Phase.BACKOFF, 3)
    assert again.status.deadline is not None
    assert again.status.deadline > env.now + timedelta(minutes=58)


async def test_a_timeout_that_does_not_strike_costs_nothing(env: TestEnvironment) -> None:
    """The deadline rides on what is written anyway."""
    env.use(app)
    free, limited = (
        await env.spawn(rest, 2),
        await env.spawn(rest.options(timeout=TimeoutPolicy(attempt=MINUTE, overall=7 * DAY)), 2),
    )
    assert await free.result() == await limited.result() == "rested"
    assert free.writes == limited.writes


gate = threading.Event()


@step(timeout=timedelta(milliseconds=50))
def hang() -> str:
    ledger["hung"] += 1
    gate.wait(600)
    return "late"


@app.function
async def go_on(ctx: ExecutionContext) -> str:
    try:
        return await ctx.step(hang)
    except StepFailed as error:
        await ctx.sleep(DAY)
        return f"{await ctx.step(charge)}, {error.is_a(TimeoutError)}"


@app.function
def go_on_in_sync(ctx: SyncExecutionContext) -> str:
    try:
        return ctx.step(hang)
    except StepFailed as error:
        ctx.sleep(DAY)
        return f"receipt, {error.is_a(TimeoutError)}"


@pytest.mark.parametrize("function", ["go_on", "go_on_in_sync"])
async def test_a_thread_that_hangs_holds_up_neither_the_function_nor_its_test(
    env: TestEnvironment, function: str
) -> None:
    """That the step has failed is recorded once, and replayed; time goes on though its thread does not end."""
    env.use(app)
    gate.clear()
    try:
        run = await env.spawn(globals()[function])
        assert await run.result() == "receipt, True"
        assert ledger["hung"] == 1
    finally:
        gate.set()


@app.function
def answers(ctx: SyncExecutionContext) -> int:
    return 1


@app.function
def asks_within_a_limit(ctx: SyncExecutionContext) -> int:
    with ctx.timeout(MINUTE):
        first = ctx.execute(answers)
    return first + ctx.execute(answers)


async def test_what_is_asked_for_once_a_choice_is_recorded_is_not_lost_with_the_activation(
    env: TestEnvironment,
) -> None:
    """The limit might have struck first, so the second child waits for the record of the first: evicted then, too."""
    env.use(app)
    assert await (await env.spawn(asks_within_a_limit)).result() == 2
