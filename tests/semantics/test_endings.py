"""Cancel and skip, in whatever an Execution does: who is told, with what, and what becomes of what it had started."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pytest

from kontinue import (
    App,
    ExecutionContext,
    FunctionDefinition,
    RetryPolicy,
    SyncExecutionContext,
    TimeoutPolicy,
    step,
)
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ChildFailed, ExecutionCanceled, ExecutionInterrupted, InvalidResult, InvalidState
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ledger: Counter[str] = Counter()


@dataclass(frozen=True)
class Artifact:
    target: str
    sizes: list[int]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.clear()


@step
async def charge() -> str:
    ledger["charged"] += 1
    return "receipt"


@app.function
async def leaf(ctx: ExecutionContext, days: int) -> str:
    await ctx.sleep(days * DAY)
    ledger["leaves"] += 1
    return "grown"


@app.function
async def build(ctx: ExecutionContext, target: str) -> Artifact:
    try:
        await ctx.map(leaf, [2, 3])
    except asyncio.CancelledError as told:
        ledger[f"told: {told}"] += 1
        raise
    return Artifact(target, [1])


@app.function
async def release(ctx: ExecutionContext, target: str) -> str:
    child = build.options(name=f"build-{target}")
    try:
        artifact = await ctx.execute(child, target)
    except ChildFailed as error:
        return f"{error.phase}: {error.message}"
    await ctx.step(charge)
    assert isinstance(artifact, Artifact)
    return f"{artifact.target} {sum(artifact.sizes)}"


@app.function(retry=RetryPolicy(retries=3, backoff=HOUR))
async def fragile(ctx: ExecutionContext) -> str:
    ledger["tried"] += 1
    raise ValueError("no")


@app.function
def wait_in_thread(ctx: SyncExecutionContext) -> str:
    try:
        ctx.sleep(DAY)
    except ExecutionInterrupted as told:
        ledger[f"told: {told}"] += 1
        raise
    return "waited"


async def test_a_skipped_child_is_a_success_of_its_type(env: TestEnvironment) -> None:
    """Its parent goes on with the result as if the child had returned it; what the child had started is canceled."""
    env.use(app)
    run = await env.spawn(release, "amd64")
    await env.advance(HOUR)
    await env.client.skip("build-amd64", result=Artifact("by hand", [2, 3]), message="built elsewhere")
    assert await run.result() == "by hand 5"
    await env.advance(9 * DAY)
    assert ledger == {"charged": 1, "told: built elsewhere": 1}
    child = await env.client.get("build-amd64")
    assert (child.phase, child.status.message) == (Phase.SKIPPED, "built elsewhere")
    assert is_stopped(child.status.conditions)


async def test_a_result_of_another_type_is_refused(env: TestEnvironment) -> None:
    """Before anything is changed: the parent could not read it."""
    env.use(app)
    run = await env.spawn(release, "amd64")
    await env.advance(HOUR)
    with pytest.raises(InvalidResult, match="result for build"):
        await env.client.skip("build-amd64", result={"target": 5})
    with pytest.raises(InvalidResult, match="does not return null"):
        await env.client.skip("build-amd64")
    assert await run.result() == "amd64 1"


async def test_a_skip_ends_backoff(env: TestEnvironment) -> None:
    """It has stopped at once, there will be no further attempt, and it stays skipped."""
    env.use(app)
    run = await env.spawn(fragile)
    await env.advance(timedelta(minutes=1))
    assert (await run.get()).phase is Phase.BACKOFF
    await run.skip("never mind")
    assert await run.result() == "never mind"
    await env.advance(DAY)
    skipped = await run.get()
    assert (skipped.phase, ledger["tried"], is_stopped(skipped.status.conditions)) == (Phase.SKIPPED, 1, True)
    with pytest.raises(InvalidState):
        await run.retry()
    with pytest.raises(InvalidState, match="it is Skipped already"):
        await run.cancel()


@pytest.mark.parametrize("function", [fragile, wait_in_thread])
async def test_an_end_costs_two_writes(env: TestEnvironment, function: FunctionDefinition[[], str]) -> None:
    """That of the client, and that nothing of it runs any more."""
    env.use(app)
    run = await env.spawn(function)
    await env.advance(timedelta(minutes=1))
    before = run.writes
    await run.skip("enough")
    await env.advance(timedelta(minutes=1))
    assert is_stopped((await run.get()).status.conditions)
    assert run.writes - before == 2


async def test_a_skip_survives_whatever_dies(env: TestEnvironment) -> None:
    """It stands in the status; whoever comes next finds what is left to do."""
    env.use(app)
    run = await env.spawn(release, "amd64")
    await env.advance(HOUR)
    await env.client.skip("build-amd64", result=Artifact("a", [1]))
    await env.restart_worker()
    assert await run.result() == "a 1"
    env.crash_after()
    await env.advance(9 * DAY)
    assert ledger["leaves"] == 0
    assert (await run.get()).phase is Phase.COMPLETED


async def test_a_canceled_child_is_a_failure_with_the_message(env: TestEnvironment) -> None:
    """The parent is told that, and why, and may go on otherwise."""
    env.use(app)
    run = await env.spawn(release, "amd64")
    await env.advance(HOUR)
    await env.client.cancel("build-amd64", message="too expensive")
    assert await run.result() == "Canceled: too expensive"


async def test_a_cancel_reaches_everything_below_it(env: TestEnvironment) -> None:
    """Grandchildren too; those that have code in memory are told."""
    env.use(app)
    run = await env.spawn(release, "amd64")
    await env.advance(HOUR)
    await run.cancel("stop it")
    with pytest.raises(ExecutionCanceled, match="stop it"):
        await run.result()
    await env.advance(9 * DAY)
    assert ledger["leaves"] == ledger["charged"] == 0
    child = await env.client.get("build-amd64")
    assert (child.phase, child.status.message) == (Phase.CANCELED, "Canceled because its parent has ended")


async def test_sync_code_is_told_as_well(env: TestEnvironment) -> None:
    """As ExecutionInterrupted with the message, in the call in which it waits; it ends for a skip as for a cancel."""
    env.use(app)
    canceled, skipped = await env.spawn(wait_in_thread), await env.spawn(wait_in_thread)
    await env.advance(HOUR)
    await canceled.cancel("one")
    await skipped.skip("by hand", message="two")
    await env.advance(timedelta(minutes=1))
    assert ledger == {"told: one": 1, "told: two": 1}
    assert await skipped.result() == "by hand"


fixed = App(group="g")


@app.function
async def grow(ctx: ExecutionContext) -> str:
    receipt = await ctx.step(charge)
    await ctx.sleep(DAY)
    return receipt


@fixed.function(name="grow")
async def grow_otherwise(ctx: ExecutionContext) -> str:
    await ctx.sleep(DAY)
    return await ctx.step(charge)


@pytest.mark.parametrize("verb", ["cancel", "skip", "wait"])
async def test_what_is_blocked_can_be_ended(env: TestEnvironment, verb: str) -> None:
    """By a cancel, by a skip, or by its deadline, which goes on counting; no code of it has to match for that."""
    env.use(app)
    run = await env.spawn(grow.options(timeout=TimeoutPolicy(overall=3 * DAY)))
    await env.advance(HOUR)
    await env.restart_worker(fixed)
    await env.advance(2 * DAY)
    blocked = await run.get()
    assert blocked.phase is Phase.BLOCKED
    if verb == "cancel":
        await run.cancel()
    elif verb == "skip":
        await run.skip("grown by hand")
    await env.advance(DAY)
    ended = await run.get()
    expected = {
        "cancel": (Phase.CANCELED, "CanceledByClient"),
        "skip": (Phase.SKIPPED, "SkippedByClient"),
        "wait": (Phase.FAILED, "OverallTimeout"),
    }
    assert (ended.phase, ended.status.reason) == expected[verb]
    assert is_stopped(ended.status.conditions)
    assert ledger["charged"] == 1


@pytest.mark.parametrize("verb", ["cancel", "skip"])
async def test_what_waits_for_its_turn_can_be_ended(env: TestEnvironment, verb: str) -> None:
    """It leaves the line, and never runs; who comes after it does."""
    env.use(app)
    holder, waiting, following = [await env.spawn(wait_in_thread.options(mutex="m")) for _ in range(3)]
    await env.advance(HOUR)
    assert (await waiting.get()).phase is Phase.PENDING
    await (waiting.cancel() if verb == "cancel" else waiting.skip("by hand"))
    assert await holder.result() == await following.result() == "waited"
    ended = await waiting.get()
    assert ended.phase is (Phase.CANCELED if verb == "cancel" else Phase.SKIPPED)
    assert (ended.status.attempt_count, is_stopped(ended.status.conditions)) == (0, True)


@step
async def trip() -> None:
    ledger["tripped"] += 1
    if ledger["tripped"] == 1:
        raise ConnectionError("not yet")


@app.function(retry=RetryPolicy(retries=1, backoff=HOUR))
async def take_its_time(ctx: ExecutionContext, phase: Phase) -> str:
    receipt = await ctx.step(charge)
    if phase is Phase.SUSPENDED:
        await ctx.sleep(HOUR)
    else:
        await ctx.step(trip)
    return receipt


@pytest.mark.parametrize("verb", ["cancel", "skip"])
@pytest.mark.parametrize("phase", [Phase.SUSPENDED, Phase.BACKOFF])
async def test_what_waits_can_be_ended(env: TestEnvironment, phase: Phase, verb: str) -> None:
    """At once and for good, whatever it waits for; a retry of what was canceled goes on where it was."""
    env.use(app)
    run = await env.spawn(take_its_time, phase)
    await env.advance(timedelta(minutes=1))
    assert (await run.get()).phase is phase
    await (run.cancel("enough") if verb == "cancel" else run.skip("by hand", message="enough"))
    await env.advance(2 * HOUR)
    ended = await run.get()
    assert is_stopped(ended.status.conditions)
    assert (ended.status.message, ended.status.waiting_for, ended.status.attempt_count) == ("enough", [], 1)
    if verb == "skip":
        assert (ended.phase, await run.result()) == (Phase.SKIPPED, "by hand")
        with pytest.raises(InvalidState):
            await run.retry()
    else:
        assert ended.phase is Phase.CANCELED
        await run.retry()
        assert await run.result() == "receipt"
    assert ledger["charged"] == 1
