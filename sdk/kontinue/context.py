"""``ExecutionContext``: what an async function may do durably. ``SyncExecutionContext`` is its twin for sync functions.

Each method checks and encodes its call, gives it a step id, and hands it to the activation (``kontinue.ports``).
Methods that return a coroutine take the step id when they are *called*, so that ``asyncio.gather(ctx.step(a),
ctx.step(b))`` numbers them as written.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar, overload

from kontinue import durable_calls, job_calls, poll_calls
from kontinue._context_base import CONTEXT_COROUTINES, context_coroutine, waited
from kontinue.children import Child
from kontinue.definition import AsyncContextMarker, FunctionDefinition
from kontinue.durable_timeout import DurableTimeout
from kontinue.jobs import JobResult, JobTemplate, PodResult
from kontinue.primitives import AsyncPrimitives
from kontinue.replay.call import Call
from kontinue.replay.records import RecordKind
from kontinue.sync_context import SyncExecutionContext

__all__ = ["CONTEXT_COROUTINES", "ExecutionContext", "SyncExecutionContext", "context_coroutine"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class ExecutionContext(AsyncPrimitives, AsyncContextMarker):
    """The first parameter of an async function that wants to do anything durably."""

    def execute(
        self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, R]:
        """Run ``function`` as a child Execution and return its result. Canceled, it cancels the child.

        Args:
            function: what to run; ``function.options(...)`` for a name, retries, timeouts or a mutex.
            args: positional arguments, as of the function itself, without its context.
            kwargs: arguments by name.

        Raises:
            ChildFailed: the child failed, was canceled or could not be created: ``type`` and the message tell.
            InvalidArguments: they do not fit the signature, or are more than 256 KiB of JSON.
            DefinitionError: not a kontinue function; a plain one is run by ``step``.
        """
        return self._outcome(durable_calls.child_call(function, args, kwargs))

    def spawn(
        self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, Child[R]]:
        """Start ``function`` as a child Execution and return its handle at once.

        It belongs to this function's run: what has not ended when the function returns is canceled, or not even
        created. Wait for what is to end.

        Args:
            function: what to run; ``function.options(...)`` for a name, retries, timeouts or a mutex.
            args: positional arguments, as of the function itself, without its context.
            kwargs: arguments by name.

        Raises:
            InvalidArguments: they do not fit the signature, or are more than 256 KiB of JSON.
            DefinitionError: not a kontinue function; a plain one is run by ``step``.
        """
        call = durable_calls.child_call(function, args, kwargs)
        self._port.open(call)
        return self._port.watch(self._spawned(call), f"ctx.spawn({call.name})", call.line)

    def map(
        self,
        function: FunctionDefinition[Concatenate[A, P], R],
        items: Iterable[A],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[object, None, list[R]]:
        """Run ``function`` as a child Execution for each item, and return the results in the order of the items.

        When one fails, the others are canceled.

        Args:
            function: what to run; ``function.options(parallelism=n)`` keeps at most n running, by default all run.
            items: the first argument of each child.
            args: further positional arguments, the same for all.
            kwargs: arguments by name, the same for all.

        Raises:
            ChildFailed: of the first child that failed.
            InvalidArguments: those of an item do not fit; none is started.
        """
        calls = durable_calls.map_calls(function, items, args, kwargs)
        for call in calls:
            self._port.open(call)
        return self._port.watch(self._mapped(calls), f"ctx.map({function.name})", durable_calls.line_of_caller())

    @overload
    def step(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, R]: ...
    @overload
    def step(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]: ...
    def step(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[object, None, Any]:
        """Call ``fn`` here, once: its outcome is recorded and every replay gets the record.

        Async functions run on the runner's event loop, sync ones in a thread; both may do any I/O. When the function
        gives the step up (a timeout, a race that it lost, a cancel), an async one is canceled. A sync one cannot be:
        it runs on in its thread, beside whatever comes next, and its outcome is dropped; only the end of the Execution
        ends it, with its runner. Give it limits of its own (the timeout of a request), and tell by
        ``current_step().idempotency_key`` whether its effect has happened.

        Args:
            fn: any function; ``@step`` gives it retries, a time limit and another name. A lambda needs a name.
            args: its positional arguments. A replay compares them, by a digest.
            kwargs: its arguments by name.

        Raises:
            StepFailed: ``fn`` raised, or returned what JSON cannot carry or is more than 512 KiB of it.
            DefinitionError: a kontinue function, which is a child: ``execute``; or something without a name.
        """
        return self._outcome(durable_calls.step_call(fn, args, kwargs, may_be_async=True))

    def sleep(self, duration: timedelta, *, display_name: str = "") -> Coroutine[object, None, None]:
        """Wait durably: the wait goes on while no process runs. A sleep of more than 5 s can be ended early.

        Args:
            duration: how long, 365,000 days at most; zero or less passes at once. It may differ on replay.
            display_name: what it is called, for people and tests.

        Raises:
            ContextError: not a timedelta, or too long.
        """
        return self._outcome(durable_calls.timer_call(duration, display_name, is_sleep=True))

    @overload
    def suspend(
        self, /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> Coroutine[object, None, None]: ...
    @overload
    def suspend(
        self, payload: type[T], /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> Coroutine[object, None, T]: ...
    def suspend(
        self, payload: Any = None, /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> Coroutine[object, None, Any]:
        """Wait until somebody resumes this, and return the payload that they give: for approvals and events outside.

        Args:
            payload: type of the payload; without one none is read.
            display_name: what it is called, for people; it must not change while somebody waits.
            description: what to know before resuming it, for people.
            timeout: how long to wait at most.

        Raises:
            SuspendTimeout: nobody has resumed it in time.
        """
        return self._outcome(
            durable_calls.suspend_call(payload, display_name=display_name, description=description, timeout=timeout)
        )

    def run_job(
        self, job: JobTemplate | Mapping[str, Any], /, *, name: str | None = None
    ) -> Coroutine[object, None, JobResult]:
        """Run a Job of Kubernetes and return how it ended: whether it succeeded, its message, exit codes.

        While it runs, or waits for resources, the Execution is Suspended; if the Execution ends before, or the call is
        given up, the Job is deleted together with its Pods. A Job that has ended stays until the Execution is deleted.

        Args:
            job: a template, or the manifest of a ``batch/v1`` Job. The object's name is made by kontinue.
            name: what it is called here, for tests and people; it must not change while it runs.

        Raises:
            JobFailed: the server refuses it, or somebody has deleted it. A Job that fails is a result.
        """
        return self._result(job_calls.job_call(job, name))

    def run_pod(
        self, pod: JobTemplate | Mapping[str, Any], /, *, name: str | None = None
    ) -> Coroutine[object, None, PodResult]:
        """Run a Pod and return how it ended, with all its containers. Otherwise like ``run_job``.

        Unlike a Job's it is never started again: not if its node dies, nor if it is evicted.

        Args:
            pod: a template, or the manifest of a ``v1`` Pod.
            name: what it is called here, for tests and people; it must not change while it runs.

        Raises:
            JobFailed: the server refuses it, or somebody has deleted it. A Pod that fails is a result.
        """
        return self._result(job_calls.pod_call(pod, name))

    @overload
    def race(
        self, a: Awaitable[A], b: Awaitable[B], /
    ) -> Coroutine[object, None, tuple[Literal[0], A] | tuple[Literal[1], B]]: ...
    @overload
    def race(self, *aws: Awaitable[T]) -> Coroutine[object, None, tuple[int, T]]: ...
    def race(self, *aws: Awaitable[Any]) -> Coroutine[object, None, tuple[int, Any]]:
        """Wait for the first to end and return its position and result; the others are canceled and have ended.

        Children behind handles go on: cancel them through the handle.
        """
        if not aws:
            raise ValueError("ctx.race() needs at least one awaitable")
        return self._port.watch(_raced(aws), "ctx.race", durable_calls.line_of_caller())

    async def as_completed(self, aws: Iterable[Awaitable[T]], /) -> AsyncIterator[tuple[int, T]]:
        """Iterate over (position, result) in the order in which they end; leaving the loop cancels the rest."""
        tasks: list[asyncio.Future[T]] = [asyncio.ensure_future(aw) for aw in aws]
        ended: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
        for task in tasks:
            task.add_done_callback(ended.put_nowait)
        positions = {task: position for position, task in enumerate(tasks)}
        try:
            for _ in tasks:
                task = await ended.get()
                yield positions[task], task.result()
        finally:
            await _cancel(tasks)

    def wait_for(self, aw: Awaitable[T], /, timeout: timedelta | None) -> Coroutine[object, None, T]:
        """Wait for ``aw`` for at most ``timeout``, then cancel it.

        Args:
            aw: what to wait for: a call of the context, the handle of a child (which goes on), any coroutine.
            timeout: a durable timer; None means no limit.

        Raises:
            WaitTimeout: it took longer.
        """
        return self._port.watch(waited(aw, timeout), "ctx.wait_for", durable_calls.line_of_caller())

    def timeout(self, duration: timedelta | None) -> DurableTimeout:
        """Limit a block: ``async with ctx.timeout(timedelta(minutes=5)): ...`` raises WaitTimeout in it."""
        return DurableTimeout(duration)

    @overload
    def poll(
        self,
        check: Callable[[], Coroutine[Any, Any, T | None]],
        /,
        *,
        every: timedelta,
        timeout: timedelta | None = None,
    ) -> Coroutine[object, None, T]: ...
    @overload
    def poll(
        self, check: Callable[[], T | None], /, *, every: timedelta, timeout: timedelta | None = None
    ) -> Coroutine[object, None, T]: ...
    def poll(
        self, check: Callable[[], Any], /, *, every: timedelta, timeout: timedelta | None = None
    ) -> Coroutine[object, None, Any]:
        """Call ``check`` now and then until it returns something, and return that. Between calls nothing runs.

        Only what it returns in the end is recorded, like the outcome of a step: ``check`` may do any I/O. After a
        crash it is called once more at once.

        Args:
            check: async, or sync (called in a thread); None or False mean not yet. ``@step`` gives it a name, retries
                and a time limit for each call.
            every: pause between two calls.
            timeout: how long to wait at most.

        Raises:
            StepFailed: ``check`` raised.
            WaitTimeout: it took longer.
        """
        outcome = self._outcome(poll_calls.poll_call(check, every=every, timeout=timeout, may_be_async=True))
        if timeout is None:
            return outcome
        limited = waited(outcome, timeout, "ctx.poll")
        return self._port.watch(limited, "ctx.poll", durable_calls.line_of_caller())

    def _outcome(self, call: Call) -> Coroutine[object, None, Any]:
        self._port.open(call)
        return self._port.watch(self._port.outcome(call), f"ctx.{_VERBS[call.kind]}({call.name})", call.line)

    def _result(self, call: Call) -> Coroutine[object, None, Any]:
        self._port.open(call)
        return self._port.watch(self._ended(call), f"ctx.{_VERBS[call.kind]}({call.name})", call.line)

    @context_coroutine
    async def _ended(self, call: Call) -> Any:
        return job_calls.result_of(call, await self._port.outcome(call))

    @context_coroutine
    async def _spawned(self, call: Call) -> Child[Any]:
        return Child(self._port, call)

    @context_coroutine
    async def _mapped(self, calls: Sequence[Call]) -> list[Any]:
        left = len(calls)
        ended: asyncio.Future[Call | None] = asyncio.get_running_loop().create_future()

        def count(call: Call, _: asyncio.Future[None]) -> None:
            nonlocal left
            left -= 1
            if not ended.done() and (left == 0 or call.is_failed):
                ended.set_result(call if call.is_failed else None)

        try:
            for call in calls:
                self._port.start_call(call).add_done_callback(functools.partial(count, call))
            failed = await ended if calls else None
        finally:
            for call in calls:
                self._port.abandon(call)
        return [call.result() for call in ([failed] if failed is not None else calls)]


@context_coroutine
async def _raced(aws: Sequence[Awaitable[Any]]) -> tuple[int, Any]:
    tasks = [asyncio.ensure_future(aw) for aw in aws]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(position for position, task in enumerate(tasks) if task.done())
    finally:
        await _cancel(tasks)
    return winner, tasks[winner].result()


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what is not done and wait until it has ended; what it raises is nobody's business any more."""
    losers = [task for task in tasks if not task.done()]
    for task in losers:
        task.cancel()
    if losers:
        await asyncio.wait(losers)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()


_VERBS: Final = {
    RecordKind.CHILD: "execute",
    RecordKind.STEP: "step",
    RecordKind.TIMER: "sleep",
    RecordKind.POLL: "poll",
    RecordKind.SUSPENSION: "suspend",
    RecordKind.JOB: "run_job",
    RecordKind.POD: "run_pod",
}
