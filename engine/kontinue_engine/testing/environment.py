"""``TestEnvironment``: a user's functions run by the product's own engine, in the test's process, on virtual time.

The face of ``kontinue_engine.testing.world``. There, ``server`` is the API server, ``runners`` run user code,
``supervisor`` is the worker between them, and ``driver`` gives all of them their turns on the test's event loop.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from kontinue import App, FunctionDefinition
from kontinue.client import Client
from kontinue.errors import InvalidState, UnknownFunction
from kontinue.options import require_type
from kontinue_engine.testing.execution import TestExecution
from kontinue_engine.testing.jobs import Jobs
from kontinue_engine.testing.supervisor import NAMESPACE
from kontinue_engine.testing.world import World

P = ParamSpec("P")
R = TypeVar("R")


class TestEnvironment:
    """Runs functions for a test: no cluster, no processes, and no waiting.

    The fixture ``kontinue_env`` provides one; elsewhere use it as a context manager (``async with``), or call
    ``close``. Everything is called on one event loop, that of the test, which may be any of asyncio's.

    Time stands still unless the test moves it: ``advance`` does, and ``result`` of an Execution, from one timer to the
    next, whenever nothing is left to do at the moment. Steps, and functions without a context, run on the test's event
    loop (sync ones in threads) and take the time that they take.

    Args:
        replay: replay each function after each of its durable calls, as after a crash, so that a body which does not do
            the same again is Blocked in the test and not in production.
        start: the time at which it begins; by default now.
    """

    __test__ = False

    def __init__(self, *, replay: bool = True, start: datetime | None = None) -> None:
        self._world = World(replays=replay, start=start or datetime.now(UTC))
        self._results: dict[str, object] = {}
        self._client = Client.from_kube(self._world.bridge, NAMESPACE)

    # What there is.

    def use(self, *apps: App) -> None:
        """Run the functions of these apps. One worker runs all of them here, whatever their groups are.

        Raises:
            InvalidState: something was spawned already.
        """
        self._check_not_started("use(app)")
        self._world.apps += [app for app in apps if app not in self._world.apps]

    def stub(self, function: FunctionDefinition[P, R], *, result: R | Exception) -> None:
        """Have a function return a result, or raise, instead of being run: of another group, or of an app in use.

        A stub may be given another result at any time.

        Raises:
            TypeError: it is no function of kontinue, but a step.
            InvalidResult: the result is not what the function returns.
            InvalidState: something was spawned already, and the function was not stubbed before.
        """
        _check_definition(function, "stub")
        name = function.name
        if not isinstance(result, Exception):
            function.codec.encode_result(result)
        if name not in self._world.stubs:
            self._check_not_started(f"stub({function.fn.__name__}, ...)")
            self._world.stubs[name] = _stub(function, lambda: self._results[name])
        self._results[name] = result

    @property
    def jobs(self) -> Jobs:
        """How the Jobs and Pods end that functions run: ``env.jobs.succeed("migrate")``. Nothing really runs them."""
        return self._world.jobs

    # What happens.

    def spawn(
        self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, TestExecution[R]]:
        """Create an Execution, as a client does. Options go through ``function.options(...)``.

        Raises:
            UnknownFunction: neither an app in use nor a stub has it; the message says what to do.
            InvalidArguments: they do not fit; ``path`` says where.
        """
        return self._spawn(function, args, kwargs)

    async def _spawn(
        self, function: FunctionDefinition[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> TestExecution[R]:
        _check_definition(function, "spawn")
        if function.name not in self._world.functions:
            raise UnknownFunction(self._explain_missing(function), function=function.name)
        await self._world.start()
        handle = await self._world.call(self._world.client.spawn(function, *args, **kwargs))
        return TestExecution(self._world, handle)

    async def advance(self, by: timedelta) -> None:
        """Move time. What becomes due on the way happens in its order, each at its time.

        Raises:
            TypeError: ``by`` is a number, say.
            ValueError: ``by`` is negative.
        """
        require_type("by", by, timedelta, "timedelta(hours=1)")
        if by < timedelta(0):
            raise ValueError(f"time cannot be moved back: {by}")
        await self._world.start()
        await self._world.driver.advance(by.total_seconds())

    @property
    def client(self) -> Client:
        """A client of the environment's API server, for code under test that has one, and for what only clients do.

        Its waits do not move time: move it beside them, for example by ``advance``. That waits for the next request of
        a task that has just got an answer, but not for one that waits for something else, as for a socket.
        """
        self._world.driver.has_clients = True
        return self._client

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._world.clock.now()

    # What goes wrong.

    def crash_after(self, *calls: str, times: int = 1, recorded: bool = False) -> None:
        """Have the runner of an Execution die right after durable calls of these names: it resumes by a replay.

        By default it dies before the outcome is recorded, so that a step runs again; that is what its idempotency key
        is for. At the fourth death without a new record in between the Execution fails (RunnerCrashed).

        Args:
            calls: names of steps, of functions of children, or display names of sleeps. Without any: after each durable
                call of each Execution.
            times: how often.
            recorded: die once the outcome is recorded, but before the function hears of it.
        """
        self._world.crashes.add(calls, times=times, is_recorded=recorded)

    async def restart_worker(self, *apps: App) -> None:
        """Kill the worker, and start another one, which takes over what is left.

        Args:
            apps: the code of the new worker, if it is to be another: a deployment. Stubs stay.
        """
        if apps:
            self._world.apps = list(apps)
        await self._world.restart_worker()

    # The end.

    def close(self) -> None:
        """End everything. Code that still waits is told that it was canceled, like that of a canceled Execution."""
        self._world.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    # Parts.

    def _check_not_started(self, what: str) -> None:
        if self._world.has_started:
            raise InvalidState(
                f"{what} comes too late: the worker runs already. Call it before the first spawn; "
                "restart_worker(app) deploys other code"
            )

    def _explain_missing(self, function: FunctionDefinition[..., Any]) -> str:
        name = function.fn.__name__
        known = sorted(self._world.functions)
        if not known:
            return f"nothing is in use here: call env.use(app) before env.spawn({name}, ...)"
        if function.is_remote:
            return (
                f"function {function.name!r} is of another group (@remote at {function.location}), and nobody has it "
                f"here: env.stub({name}, result=...), or env.use() the app that has it"
            )
        near = difflib.get_close_matches(function.name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Functions here: {', '.join(known)}."
        return (
            f"function {function.name!r} ({function.location}) belongs to an app that is not in use: "
            f"env.use() that app, too. {hint}"
        )


def _check_definition(function: object, what: str) -> None:
    if not isinstance(function, FunctionDefinition):
        raise TypeError(
            f"{what}: expected a function that @app.function or remote has made, got {function!r}. Steps are ordinary "
            "functions, which run in a test, too: replace one with pytest's monkeypatch"
        )


def _stub(function: FunctionDefinition[..., Any], result: Callable[[], object]) -> FunctionDefinition[..., Any]:
    async def stub(*args: object, **kwargs: object) -> object:
        del args, kwargs
        given = result()
        if isinstance(given, Exception):
            raise given.with_traceback(None)
        return given

    stubbed = copy.copy(function)
    stubbed.fn = stub
    stubbed.is_async, stubbed.takes_context, stubbed.is_remote = True, False, False
    return stubbed
