"""Async functions in a runner: deterministic loops on a host loop, cancellation, misuse, containment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from fake_supervisor import FakeSupervisor
from kontinue.context import ExecutionContext
from kontinue.definition import define
from kontinue.errors import ChildFailed, ContextError, DefinitionError, StepFailed, WaitTimeout
from kontinue.options import RetryPolicy
from kontinue.steps import current_step, step
from kontinue_engine.runner import deterministic_loop
from kontinue_engine.runner.async_host import AsyncHost
from kontinue_engine.runner.current import current_activation, current_step_id
from kontinue_engine.wire import frames


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def double_in_thread(x: int) -> int:
    return 2 * x


child = define(double, name="child")
Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def supervisor() -> FakeSupervisor:
    return FakeSupervisor()


@pytest.fixture
async def run(supervisor: FakeSupervisor) -> Run:
    """Run functions in one AsyncHost; return the frame that ended the activation."""
    functions: dict[str, Any] = {}
    supervisor.host = AsyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms)

    async def run_function(fn: Callable[..., Any], number: int = 1, *, serve: bool = True, **arguments: Any) -> Any:
        functions[fn.__name__] = define(fn)
        supervisor.activate(number, fn.__name__, **arguments)
        if serve:
            await supervisor.serve_async(lambda: supervisor.end(number) is not None)
        return supervisor.end(number)

    return run_function


async def test_function_without_a_context_runs_on_the_host_loop(run: Run, supervisor: FakeSupervisor) -> None:
    """It may do any I/O: threads, for example."""

    async def plain(x: int) -> list[int]:
        return [await asyncio.to_thread(double_in_thread, x), current_activation.get()]

    assert await run(plain, x=4) == frames.Completed(1, b"[8,1]")
    assert supervisor.frames[0] == frames.Running(1)


async def test_all_durable_calls_work_and_replay(run: Run, supervisor: FakeSupervisor) -> None:
    """A replay of the whole memo asks for nothing and returns the same."""

    async def everything(ctx: ExecutionContext, x: int) -> list[Any]:
        values: list[Any] = [await ctx.step(double, x), await ctx.execute(child, x)]
        await ctx.sleep(timedelta(seconds=5))
        await asyncio.sleep(1)
        values += await asyncio.gather(ctx.step(double_in_thread, 5), await ctx.spawn(child, 7))
        values += await ctx.map(child.options(parallelism=2), [1, 2, 3])
        values += await ctx.map(child, [])
        values += await ctx.race(ctx.step(double, 6), asyncio.Event().wait())
        values += sorted([value async for _, value in ctx.as_completed([ctx.step(double, 1), ctx.execute(child, 2)])])
        values += [await ctx.wait_for(ctx.step(double, 8), timedelta(days=1)), str(ctx.uuid()), ctx.random.random()]
        values += [ctx.now().isoformat(), await (await ctx.spawn(child, 9)).result(timeout=timedelta(days=1))]
        return values

    supervisor.holds = set()
    first = await run(everything, 1, x=3)
    assert isinstance(first, frames.Completed), first
    again = await run(everything, 2, x=3, memo=supervisor.memo[1])

    assert again == frames.Completed(2, first.result)
    assert supervisor.of(frames.StepRequested, 2) == []


async def test_a_parked_activation_says_what_it_waits_for(run: Run, supervisor: FakeSupervisor) -> None:
    """And says that it runs again before user code does."""

    async def parent(ctx: ExecutionContext) -> int:
        return await ctx.execute(child, 1)

    supervisor.holds = {frames.CreateChild}
    await run(parent, serve=False)
    await supervisor.serve_async(lambda: supervisor.of(frames.Waiting) != [])
    supervisor.holds = set()
    await supervisor.serve_async(lambda: supervisor.end() is not None)

    kinds = [type(frame).__name__ for frame in supervisor.frames]
    assert kinds == ["Running", "StepRequested", "Waiting", "Running", "Completed"]
    (item,) = supervisor.of(frames.Waiting)[0].waiting_for
    assert (item.kind, item.step) == ("Execution", "1")


async def test_a_running_step_is_not_a_wait(run: Run, supervisor: FakeSupervisor) -> None:
    """It may crash the runner, so the activation counts as active."""
    gate = asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    async def uses(ctx: ExecutionContext) -> None:
        await ctx.step(slow)

    await run(uses, serve=False)
    for _ in range(20):
        await asyncio.sleep(0)
    assert [type(frame).__name__ for frame in supervisor.frames] == ["Running"]
    gate.set()
    await supervisor.serve_async(lambda: supervisor.end() is not None)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("broken")])
async def test_what_user_code_raises_fails_the_execution_only(run: Run, error: BaseException) -> None:
    """In the body, in a subtask, in a step, without a context: nothing ends the runner's loop."""

    async def body(ctx: ExecutionContext) -> None:
        raise error

    async def fails() -> None:
        raise error

    async def subtask(ctx: ExecutionContext) -> None:
        await asyncio.gather(asyncio.create_task(fails()))

    async def in_step(ctx: ExecutionContext) -> None:
        await ctx.step(fails)

    for number, function in enumerate([body, subtask, in_step, fails], 1):
        failed = await run(function, number)
        assert (number, failed.reason) == (number, "UserError")
        assert "kontinue_engine" not in failed.error.traceback
    assert failed.error.types[-1] == "builtins.BaseException"


@pytest.mark.parametrize(
    "does_io",
    [
        lambda: asyncio.open_connection("localhost", 80),
        lambda: asyncio.to_thread(print),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    ],
)
async def test_io_in_the_body_is_an_error_that_names_the_remedy(run: Run, does_io: Callable[[], Any]) -> None:
    """The body is replayed; steps are not."""

    async def body(ctx: ExecutionContext) -> None:
        await does_io()

    failed = await run(body)

    assert failed.reason == "ContextMisuse"
    assert "Put it in a step" in failed.error.message


async def test_as_completed_of_coroutines_is_an_error_and_of_tasks_is_not(run: Run) -> None:
    """Asyncio starts the coroutines in the order of a set."""

    async def coroutines(ctx: ExecutionContext) -> None:
        for future in asyncio.as_completed([ctx.step(double, 1), ctx.step(double, 2)]):
            await future

    async def tasks(ctx: ExecutionContext) -> list[int]:
        created = [asyncio.create_task(ctx.step(double, number)) for number in range(3)]
        return sorted([await future for future in asyncio.as_completed(created)])

    failed = await run(coroutines, 1)

    assert failed.reason == "ContextMisuse"
    assert "ctx.as_completed" in failed.error.message
    assert (await run(tasks, 2)).result == b"[0,2,4]"


async def test_endless_loop_of_callbacks_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never settles, so nothing could ever be delivered; other activations go on meanwhile."""
    monkeypatch.setattr(deterministic_loop, "_SPIN", 1000)

    async def spins(ctx: ExecutionContext) -> None:
        while True:
            await asyncio.sleep(0)

    failed = await run(spins)

    assert failed.reason == "ContextMisuse"
    assert "without ever waiting" in failed.error.message


async def test_a_call_that_is_never_awaited_fails_the_function(run: Run) -> None:
    """It would have been skipped silently."""

    async def forgets(ctx: ExecutionContext) -> None:
        ctx.step(double, 1)  # type: ignore[unused-coroutine]
        await ctx.step(double, 2)

    failed = await run(forgets)

    assert failed.reason == "ContextMisuse"
    assert "ctx.step(double) at" in failed.error.message
    assert "test_async_host.py" in failed.error.message


async def test_a_step_of_a_task_that_nobody_waits_for_fails_the_function(run: Run, supervisor: FakeSupervisor) -> None:
    """It would have been skipped silently: the task began when the function had returned."""

    async def helper(ctx: ExecutionContext) -> None:
        await ctx.step(double, 1)

    async def task_of_call(ctx: ExecutionContext) -> None:
        await ctx.step(double, 2)
        kept = asyncio.create_task(ctx.step(double, 1))
        del kept

    async def task_of_helper(ctx: ExecutionContext) -> None:
        await ctx.step(double, 2)
        kept = asyncio.create_task(helper(ctx))
        await asyncio.sleep(0)
        kept = asyncio.create_task(helper(ctx))
        del kept

    async def task_begins_late(ctx: ExecutionContext) -> None:
        kept = asyncio.create_task(helper(ctx))
        del kept

    for number, function in enumerate([task_of_call, task_of_helper, task_begins_late], 1):
        failed = await run(function, number)
        assert (number, failed.reason) == (number, "ContextMisuse")
        assert "returned before its tasks could do" in failed.error.message
        assert "test_async_host.py:" in failed.error.message
        again = await run(function, number + 10, memo=supervisor.memo[number])
        assert again.error.message == failed.error.message


async def test_a_step_that_is_under_way_when_the_function_returns_is_given_up_with_a_warning(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Like ``asyncio.run`` does it, but not silently."""

    async def returns_early(ctx: ExecutionContext) -> int:
        slow = asyncio.create_task(ctx.step(asyncio.Event().wait))
        result = await ctx.step(double, 1)
        assert not slow.done()
        return result

    assert (await run(returns_early)).result == b"2"
    assert "waited for ctx.step(wait) at" in caplog.text
    assert "test_async_host.py:" in caplog.text


async def test_a_task_that_was_canceled_is_nothing_to_complain_about(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Losers of ``asyncio.wait`` are left like this."""

    async def cancels(ctx: ExecutionContext) -> int:
        slow = asyncio.create_task(ctx.step(asyncio.Event().wait))
        result = await ctx.step(double, 1)
        slow.cancel()
        return result

    assert (await run(cancels)).result == b"2"
    assert caplog.text == ""


async def test_cancel_raises_in_the_function_and_again_at_each_call(run: Run, supervisor: FakeSupervisor) -> None:
    """Cleaning up is possible, going on is not; the result is discarded."""
    seen: list[str] = []

    async def stubborn(ctx: ExecutionContext) -> int:
        for call in (lambda: ctx.execute(child, 1), lambda: ctx.step(double, 1), lambda: asyncio.sleep(5)):
            try:
                await call()
            except asyncio.CancelledError as error:
                seen.append(str(error))
        return 5

    supervisor.holds = {frames.CreateChild}
    await run(stubborn, serve=False)
    await supervisor.serve_async(lambda: supervisor.of(frames.Waiting) != [])
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    await supervisor.serve_async(lambda: supervisor.end() is not None)

    assert supervisor.end() == frames.Interrupted(1)
    assert seen == ["enough"] * 3


async def test_cancel_ends_code_that_waits_for_something_that_never_comes(run: Run, supervisor: FakeSupervisor) -> None:
    """It is canceled again whenever it has settled; in the end it is left where it is."""

    async def immortal(ctx: ExecutionContext) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    await run(immortal, serve=False)
    await supervisor.serve_async(lambda: supervisor.of(frames.Waiting) != [])
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    await supervisor.serve_async(lambda: supervisor.end() is not None)

    assert supervisor.end() == frames.Interrupted(1)


@pytest.mark.parametrize("is_thread", [True, False])
async def test_a_canceled_activation_has_ended_when_its_last_step_has(
    run: Run, supervisor: FakeSupervisor, is_thread: bool
) -> None:
    """Whether a thread runs on, or an async step takes its time to clean up."""
    gate, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert gate.wait(60)

    async def clean_up_slowly() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            while not gate.is_set():
                await asyncio.sleep(0)

    async def parent(ctx: ExecutionContext) -> None:
        try:
            await (ctx.step(hang) if is_thread else ctx.step(clean_up_slowly))
        finally:
            ended.set()

    await run(parent, serve=False)
    await supervisor.serve_async(begun.is_set)
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    await supervisor.serve_async(ended.is_set)
    for _ in range(5):
        await asyncio.sleep(0)
    assert supervisor.end() is None
    gate.set()
    await supervisor.serve_async(lambda: supervisor.end() is not None)
    assert supervisor.end() == frames.Interrupted(1)


async def test_cancel_of_a_function_without_a_context(run: Run, supervisor: FakeSupervisor) -> None:
    """It is a task of the host loop; canceled before its first line it still answers."""

    async def waits() -> None:
        await asyncio.Event().wait()

    for number, turns in ((1, 0), (2, 3)):
        await run(waits, number, serve=False)
        for _ in range(turns):
            await asyncio.sleep(0)
        supervisor.host.receive(frames.CancelActivation(number, "enough"))
        await supervisor.serve_async(lambda number=number: supervisor.end(number) is not None)  # type: ignore[misc]
        assert supervisor.end(number) == frames.Interrupted(number)


async def test_canceled_step_stops(run: Run, supervisor: FakeSupervisor) -> None:
    """The loser of a race is canceled where it runs, before user code goes on."""
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    async def races(ctx: ExecutionContext) -> int:
        winner, _ = await ctx.race(ctx.step(double, 1), ctx.step(slow))
        await ctx.step(double, 2)
        return winner

    assert (await run(races)).result == b"0"
    assert ended == ["slow"]
    assert len(supervisor.memo[1]) == 2


async def test_mismatch_leaves_user_code_where_it_is(run: Run, supervisor: FakeSupervisor) -> None:
    """Its ``finally`` blocks do not run, not even when memory is collected."""
    cleaned: list[int] = []

    async def before(ctx: ExecutionContext) -> int:
        return await ctx.step(double, 1)

    async def after(ctx: ExecutionContext) -> int:
        try:
            return await ctx.step(double, 2)
        finally:
            cleaned.append(1)

    await run(before, 1)
    mismatched = await run(after, 2, memo=supervisor.memo[1])
    gc.collect()

    assert isinstance(mismatched, frames.Mismatched)
    assert mismatched.recorded.split(" (")[0] == mismatched.requested.split(" (")[0] == "step double"
    assert mismatched.recorded != mismatched.requested
    assert cleaned == []


async def test_parked_activations_survive_the_collector(run: Run, supervisor: FakeSupervisor) -> None:
    """Asyncio keeps only weak references to tasks: one that waits for another task alone must not vanish."""
    closed: list[int] = []

    async def parent(ctx: ExecutionContext) -> int:
        event = asyncio.Event()

        async def waits() -> None:
            try:
                await event.wait()
            except GeneratorExit:
                closed.append(1)
                raise

        task = asyncio.create_task(waits())
        del task
        return await ctx.execute(child, 1)

    supervisor.holds = {frames.CreateChild}
    await run(parent, serve=False)
    await supervisor.serve_async(lambda: supervisor.of(frames.Waiting) != [])
    gc.collect()
    assert closed == []
    supervisor.holds = set()
    await supervisor.serve_async(lambda: supervisor.end() is not None)
    assert supervisor.end().result == b"10"


async def test_what_the_function_leaves_running_is_canceled_at_its_end(run: Run) -> None:
    """Like ``asyncio.run`` does; async generators are closed."""
    ended: list[str] = []

    async def background(ctx: ExecutionContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")
            with pytest.raises(ContextError, match="has ended"):
                ctx.step(double, 1)  # type: ignore[unused-coroutine]

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def leaves(ctx: ExecutionContext) -> None:
        kept.append(asyncio.create_task(background(ctx)))
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    kept: list[Any] = []
    assert isinstance(await run(leaves), frames.Completed)
    assert sorted(ended) == ["generator", "task"]


async def test_context_is_refused_in_steps_and_on_other_loops(run: Run, supervisor: FakeSupervisor) -> None:
    """Each error says where the call came from."""
    messages: list[str] = []
    kept: list[ExecutionContext] = []

    def note(ctx: ExecutionContext) -> None:
        with pytest.raises(ContextError) as caught:
            ctx.step(double, 1)  # type: ignore[unused-coroutine]
        messages.append(str(caught.value))

    async def misuses(ctx: ExecutionContext) -> None:
        kept.append(ctx)

        async def inner() -> None:
            note(ctx)

        await ctx.step(inner)
        asyncio.get_running_loop().call_soon(note, ctx)
        supervisor.host.loop.call_soon(note, ctx)
        await ctx.step(double, 1)

    assert isinstance(await run(misuses), frames.Completed)
    note(kept[0])

    assert "inside step 1" in messages[0]
    assert "callback" in messages[1]
    assert "event loop" in messages[2]
    assert "has ended" in messages[3]


async def test_async_steps_have_time_limits_and_retries(run: Run, supervisor: FakeSupervisor) -> None:
    """Only the outcome is recorded."""
    tries: list[int] = []

    @step(timeout=timedelta(milliseconds=10))
    async def too_slow() -> None:
        await asyncio.Event().wait()

    @step(retry=RetryPolicy(retries=2, backoff=timedelta(0)))
    async def flaky() -> str:
        tries.append(current_step().attempt)
        if len(tries) < 3:
            raise ValueError
        return current_step_id.get()

    async def uses(ctx: ExecutionContext) -> str:
        with pytest.raises(StepFailed) as caught:
            await ctx.step(too_slow)
        assert caught.value.is_a(TimeoutError)
        return await ctx.step(flaky)

    assert (await run(uses)).result == b'"2"'
    assert tries == [1, 2, 3]
    assert len(supervisor.memo[1]) == 2


async def test_a_sync_step_that_takes_too_long_is_left_to_its_thread(run: Run, supervisor: FakeSupervisor) -> None:
    """The function goes on; each try has its own thread, what they return is dropped, and the supervisor told of it."""
    gate = threading.Event()

    @step(timeout=timedelta(milliseconds=10), retry=RetryPolicy(retries=1, backoff=timedelta(0)))
    def stuck() -> str:
        gate.wait(60)
        return "late"

    async def goes_on(ctx: ExecutionContext) -> str:
        with pytest.raises(StepFailed) as caught:
            await ctx.step(stuck)
        gate.set()
        assert caught.value.is_a(TimeoutError)
        return str(caught.value)

    assert "step 'stuck' took longer than 10ms. Its thread" in (await run(goes_on)).result.decode()
    assert supervisor.of(frames.ThreadLeft, 1) == [frames.ThreadLeft(1, "1")] * 2
    assert len(supervisor.memo[1]) == 1


async def test_a_canceled_function_has_ended_when_the_thread_of_its_last_step_has(
    run: Run, supervisor: FakeSupervisor
) -> None:
    """Who waits for its end, for a mutex for example, must not begin beside it."""
    gate = threading.Event()

    @step(timeout=timedelta(milliseconds=10))
    def stuck() -> None:
        gate.wait(30)

    async def waits(ctx: ExecutionContext) -> None:
        with pytest.raises(StepFailed):
            await ctx.step(stuck)
        await ctx.sleep(timedelta(days=1))

    await run(waits, serve=False)
    await supervisor.serve_async(lambda: bool(supervisor.of(frames.Waiting, 1)))
    await supervisor.serve_async(lambda: bool(supervisor.of(frames.StepRequested, 1)))
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    await run(double, 2, x=1)
    assert supervisor.end(1) is None
    gate.set()
    await supervisor.serve_async(lambda: supervisor.end(1) is not None)
    assert supervisor.end(1) == frames.Interrupted(1)


async def test_a_step_that_returns_a_coroutine_fails_with_the_remedy(run: Run) -> None:
    """A lambda around an async function looks right and does nothing."""

    async def uses(ctx: ExecutionContext) -> None:
        await ctx.step(step(name="wrapped")(lambda: double(1)))

    assert "the async function itself" in (await run(uses)).error.message


async def test_time_limits_are_durable_timers(run: Run, supervisor: FakeSupervisor) -> None:
    """One record per timer that fired; none for one that did not."""

    async def limited(ctx: ExecutionContext) -> None:
        with pytest.raises(WaitTimeout):
            async with ctx.timeout(timedelta(seconds=1)):
                await asyncio.Event().wait()
        async with ctx.timeout(timedelta(days=1)):
            await ctx.step(double, 1)
        async with ctx.timeout(None), asyncio.timeout(None):
            pass

    assert isinstance(await run(limited), frames.Completed)
    assert len(supervisor.memo[1]) == 2


@pytest.mark.parametrize("forever_s", [1e300, math.inf])
async def test_a_limit_that_never_strikes_is_a_long_one(run: Run, forever_s: float) -> None:
    """Libraries say for ever by a large number, or infinity."""

    async def limited(ctx: ExecutionContext) -> int:
        async with asyncio.timeout(forever_s):
            return await ctx.step(double, 1)

    assert isinstance(await run(limited), frames.Completed)


async def test_wrong_calls_are_errors_at_the_call(run: Run) -> None:
    """The message suggests the other verb."""

    async def wrong(ctx: ExecutionContext) -> list[str]:
        messages = []
        for call in (lambda: ctx.execute(double, 1), lambda: ctx.step(child, 1), lambda: ctx.map(double, [1])):  # type: ignore[arg-type, call-overload]
            with pytest.raises(DefinitionError) as caught:
                call()
            messages.append(str(caught.value))
        with pytest.raises(ValueError, match="at least one"):
            ctx.race()
        with pytest.raises(ContextError, match=r"ctx\.sleep takes a timedelta, for example timedelta\(seconds=5\)"):
            ctx.sleep(5)  # type: ignore[arg-type]
        with pytest.raises(ContextError, match="takes a timedelta"):
            ctx.timeout(5)  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match=r"'child' is a name: pass the function itself.*remote\('child'\)"):
            ctx.execute("child", 1)  # type: ignore[arg-type]
        return messages

    result = (await run(wrong)).result.decode()

    assert "use ctx.step(double" in result
    assert "ctx.execute" in result


async def test_canceled_child_raises_what_it_ended_with(run: Run, supervisor: FakeSupervisor) -> None:
    """A cancel asks; the outcome comes from the child."""

    async def parent(ctx: ExecutionContext) -> str:
        handle = await ctx.spawn(child, 1)
        await ctx.step(double, 1)
        await handle.cancel("enough")
        with pytest.raises(ChildFailed) as caught:
            await handle
        return f"{caught.value.phase} {caught.value.message}"

    supervisor.holds = {frames.CreateChild}
    await run(parent, serve=False)
    await supervisor.serve_async(lambda: len(supervisor.of(frames.StepRequested)) == 2)
    assert supervisor.of(frames.StepRequested)[1].command.message == "enough"  # type: ignore[union-attr]
    canceled = frames.ChildFinished("c", "u", 1, "Canceled", 1, None, frames.ErrorInfo("Canceled", "enough"))
    supervisor.host.receive(frames.StepArrived(1, "1", canceled))
    await supervisor.serve_async(lambda: supervisor.end() is not None)

    assert supervisor.end().result == b'"Canceled enough"'


async def test_failed_child_of_a_map_cancels_the_others(run: Run, supervisor: FakeSupervisor) -> None:
    """The failure is raised at once."""

    async def parent(ctx: ExecutionContext) -> str:
        with pytest.raises(ChildFailed) as caught:
            await ctx.map(child, [1, 2, 3])
        await ctx.step(double, 1)
        return caught.value.message

    supervisor.holds = {frames.CreateChild}
    await run(parent, serve=False)
    await supervisor.serve_async(lambda: len(supervisor.of(frames.StepRequested)) == 3)
    failed = frames.ChildFinished("c", "u", 1, "Failed", 1, None, frames.ErrorInfo("E", "broken"))
    supervisor.host.receive(frames.StepArrived(1, "2", failed))
    await supervisor.serve_async(lambda: supervisor.end() is not None)

    assert supervisor.end().result == b'"broken"'
    assert [frame.step for frame in supervisor.of(frames.StepRequested)[3:]] == ["1", "3"]


async def test_other_threads_cannot_wake_a_function(run: Run) -> None:
    """A callback from outside would come at another point in each replay."""

    async def hands_out_its_loop(ctx: ExecutionContext) -> str:
        loop = asyncio.get_running_loop()

        async def calls_back() -> None:
            loop.call_soon_threadsafe(print)

        with pytest.raises(StepFailed) as caught:
            await ctx.step(calls_back)
        loop.call_soon_threadsafe(ended.append, 1)
        await asyncio.sleep(0)
        return caught.value.message

    ended: list[int] = []
    assert "put the work in a step" in (await run(hands_out_its_loop)).result.decode()
    assert ended == [1]


async def test_unknown_function_fails(run: Run, supervisor: FakeSupervisor) -> None:
    """A worker of another build may be asked for what it does not have; late frames are ignored."""
    supervisor.activate(1, "nothing")
    supervisor.host.receive(frames.Recall(1))
    supervisor.host.receive(frames.StepRecorded(1, 1))
    supervisor.host.receive(frames.CancelActivation(1, ""))

    assert supervisor.end().reason == "UnknownFunction"


async def test_log_is_silent_on_replay(run: Run, supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture) -> None:
    """A line is written once, however often the function is replayed."""

    async def logs(ctx: ExecutionContext) -> None:
        ctx.log.warning("before")
        await ctx.step(double, 1)
        ctx.log.warning("after")

    await run(logs, 1)
    await run(logs, 2, memo=supervisor.memo[1])

    assert [record.message for record in caplog.records] == ["before", "after", "after"]


async def test_an_activation_is_quiet_when_it_waits_for_the_supervisor(run: Run, supervisor: FakeSupervisor) -> None:
    """Not while its code or a step of it runs, nor when it is about to go on."""
    gate = asyncio.Event()

    async def pass_gate() -> int:
        await gate.wait()
        return 1

    async def waits(ctx: ExecutionContext) -> int:
        return await ctx.step(step(pass_gate))

    supervisor.holds = {frames.RecordsProduced}
    await run(waits, serve=False)
    assert not supervisor.host.is_quiet(1)
    await supervisor.serve_async(lambda: bool(supervisor.of(frames.Running)))
    assert not supervisor.host.is_quiet(1)
    gate.set()
    await supervisor.serve_async(lambda: bool(supervisor.of(frames.RecordsProduced)))
    assert supervisor.host.is_quiet(1)
    supervisor.answer(supervisor.of(frames.RecordsProduced)[0])
    assert not supervisor.host.is_quiet(1)
    await supervisor.serve_async(lambda: supervisor.end() is not None)
    assert not supervisor.host.is_quiet(1)


async def test_what_runs_of_an_activation_can_be_canceled_without_telling_its_code(
    run: Run, supervisor: FakeSupervisor
) -> None:
    """Steps and functions without a context, as if the process had died; a body stays where it is."""
    events: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("canceled")
            raise

    async def waits(ctx: ExecutionContext) -> None:
        try:
            await ctx.step(step(hang))
        finally:
            events.append("left")

    await run(waits, 1, serve=False)
    await run(hang, 2, serve=False)
    for _ in range(5):
        await asyncio.sleep(0)
    supervisor.host.cancel_running(1)
    supervisor.host.cancel_running(2)
    supervisor.holds = {frames.RecordsProduced}
    await supervisor.serve_async(lambda: events == ["canceled", "canceled"])
    assert supervisor.end(1) is None


async def test_the_host_runs_on_the_loop_that_it_is_given(supervisor: FakeSupervisor) -> None:
    """Bodies, steps and answers of threads all go through it; a second try does not wait when pauses are left out."""
    loop = asyncio.get_running_loop()
    used: set[str] = set()

    class Observed:
        def __getattr__(self, name: str) -> Any:
            used.add(name)
            return getattr(loop, name)

    @step(retry=RetryPolicy(retries=1, backoff=timedelta(hours=1)))
    async def flaky() -> int:
        if current_step().attempt == 1:
            raise ValueError
        return 1

    async def body(ctx: ExecutionContext) -> int:
        return await ctx.step(flaky) + await ctx.step(step(double_in_thread), 1)

    functions: dict[str, Any] = {"body": define(body)}
    supervisor.host = AsyncHost(
        functions,
        send=supervisor.send,
        now_ms=supervisor.now_ms,
        loop=Observed(),  # type: ignore[arg-type]
        skips_pauses=True,
    )
    supervisor.activate(1, "body")
    await supervisor.serve_async(lambda: supervisor.end() is not None)
    assert supervisor.end().result == b"3"
    assert used == {"call_soon", "create_task", "call_soon_threadsafe"}


async def test_a_function_that_lost_its_context_does_not_run_over_its_records(
    run: Run, supervisor: FakeSupervisor
) -> None:
    """It would do everything again."""
    ran: list[int] = []

    async def steps(ctx: ExecutionContext) -> int:
        return await ctx.step(double, 1)

    async def plain() -> None:
        ran.append(1)

    await run(steps, 1)
    mismatched = await run(plain, 2, memo=supervisor.memo[1])
    assert isinstance(mismatched, frames.Mismatched)
    assert "step double" in mismatched.recorded
    assert "takes no context" in mismatched.requested
    assert ran == []


async def test_a_host_that_only_replays_starts_nothing(supervisor: FakeSupervisor) -> None:
    """The program is left where the records end; it says what it asks for there."""
    ran: list[int] = []

    async def work(x: int) -> int:
        ran.append(x)
        return x

    async def steps(ctx: ExecutionContext) -> list[int]:
        return [await ctx.step(work, 1), *await asyncio.gather(ctx.step(work, 2), ctx.execute(child, 3))]

    functions: dict[str, Any] = {"steps": define(steps)}
    supervisor.host = AsyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms)
    supervisor.activate(1, "steps")
    await supervisor.serve_async(lambda: supervisor.end(1) is not None)
    supervisor.host = AsyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms, only_replays=True)
    supervisor.activate(2, "steps", memo=supervisor.memo[1][:1])
    await supervisor.serve_async(lambda: bool(supervisor.of(frames.Waiting, 2)))
    (waiting,) = supervisor.of(frames.Waiting, 2)
    assert [item.kind for item in waiting.waiting_for] == ["Step", "Execution"]
    assert (ran, supervisor.of(frames.StepRequested, 2)) == ([1, 2], [])
