"""Primitives in functions: what is waited for and held, over replays, crashes, new attempts and ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from kontinue import App, ExecutionContext, PrimitiveFailed, RetryPolicy, SyncExecutionContext, TimeoutPolicy
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.mutexes import MUTEXES
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionCanceled, ExecutionFailed, NotFound, WaitTimeout
from kontinue.kube import requests
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue_engine.kube import primitive_operations
from kontinue_engine.kube.primitive_operations import PrimitiveOperations
from kontinue_engine.testing import Stuck, TestEnvironment
from kontinue_engine.wire.frames import AskPrimitive

app = App(group="g")
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ledger: list[str] = []


@pytest.fixture(autouse=True)
def clean_ledger() -> None:
    ledger.clear()


def noted(text: str) -> None:
    ledger.append(text)


@app.function
async def in_turn(ctx: ExecutionContext, name: str) -> int:
    async with ctx.mutex("m") as lock:
        await ctx.step(noted, f"{name} in")
        await ctx.sleep(MINUTE)
        await ctx.step(noted, f"{name} out")
    return lock.token


@app.function
def in_turn_sync(ctx: SyncExecutionContext, name: str) -> int:
    with ctx.mutex("m") as lock:
        ctx.step(noted, f"{name} in")
        ctx.sleep(MINUTE)
        ctx.step(noted, f"{name} out")
    return lock.token


@app.function
async def counts(ctx: ExecutionContext) -> list[int]:
    group = ctx.wait_group("w")
    return [await group.add(2), await group.done(), await group.done()]


@app.function
async def waits(ctx: ExecutionContext) -> str:
    await ctx.wait_group("w").wait()
    return "done"


@pytest.mark.parametrize("function", [in_turn, in_turn_sync])
async def test_a_mutex_is_held_by_one_execution_at_a_time(env: TestEnvironment, function: Any) -> None:
    """Over replays after each call; tokens grow."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    first, second = await env.spawn(function, "a"), await env.spawn(function, "b")
    assert {await first.result(), await second.result()} == {1, 2}
    assert ledger in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])
    assert not await mutex.is_locked()


@pytest.mark.parametrize("function", [in_turn, in_turn_sync])
async def test_a_queue_without_room_is_waited_for(
    env: TestEnvironment, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More want the lock than its object can name: all get it, one after the other."""
    small = msgspec.structs.replace(MUTEXES, most=2)
    monkeypatch.setitem(primitive_operations._LOCKS, "Mutex", (requests.MUTEXES, small))
    env.use(app)
    await Mutex("m", env.client).create()
    runs = [await env.spawn(function, str(number)) for number in range(4)]
    assert sorted([await run.result() for run in runs]) == [1, 2, 3, 4]
    assert [entry.partition(" ")[2] for entry in ledger] == ["in", "out"] * 4


async def test_what_is_counted_counts_once(env: TestEnvironment) -> None:
    """Whatever crashes between the write and its record."""
    env.use(app)
    env.crash_after()
    group = WaitGroup("w", env.client)
    await group.create()
    assert await (await env.spawn(counts)).result() == [2, 1, 0]
    assert (await group.status()).added == 2


@app.function
async def naps(ctx: ExecutionContext) -> None:
    await ctx.sleep(MINUTE)


@app.function
async def counts_after_a_child(ctx: ExecutionContext) -> int:
    await ctx.execute(naps)
    return await ctx.wait_group("w").done()


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_count_whose_answer_got_lost_is_not_repeated(
    is_forgotten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker dies before the record. If the WaitGroup has forgotten it meanwhile, that is said."""
    perform = PrimitiveOperations.perform

    async def stall(self: PrimitiveOperations, asked: AskPrimitive, holder: Holder, **how: Any) -> bytes:
        answer = await perform(self, asked, holder, **how)
        await asyncio.get_running_loop().create_future()  # what was counted is never heard of
        return answer

    async with TestEnvironment(replay=False) as env:
        env.use(app)
        group = WaitGroup("w", env.client)
        await group.create()
        await group.add(1)
        monkeypatch.setattr(PrimitiveOperations, "perform", stall)
        run = await env.spawn(counts_after_a_child)
        await env.advance(2 * MINUTE)
        assert (await group.status()).counter == 0
        for number in range(130):  # only operations with ids take room from each other
            await group.add(1, operation_id=f"other-{number}" if is_forgotten else None)
        monkeypatch.setattr(PrimitiveOperations, "perform", perform)
        await env.restart_worker()
        if is_forgotten:
            with pytest.raises(ExecutionFailed, match="whether this was counted"):
                await run.result()
        else:
            assert await run.result() == 130
        assert (await group.status()).counter == 130


@app.function
async def echoes(ctx: ExecutionContext, number: int) -> int:
    return number


@app.function
async def passes_its_token_on(ctx: ExecutionContext) -> list[int]:
    async with ctx.mutex("m") as lock:
        passed = await ctx.execute(echoes, lock.token)
    return [lock.token, passed]


async def test_a_lock_that_was_given_back_is_not_taken_again(env: TestEnvironment) -> None:
    """Whatever crashes: its token went into what was done with it."""
    env.use(app)
    env.crash_after()
    mutex = Mutex("m", env.client)
    await mutex.create()
    assert await (await env.spawn(passes_its_token_on)).result() == [1, 1]
    assert (await mutex.get()).status.token == 1


@app.function
async def counts_often(ctx: ExecutionContext) -> int:
    return [await ctx.wait_group("w").add() for _ in range(140)][-1]


async def test_replays_in_one_worker_make_no_count_doubtful(env: TestEnvironment) -> None:
    """It knows what it was asked, however much the WaitGroup has forgotten."""
    env.use(app)
    await WaitGroup("w", env.client).create()
    assert await (await env.spawn(counts_often)).result() == 140


async def test_a_count_after_a_child_in_another_worker_counts() -> None:
    """It cannot have been counted before: the one that was interrupted was not told that the child had ended."""
    async with TestEnvironment(replay=False) as env:
        env.use(app)
        group = WaitGroup("w", env.client)
        await group.create()
        for _ in range(130):
            await group.add(1)
        run = await env.spawn(counts_after_a_child)
        await env.advance(MINUTE / 2)
        await env.restart_worker()
        assert await run.result() == 129


async def test_a_wait_outlives_workers(env: TestEnvironment) -> None:
    """What it waits for stands in the status; whoever takes the Execution over waits on."""
    env.use(app)
    group = WaitGroup("w", env.client)
    await group.create()
    await group.add(1)
    run = await env.spawn(waits)
    await env.advance(MINUTE)
    found = await run.get()
    assert found.status.phase is Phase.SUSPENDED
    assert [(one.kind, one.name) for one in found.status.waiting_for] == [("WaitGroup", "w")]
    await env.restart_worker()
    await env.advance(MINUTE)
    await group.done()
    assert await run.result() == "done"


@app.function
async def shares(ctx: ExecutionContext, name: str, writes: bool) -> None:
    lock = ctx.rwmutex("rw")
    async with lock.write() if writes else lock.read():
        await ctx.step(noted, f"{name} in")
        await ctx.sleep(MINUTE)
        await ctx.step(noted, f"{name} out")


@app.function
def shares_sync(ctx: SyncExecutionContext, name: str, writes: bool) -> None:
    lock = ctx.rwmutex("rw")
    with lock.write() if writes else lock.read():
        ctx.step(noted, f"{name} in")
        ctx.sleep(MINUTE)
        ctx.step(noted, f"{name} out")


@app.function
async def permitted(ctx: ExecutionContext, name: str) -> None:
    async with ctx.semaphore("s"):
        await ctx.step(noted, f"{name} in")
        await ctx.sleep(MINUTE)
        await ctx.step(noted, f"{name} out")


@app.function
def permitted_sync(ctx: SyncExecutionContext, name: str) -> None:
    with ctx.semaphore("s"):
        ctx.step(noted, f"{name} in")
        ctx.sleep(MINUTE)
        ctx.step(noted, f"{name} out")


@app.function
async def meets(ctx: ExecutionContext) -> None:
    barrier = ctx.barrier("b")
    await barrier.arrive()
    await barrier.wait()


@app.function
def meets_sync(ctx: SyncExecutionContext) -> None:
    barrier = ctx.barrier("b")
    barrier.arrive()
    barrier.arrive()
    barrier.wait()


@app.function
async def does_once(ctx: ExecutionContext) -> bool:
    return await ctx.once("o").do(noted, "done")


@app.function
def does_once_sync(ctx: SyncExecutionContext) -> bool:
    return ctx.once("o").do(noted, "done")


def fails_first(text: str) -> None:
    ledger.append(text)
    if ledger.count(text) == 1:
        raise ValueError("not yet")


@app.function
async def fails_once(ctx: ExecutionContext) -> bool:
    return await ctx.once("o").do(fails_first, "try")


@app.function
async def impatient(ctx: ExecutionContext) -> str:
    try:
        async with ctx.mutex("m", timeout=MINUTE):
            return "held"
    except WaitTimeout:
        return "not in time"


@app.function
def impatient_sync(ctx: SyncExecutionContext) -> str:
    try:
        with ctx.mutex("m", timeout=MINUTE):
            return "held"
    except WaitTimeout:
        return "not in time"


def late_limits(ctx: Any) -> list[Any]:
    late = timedelta(seconds=-1)
    scopes = [ctx.mutex("m", timeout=late), ctx.rwmutex("r").write(timeout=late), ctx.rwmutex("r").read(timeout=late)]
    return [*scopes, ctx.semaphore("s", timeout=late), ctx.lease("l", timeout=late)]


@app.function
async def late(ctx: ExecutionContext) -> list[str]:
    said: list[str] = []
    for one in ctx.wait_group("w"), ctx.barrier("b"), ctx.gate("g"):
        try:
            await one.wait(timeout=timedelta(seconds=-1))
        except WaitTimeout as error:
            said.append(str(error))
    for scope in late_limits(ctx):
        try:
            async with scope:
                pass
        except WaitTimeout as error:
            said.append(str(error))
    return said


@app.function
def late_sync(ctx: SyncExecutionContext) -> list[str]:
    said: list[str] = []
    for one in ctx.wait_group("w"), ctx.barrier("b"), ctx.gate("g"):
        try:
            one.wait(timeout=timedelta(seconds=-1))
        except WaitTimeout as error:
            said.append(str(error))
    for scope in late_limits(ctx):
        try:
            with scope:
                pass
        except WaitTimeout as error:
            said.append(str(error))
    return said


@app.function
async def races(ctx: ExecutionContext) -> int:
    async def holds() -> None:
        async with ctx.mutex("m"):
            await ctx.sleep(DAY)

    winner, _ = await ctx.race(holds(), ctx.sleep(MINUTE))
    await ctx.sleep(MINUTE)
    return winner


@app.function
def races_sync(ctx: SyncExecutionContext) -> int:
    def holds() -> None:
        with ctx.mutex("m"):
            ctx.sleep(DAY)

    winner, _ = ctx.race(holds, lambda: ctx.sleep(MINUTE))
    ctx.sleep(MINUTE)
    return winner


@app.function
async def raises_within(ctx: ExecutionContext) -> None:
    async with ctx.mutex("m"):
        await ctx.step(noted, "in")
        raise ValueError("oh")


@app.function(retry=RetryPolicy(retries=1, backoff=MINUTE))
async def tries_again(ctx: ExecutionContext) -> list[int]:
    async with ctx.mutex("n"):
        await ctx.step(noted, "before")
    async with ctx.mutex("m") as lock:
        await ctx.step(noted, "within")
        await ctx.step(fails_first, "try")
    return [lock.token]


@app.function(retry=RetryPolicy(retries=1, backoff=MINUTE), timeout=TimeoutPolicy(attempt=timedelta(seconds=3)))
async def too_slow(ctx: ExecutionContext) -> int:
    async with ctx.mutex("m") as lock:
        await ctx.step(noted, "within")
        if ctx.attempt == 1:
            await ctx.sleep(timedelta(seconds=4))
    return lock.token


@app.function
async def holds(ctx: ExecutionContext) -> None:
    async with ctx.mutex("m"), ctx.semaphore("s"):
        await ctx.wait_group("w").add(3, bound=True)
        await ctx.suspend()


@app.function
async def told(ctx: ExecutionContext) -> str:
    try:
        async with ctx.mutex("missing"):
            return "held"
    except PrimitiveFailed as error:
        return f"{error.primitive} {error.is_a(NotFound)}: {error.message}"


@app.function
async def takes_off_too_much(ctx: ExecutionContext) -> str:
    try:
        await ctx.wait_group("w").done(5)
    except PrimitiveFailed as error:
        return error.message
    return "counted"


@app.function
async def one_step_within(ctx: ExecutionContext) -> None:
    async with ctx.mutex("m"):
        await ctx.step(noted, "in")


@pytest.mark.parametrize("function", [shares, shares_sync])
async def test_readers_hold_together_and_a_writer_alone(env: TestEnvironment, function: Any) -> None:
    """Who writes waits for readers, and readers for him."""
    env.use(app)
    await RWMutex("rw", env.client).create()
    runs = [await env.spawn(function, name, writes) for name, writes in (("a", False), ("b", False), ("c", True))]
    for run in runs:
        await run.result()
    inside: set[str] = set()
    for entry in ledger:
        name, _, what = entry.partition(" ")
        inside = inside | {name} if what == "in" else inside - {name}
        assert inside == {"c"} or "c" not in inside
    assert len(ledger) == 6


@pytest.mark.parametrize("function", [permitted, permitted_sync])
async def test_no_more_executions_than_permits_hold_one(env: TestEnvironment, function: Any) -> None:
    """The coordinator of the environment grants; the permits are given back."""
    env.use(app)
    semaphore = Semaphore("s", env.client)
    await semaphore.create(2)
    runs = [await env.spawn(function, str(number)) for number in range(5)]
    for run in runs:
        await run.result()
    count = most = 0
    for entry in ledger:
        count += 1 if entry.endswith("in") else -1
        most = max(most, count)
    assert (most, len(ledger)) == (2, 10)
    assert [one.metadata.name for one in await semaphore.permits()] == []


async def test_executions_meet_at_a_barrier(env: TestEnvironment) -> None:
    """Whoever says twice that it has arrived counts once."""
    env.use(app)
    await Barrier("b", env.client).create(3)
    first, second = await env.spawn(meets), await env.spawn(meets_sync)
    await env.advance(MINUTE)
    assert {(await run.get()).status.phase for run in (first, second)} == {Phase.SUSPENDED}
    third = await env.spawn(meets)
    for run in (first, second, third):
        await run.result()


@pytest.mark.parametrize("function", [does_once, does_once_sync])
async def test_what_is_done_once_is_done_by_one(env: TestEnvironment, function: Any) -> None:
    """All the others are told that it was not them."""
    env.use(app)
    once = Once("o", env.client)
    await once.create()
    runs = [await env.spawn(function) for _ in range(3)]
    assert sorted([await run.result() for run in runs]) == [False, False, True]
    assert ledger == ["done"]
    assert await once.is_executed()


async def test_what_has_failed_once_may_be_tried_by_another(env: TestEnvironment) -> None:
    """The failure is that of the step."""
    env.use(app)
    await Once("o", env.client).create()
    with pytest.raises(ExecutionFailed, match="not yet"):
        await (await env.spawn(fails_once)).result()
    assert await (await env.spawn(fails_once)).result() is True


@pytest.mark.parametrize("function", [impatient, impatient_sync])
async def test_who_waits_no_longer_leaves_the_queue(env: TestEnvironment, function: Any) -> None:
    """A durable time limit; afterwards nobody stands in the queue."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    lock = await mutex.lock(holder="somebody")
    run = await env.spawn(function)
    await env.advance(MINUTE / 2)
    assert len((await mutex.get()).status.waiters) == 1
    assert await run.result() == "not in time"
    await env.advance(MINUTE)
    assert (await mutex.get()).status.waiters == []
    await mutex.unlock(lock)
    assert await (await env.spawn(function)).result() == "held"


@pytest.mark.parametrize("function", [races, races_sync])
async def test_a_branch_that_is_given_up_gives_back_what_it_holds(env: TestEnvironment, function: Any) -> None:
    """While its Execution goes on."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    run = await env.spawn(function)
    await env.advance(MINUTE / 2)
    assert await mutex.is_locked()
    await env.advance(MINUTE)
    assert not await mutex.is_locked()
    assert await run.result() == 1


async def test_a_body_that_raises_gives_back_what_it_holds(env: TestEnvironment) -> None:
    """And what it raises is what the Execution fails with."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    with pytest.raises(ExecutionFailed, match="oh"):
        await (await env.spawn(raises_within)).result()
    assert not await mutex.is_locked()


async def test_a_new_attempt_takes_a_lock_again(env: TestEnvironment) -> None:
    """It has what was done within it, and what was locked and unlocked before stays over."""
    env.use(app)
    for name in ("m", "n"):
        await Mutex(name, env.client).create()
    run = await env.spawn(tries_again)
    assert await run.result() == [2]
    assert ledger == ["before", "within", "try", "try"]
    assert (await Mutex("n", env.client).get()).status.token == 1


async def test_an_attempt_that_is_cut_off_leaves_its_lock_to_the_next_one(env: TestEnvironment) -> None:
    """Nobody else has it meanwhile."""
    env.use(app)
    mutex = Mutex("m", env.client)
    await mutex.create()
    run = await env.spawn(too_slow)
    assert await run.result() == 1
    assert ledger == ["within"]
    assert not await mutex.is_locked()


async def test_the_end_of_an_execution_gives_back_all_that_it_holds(env: TestEnvironment) -> None:
    """Canceled in the middle: locks, permits and counts that are bound to it."""
    env.use(app)
    mutex, semaphore, group = Mutex("m", env.client), Semaphore("s", env.client), WaitGroup("w", env.client)
    await mutex.create()
    await semaphore.create(1)
    await group.create()
    run = await env.spawn(holds)
    await env.advance(MINUTE)
    assert (await group.status()).counter == 3
    await env.client.cancel(run.name)
    with pytest.raises(ExecutionCanceled):
        await run.result()
    await env.advance(MINUTE)
    assert not await mutex.is_locked()
    assert await semaphore.permits() == []
    assert (await group.status()).counter == 0


async def test_what_cannot_be_had_is_an_error_that_a_function_can_handle(env: TestEnvironment) -> None:
    """No such object, and a counter that does not allow it; the object is named."""
    env.use(app)
    group = WaitGroup("w", env.client)
    await group.create()
    assert "Mutex/missing True: " in await (await env.spawn(told)).result()
    why = f"WaitGroup {group.namespace}/w: the counter is 0: it cannot go below 0"
    assert why in await (await env.spawn(takes_off_too_much)).result()


async def test_who_waits_for_ever_is_told_what_for(env: TestEnvironment) -> None:
    """A test that would hang names the primitive."""
    env.use(app)
    group = WaitGroup("w", env.client)
    await group.create()
    await group.add(1)
    with pytest.raises(Stuck, match="WaitGroup w"):
        await (await env.spawn(waits)).result()


async def test_a_lock_takes_two_writes_of_its_own_and_none_of_the_execution(env: TestEnvironment) -> None:
    """Lock and unlock; its records ride on the writes that there are."""
    env.use(app)
    await Mutex("m", env.client).create()
    before = env._world.writes("m")
    run = await env.spawn(one_step_within)
    await run.result()
    assert run.writes == 3  # creation, the step, the end
    assert env._world.writes("m") - before == 2


@app.function
async def leads(ctx: ExecutionContext, name: str) -> int:
    async with ctx.lease("l") as lease:
        await ctx.step(noted, f"{name} in")
        await ctx.sleep(DAY)
        await ctx.step(noted, f"{name} out")
    return lease.token


@app.function
def leads_sync(ctx: SyncExecutionContext, name: str) -> int:
    with ctx.lease("l", priority=7) as lease:
        ctx.step(noted, f"{name} in")
        ctx.sleep(DAY)
        ctx.step(noted, f"{name} out")
    return lease.token


@app.function
async def goes_through(ctx: ExecutionContext) -> None:
    await ctx.gate("g").wait()


@app.function
def goes_through_sync(ctx: SyncExecutionContext) -> None:
    ctx.gate("g").wait()


async def test_a_lease_is_held_without_being_renewed(env: TestEnvironment) -> None:
    """For a day, although its ttl is ten minutes; one after the other."""
    env.use(app)
    lease = Lease("l", env.client)
    await lease.create()
    first = await env.spawn(leads, "a")
    second = await env.spawn(leads_sync, "b")
    assert sorted([await first.result(), await second.result()]) == [1, 2]
    assert ledger in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])
    await env.advance(MINUTE)
    assert await lease.is_available()


async def test_functions_wait_for_a_gate(env: TestEnvironment) -> None:
    """Until its conditions hold."""
    env.use(app)
    group = WaitGroup("w", env.client)
    await group.create()
    await group.add(1)
    await Gate("g", env.client).create(["WaitGroup/w=Done"])
    runs = [await env.spawn(goes_through), await env.spawn(goes_through_sync)]
    await env.advance(MINUTE)
    assert {(await run.get()).status.waiting_for[0].kind for run in runs} == {"Gate"}
    await group.done()
    for run in runs:
        await run.result()


@app.function
async def takes_the_first(ctx: ExecutionContext) -> int:
    async def take(name: str) -> None:
        async with ctx.mutex(name):
            pass

    winner, _ = await ctx.race(take("m"), take("n"))
    await ctx.sleep(MINUTE)
    return winner


@app.function
def takes_the_first_sync(ctx: SyncExecutionContext) -> int:
    def take(name: str) -> None:
        with ctx.mutex(name):
            pass

    winner, _ = ctx.race(lambda: take("m"), lambda: take("n"))
    ctx.sleep(MINUTE)
    return winner


@pytest.mark.parametrize("function", [takes_the_first, takes_the_first_sync])
async def test_what_was_granted_to_a_branch_that_is_given_up_is_given_back(env: TestEnvironment, function: Any) -> None:
    """Both are free, so both are granted; the loser never hears of it."""
    env.use(app)
    mutexes = [Mutex(name, env.client) for name in ("m", "n")]
    for mutex in mutexes:
        await mutex.create()
    run = await env.spawn(function)
    await env.advance(MINUTE / 2)
    assert [await mutex.is_locked() for mutex in mutexes] == [False, False]
    assert await run.result() in (0, 1)


@pytest.mark.parametrize("function", [late, late_sync], ids=["async", "sync"])
async def test_a_limit_that_is_over_waits_for_nobody(env: TestEnvironment, function: Any) -> None:
    """What is left of a time that is over is negative: a second, in which it is asked for."""
    env.use(app)
    group, mutex, rwmutex = WaitGroup("w", env.client), Mutex("m", env.client), RWMutex("r", env.client)
    semaphore, lease = Semaphore("s", env.client), Lease("l", env.client)
    await Barrier("b", env.client).create(2)
    await Gate("g", env.client).create(["Job/x=Complete"])
    for one in group, mutex, rwmutex, semaphore, lease:
        await one.create()
    await group.add()
    for take in mutex.lock, rwmutex.lock, semaphore.acquire, lease.acquire:
        await take(holder="somebody")
    said = await (await env.spawn(function)).result()
    names = ["WaitGroup/w", "Barrier/b", "Gate/g", "Mutex/m", "RWMutex/r", "RWMutex/r", "Semaphore/s", "Lease/l"]
    assert said == [f"{name} took longer than 0:00:01" for name in names]


@pytest.mark.parametrize("function", [late, late_sync], ids=["async", "sync"])
async def test_what_is_free_open_or_done_is_had_with_a_limit_that_is_over(env: TestEnvironment, function: Any) -> None:
    """As in ``kontinue.sync``: who computes what is left of his time does not miss what is there."""
    env.use(app)
    for one in (WaitGroup("w", env.client), Mutex("m", env.client), RWMutex("r", env.client)):
        await one.create()
    for one in (Semaphore("s", env.client), Lease("l", env.client)):
        await one.create()
    barrier, gate = Barrier("b", env.client), Gate("g", env.client)
    await barrier.create(1)
    await barrier.arrive("somebody")
    await gate.create(["Barrier/b=Open"])
    assert await (await env.spawn(function)).result() == []
