"""Programs that are data: the functions that run them, and strategies that make them up.

A program is ``[kind, arguments...]``; ``machine_model.Run`` says, method by method, what each kind does. What its steps
do outside is counted in ``effects``; a step that calls a service fails while that is ``broken``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from kontinue import (
    App,
    ChildFailed,
    ExecutionContext,
    FunctionDefinition,
    JobFailed,
    JobTemplate,
    NonRetryableError,
    RetryPolicy,
    StepFailed,
    SuspendTimeout,
    SyncExecutionContext,
    TimeoutPolicy,
    WaitTimeout,
    step,
)
from machine_model import CANCELED, DELETED, FAILED, MAP_FAILED, TIMED_OUT, UNANSWERED, Program

app = App(group="g")
effects: Counter[str] = Counter()
broken: set[str] = set()
TEMPLATE = JobTemplate(image="busybox", command=["true"])


@dataclass(frozen=True)
class Job:
    """What one Execution is asked to do."""

    where: str
    body: Program
    rounds: int
    total: int = 0


@step
async def act(where: str, number: int) -> int:
    effects[where] += 1
    return number


@step
async def call(where: str, service: str, number: int) -> int:
    effects[where] += 1
    if service in broken:
        raise ConnectionError(service)
    return number


@step
async def give_up(where: str) -> None:
    effects[where] += 1
    raise NonRetryableError(where)


@step(name="act")
def act_in_thread(where: str, number: int) -> int:
    effects[where] += 1
    return number


@step(name="call")
def call_in_thread(where: str, service: str, number: int) -> int:
    effects[where] += 1
    if service in broken:
        raise ConnectionError(service)
    return number


@app.function
async def run(ctx: ExecutionContext, job: Job) -> int:
    value = job.total + await play(ctx, f"{job.where}#{job.rounds}", job.body)
    if job.rounds > 1:
        ctx.continue_as_new(replace(job, rounds=job.rounds - 1, total=value))
    return value


@app.function
def run_in_thread(ctx: SyncExecutionContext, job: Job) -> int:
    value = job.total + play_in_thread(ctx, f"{job.where}#{job.rounds}", job.body)
    if job.rounds > 1:
        ctx.continue_as_new(replace(job, rounds=job.rounds - 1, total=value))
    return value


async def play(ctx: ExecutionContext, where: str, program: Program) -> int:  # noqa: C901 - a table
    kind, *given = program
    match kind:
        case "step":
            return await ctx.step(act, where, *given)
        case "many":
            return len([await ctx.step(act, f"{where}.{number}", number) for number in range(given[0])])
        case "call":
            return await ctx.step(call, where, *given)
        case "try":
            try:
                return await ctx.step(call, where, *given)
            except StepFailed:
                return -int(given[1])
        case "fatal":
            await ctx.step(give_up, where)
            return 0
        case "sleep":
            await ctx.sleep(timedelta(milliseconds=given[0]), display_name=where)
            return 0
        case "suspend":
            try:
                return await ctx.suspend(int, display_name=where, timeout=_limit(given[0]))
            except SuspendTimeout:
                return UNANSWERED
        case "job":
            try:
                return int((await ctx.run_job(TEMPLATE, name=where)).succeeded)
            except JobFailed:
                return DELETED
        case "child":
            try:
                return await ctx.execute(definition(given[0]), job_of(where, given[0]))
            except ChildFailed as error:
                if given[0]["must"]:
                    raise
                return FAILED if error.phase == "Failed" else CANCELED
        case "map":
            jobs = [job_of(f"{where}.{number}", one) for number, one in enumerate(given[0])]
            try:
                return sum(await ctx.map(definition(given[0][0]), jobs))
            except ChildFailed:
                return MAP_FAILED
        case "seq":
            return sum([await play(ctx, f"{where}.{number}", one) for number, one in enumerate(given[0])])
        case "all":
            return sum(await asyncio.gather(*(play(ctx, f"{where}.{n}", one) for n, one in enumerate(given[0]))))
        case "race":
            _, value = await ctx.race(*(play(ctx, f"{where}.{n}", one) for n, one in enumerate(given[0])))
            return value
        case _:
            try:
                return await ctx.wait_for(play(ctx, f"{where}.0", given[1]), timedelta(milliseconds=given[0]))
            except WaitTimeout:
                return TIMED_OUT


def play_in_thread(ctx: SyncExecutionContext, where: str, program: Program) -> int:
    kind, *given = program
    match kind:
        case "step":
            return ctx.step(act_in_thread, where, *given)
        case "call":
            return ctx.step(call_in_thread, where, *given)
        case "sleep":
            ctx.sleep(timedelta(milliseconds=given[0]), display_name=where)
            return 0
        case "suspend":
            try:
                return ctx.suspend(int, display_name=where, timeout=_limit(given[0]))
            except SuspendTimeout:
                return UNANSWERED
        case "job":
            try:
                return int(ctx.run_job(TEMPLATE, name=where).succeeded)
            except JobFailed:
                return DELETED
        case "child":
            try:
                return ctx.execute(definition(given[0]), job_of(where, given[0]))
            except ChildFailed as error:
                if given[0]["must"]:
                    raise
                return FAILED if error.phase == "Failed" else CANCELED
        case _:
            return sum(play_in_thread(ctx, f"{where}.{number}", one) for number, one in enumerate(given[0]))


def definition(job: dict[str, Any], name: str | None = None) -> FunctionDefinition[[Job], int]:
    """Return the function for a job, with its policies."""
    function: FunctionDefinition[[Job], int] = run_in_thread if job["sync"] else run
    return function.options(
        name=name,
        retry=RetryPolicy(retries=job["retries"], backoff=timedelta(milliseconds=job["backoff_ms"])),
        timeout=TimeoutPolicy(overall=_limit(job["overall_ms"])),
        mutex=job["mutex"],
    )


def job_of(where: str, job: dict[str, Any]) -> Job:
    """Return the argument of the function for a job."""
    return Job(where, job["body"], job["rounds"])


def _limit(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


# What may be made up.

SERVICES = ("stock", "bank")
waits = st.one_of(
    st.sampled_from([1_000, 3_000, 4_000, 7_000, 60_000, 3_600_000, 864_000_000]).map(lambda ms: ["sleep", ms]),
    st.sampled_from([None, 90_000, 7_200_000]).map(lambda ms: ["suspend", ms]),
    st.just(["job"]),
)
calm = st.one_of(
    st.integers(1, 99).map(lambda number: ["step", number]),
    st.tuples(st.just("try"), st.sampled_from(SERVICES), st.integers(1, 99)).map(list),
    waits,
)
sync_leaves = st.one_of(
    st.integers(1, 99).map(lambda number: ["step", number]),
    st.tuples(st.just("call"), st.sampled_from(SERVICES), st.integers(1, 99)).map(list),
    waits,
)
odd_ms = st.tuples(st.sampled_from([2, 30, 100, 4_000, 90_000]), st.integers(1, 999)).map(
    lambda it: it[0] * 1000 + it[1]
)
"""Limits that are not over when anything else happens."""


def jobs(bodies: st.SearchStrategy[Program], *, sync: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Executions of such programs."""
    return st.fixed_dictionaries(
        {
            "body": bodies,
            "retries": st.sampled_from([0, 0, 1, 2]),
            "backoff_ms": st.sampled_from([500, 2_000, 30_000]),
            "overall_ms": st.one_of(st.none(), st.none(), odd_ms),
            "rounds": st.sampled_from([1, 1, 1, 2]),
            "must": st.booleans(),
            "sync": st.just(sync),
            "mutex": st.none(),
        }
    )


def _wider(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    """What may stand anywhere: none of these fails the attempt."""
    child = st.one_of(jobs(lines(inner)), jobs(sync_lines, sync=True))
    caught = child.map(lambda job: {**job, "must": False})
    return st.one_of(
        st.tuples(st.just("seq"), st.lists(inner, min_size=1, max_size=3)).map(list),
        st.tuples(st.just("all"), st.lists(inner, min_size=1, max_size=3)).map(list),
        st.tuples(
            st.just("race"),
            st.lists(st.tuples(waits, inner).map(lambda two: ["seq", list(two)]), min_size=2, max_size=3),
        ).map(list),
        st.tuples(st.just("timeout"), odd_ms, inner).map(list),
        caught.map(lambda job: ["child", job]),
        st.lists(jobs(lines(inner)).map(lambda job: {**job, "retries": 0, "overall_ms": None}), min_size=1, max_size=3)
        .map(_alike)
        .map(lambda group: ["map", group]),
    )


def _alike(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All children of a map have the same options."""
    return [{**job, "backoff_ms": group[0]["backoff_ms"]} for job in group]


def lines(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    """What a whole function may be: one thing after the other, some of which fail the attempt."""
    risky = st.one_of(
        st.tuples(st.just("call"), st.sampled_from(SERVICES), st.integers(1, 99)).map(list),
        st.just(["fatal"]),
        st.sampled_from([2, 2, 3, 35]).map(lambda count: ["many", count]),
    )
    return st.lists(st.one_of(inner, inner, risky), min_size=1, max_size=4).map(lambda parts: ["seq", parts])


sync_lines = st.lists(sync_leaves, min_size=1, max_size=4).map(lambda parts: ["seq", parts])
anything = st.recursive(calm, _wider, max_leaves=8)


@st.composite
def parents(draw: st.DrawFn) -> Program:
    """Functions whose children may fail their attempts, too."""
    parts = draw(lines(anything))[1]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), ["child", draw(jobs(lines(calm)))])
    return ["seq", parts]


@st.composite
def roots(draw: st.DrawFn) -> dict[str, Any]:
    """What clients ask for."""
    is_sync = draw(st.integers(0, 3)) == 0
    body = draw(sync_lines if is_sync else parents())
    job = draw(jobs(st.just(body), sync=is_sync))
    return {**job, "mutex": draw(st.sampled_from([None, "a", "a"]))}
