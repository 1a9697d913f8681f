"""Long histories: functions of hundreds of steps and children, loops that start again, and what is too much."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from kontinue import App, ContextError, ExecutionContext, InvalidArguments, StepFailed, SyncExecutionContext
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionFailed, LimitExceeded
from kontinue.replay import limits
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.clear()


def note(what: Any) -> Any:
    seen.append(what)
    return what


@app.function
async def many_steps(ctx: ExecutionContext, count: int) -> int:
    return sum([await ctx.step(note, number) for number in range(count)])


@app.function
def many_steps_in_threads(ctx: SyncExecutionContext, count: int) -> int:
    return sum(ctx.step(note, number) for number in range(count))


@app.function
async def countdown(ctx: ExecutionContext, left: int, step: int = 1) -> list[Any]:
    await ctx.step(note, left)
    await ctx.sleep(timedelta(hours=1))
    facts = [ctx.attempt, ctx.execution.arguments, str(ctx.uuid())]
    await ctx.step(note, facts)
    if left > 0:
        ctx.continue_as_new(left - step)
    return facts


@app.function
def countdown_in_threads(ctx: SyncExecutionContext, left: int) -> int:
    ctx.step(note, left)
    if left > 0:
        ctx.continue_as_new(left=left - 1)
    return left


@app.function
async def leaves_a_child(ctx: ExecutionContext, again: bool) -> str:
    child = await ctx.spawn(many_days, 9 if again else 1)
    await ctx.sleep(timedelta(minutes=1))
    if again:
        ctx.continue_as_new(again=False)
    return await child.result()


@app.function
async def many_days(ctx: ExecutionContext, days: int) -> str:
    await ctx.sleep(timedelta(days=days))
    return f"after {days}"


@app.function
async def wrong_arguments(ctx: ExecutionContext, left: int) -> None:
    with pytest.raises(InvalidArguments):
        ctx.continue_as_new("many")
    with pytest.raises(InvalidArguments):
        ctx.continue_as_new(1, 2)


@app.function
async def from_a_branch(ctx: ExecutionContext) -> None:
    async def branch() -> None:
        with pytest.raises(ContextError, match="own task"):
            ctx.continue_as_new()

    await ctx.race(branch())


@app.function
async def goes_on_after_the_limit(ctx: ExecutionContext) -> list[str]:
    outcomes: list[str] = []
    for number in range(7):
        try:
            outcomes.append(str(await ctx.step(note, number)))
        except StepFailed as error:
            outcomes.append("refused" if error.is_a(LimitExceeded) else str(error))
    return outcomes


async def run(env: TestEnvironment, function: Any, *arguments: Any) -> Any:
    env.use(app)
    handle = await env.spawn(function, *arguments)
    return await handle.result()


@pytest.mark.parametrize("function", [many_steps, many_steps_in_threads])
async def test_a_function_of_hundreds_of_steps_runs_each_once(function: Any) -> None:
    """Though it is replayed from pages again and again."""
    async with TestEnvironment(replay=False) as env:
        assert await run(env, function, 150) == sum(range(150))
        assert seen == list(range(150))


async def test_a_long_function_survives_a_crash_after_any_step(env: TestEnvironment) -> None:
    """A page may have been written before, or be about to be."""
    assert await run(env, many_steps, 70) == sum(range(70))
    assert seen == list(range(70))


async def test_a_function_that_starts_again_is_one_execution(env: TestEnvironment) -> None:
    """Each run has its arguments, time and random numbers of its own, and begins with attempt 1."""
    facts = await run(env, countdown, 3)
    assert facts[:2] == [1, {"left": 0, "step": 1}]
    assert [one for one in seen if isinstance(one, int)] == [3, 2, 1, 0]
    uuids = [UUID(one[2]) for one in seen if isinstance(one, list)]
    assert len(set(uuids)) == 4


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_crash_at_any_moment_loses_no_run(env: TestEnvironment, recorded: bool) -> None:
    """Each run has taken its part, whatever died around its end."""
    env.crash_after(recorded=recorded)
    assert await run(env, countdown_in_threads, 12) == 0
    assert sorted(set(seen), reverse=True) == list(range(12, -1, -1))
    assert seen == sorted(seen, reverse=True)


async def test_sync_functions_start_again_too(env: TestEnvironment) -> None:
    """With keyword arguments as with others."""
    assert await run(env, countdown_in_threads, 40) == 0
    assert seen == list(range(40, -1, -1))


async def test_children_of_the_old_run_are_canceled(env: TestEnvironment) -> None:
    """The new one asks for its own."""
    env.use(app)
    parent = await env.spawn(leaves_a_child, again=True)
    assert await parent.result() == "after 1"
    children = await env.client.get_child_executions(parent.name)
    assert sorted(child.phase for child in children) == [Phase.CANCELED, Phase.COMPLETED]


@pytest.mark.parametrize(("function", "arguments"), [(wrong_arguments, (1,)), (from_a_branch, ())])
async def test_misuse_is_an_error_at_the_call(env: TestEnvironment, function: Any, arguments: tuple[Any, ...]) -> None:
    """Arguments that do not fit, and calls from where the function cannot be ended."""
    await run(env, function, *arguments)


async def test_calls_past_the_limit_fail_and_replay_alike(
    env: TestEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is recorded: every replay meets it again, and the steps did not run."""
    monkeypatch.setattr(limits, "MAX_CALLS", 5)
    assert await run(env, goes_on_after_the_limit) == [*"01234", "refused", "refused"]
    assert seen == list(range(5))


async def test_a_failure_for_too_many_calls_says_what_to_do(
    env: TestEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number, the limit and two remedies."""
    monkeypatch.setattr(limits, "MAX_CALLS", 5)
    with pytest.raises(ExecutionFailed, match=r"5 durable calls, the limit is 5: .*continue_as_new"):
        await run(env, many_steps, 9)
