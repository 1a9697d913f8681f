"""``SyncExecutionContext``: what a sync function may do durably. The twin of ``kontinue.context.ExecutionContext``.

Concurrent code is a *branch*: a function without parameters given to ``gather``, ``race``, ``as_completed`` or
``wait_for``. Branches run one at a time and take turns at durable calls, so they need no locks; a lock that is held
across a durable call blocks the others for good. Handles of children can stand wherever a branch can.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar, overload

from kontinue import durable_calls, job_calls, poll_calls, primitive_calls
from kontinue.children import SyncChild
from kontinue.definition import FunctionDefinition, SyncContextMarker
from kontinue.errors import DefinitionError, WaitTimeout
from kontinue.jobs import JobResult, JobTemplate, PodResult
from kontinue.ports import SyncBranch, SyncPort
from kontinue.replay.call import Call
from kontinue.sync_primitives import SyncPrimitives

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Strand: TypeAlias = SyncChild[T] | Callable[[], T]
"""What can be waited for: a child's handle, or code to run as a branch."""


class SyncExecutionContext(SyncPrimitives, SyncContextMarker):
    """The first parameter of a sync function that wants to do anything durably."""

    def __init__(self, port: SyncPort) -> None:
        super().__init__(port)
        self._alarms: dict[str, list[_Alarm]] = {}

    def execute(self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function`` as a child Execution and return its result.

        Args:
            function: what to run; ``function.options(...)`` for a name, retries, timeouts or a mutex.
            args: positional arguments, as of the function itself, without its context.
            kwargs: arguments by name.

        Raises:
            ChildFailed: the child failed, was canceled or could not be created: ``type`` and the message tell.
            InvalidArguments: they do not fit the signature, or are more than 256 KiB of JSON.
            DefinitionError: not a kontinue function; a plain one is run by ``step``.
        """
        result: R = self._outcome(durable_calls.child_call(function, args, kwargs))
        return result

    def spawn(self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> SyncChild[R]:
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
        return SyncChild(self._port, call, self._result_of)

    def map(
        self,
        function: FunctionDefinition[Concatenate[A, P], R],
        items: Iterable[A],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[R]:
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
        try:
            for call in calls:
                self._port.open(call)
            self._wait(calls, for_all=True)
        finally:
            self._port.abandon(calls)
        return _results(calls)

    def step(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``fn`` here, once: its outcome is recorded and every replay gets the record.

        A step that the function gives up (a timeout, a race that it lost) cannot be stopped: it runs on in its thread,
        beside whatever comes next, and its outcome is dropped. Give it limits of its own; ``@step(timeout=...)`` ends
        the wait for it, and does not stop it either.

        Args:
            fn: any sync function; ``@step`` gives it retries, a time limit and another name. A lambda needs a name.
            args: its positional arguments. A replay compares them, by a digest.
            kwargs: its arguments by name.

        Raises:
            StepFailed: ``fn`` raised, or returned what JSON cannot carry or is more than 512 KiB of it.
            DefinitionError: a kontinue function, which is a child: ``execute``; something without a name; async.
        """
        result: R = self._outcome(durable_calls.step_call(fn, args, kwargs, may_be_async=False))
        return result

    def sleep(self, duration: timedelta, *, display_name: str = "") -> None:
        """Wait durably: the wait goes on while no process runs. A sleep of more than 5 s can be ended early.

        Args:
            duration: how long, 365,000 days at most; zero or less passes at once. It may differ on replay.
            display_name: what it is called, for people and tests.

        Raises:
            ContextError: not a timedelta, or too long.
        """
        self._outcome(durable_calls.timer_call(duration, display_name, is_sleep=True))

    @overload
    def suspend(
        self, /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> None: ...
    @overload
    def suspend(
        self, payload: type[T], /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> T: ...
    def suspend(
        self, payload: Any = None, /, *, display_name: str = "", description: str = "", timeout: timedelta | None = None
    ) -> Any:
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

    def run_job(self, job: JobTemplate | Mapping[str, Any], /, *, name: str | None = None) -> JobResult:
        """Run a Job of Kubernetes and return how it ended: whether it succeeded, its message, exit codes.

        While it runs, or waits for resources, the Execution is Suspended; if the Execution ends before, or the call is
        given up, the Job is deleted together with its Pods. A Job that has ended stays until the Execution is deleted.

        Args:
            job: a template, or the manifest of a ``batch/v1`` Job. The object's name is made by kontinue.
            name: what it is called here, for tests and people; it must not change while it runs.

        Raises:
            JobFailed: the server refuses it, or somebody has deleted it. A Job that fails is a result.
        """
        call = job_calls.job_call(job, name)
        result: JobResult = self._outcome(call)
        return job_calls.result_of(call, result)

    def run_pod(self, pod: JobTemplate | Mapping[str, Any], /, *, name: str | None = None) -> PodResult:
        """Run a Pod and return how it ended, with all its containers. Otherwise like ``run_job``.

        Unlike a Job's it is never started again: not if its node dies, nor if it is evicted.

        Args:
            pod: a template, or the manifest of a ``v1`` Pod.
            name: what it is called here, for tests and people; it must not change while it runs.

        Raises:
            JobFailed: the server refuses it, or somebody has deleted it. A Pod that fails is a result.
        """
        call = job_calls.pod_call(pod, name)
        result: PodResult = self._outcome(call)
        return job_calls.result_of(call, result)

    def poll(self, check: Callable[[], T | None], /, *, every: timedelta, timeout: timedelta | None = None) -> T:
        """Call ``check`` now and then until it returns something, and return that. Between calls nothing runs.

        Only what it returns in the end is recorded, like the outcome of a step: ``check`` may do any I/O. After a
        crash it is called once more at once.

        Args:
            check: None or False mean not yet. ``@step`` gives it a name, retries and a time limit for each call.
            every: pause between two calls.
            timeout: how long to wait at most. A call that is under way then runs on, and its outcome is dropped.

        Raises:
            StepFailed: ``check`` raised.
            WaitTimeout: it took longer.
        """
        call = poll_calls.poll_call(check, every=every, timeout=timeout, may_be_async=False)
        with self._limit(timeout, "ctx.poll"):
            result: T = self._outcome(call)
        return result

    @overload
    def gather(self, a: Strand[A], b: Strand[B], /) -> tuple[A, B]: ...
    @overload
    def gather(self, a: Strand[A], b: Strand[B], c: Strand[C], /) -> tuple[A, B, C]: ...
    @overload
    def gather(self, *strands: Strand[T]) -> tuple[T, ...]: ...
    def gather(self, *strands: Strand[Any]) -> tuple[Any, ...]:
        """Wait for all and return their results in order.

        The first failure is raised at once: branches are interrupted and have ended by then, children behind handles
        go on.
        """
        with self._started(strands) as waitables:
            self._wait(waitables, for_all=True)
            return tuple(_results(waitables))

    @overload
    def race(self, a: Strand[A], b: Strand[B], /) -> tuple[Literal[0], A] | tuple[Literal[1], B]: ...
    @overload
    def race(self, *strands: Strand[T]) -> tuple[int, T]: ...
    def race(self, *strands: Strand[Any]) -> tuple[int, Any]:
        """Wait for the first to end and return its position and result.

        The other branches are interrupted and have ended by then; children behind handles go on.
        """
        if not strands:
            raise ValueError("ctx.race() needs at least one branch or child")
        with self._started(strands) as waitables:
            self._wait(waitables)
            winner = _first_finished(waitables)
        return winner, waitables[winner].result()

    def as_completed(self, strands: Iterable[Strand[T]], /) -> Iterator[tuple[int, T]]:
        """Iterate over (position, result) in the order in which they end; leaving the loop interrupts the rest."""
        with self._started(tuple(strands)) as waitables:
            left = dict(enumerate(waitables))
            while left:
                self._wait(list(left.values()))
                for position in [position for position, waitable in left.items() if waitable.is_finished]:
                    yield position, left.pop(position).result()

    def wait_for(self, strand: Strand[T], /, timeout: timedelta | None) -> T:
        """Wait for at most ``timeout``, then interrupt the branch (a child behind a handle goes on).

        Raises:
            WaitTimeout: it took longer.
        """
        with self._limit(timeout, "ctx.wait_for"):
            return self.gather(strand)[0]

    def timeout(self, duration: timedelta | None) -> contextlib.AbstractContextManager[None]:
        """Limit a block: past ``duration`` its durable calls raise WaitTimeout. Code between calls is not stopped."""
        return self._limit(duration, "the block")

    @contextlib.contextmanager
    def _limit(self, duration: timedelta | None, what: str) -> Generator[None]:
        if duration is None:
            yield
            return
        timer = durable_calls.timer_call(duration, "timeout", what="ctx.timeout")
        alarm = _Alarm(timer, f"{what} took longer than {duration}")
        self._port.open(timer)
        alarms = self._alarms.setdefault(self._port.branch().id, [])
        alarms.append(alarm)
        try:
            yield
        finally:
            alarms.remove(alarm)
            self._port.abandon([timer])

    def _outcome(self, call: Call) -> Any:
        self._port.open(call)
        try:
            self._wait([call])
        finally:
            self._port.abandon([call])
        return call.result()

    def _limited(self, call: Call, timeout: timedelta | None) -> Any:
        with self._limit(primitive_calls.waiting_time(timeout), call.name):
            return self._outcome(call)

    def _result_of(self, child: SyncChild[Any], timeout: timedelta | None) -> Any:
        with self._limit(timeout, f"child {child.name}"):
            self._wait([child.call])
        return child.call.result()

    def _wait(self, waitables: Sequence[Call | SyncBranch], *, for_all: bool = False) -> None:
        """Wait like the port does, within the time limits of the blocks around."""
        alarms = self._alarms.get(self._port.branch().id, ()) if self._alarms else ()
        self._port.wait(waitables, alarms=[alarm.timer for alarm in alarms], for_all=for_all)
        for alarm in alarms:
            if alarm.timer.is_finished:
                seq = alarm.timer.record.seq if alarm.timer.record is not None else -1
                raise WaitTimeout(alarm.message, seq=seq)

    @contextlib.contextmanager
    def _started(self, strands: Sequence[Strand[Any]]) -> Generator[list[Call | SyncBranch]]:
        """Start the branches; on leaving, those that have not ended are interrupted."""
        branches: list[Call | SyncBranch] = []
        waitables: list[Call | SyncBranch] = []
        try:
            for strand in strands:
                if isinstance(strand, SyncChild):
                    waitables.append(strand.call)
                    continue
                if isinstance(strand, FunctionDefinition) or not callable(strand):
                    raise DefinitionError(f"expected a child's handle or a function without parameters, got {strand!r}")
                branches.append(self._port.fork(strand))
                waitables.append(branches[-1])
            yield waitables
        finally:
            self._port.abandon(branches)


class _Alarm(NamedTuple):
    """A time limit, and what is said when it is over."""

    timer: Call
    message: str


def _first_finished(waitables: Sequence[Call | SyncBranch]) -> int:
    return next(position for position, waitable in enumerate(waitables) if waitable.is_finished)


def _results(waitables: Sequence[Call | SyncBranch]) -> list[Any]:
    """Return all results, or raise the failure that ended the wait."""
    for waitable in waitables:
        if waitable.is_finished and waitable.is_failed:
            waitable.result()
    return [waitable.result() for waitable in waitables]
