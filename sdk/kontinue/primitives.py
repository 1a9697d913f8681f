"""WaitGroups, locks, Semaphores, Barriers and Onces in async functions: what ``ctx.mutex("x")`` and others return.

Each wait is a durable call; see docs/coordination-in-functions.md. Mixed into ``ExecutionContext``; the twin for sync
functions is ``kontinue.sync_primitives``. The calls are built by ``kontinue.primitive_calls``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec

from kontinue import durable_calls
from kontinue import primitive_calls as calls
from kontinue._context_base import ContextBase, context_coroutine, waited
from kontinue.errors import ContextError, PrimitiveFailed
from kontinue.ports import AsyncPort
from kontinue.primitive_calls import Begun, Held
from kontinue.replay.call import Call

__all__ = [
    "AsyncPrimitives",
    "DurableBarrier",
    "DurableGate",
    "DurableOnce",
    "DurableRWMutex",
    "DurableScope",
    "DurableWaitGroup",
]

P = ParamSpec("P")


class DurableScope:
    """Holds something in an ``async with``, through crashes and replays; the end of the Execution gives it back.

    Raises:
        PrimitiveFailed: there is no such object, or it cannot be held.
        WaitTimeout: it was not to be had in time.
    """

    def __init__(self, port: AsyncPort, hold: Callable[[], Call], timeout: timedelta | None) -> None:
        self._port = port
        self._hold = hold
        self._timeout = timeout
        self._held: Call | None = None

    async def __aenter__(self) -> Held:
        """Wait until it is ours."""
        if self._held is not None:
            raise ContextError(f"{self._held.name} is held by this block already: make another one for each block")
        call = self._hold()
        held: Held = await _asked(self._port, call, self._timeout)
        self._held = call
        return held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it back. What the body raises goes first."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            await _given_back(self._port, calls.release_call(held))
        except PrimitiveFailed:
            if error is None:
                raise


class DurableWaitGroup:
    """One WaitGroup, for a function."""

    def __init__(self, port: AsyncPort, name: str) -> None:
        self._port = port
        self._name = name

    def add(self, delta: int = 1, *, bound: bool = False) -> Coroutine[object, None, int]:
        """Add to the counter, once; return the counter after that.

        Args:
            delta: what to add.
            bound: it is this Execution's: ``done(bound=True)`` takes it off, or the Execution's end.

        Raises:
            PrimitiveFailed: there is no such WaitGroup; the counter would leave its range; after a crash, so much has
                been counted since that nobody can tell whether this was.
        """
        call = calls.count_call(self._name, delta, is_bound=bound)
        return _watched(self._port, call, None)

    def done(self, delta: int = 1, *, bound: bool = False) -> Coroutine[object, None, int]:
        """Take off the counter, once; return the counter after that. See ``add``.

        Args:
            delta: how many are done, at least 1.
            bound: as in ``add``.
        """
        call = calls.done_call(self._name, delta, is_bound=bound)
        return _watched(self._port, call, None)

    def wait(self, *, timeout: timedelta | None = None, for_first_add: bool = False) -> Coroutine[object, None, None]:
        """Wait until the counter is 0.

        Args:
            timeout: how long to wait at most.
            for_first_add: one that nothing was ever added to is not done yet.

        Raises:
            WaitTimeout: it took longer.
            PrimitiveFailed: there is no such WaitGroup, or not any more.
        """
        call = calls.ask_call(calls.WAIT_GROUP, self._name, "wait", forFirstAdd=for_first_add)
        return _watched(self._port, call, timeout)


class DurableRWMutex:
    """One RWMutex, for a function."""

    def __init__(self, port: AsyncPort, name: str) -> None:
        self._port = port
        self._name = name

    def read(self, *, timeout: timedelta | None = None) -> DurableScope:
        """Hold it together with other readers: ``async with``. See ``ExecutionContext.mutex``."""
        return self._scope(timeout, shared=True)

    def write(self, *, timeout: timedelta | None = None) -> DurableScope:
        """Hold it alone: ``async with``. See ``ExecutionContext.mutex``."""
        return self._scope(timeout, shared=False)

    def _scope(self, timeout: timedelta | None, *, shared: bool) -> DurableScope:
        return DurableScope(
            self._port, lambda: calls.hold_call(calls.RW_MUTEX, self._name, "lock", shared=shared), timeout
        )


class DurableBarrier:
    """One Barrier, for a function."""

    def __init__(self, port: AsyncPort, name: str) -> None:
        self._port = port
        self._name = name

    def arrive(self) -> Coroutine[object, None, None]:
        """Say that this Execution has arrived; it counts once, however often it says so.

        Raises:
            PrimitiveFailed: there is no such Barrier, or it has failed.
        """
        return _watched(self._port, calls.ask_call(calls.BARRIER, self._name, "arrive"), None)

    def wait(self, *, timeout: timedelta | None = None) -> Coroutine[object, None, None]:
        """Wait until it is open.

        Args:
            timeout: how long to wait at most.

        Raises:
            WaitTimeout: it took longer.
            PrimitiveFailed: there is no such Barrier, or not any more, or it has failed.
        """
        return _watched(self._port, calls.ask_call(calls.BARRIER, self._name, "wait"), timeout)


class DurableGate:
    """One Gate, for a function."""

    def __init__(self, port: AsyncPort, name: str) -> None:
        self._port = port
        self._name = name

    def wait(self, *, timeout: timedelta | None = None) -> Coroutine[object, None, None]:
        """Wait until it is open.

        Args:
            timeout: how long to wait at most.

        Raises:
            WaitTimeout: it took longer.
            PrimitiveFailed: there is no such Gate, or not any more, or it has failed.
        """
        return _watched(self._port, calls.ask_call(calls.GATE, self._name, "wait"), timeout)


class DurableOnce:
    """One Once, for a function."""

    def __init__(self, port: AsyncPort, name: str) -> None:
        self._port = port
        self._name = name

    def do(self, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, bool]:
        """Run ``fn`` as a step unless it has been done; return whether it was us.

        Somebody else who does it now is waited for. A step that fails is Failed, and somebody else may try.

        Args:
            fn: as of ``ctx.step``.
            args: its positional arguments.
            kwargs: its arguments by name.

        Raises:
            StepFailed: ``fn`` raised.
            PrimitiveFailed: there is no such Once, or not any more; or it was taken away by hand meanwhile.
        """
        step = durable_calls.step_call(fn, args, kwargs, may_be_async=True)
        hold = calls.hold_call(calls.ONCE, self._name, "begin", result=Begun)
        self._port.open(hold)
        return self._port.watch(self._done(hold, step), f"ctx.once({self._name}).do", hold.line)

    @context_coroutine
    async def _done(self, hold: Call, step: Call) -> bool:
        begun: Begun = await self._port.outcome(hold)
        failure = "it was given up"
        try:
            if not begun.is_executed:
                self._port.open(step)
                await self._port.outcome(step)
            failure = ""
        except Exception as error:
            failure = str(error)
            raise
        finally:
            await _given_back(self._port, calls.release_call(hold, failure=failure, isTheirs=begun.is_executed))
        return begun.is_ours or not begun.is_executed


class AsyncPrimitives(ContextBase[AsyncPort]):
    """The part of the context that waits for other workloads; what is held belongs to the Execution."""

    def wait_group(self, name: str) -> DurableWaitGroup:
        """Return a WaitGroup of the namespace, to count on and to wait for."""
        return DurableWaitGroup(self._port, name)

    def mutex(self, name: str, *, timeout: timedelta | None = None) -> DurableScope:
        """Hold a Mutex of the namespace: ``async with ctx.mutex("deploys") as lock: ...``.

        It has no time to live: the Execution holds it, through crashes and replays, until the block or the Execution
        ends. A new attempt takes it again before it goes on within the block.

        Args:
            name: of the Mutex.
            timeout: how long to wait for it at most.

        Raises:
            WaitTimeout: on entry: it was not our turn in time.
            PrimitiveFailed: on entry: there is no such Mutex.
        """
        return DurableScope(self._port, lambda: calls.hold_call(calls.MUTEX, name, "lock"), timeout)

    def rwmutex(self, name: str) -> DurableRWMutex:
        """Return an RWMutex of the namespace: ``async with ctx.rwmutex("config").read(): ...``."""
        return DurableRWMutex(self._port, name)

    def semaphore(self, name: str, *, timeout: timedelta | None = None) -> DurableScope:
        """Hold a permit of a Semaphore of the namespace: ``async with ctx.semaphore("licences"): ...``.

        Args:
            name: of the Semaphore.
            timeout: how long to wait for a permit at most.

        Raises:
            WaitTimeout: on entry: none was free in time.
            PrimitiveFailed: on entry: there is no such Semaphore, or the coordinator has denied it.
        """
        return DurableScope(self._port, lambda: calls.hold_call(calls.SEMAPHORE, name, "lock"), timeout)

    def lease(self, name: str, *, priority: int | None = None, timeout: timedelta | None = None) -> DurableScope:
        """Hold a Lease of ``konductor.io``: ``async with ctx.lease("leader", priority=5) as lease: ...``.

        It need not be renewed, whatever its ttl: the Execution holds it until the block or the Execution ends.

        Args:
            name: of the Lease.
            priority: the highest is granted first, among equal ones the oldest; None: as the Lease says.
            timeout: how long to wait for it at most.

        Raises:
            WaitTimeout: on entry: it was not free in time.
            PrimitiveFailed: on entry: there is no such Lease, or the coordinator has denied it.
        """
        return DurableScope(self._port, lambda: calls.lease_call(name, priority), timeout)

    def gate(self, name: str) -> DurableGate:
        """Return a Gate of the namespace, to wait for."""
        return DurableGate(self._port, name)

    def barrier(self, name: str) -> DurableBarrier:
        """Return a Barrier of the namespace, to arrive at and to wait for."""
        return DurableBarrier(self._port, name)

    def once(self, name: str) -> DurableOnce:
        """Return a Once of the namespace: ``await ctx.once("migrated").do(migrate)``."""
        return DurableOnce(self._port, name)


def _asked(port: AsyncPort, call: Call, timeout: timedelta | None) -> Coroutine[object, None, Any]:
    port.open(call)
    outcome = port.outcome(call)
    return outcome if timeout is None else waited(outcome, calls.waiting_time(timeout), call.name)


def _watched(port: AsyncPort, call: Call, timeout: timedelta | None) -> Coroutine[object, None, Any]:
    asked = _asked(port, call, timeout)
    request = call.request
    assert isinstance(request, calls.PrimitiveRequest)  # noqa: S101
    return port.watch(asked, f"{request.verb} of {call.name}", call.line)


async def _given_back(port: AsyncPort, call: Call) -> None:
    """Give something back, also if the caller is cancelled meanwhile: then nobody waits for it."""
    port.open(call)
    await asyncio.shield(port.start_call(call))
    call.result()
