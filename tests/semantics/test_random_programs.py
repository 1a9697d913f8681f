"""Random programs, crashes, deaths of workers and jumps of time, against a model that knows nothing of any of that.

A program is data: what its functions interpret, and what the model adds up.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kontinue import App, ChildFailed, ExecutionContext, StepFailed, SyncExecutionContext, current_step, step
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionCanceled
from kontinue.sync import RWMutex, WaitGroup
from kontinue_engine.testing import TestEnvironment

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("KONTINUE_SEMANTICS_EXAMPLES", "45"))
START = datetime(2026, 1, 1, tzinfo=UTC)
CALLS = ("add", "refuse", "run", "run_in_threads")
app = App(group="g")
effects: Counter[str] = Counter()

Program = list[Any]
"""``[kind, argument]``: add NUMBER, refuse NUMBER, sleep SECONDS, child PROGRAM, seq PROGRAMS, all PROGRAMS; with
primitives count NUMBER, hold PROGRAM, too."""


@step
async def add(number: int) -> int:
    effects[current_step().idempotency_key] += 1
    return number


@step(name="refuse")
def refuse(number: int) -> int:
    effects[current_step().idempotency_key] += 1
    raise ValueError(number)


@app.function
async def run(ctx: ExecutionContext, program: Program) -> int:
    return await play(ctx, program)


async def play(ctx: ExecutionContext, program: Program) -> int:
    begin = ctx.now()
    kind, argument = program
    match kind:
        case "add":
            value = await ctx.step(add, argument)
        case "refuse":
            try:
                value = await ctx.step(refuse, argument)
            except StepFailed as error:
                value = -int(error.message) if error.is_a(ValueError) else 10**9
        case "sleep":
            await ctx.sleep(timedelta(seconds=argument))
            value = 0
        case "child":
            value = await ctx.execute(run_in_threads if argument[0] != "all" else run, argument)
        case "count":
            await ctx.wait_group("w").add(argument)
            value = 0
        case "hold":
            async with ctx.rwmutex("rw").read() as lock:
                value = await play(ctx, argument)
                assert await ctx.execute(echoes, lock.token) == lock.token
        case "seq":
            value = sum([await play(ctx, one) for one in argument])
        case _:
            value = sum(await asyncio.gather(*(play(ctx, one) for one in argument)))
    assert ctx.now() >= begin, "time went back"
    return value


@app.function
async def echoes(ctx: ExecutionContext, number: int) -> int:
    return number


@app.function
def run_in_threads(ctx: SyncExecutionContext, program: Program) -> int:
    kind, argument = program
    match kind:
        case "add":
            return ctx.step(add_in_thread, argument)
        case "sleep":
            ctx.sleep(timedelta(seconds=argument))
            return 0
        case "seq":
            return sum(run_in_threads.fn(ctx, one) for one in argument)
        case _:
            return ctx.execute(run, program)


@step(name="add")
def add_in_thread(number: int) -> int:
    effects[current_step().idempotency_key] += 1
    return number


@app.function
async def fails(ctx: ExecutionContext, program: Program) -> None:
    await play(ctx, program)
    raise ValueError("after all of that")


@app.function
async def parent_of_failure(ctx: ExecutionContext, program: Program) -> str:
    try:
        await ctx.execute(fails, program)
    except ChildFailed as error:
        return error.message
    return "no failure"


def value_of(program: Program) -> int:
    kind, argument = program
    match kind:
        case "add":
            return argument
        case "refuse":
            return -argument
        case "sleep" | "count":
            return 0
        case "child" | "hold":
            return value_of(argument)
        case _:
            return sum(map(value_of, argument))


def seconds_of(program: Program) -> int:
    kind, argument = program
    match kind:
        case "sleep":
            return argument
        case "child":
            return seconds_of(argument)
        case "seq":
            return sum(map(seconds_of, argument))
        case "all":
            return max(map(seconds_of, argument), default=0)
        case _:
            return 0


def steps_of(program: Program) -> int:
    kind, argument = program
    match kind:
        case "add" | "refuse":
            return 1
        case "child" | "hold":
            return steps_of(argument)
        case "sleep" | "count":
            return 0
        case _:
            return sum(map(steps_of, argument))


def counts_of(program: Program) -> int:
    kind, argument = program
    match kind:
        case "count":
            return argument
        case "child" | "hold":
            return counts_of(argument)
        case "seq" | "all":
            return sum(map(counts_of, argument))
        case _:
            return 0


def calls_of(program: Program) -> int:
    kind, argument = program
    match kind:
        case "child":
            return 1 + calls_of(argument)
        case "hold":
            return 3 + calls_of(argument)
        case "seq" | "all":
            return sum(map(calls_of, argument))
        case _:
            return 1


def deaths_in_a_row(program: Program) -> int:
    """How many deaths there may be without a new record in between, if each call costs one: of steps one by one, one.

    What children and sleeps have given is recorded with what comes next, and the deaths of others count as well.
    """
    kind, argument = program
    if kind == "seq" and all(inner in ("add", "refuse") for inner, _ in argument):
        return min(1, len(argument))
    return calls_of(program)


leaves = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 99)).map(list),
    st.tuples(st.just("refuse"), st.integers(0, 99)).map(list),
    st.tuples(st.just("sleep"), st.sampled_from([1, 3, 4, 6, 60, 3600, 86_400])).map(list),
)
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["seq", "all"]), st.lists(inner, max_size=4)).map(list),
        st.tuples(st.just("child"), inner).map(list),
    ),
    max_leaves=8,
)
coordinated = st.recursive(
    st.one_of(leaves, st.tuples(st.just("count"), st.integers(1, 99)).map(list)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["seq", "all"]), st.lists(inner, max_size=4)).map(list),
        st.tuples(st.sampled_from(["child", "hold"]), inner).map(list),
    ),
    max_leaves=8,
)
actions = st.lists(st.sampled_from([0, 1, 2, 5, 59, 3600, "restart", "look"]), max_size=6)
# Not before the record of every call: of four steps that run together, each would lose the others' records once more.
crashes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(CALLS).map(lambda name: [name]), st.booleans()),
        st.tuples(st.just([]), st.just(True)),
    ),
    max_size=2,
)


async def act(env: TestEnvironment, doings: list[Any]) -> None:
    for doing in doings:
        if doing == "restart":
            await env.restart_worker()
        elif doing == "look":
            await env.client.list()
        else:
            await env.advance(timedelta(seconds=doing))


def environment(*, replay: bool, planned: list[Any]) -> TestEnvironment:
    effects.clear()
    env = TestEnvironment(replay=replay, start=START)
    env.use(app)
    for names, recorded in planned:
        env.crash_after(*names, recorded=recorded)
    return env


@pytest.mark.filterwarnings("ignore:crash_after")
@given(program=programs, doings=actions, planned=crashes, replay=st.booleans())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
def test_a_program_gives_what_the_model_gives_whatever_happens(
    program: Program, doings: list[Any], planned: list[Any], replay: bool
) -> None:
    """Its value, and the time that it takes, to the millisecond; each step once, or more if its record was lost."""
    # At the fourth an Execution fails, as it should.
    assume(sum(1 if names else deaths_in_a_row(program) for names, _ in planned) <= 3)

    async def play_it() -> None:
        async with environment(replay=replay, planned=planned) as env:
            execution = await env.spawn(run, program)
            await act(env, doings)
            assert await execution.result() == value_of(program)
            finished = (await execution.get()).status.finished_at
            assert finished == START + timedelta(seconds=seconds_of(program))
            # Each death may cost the records of all steps that run at the moment.
            lost = doings.count("restart") + sum(1 if names else calls_of(program) for names, _ in planned)
            assert len(effects) == steps_of(program)
            assert all(1 <= count <= 1 + lost for count in effects.values()), effects

    asyncio.run(play_it())


@pytest.mark.filterwarnings("ignore:crash_after")
@given(program=coordinated, doings=actions, planned=crashes, replay=st.booleans())
@settings(max_examples=EXAMPLES // 2, suppress_health_check=[HealthCheck.too_slow])
def test_a_program_counts_once_and_gives_back_what_it_holds_whatever_happens(
    program: Program, doings: list[Any], planned: list[Any], replay: bool
) -> None:
    """With readers only, so that nobody waits; what a lock was given as its token stays that."""
    assume(sum(1 if names else deaths_in_a_row(program) for names, _ in planned) <= 3)

    async def play_it() -> None:
        async with environment(replay=replay, planned=planned) as env:
            group, lock = WaitGroup("w", env.client), RWMutex("rw", env.client)
            await group.create()
            await lock.create()
            execution = await env.spawn(run, program)
            await act(env, doings)
            assert await execution.result() == value_of(program)
            assert (await group.status()).counter == counts_of(program)
            status = (await lock.get()).status
            assert (status.locks, status.waiters) == ([], [])

    asyncio.run(play_it())


@pytest.mark.filterwarnings("ignore:crash_after")
@given(program=programs, doings=actions, replay=st.booleans())
@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.too_slow])
def test_a_failure_reaches_the_parent_whatever_happens_before(
    program: Program, doings: list[Any], replay: bool
) -> None:
    """The child's own error, after everything that it did."""

    async def play_it() -> None:
        async with environment(replay=replay, planned=[]) as env:
            execution = await env.spawn(parent_of_failure, program)
            await act(env, doings)
            assert await execution.result() == "after all of that"
            assert len(effects) == steps_of(program)

    asyncio.run(play_it())


@given(program=programs, doings=actions, replay=st.booleans())
@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.too_slow])
def test_a_canceled_program_leaves_nothing_that_lives(program: Program, doings: list[Any], replay: bool) -> None:
    """Whenever that comes: after it, no child is left, and no step runs any more."""

    async def play_it() -> None:
        async with environment(replay=replay, planned=[]) as env:
            execution = await env.spawn(run, ["seq", [program, ["sleep", 10_000_000]]])
            await act(env, doings)
            await execution.cancel()
            with pytest.raises(ExecutionCanceled):
                await execution.result()
            await env.advance(timedelta(0))  # final at once; what runs is stopped right after
            before = effects.copy()
            await env.advance(timedelta(days=1000))
            assert effects == before
            assert {one.phase for one in await env.client.list()} <= {Phase.CANCELED, Phase.COMPLETED}

    asyncio.run(play_it())
