"""The environment that users test with: time, stubs, crashes, replays, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import gc
import itertools
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import uvloop

from kontinue import App, ExecutionContext, FunctionDefinition, SyncExecutionContext, current_step, remote, step
from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client
from kontinue.errors import (
    ExecutionBlocked,
    ExecutionCanceled,
    ExecutionFailed,
    InvalidArguments,
    InvalidResult,
    InvalidState,
    UnknownFunction,
)
from kontinue_engine.controllers.activations import Activations
from kontinue_engine.testing import EngineFailed, Stuck, SyncTestEnvironment, TestEnvironment

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
app = App(group="shop")
other_app = App(group="elsewhere")
log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment(start=START) as environment:
        environment.use(app)
        environment.stub(rate, result=1.5)
        yield environment


@remote("exchange-rate")
def rate(currency: str) -> float:
    raise NotImplementedError


@remote("forgotten")
def forgotten(number: int) -> int:
    raise NotImplementedError


@step
async def charge(amount: int) -> int:
    log.append(f"charge {amount}")
    return amount


@step(name="note")
def write_note(text: str) -> str:
    log.append(f"note {text}")
    return text


@app.function
def double(number: int) -> int:
    """Needs no context."""
    return 2 * number


@app.function
async def month(ctx: ExecutionContext) -> str:
    await ctx.sleep(timedelta(days=30), display_name="billing period")
    return ctx.now().isoformat()


@app.function
async def bill(ctx: ExecutionContext, amount: int) -> float:
    try:
        paid = await ctx.step(charge, amount)
        await ctx.sleep(timedelta(days=1))
        text = await ctx.step(write_note, f"paid {paid}")
        factor = await ctx.execute(rate, "EUR")
        return factor * await ctx.execute(double, len(text))
    finally:
        log.append("left")


@app.function
def bill_in_threads(ctx: SyncExecutionContext, amount: int) -> float:
    try:
        paid = ctx.step(write_note, str(amount))
        ctx.sleep(timedelta(days=1))
        text, factor = ctx.gather(ctx.spawn(double, int(paid)), ctx.spawn(rate, "EUR"))
        return factor * text
    finally:
        log.append("left")


@app.function
async def double_tomorrow(ctx: ExecutionContext, number: int) -> int:
    await ctx.sleep(timedelta(days=1))
    return number * 2


@app.function
def bill_tomorrow(ctx: SyncExecutionContext, amount: int) -> float:
    """Time passes only when everybody waits, so no child ends before the body has come to wait for it."""
    try:
        paid = ctx.step(write_note, str(amount))
        ctx.sleep(timedelta(days=1))
        first, second = ctx.gather(ctx.spawn(double_tomorrow, int(paid)), ctx.spawn(double_tomorrow, amount))
        return float(first + second)
    finally:
        log.append("left")


numbers = itertools.count()


@app.function
async def forgetful(ctx: ExecutionContext) -> int:
    """Does something else each time that it is run."""
    await ctx.step(charge, 1)
    return await ctx.step(charge, next(numbers))


@app.function
async def broken(ctx: ExecutionContext) -> None:
    await ctx.step(charge, 1)
    raise ValueError("no such order")


@app.function
async def wants_forgotten(ctx: ExecutionContext) -> int:
    return await ctx.execute(forgotten, 1)


@app.function
async def waits_for_nothing(ctx: ExecutionContext) -> None:
    await asyncio.get_running_loop().create_future()


@app.function
async def parent_of_nothing(ctx: ExecutionContext) -> None:
    await ctx.execute(waits_for_nothing)


@app.function
async def polls(ctx: ExecutionContext) -> None:
    while True:
        await ctx.sleep(timedelta(hours=1))


@other_app.function
def elsewhere() -> int:
    return 1


# Time.


async def test_a_sleep_of_a_month_takes_no_time_and_the_function_sees_it_pass(env: TestEnvironment) -> None:
    """``result`` moves time to the timer, and not further."""
    run = await env.spawn(month)
    assert await run.result() == "2026-03-02T12:00:00+00:00"
    assert env.now == START + timedelta(days=30)


async def test_time_stands_still_until_the_test_moves_it(env: TestEnvironment) -> None:
    """What is due later does not happen, whatever the test awaits; what is due on the way does, at its time."""
    run = await env.spawn(month)
    await asyncio.sleep(0)
    await env.advance(timedelta(days=29))
    waiting = await run.get()
    assert waiting.phase is Phase.SUSPENDED
    assert [(item.kind, item.until) for item in waiting.status.waiting_for] == [
        ("Suspension", START + timedelta(days=30))
    ]
    await env.advance(timedelta(days=2))
    done = await run.get()
    assert done.phase is Phase.COMPLETED
    assert done.status.finished_at == START + timedelta(days=30)
    assert env.now == START + timedelta(days=31)


async def test_time_does_not_move_back(env: TestEnvironment) -> None:
    """It would be a mistake of the test."""
    with pytest.raises(ValueError, match="cannot be moved back"):
        await env.advance(timedelta(seconds=-1))


async def test_a_number_is_no_time(env: TestEnvironment) -> None:
    """It could be seconds or days."""
    with pytest.raises(TypeError, match=r"by=5: expected timedelta, for example timedelta\(hours=1\)"):
        await env.advance(5)  # type: ignore[arg-type]


async def test_the_engine_goes_on_whenever_the_test_awaits_something(env: TestEnvironment) -> None:
    """Code under test may wait for what a step does, without any call of the environment."""
    reached = asyncio.Event()

    @step
    async def reach() -> None:
        reached.set()

    async def body(ctx: ExecutionContext) -> None:
        await ctx.step(reach)

    local = App(group="local")
    reaching = local.function(body)
    env.use(local)
    await env.spawn(reaching)
    await reached.wait()


async def test_code_under_test_may_have_a_client_and_time_is_the_tests_business(env: TestEnvironment) -> None:
    """Waits of a client do not move time; beside them the test does."""

    async def handle_request(client: Client) -> str:
        await asyncio.sleep(0)
        handle = await client.spawn("month", {}, result=str)
        return await handle.result()

    answer, _ = await asyncio.gather(handle_request(env.client), env.advance(timedelta(days=31)))
    assert answer == "2026-03-02T12:00:00+00:00"
    (execution,) = await env.client.list(function="month")
    assert execution.phase is Phase.COMPLETED
    waiting = asyncio.create_task(handle_request(env.client))
    assert await (await env.spawn(double, 2)).result() == 4
    assert not waiting.done()
    waiting.cancel()


async def test_the_first_calls_may_come_at_once(env: TestEnvironment) -> None:
    """Whichever is first starts what is needed, once."""
    runs = await asyncio.gather(env.spawn(double, 1), env.spawn(double, 2), env.spawn(double, 3))
    assert [await run.result() for run in runs] == [2, 4, 6]


# The same as in production.


async def test_writes_are_those_of_production_replayed_or_not() -> None:
    """Create and end; one for each step; four for the long sleep; two for each child."""
    writes = []
    for replay in (True, False):
        async with TestEnvironment(replay=replay) as env:
            env.use(app)
            env.stub(rate, result=2.0)
            trivial, run = await env.spawn(double, 1), await env.spawn(bill, 3)
            assert (await trivial.result(), await run.result()) == (2, 24.0)
            writes.append((trivial.writes, run.writes))
    assert writes[0] == writes[1] == (2, 12)


@pytest.mark.parametrize(("function", "replays"), [(bill, 5), (bill_tomorrow, 3)])
async def test_each_durable_call_is_followed_by_a_replay(
    env: TestEnvironment, function: FunctionDefinition[[int], float], replays: int
) -> None:
    """Children that are waited for together count once. The body runs again, its steps do not, nothing is unwound."""
    run = await env.spawn(function, 3)
    await run.result()
    assert (await run.get()).status.resumptions == replays
    assert log.count("left") == 1
    assert sorted(log) == sorted(set(log))


async def test_replays_can_be_switched_off() -> None:
    """Then a function runs as it does as long as nothing goes wrong."""
    async with TestEnvironment(replay=False) as env:
        env.use(app)
        run = await env.spawn(forgetful)
        await run.result()
        assert (await run.get()).status.resumptions == 0


async def test_options_and_mutexes_work_as_they_do_elsewhere(env: TestEnvironment) -> None:
    """Two that share a mutex run one after the other, a day each."""
    runs = [await env.spawn(bill.options(name=f"bill-{n}", mutex="account"), n) for n in (1, 2)]
    assert [run.name for run in runs] == ["bill-1", "bill-2"]
    for run in runs:
        await run.result()
    assert env.now - START >= timedelta(days=2)


async def test_a_cancel_reaches_everything_below(env: TestEnvironment) -> None:
    """As by a client: the error says so, and the code was told."""
    run = await env.spawn(bill, 3)
    await env.advance(timedelta(hours=1))
    await run.cancel("changed my mind")
    with pytest.raises(ExecutionCanceled, match="changed my mind"):
        await run.result()
    assert "left" in log
    with pytest.raises(InvalidState):
        await run.cancel()


# Crashes.


async def test_a_crash_before_the_record_runs_the_step_again_with_the_same_key(env: TestEnvironment) -> None:
    """At least once; the key lets the other side notice."""
    keys: list[str] = []

    @step
    async def pay() -> None:
        keys.append(current_step().idempotency_key)

    async def body(ctx: ExecutionContext) -> None:
        await ctx.step(pay)

    local = App(group="local")
    paying = local.function(body)
    env.use(local)
    env.crash_after("pay", times=2)
    run = await env.spawn(paying)
    await run.result()
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_crash_after_the_record_does_not_run_the_step_again(env: TestEnvironment) -> None:
    """What is recorded is not done again."""
    env.crash_after("charge", recorded=True)
    run = await env.spawn(bill, 3)
    assert await run.result() == 18.0
    assert log.count("charge 3") == 1


async def test_crashes_without_an_end_fail_the_execution(env: TestEnvironment) -> None:
    """Three deaths without progress are survived."""
    env.crash_after("charge", times=4)
    run = await env.spawn(bill, 3)
    with pytest.raises(ExecutionFailed, match="killed by the test, after 'charge'") as caught:
        await run.result()
    assert caught.value.type == "RunnerCrashed"


async def test_a_crash_that_never_strikes_is_a_warning() -> None:
    """A misspelt name would prove nothing, silently."""
    env = TestEnvironment()
    env.use(app)
    env.crash_after("chrage")
    await (await env.spawn(double, 1)).result()
    with pytest.warns(UserWarning, match="'chrage'"):
        env.close()


async def test_another_worker_takes_over_what_the_dead_one_left(env: TestEnvironment) -> None:
    """With a higher epoch, and from where it was."""
    run = await env.spawn(bill, 3)
    await env.advance(timedelta(hours=1))
    await env.restart_worker()
    assert await run.result() == 18.0
    owner = (await run.get()).status.owner
    assert owner is not None
    assert (owner.incarnation, owner.epoch) == ("worker-2", 2)
    assert log.count("charge 3") == 1


async def test_code_that_does_not_match_what_is_recorded_is_blocked_and_goes_on_with_code_that_does() -> None:
    """A deployment in the middle of an Execution, and the next one."""
    first, second = App(group="shop"), App(group="shop")

    async def one(ctx: ExecutionContext) -> int:
        await ctx.step(charge, 1)
        await ctx.sleep(timedelta(days=1))
        return 1

    async def two(ctx: ExecutionContext) -> int:
        await ctx.step(write_note, "first")
        await ctx.step(charge, 1)
        return 2

    order = first.function(name="order")(one)
    second.function(name="order")(two)
    async with TestEnvironment() as env:
        env.use(first)
        run = await env.spawn(order)
        await env.advance(timedelta(hours=1))
        await env.restart_worker(second)
        with pytest.raises(ExecutionBlocked, match=r"recorded step charge .* requested step note") as caught:
            await run.result()
        assert not any("has not changed" in note for note in getattr(caught.value, "__notes__", []))
        await env.restart_worker(first)
        assert await run.result() == 1


# Stubs.


async def test_a_stub_stands_for_a_function_and_may_change_its_mind(env: TestEnvironment) -> None:
    """Also for one of an app that is in use."""
    env.stub(double, result=100)
    assert await (await env.spawn(bill, 3)).result() == 150.0
    env.stub(double, result=ValueError("overflow"))
    with pytest.raises(ExecutionFailed, match="ValueError: overflow"):
        await (await env.spawn(bill, 3)).result()
    assert await (await env.spawn(rate, "USD")).result() == 1.5


async def test_a_stub_of_the_wrong_type_is_refused_at_once(env: TestEnvironment) -> None:
    """As the function itself could not return it."""
    with pytest.raises(InvalidResult):
        env.stub(rate, result="much")  # a result is covariant, so type checkers let it pass


async def test_a_step_has_no_stub_and_is_not_spawned(env: TestEnvironment) -> None:
    """It is an ordinary function, of which the environment knows nothing before it is called."""
    with pytest.raises(TypeError, match=r"stub: .*@app\.function or remote.*, got <function charge.*monkeypatch"):
        env.stub(charge, result=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"spawn: .*@app\.function or remote.*, got <function charge"):
        await env.spawn(charge, 1)  # type: ignore[arg-type]


async def test_a_child_that_nobody_has_is_named(env: TestEnvironment) -> None:
    """The error of production, and what a test can do about it."""
    with pytest.raises(ExecutionFailed, match="'forgotten'") as caught:
        await (await env.spawn(wants_forgotten)).result()
    assert any("env.stub(" in note and "'forgotten'" in note for note in caught.value.__notes__)


# What it says.


async def test_the_functions_own_traceback_comes_with_its_failure(env: TestEnvironment) -> None:
    """With file and line of the user's code."""
    with pytest.raises(ExecutionFailed, match="ValueError: no such order") as caught:
        await (await env.spawn(broken)).result()
    (note,) = caught.value.__notes__
    assert 'raise ValueError("no such order")' in note
    assert "test_environment.py" in note


async def test_a_body_that_does_not_repeat_itself_is_blocked_with_both_sides(env: TestEnvironment) -> None:
    """In the test, and not at the first crash in production."""
    with pytest.raises(ExecutionBlocked, match=r"recorded step charge .* requested step charge") as caught:
        await (await env.spawn(forgetful)).result()
    assert any("does not repeat itself" in note for note in caught.value.__notes__)


async def test_what_will_never_end_is_an_error_that_says_what_everything_waits_for(env: TestEnvironment) -> None:
    """Instead of a test that hangs."""
    run = await env.spawn(parent_of_nothing)
    with pytest.raises(Stuck) as caught:
        await run.result()
    text = str(caught.value)
    assert f"{run.name} (parent_of_nothing), Suspended: waits for Execution {run.name}-" in text
    assert "(waits_for_nothing), Suspended: waits for something that is no durable call" in text


async def test_what_polls_for_ever_is_an_error_too(env: TestEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time cannot be moved without an end."""
    monkeypatch.setattr("kontinue_engine.testing.driver.MAX_JUMPS", 50)
    run = await env.spawn(polls)
    with pytest.raises(Stuck, match="has moved 50 times"):
        await run.result()


async def test_arguments_that_do_not_fit_create_nothing(env: TestEnvironment) -> None:
    """As of a client."""
    with pytest.raises(InvalidArguments):
        await env.spawn(double, "two")  # type: ignore[arg-type]


async def test_a_function_that_is_not_in_use_is_refused_with_the_remedy(env: TestEnvironment) -> None:
    """One for each reason."""
    with pytest.raises(UnknownFunction, match=r"'elsewhere' .* belongs to an app that is not in use"):
        await env.spawn(elsewhere)
    with pytest.raises(UnknownFunction, match=r"of another group .* env.stub\(forgotten, result=...\)"):
        await env.spawn(forgotten, 1)
    async with TestEnvironment() as empty:
        with pytest.raises(UnknownFunction, match=r"call env.use\(app\) before env.spawn\(double"):
            await empty.spawn(double, 1)


async def test_what_comes_too_late_says_so(env: TestEnvironment) -> None:
    """The worker has its functions when it starts."""
    await env.spawn(double, 1)
    with pytest.raises(InvalidState, match=r"use\(app\) comes too late"):
        env.use(other_app)
    with pytest.raises(InvalidState, match=r"stub\(forgotten, ...\) comes too late"):
        env.stub(forgotten, result=1)
    env.close()
    with pytest.raises(InvalidState, match="has been closed"):
        await env.spawn(double, 1)


async def test_a_bug_of_the_engine_is_an_error_of_the_test(
    env: TestEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its traceback, instead of a test that waits for ever."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    await env.spawn(double, 1)
    monkeypatch.setattr(Activations, "on_frame", fail)
    with pytest.raises(EngineFailed, match="bug of kontinue") as caught:
        await (await env.spawn(month)).result()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Loops and the end.


def test_it_works_on_any_loop_of_asyncio() -> None:
    """Plain asyncio, and uvloop."""

    async def use() -> float:
        async with TestEnvironment() as env:
            env.use(app)
            env.stub(rate, result=1.0)
            return await (await env.spawn(bill, 3)).result() + await (await env.spawn(bill_in_threads, 4)).result()

    assert asyncio.run(use()) == 20.0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(use()) == 20.0


def test_it_may_go_on_on_another_loop_unless_steps_still_run_on_the_first() -> None:
    """An environment of a session has tests with loops of their own."""
    gate = asyncio.Event()

    @step
    async def wait_for_gate() -> None:
        await gate.wait()

    async def body(ctx: ExecutionContext) -> None:
        await ctx.step(wait_for_gate)

    local = App(group="local")
    waiting = local.function(body)
    env = TestEnvironment()
    env.use(app, local)
    env.stub(rate, result=1.0)

    async def trivial() -> int:
        return await (await env.spawn(double, 1)).result()

    assert [asyncio.run(trivial()), asyncio.run(trivial())] == [2, 2]
    with asyncio.Runner() as first:
        first.run(env.spawn(waiting))  # type: ignore[arg-type]
        first.run(asyncio.sleep(0.01))
        with asyncio.Runner() as second, pytest.raises(EngineFailed, match="another event loop"):
            second.run(trivial())
        env.close()


async def test_the_end_tells_code_that_still_waits_and_no_warning_is_left(env: TestEnvironment) -> None:
    """``finally`` blocks run then, and not before."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (bill, bill_in_threads):
            await env.spawn(function, 3)
        await env.advance(timedelta(hours=1))
        assert "left" not in log
        env.close()
        assert "left" in log
        env.close()


def test_a_test_may_leave_anything_behind() -> None:
    """Steps and functions that hang end with the loop; a body whose ``finally`` waits again does not keep the end."""

    @step
    async def hang() -> None:
        await asyncio.Event().wait()

    async def plain() -> None:
        await asyncio.Event().wait()

    async def body(ctx: ExecutionContext) -> None:
        try:
            await ctx.step(hang)
        finally:
            await ctx.sleep(timedelta(seconds=1))

    local = App(group="local")
    left = [local.function(plain), local.function(body), local.function(name="again")(body)]
    env = TestEnvironment()
    env.use(local)

    async def leave() -> None:
        for function in left:
            await env.spawn(function)
        await asyncio.sleep(0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave())
        env.close()
        gc.collect()


def test_sync_tests_have_the_same_without_await() -> None:
    """Functions may be sync or async."""
    with SyncTestEnvironment(start=START) as env:
        env.use(app)
        env.stub(rate, result=2.0)
        env.crash_after("charge")
        run = env.spawn(bill, 3)
        env.advance(timedelta(hours=1))
        assert env.now == START + timedelta(hours=1)
        assert run.get().phase is Phase.SUSPENDED
        env.restart_worker()
        assert run.result() == 24.0
        assert run.writes > 10
        canceled = env.spawn(bill_in_threads.options(name="canceled"), 3)
        canceled.cancel()
        with pytest.raises(ExecutionCanceled):
            canceled.result()
        assert repr(canceled) == "<SyncTestExecution canceled>"


async def test_the_sync_one_is_refused_where_a_loop_runs() -> None:
    """It would block the test's own loop."""
    with SyncTestEnvironment() as env:
        env.use(app)
        with pytest.raises(InvalidState, match="use TestEnvironment"):
            env.spawn(double, 1)
