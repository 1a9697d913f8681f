"""Sync functions in a runner: one active activation, parked threads, branches, cancellation, misuse, failures."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fake_supervisor import FakeSupervisor
from kontinue.context import SyncExecutionContext
from kontinue.definition import define
from kontinue.errors import (
    ChildFailed,
    ContextError,
    DefinitionError,
    ExecutionInterrupted,
    InvalidArguments,
    StepFailed,
    WaitTimeout,
)
from kontinue.options import RetryPolicy
from kontinue.steps import current_step, step
from kontinue_engine.runner.current import current_activation, current_step_id
from kontinue_engine.runner.sync_host import SyncHost
from kontinue_engine.wire import frames


def double(x: int) -> int:
    return 2 * x


child = define(double, name="child")
Run = Callable[..., Any]


@pytest.fixture
def supervisor() -> FakeSupervisor:
    return FakeSupervisor()


@pytest.fixture
def run(supervisor: FakeSupervisor) -> Run:
    """Run functions in one SyncHost; return the frame that ended the activation."""
    functions: dict[str, Any] = {}
    supervisor.host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms)

    def run_function(fn: Callable[..., Any], number: int = 1, *, serve: bool = True, **arguments: Any) -> Any:
        functions[fn.__name__] = define(fn)
        supervisor.activate(number, fn.__name__, **arguments)
        if serve:
            supervisor.serve(lambda: supervisor.end(number) is not None)
        return supervisor.end(number)

    return run_function


def test_function_without_a_context_runs_and_completes(run: Run, supervisor: FakeSupervisor) -> None:
    """The short way: two frames."""
    assert run(double, x=4) == frames.Completed(1, b"8")
    assert supervisor.frames[0] == frames.Running(1)


def test_functions_run_one_after_the_other(run: Run, supervisor: FakeSupervisor) -> None:
    """A second activation starts when the first has ended, in the order of arrival."""
    gate = threading.Event()

    def slow(x: int) -> int:
        assert gate.wait(60)
        return x

    run(slow, 1, serve=False, x=1)
    run(slow, 2, serve=False, x=2)
    assert supervisor.of(frames.Running, 2) == []
    gate.set()
    supervisor.serve(lambda: supervisor.end(2) is not None)

    ended = [frame.activation for frame in supervisor.frames if isinstance(frame, frames.Completed)]
    assert ended == [1, 2]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("broken")])
def test_what_user_code_raises_fails_the_execution_only(run: Run, error: BaseException) -> None:
    """Not even sys.exit() ends the runner."""

    def raises() -> None:
        raise error

    failed = run(raises)

    assert failed.reason == "UserError"
    assert failed.error.types[-1] == "builtins.BaseException"
    assert "kontinue_engine" not in failed.error.traceback
    assert run(double, 2, x=1) == frames.Completed(2, b"2")


def test_arguments_and_results_that_do_not_fit_fail(run: Run) -> None:
    """The reason says which of both."""

    def wrong() -> int:
        return "text"  # type: ignore[return-value]

    @dataclasses.dataclass
    class Picky:
        number: int

        def __post_init__(self) -> None:
            raise LookupError(self.number)

    def picky(value: Picky) -> None: ...

    picky.__annotations__["value"] = Picky
    assert run(picky, 3, value={"number": 1}).reason == "InvalidArguments"
    assert run(double, 1, x="text").reason == "InvalidArguments"
    assert run(wrong, 2).reason == "InvalidResult"


def test_unknown_function_fails(supervisor: FakeSupervisor, run: Run) -> None:
    """A worker of another build may be asked for what it does not have."""
    supervisor.activate(1, "nothing")
    supervisor.serve(lambda: supervisor.end() is not None)

    assert supervisor.end().reason == "UnknownFunction"


def test_all_durable_calls_work_and_replay(run: Run, supervisor: FakeSupervisor) -> None:
    """A replay of the whole memo asks for nothing and returns the same."""
    runs = 0

    def everything(ctx: SyncExecutionContext, x: int) -> list[Any]:
        nonlocal runs
        runs += 1
        values: list[Any] = [ctx.step(double, x), ctx.execute(child, x)]
        ctx.sleep(timedelta(seconds=5))
        values += ctx.gather(lambda: ctx.step(double, 5), ctx.spawn(child, 7))
        values += ctx.map(child.options(parallelism=2), [1, 2, 3])
        values += ctx.race(lambda: ctx.step(double, 6), lambda: threading_free_wait(ctx))
        values += sorted(value for _, value in ctx.as_completed([lambda: 1, ctx.spawn(child, 2)]))
        values += [ctx.wait_for(lambda: 3, timedelta(days=1)), str(ctx.uuid()), ctx.random.random()]
        values += [ctx.now().isoformat(), ctx.spawn(child, 9).result(timeout=timedelta(days=1))]
        return values

    def threading_free_wait(ctx: SyncExecutionContext) -> int:
        return ctx.execute(child, 100)

    supervisor.holds = set()
    first = run(everything, 1, x=3)
    assert isinstance(first, frames.Completed)
    memo = supervisor.memo[1]
    supervisor.activate(2, "everything", memo=memo, x=3)
    supervisor.serve(lambda: supervisor.end(2) is not None)

    assert supervisor.end(2) == frames.Completed(2, first.result)
    assert runs == 2
    assert supervisor.of(frames.StepRequested, 2) == []


def test_a_waiting_activation_gives_its_slot_to_the_next(run: Run, supervisor: FakeSupervisor) -> None:
    """A parent that waits for its child cannot block the pool."""

    def parent(ctx: SyncExecutionContext) -> int:
        return ctx.execute(child, 1)

    supervisor.holds = {frames.CreateChild}
    run(parent, 1, serve=False)
    assert run(double, 2, x=1) == frames.Completed(2, b"2")
    (waiting,) = supervisor.of(frames.Waiting)
    (item,) = waiting.waiting_for
    assert (item.kind, item.step) == ("Execution", "1")
    assert item.name.startswith("ex-1-1-")

    supervisor.answer(supervisor.of(frames.StepRequested)[0])
    supervisor.serve(lambda: supervisor.end() is not None)
    assert supervisor.end().result == b"10"
    assert len(supervisor.of(frames.Running)) == 2


def test_many_parked_activations_wake_without_recursion(run: Run, supervisor: FakeSupervisor) -> None:
    """Each that wakes and parks at once hands the slot on."""

    def parent(ctx: SyncExecutionContext) -> int:
        return ctx.execute(child, 1) + ctx.execute(child, 2)

    supervisor.holds = {frames.CreateChild}
    for number in range(1, 300):
        run(parent, number, serve=False)
    supervisor.serve(lambda: len([f for f in supervisor.frames if isinstance(f, frames.Waiting)]) == 299)
    supervisor.holds = set()
    supervisor.serve(lambda: all(supervisor.end(number) is not None for number in range(1, 300)), timeout_s=20)

    assert {supervisor.end(number).result for number in range(1, 300)} == {b"30"}


def test_steps_know_what_runs_them(run: Run) -> None:
    """Output capture and idempotency keys depend on it; nothing leaks out of a step."""

    def report() -> list[Any]:
        info = current_step()
        return [info.step, info.attempt, info.idempotency_key, info.fencing_token, current_step_id.get()]

    def asks(ctx: SyncExecutionContext) -> list[Any]:
        inside = ctx.step(report)
        return [*inside, current_activation.get(), current_step_id.get()]

    assert run(asks).result == b'["1",1,"uid:1",7,"1",1,""]'


def test_steps_are_retried_in_place(run: Run, supervisor: FakeSupervisor) -> None:
    """Only the outcome is recorded; each try knows its number."""
    tries: list[int] = []

    @step(retry=RetryPolicy(retries=3, backoff=timedelta(0)))
    def flaky() -> int:
        tries.append(current_step().attempt)
        if len(tries) < 3:
            raise ValueError
        return len(tries)

    def uses(ctx: SyncExecutionContext) -> int:
        return ctx.step(flaky)

    assert run(uses).result == b"3"
    assert tries == [1, 2, 3]
    assert len(supervisor.memo[1]) == 1


def test_step_failures_carry_the_record_that_they_came_from(run: Run) -> None:
    """A retry of the Execution forgets that record and runs the step again."""

    def fails() -> None:
        raise LookupError("gone")

    def uses(ctx: SyncExecutionContext) -> None:
        ctx.step(double, 1)
        ctx.step(fails)

    failed = run(uses)

    assert (failed.reason, failed.error.type, failed.seqs) == ("UserError", "kontinue.errors.StepFailed", [2])


def test_cancel_raises_at_the_context_call_and_again(run: Run, supervisor: FakeSupervisor) -> None:
    """Cleaning up is possible, going on is not; the result is discarded."""
    seen: list[str] = []

    def stubborn(ctx: SyncExecutionContext) -> int:
        for _ in range(2):
            try:
                ctx.execute(child, 1)
            except ExecutionInterrupted as error:
                seen.append(str(error))
        return 5

    supervisor.holds = {frames.CreateChild}
    run(stubborn, serve=False)
    supervisor.serve(lambda: supervisor.of(frames.Waiting) != [])
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    supervisor.serve(lambda: supervisor.end() is not None)

    assert supervisor.end() == frames.Interrupted(1)
    assert seen == ["enough", "enough"]


def test_cancel_reaches_branches(run: Run, supervisor: FakeSupervisor) -> None:
    """They end before the function that started them."""
    ended: list[str] = []

    def branch(ctx: SyncExecutionContext) -> None:
        try:
            ctx.execute(child, 1)
        finally:
            ended.append("branch")

    def parent(ctx: SyncExecutionContext) -> None:
        try:
            ctx.gather(lambda: branch(ctx), lambda: branch(ctx))
        finally:
            ended.append("parent")

    supervisor.holds = {frames.CreateChild}
    run(parent, serve=False)
    supervisor.serve(lambda: supervisor.of(frames.Waiting) != [])
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    supervisor.serve(lambda: supervisor.end() is not None)

    assert ended == ["branch", "branch", "parent"]
    assert supervisor.end() == frames.Interrupted(1)


def test_a_canceled_activation_has_ended_when_its_last_step_has(run: Run, supervisor: FakeSupervisor) -> None:
    """A step that was given up runs on in its thread: nobody is told before its end that nothing runs any more."""
    gate, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert gate.wait(60)

    def following() -> None:
        pass

    def parent(ctx: SyncExecutionContext) -> None:
        try:
            ctx.race(lambda: ctx.step(hang), lambda: ctx.execute(child, 1))
        finally:
            ended.set()

    supervisor.holds = {frames.CreateChild}
    run(parent, serve=False)
    supervisor.serve(lambda: supervisor.of(frames.StepRequested) != [])
    assert begun.wait(60)
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    assert ended.wait(60)
    run(following, 2, serve=False)
    supervisor.serve(lambda: supervisor.end(2) is not None)
    assert supervisor.end(1) is None
    gate.set()
    supervisor.serve(lambda: supervisor.end(1) is not None)
    assert supervisor.end(1) == frames.Interrupted(1)


def test_what_has_not_started_is_recalled_or_canceled_silently(run: Run, supervisor: FakeSupervisor) -> None:
    """Prefetched work can be given to another runner."""
    gate = threading.Event()

    def slow() -> None:
        assert gate.wait(60)

    for number in (1, 2, 3):
        run(slow, number, serve=False)
    supervisor.host.receive(frames.Recall(2))
    supervisor.host.receive(frames.CancelActivation(3, ""))
    supervisor.host.receive(frames.CancelActivation(1, ""))
    gate.set()
    supervisor.serve(lambda: supervisor.end(1) is not None)

    assert supervisor.of(frames.Recalled, 2) == [frames.Recalled(2)]
    assert supervisor.end(3) == frames.Interrupted(3)
    assert supervisor.end(1) == frames.Interrupted(1)


def test_mismatch_ends_the_activation_without_running_finally_blocks(run: Run, supervisor: FakeSupervisor) -> None:
    """Blocked code is stopped where it is, and the runner goes on with other work."""
    cleaned: list[int] = []

    def before(ctx: SyncExecutionContext) -> int:
        return ctx.step(double, 1)

    def after(ctx: SyncExecutionContext) -> int:
        try:
            return ctx.execute(child, 1)
        finally:
            cleaned.append(1)

    run(before, 1)
    mismatched = run(after, 2, memo=supervisor.memo[1])

    assert isinstance(mismatched, frames.Mismatched)
    assert mismatched.step == "1"
    assert mismatched.recorded.startswith("step double (")
    assert "recorded by build b1" in mismatched.recorded
    assert mismatched.requested.startswith("child child (")
    assert "test_sync_host.py" in mismatched.requested
    assert cleaned == []
    assert run(double, 3, x=1) == frames.Completed(3, b"2")


def test_unreadable_memo_and_early_end_are_mismatches(run: Run, supervisor: FakeSupervisor) -> None:
    """Whatever the code does: what is recorded must fit it."""

    def nothing(ctx: SyncExecutionContext) -> None:
        pass

    def raises(ctx: SyncExecutionContext) -> None:
        raise ValueError("early")

    def steps(ctx: SyncExecutionContext) -> int:
        return ctx.step(double, 1)

    run(steps, 1)
    assert "cannot be read" in run(nothing, 2, memo=["{}"]).recorded
    early = run(nothing, 3, memo=supervisor.memo[1]).requested
    assert re.search(r"ended without this call: nothing at \S+:\d+ returned", early)
    assert "ValueError: early" in run(raises, 4, memo=supervisor.memo[1]).requested


def test_a_function_that_lost_its_context_does_not_run_over_its_records(run: Run, supervisor: FakeSupervisor) -> None:
    """It would do everything again."""
    ran: list[int] = []

    def steps(ctx: SyncExecutionContext) -> int:
        return ctx.step(double, 1)

    def plain() -> None:
        ran.append(1)

    run(steps, 1)
    mismatched = run(plain, 2, memo=supervisor.memo[1])
    assert isinstance(mismatched, frames.Mismatched)
    assert "step double" in mismatched.recorded
    assert re.search(r"plain at \S+:\d+ takes no context", mismatched.requested)
    assert "cannot be read" in run(plain, 3, memo=["{}"]).recorded
    assert ran == []


def test_a_host_that_only_replays_starts_nothing(supervisor: FakeSupervisor) -> None:
    """The program is left where the records end; it says what it asks for there."""
    ran: list[int] = []

    def work(x: int) -> int:
        ran.append(x)
        return x

    def steps(ctx: SyncExecutionContext) -> list[int]:
        return [ctx.step(work, 1), ctx.step(work, 2)]

    functions: dict[str, Any] = {"steps": define(steps)}
    supervisor.host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms)
    supervisor.activate(1, "steps")
    supervisor.serve(lambda: supervisor.end(1) is not None)
    supervisor.host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms, only_replays=True)
    supervisor.activate(2, "steps", memo=supervisor.memo[1][:1])
    supervisor.serve(lambda: bool(supervisor.of(frames.Waiting, 2)))
    (waiting,) = supervisor.of(frames.Waiting, 2)
    assert [(item.kind, item.name, item.step) for item in waiting.waiting_for] == [("Step", "work", "2")]
    assert ran == [1, 2]


def test_context_is_refused_in_steps_threads_and_after_the_end(run: Run) -> None:
    """Each error says where the call came from."""
    kept: list[SyncExecutionContext] = []
    messages: list[str] = []

    def note(ctx: SyncExecutionContext) -> None:
        with pytest.raises(ContextError) as caught:
            ctx.step(double, 1)
        messages.append(str(caught.value))

    def misuses(ctx: SyncExecutionContext) -> None:
        kept.append(ctx)
        ctx.step(step(name="inner")(lambda: note(ctx)))
        thread = threading.Thread(target=note, args=(ctx,))
        thread.start()
        thread.join()

    assert isinstance(run(misuses), frames.Completed)
    note(kept[0])

    assert "inside step 1" in messages[0]
    assert "another thread" in messages[1]
    assert "has ended" in messages[2]


def test_wrong_calls_are_errors_at_the_call(run: Run) -> None:
    """Nothing is recorded; the message suggests the other verb."""

    async def async_step() -> None: ...

    def wrong(ctx: SyncExecutionContext) -> list[str]:
        messages = []
        calls: list[Callable[[], Any]] = [
            lambda: ctx.execute(double, 1),  # type: ignore[arg-type]
            lambda: ctx.step(child, 1),  # type: ignore[arg-type]
            lambda: ctx.step(async_step),
            lambda: ctx.gather(3),  # type: ignore[call-overload]
        ]
        for call in calls:
            with pytest.raises(DefinitionError) as caught:
                call()
            messages.append(str(caught.value))
        with pytest.raises(InvalidArguments):
            ctx.execute(child, "text")  # type: ignore[arg-type]
        return messages

    result = run(wrong).result.decode()

    assert "use ctx.step(double" in result
    assert "ctx.execute" in result
    assert "is async" in result


@pytest.mark.parametrize("branches", [1, 2])
def test_a_step_that_takes_too_long_is_left_to_its_thread(run: Run, supervisor: FakeSupervisor, branches: int) -> None:
    """It has failed, and the function goes on; what the thread returns is dropped, and the supervisor told of it."""
    gate, returned = threading.Event(), threading.Event()

    @step(timeout=timedelta(milliseconds=10))
    def stuck() -> str:
        assert current_step_id.get()
        assert current_step().attempt == 1
        gate.wait(60)
        returned.set()
        return "late"

    def goes_on(ctx: SyncExecutionContext) -> str:
        with pytest.raises(StepFailed) as caught:
            ctx.gather(*[lambda: ctx.step(stuck) for _ in range(branches)]) if branches > 1 else ctx.step(stuck)
        assert caught.value.is_a(TimeoutError)
        gate.set()
        assert returned.wait(60)
        return str(caught.value)

    result = run(goes_on).result.decode()
    assert "step 'stuck' took longer than 10ms. Its thread cannot be stopped" in result
    assert supervisor.of(frames.ThreadLeft, 1)
    assert any("took longer" in record for record in supervisor.memo[1])
    assert not any('"late"' in record for record in supervisor.memo[1])


def test_a_step_with_a_limit_that_keeps_it_is_like_any_other(run: Run, supervisor: FakeSupervisor) -> None:
    """What it returns and raises counts, its tries too; nothing is left behind."""
    tries: list[int] = []

    @step(timeout=timedelta(seconds=30), retry=RetryPolicy(retries=1, backoff=timedelta(0)))
    def flaky() -> int:
        tries.append(current_step().attempt)
        if len(tries) == 1:
            raise ValueError("first")
        return current_activation.get()

    @step(timeout=timedelta.max)
    def times_out() -> None:
        raise TimeoutError("of the library")

    def uses(ctx: SyncExecutionContext) -> int:
        with pytest.raises(StepFailed, match="of the library"):
            ctx.step(times_out)
        return ctx.step(flaky)

    assert run(uses).result == b"1"
    assert tries == [1, 2]
    assert supervisor.of(frames.ThreadLeft, 1) == []


def test_a_canceled_function_has_ended_when_the_thread_of_its_last_step_has(
    run: Run, supervisor: FakeSupervisor
) -> None:
    """Who waits for its end, for a mutex for example, must not begin beside it."""
    gate = threading.Event()

    @step(timeout=timedelta(milliseconds=10))
    def stuck() -> None:
        gate.wait(30)

    def waits(ctx: SyncExecutionContext) -> None:
        with pytest.raises(StepFailed):
            ctx.step(stuck)
        ctx.sleep(timedelta(days=1))

    run(waits, serve=False)
    supervisor.serve(lambda: bool(supervisor.of(frames.Waiting, 1) and supervisor.of(frames.ThreadLeft, 1)))
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    run(double, 2, x=1)
    assert supervisor.end(1) is None
    gate.set()
    supervisor.serve(lambda: supervisor.end(1) is not None)
    assert supervisor.end(1) == frames.Interrupted(1)


def test_time_limit_raises_in_its_block(run: Run, supervisor: FakeSupervisor) -> None:
    """The child goes on for a handle, and is canceled when it was executed."""

    def limited(ctx: SyncExecutionContext) -> str:
        with pytest.raises(WaitTimeout, match="the block took longer than 0:00:01"), ctx.timeout(timedelta(seconds=1)):
            ctx.execute(child, 1)
        handle = ctx.spawn(child, 2)
        with pytest.raises(TimeoutError, match=f"child {handle.name} took longer than 0:00:01"):
            handle.result(timeout=timedelta(seconds=1))
        with ctx.timeout(None):
            return handle.name

    supervisor.holds = {frames.CreateChild}
    assert isinstance(run(limited), frames.Completed)

    canceled = [
        frame.step for frame in supervisor.of(frames.StepRequested) if isinstance(frame.command, frames.CancelChild)
    ]
    assert canceled == ["2"]


def test_canceled_child_raises_what_it_ended_with(run: Run, supervisor: FakeSupervisor) -> None:
    """A cancel asks; the outcome comes from the child, under the name that the call gave it."""

    def parent(ctx: SyncExecutionContext) -> str:
        handle = ctx.spawn(child.options(name="my-child"), 1)
        ctx.step(double, 1)
        handle.cancel("enough")
        with pytest.raises(ChildFailed) as caught:
            handle.result()
        handle.cancel("again")
        return f"{caught.value.child} {caught.value.phase} {caught.value.message}"

    supervisor.holds = {frames.CreateChild}
    run(parent, serve=False)
    supervisor.serve(lambda: frames.CancelChild("my-child", "enough", is_abandoned=False) in commands(supervisor))
    canceled = frames.ChildFinished("my-child", "u", 1, "Canceled", 1, None, frames.ErrorInfo("Canceled", "enough"))
    supervisor.host.receive(frames.StepArrived(1, "1", canceled))
    supervisor.serve(lambda: supervisor.end() is not None)

    assert supervisor.end().result == b'"my-child Canceled enough"'
    assert len(commands(supervisor)) == 2


def commands(supervisor: FakeSupervisor) -> list[Any]:
    return [frame.command for frame in supervisor.of(frames.StepRequested)]


def test_interrupted_pause_between_tries_ends_at_once(run: Run, supervisor: FakeSupervisor) -> None:
    """Back-off keeps the slot, so a cancel must not wait for it."""

    @step(retry=RetryPolicy(retries=3, backoff=timedelta(days=1)))
    def fails() -> None:
        tried.set()
        raise ValueError

    def uses(ctx: SyncExecutionContext) -> None:
        ctx.step(fails)

    tried = threading.Event()
    run(uses, serve=False)
    assert tried.wait(60)
    supervisor.host.receive(frames.CancelActivation(1, "enough"))
    supervisor.serve(lambda: supervisor.end() is not None)

    assert supervisor.end() == frames.Interrupted(1)


def test_rejected_child_raises_at_the_call(run: Run, supervisor: FakeSupervisor) -> None:
    """The refusal is recorded like any outcome: a replay raises it again."""

    def parent(ctx: SyncExecutionContext) -> int:
        return ctx.execute(child, 1)

    supervisor.holds = {frames.CreateChild}
    run(parent, serve=False)
    supervisor.serve(lambda: supervisor.of(frames.StepRequested) != [])
    error = frames.ErrorInfo("kontinue.errors.UnknownFunction", "no function child")
    supervisor.host.receive(frames.StepRejected(1, "1", error))
    supervisor.serve(lambda: supervisor.end() is not None)

    assert "no function child" in supervisor.end().error.message
    assert supervisor.end().seqs == [1]
    assert supervisor.of(frames.RecordsProduced) != []


def test_a_host_says_when_it_is_idle_and_which_activation_is_quiet(supervisor: FakeSupervisor) -> None:
    """Idle when nobody has the slot or wants it; quiet is who waits for the supervisor."""
    idle = threading.Event()

    def waits(ctx: SyncExecutionContext) -> int:
        ctx.sleep(timedelta(days=2))
        return 1

    functions: dict[str, Any] = {"waits": define(waits)}
    supervisor.host = host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms, on_idle=idle.set)
    assert host.is_idle
    supervisor.activate(1, "waits")
    assert idle.wait(60)
    assert (host.is_idle, host.is_quiet(1), host.is_quiet(2)) == (True, True, False)
    idle.clear()
    host.receive(frames.StepArrived(1, supervisor.of(frames.StepRequested)[0].step, frames.TimerFired(1)))
    assert idle.wait(60)
    assert supervisor.end() == frames.Completed(1, b"1", supervisor.end().records)
    assert not host.is_quiet(1)


def test_pauses_between_the_tries_of_a_step_can_be_left_out(supervisor: FakeSupervisor) -> None:
    """For tests: the next try follows at once."""

    @step(retry=RetryPolicy(retries=2, backoff=timedelta(hours=1)))
    def flaky() -> int:
        if current_step().attempt < 3:
            raise ValueError
        return current_step().attempt

    def tries(ctx: SyncExecutionContext) -> int:
        return ctx.step(flaky)

    functions: dict[str, Any] = {"tries": define(tries)}
    supervisor.host = SyncHost(functions, send=supervisor.send, now_ms=supervisor.now_ms, skips_pauses=True)
    supervisor.activate(1, "tries")
    supervisor.serve(lambda: supervisor.end() is not None)
    assert supervisor.end().result == b"3"
