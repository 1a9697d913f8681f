"""``SyncTestEnvironment`` and ``SyncTestExecution``: the same for tests that are not async.

Thin: an event loop of their own stands in for that of the test, and runs only while one of the methods does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from kontinue import App, FunctionDefinition
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Suspension
from kontinue.errors import InvalidState
from kontinue_engine.testing.environment import TestEnvironment
from kontinue_engine.testing.execution import TestExecution
from kontinue_engine.testing.jobs import Jobs
from kontinue_engine.testing.suspension import TestSuspension

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Runner:
    """Runs coroutines on a loop of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(work)
        work.close()
        raise InvalidState("SyncTestEnvironment is for sync tests; here an event loop runs: use TestEnvironment")

    def close(self) -> None:
        self._runner.close()


class SyncTestSuspension:
    """``TestSuspension`` for sync tests."""

    __test__ = False

    def __init__(self, suspension: TestSuspension, runner: _Runner) -> None:
        self._suspension = suspension
        self._runner = runner

    @property
    def name(self) -> str:
        """Name of the Suspension."""
        return self._suspension.name

    def get(self) -> Suspension:
        """See ``TestSuspension.get``."""
        return self._runner.run(self._suspension.get())

    def resume(self, payload: object = None) -> None:
        """See ``TestSuspension.resume``."""
        self._runner.run(self._suspension.resume(payload))


class SyncTestExecution(Generic[R_co]):
    """An Execution of a test environment; see ``TestExecution``."""

    __test__ = False

    def __init__(self, execution: TestExecution[R_co], runner: _Runner) -> None:
        self._execution = execution
        self._runner = runner

    @property
    def name(self) -> str:
        """Name of the Execution."""
        return self._execution.name

    @property
    def writes(self) -> int:
        """API writes that it has taken so far; see ``TestExecution.writes``."""
        return self._execution.writes

    def result(self) -> R_co:
        """Let time pass until it has ended, and return its result; see ``TestExecution.result``."""
        return self._runner.run(self._execution.result())

    def get(self) -> Execution:
        """Read it as it is now; see ``TestExecution.get``."""
        return self._runner.run(self._execution.get())

    def suspension(self, display_name: str = "") -> SyncTestSuspension:
        """See ``TestExecution.suspension``."""
        return SyncTestSuspension(self._runner.run(self._execution.suspension(display_name)), self._runner)

    def cancel(self, message: str = "Canceled by the test") -> None:
        """Cancel it and everything that it has started; see ``TestExecution.cancel``."""
        self._runner.run(self._execution.cancel(message))

    def skip(self, result: object = None, *, message: str = "Skipped by the test") -> None:
        """End it as if it had returned ``result``; see ``TestExecution.skip``."""
        self._runner.run(self._execution.skip(result, message=message))

    def retry(self, *, child_policy: ChildPolicy | str = ChildPolicy.RETRY_FAILED) -> None:
        """Ask for another attempt; see ``TestExecution.retry``."""
        self._runner.run(self._execution.retry(child_policy=child_policy))

    def __repr__(self) -> str:
        return f"<SyncTestExecution {self.name}>"


class SyncTestEnvironment:
    """``TestEnvironment`` for tests that are not async: the same methods, without ``await``.

    The functions may be sync or async. They run only while one of these methods does.

    Args:
        replay: replay each function after each of its durable calls.
        start: the time at which it begins; by default now.
    """

    __test__ = False

    def __init__(self, *, replay: bool = True, start: datetime | None = None) -> None:
        self._environment = TestEnvironment(replay=replay, start=start)
        self._runner = _Runner()

    def use(self, *apps: App) -> None:
        """Run the functions of these apps; see ``TestEnvironment.use``."""
        self._environment.use(*apps)

    def stub(self, function: FunctionDefinition[P, R], *, result: R | Exception) -> None:
        """Have a function return a result, or raise, instead of being run; see ``TestEnvironment.stub``."""
        self._environment.stub(function, result=result)

    @property
    def jobs(self) -> Jobs:
        """How the Jobs and Pods end that functions run; see ``TestEnvironment.jobs``."""
        return self._environment.jobs

    def spawn(self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> SyncTestExecution[R]:
        """Create an Execution, as a client does; see ``TestEnvironment.spawn``."""

        async def spawn() -> TestExecution[R]:
            return await self._environment.spawn(function, *args, **kwargs)

        return SyncTestExecution(self._runner.run(spawn()), self._runner)

    def advance(self, by: timedelta) -> None:
        """Move time; see ``TestEnvironment.advance``."""
        self._runner.run(self._environment.advance(by))

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._environment.now

    def crash_after(self, *calls: str, times: int = 1, recorded: bool = False) -> None:
        """Have runners die right after durable calls of these names; see ``TestEnvironment.crash_after``."""
        self._environment.crash_after(*calls, times=times, recorded=recorded)

    def restart_worker(self, *apps: App) -> None:
        """Kill the worker, and start another one; see ``TestEnvironment.restart_worker``."""
        self._runner.run(self._environment.restart_worker(*apps))

    def close(self) -> None:
        """End everything."""
        self._environment.close()
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()
