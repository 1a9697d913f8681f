"""WaitGroups, locks, Semaphores, Barriers and Onces in sync functions: the twin of ``kontinue.primitives``.

Mixed into ``SyncExecutionContext``. What async functions await, these just call; a scope is entered by ``with``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, ParamSpec, TypeAlias

from kontinue import durable_calls
from kontinue import primitive_calls as calls
from kontinue._context_base import ContextBase
from kontinue.errors import PrimitiveFailed
from kontinue.ports import SyncPort
from kontinue.primitive_calls import Begun, Held
from kontinue.replay.call import Call

__all__ = [
    "SyncDurableBarrier",
    "SyncDurableGate",
    "SyncDurableOnce",
    "SyncDurableRWMutex",
    "SyncDurableWaitGroup",
    "SyncPrimitives",
]

P = ParamSpec("P")
Ask: TypeAlias = Callable[[Call, timedelta | None], Any]
"""Makes a call and waits for its outcome, no longer than a limit."""


class SyncDurableWaitGroup:
    """One WaitGroup, for a sync function."""

    def __init__(self, ask: Ask, name: str) -> None:
        self._ask = ask
        self._name = name

    def add(self, delta: int = 1, *, bound: bool = False) -> int:
        """Add to the counter, once; return the counter after that. See ``kontinue.primitives.DurableWaitGroup``."""
        call = calls.count_call(self._name, delta, is_bound=bound)
        counter: int = self._ask(call, None)
        return counter

    def done(self, delta: int = 1, *, bound: bool = False) -> int:
        """Take off the counter, once; return the counter after that."""
        call = calls.done_call(self._name, delta, is_bound=bound)
        counter: int = self._ask(call, None)
        return counter

    def wait(self, *, timeout: timedelta | None = None, for_first_add: bool = False) -> None:
        """Wait until the counter is 0. See ``kontinue.primitives.DurableWaitGroup``."""
        self._ask(calls.ask_call(calls.WAIT_GROUP, self._name, "wait", forFirstAdd=for_first_add), timeout)


class SyncDurableBarrier:
    """One Barrier, for a sync function."""

    def __init__(self, ask: Ask, name: str) -> None:
        self._ask = ask
        self._name = name

    def arrive(self) -> None:
        """Say that this Execution has arrived. See ``kontinue.primitives.DurableBarrier``."""
        self._ask(calls.ask_call(calls.BARRIER, self._name, "arrive"), None)

    def wait(self, *, timeout: timedelta | None = None) -> None:
        """Wait until it is open. See ``kontinue.primitives.DurableBarrier``."""
        self._ask(calls.ask_call(calls.BARRIER, self._name, "wait"), timeout)


class SyncDurableGate:
    """One Gate, for a sync function."""

    def __init__(self, ask: Ask, name: str) -> None:
        self._ask = ask
        self._name = name

    def wait(self, *, timeout: timedelta | None = None) -> None:
        """Wait until it is open. See ``kontinue.primitives.DurableGate``."""
        self._ask(calls.ask_call(calls.GATE, self._name, "wait"), timeout)


class SyncPrimitives(ContextBase[SyncPort]):
    """The part of the context that waits for other workloads; what is held belongs to the Execution."""

    def wait_group(self, name: str) -> SyncDurableWaitGroup:
        """Return a WaitGroup of the namespace, to count on and to wait for."""
        return SyncDurableWaitGroup(self._limited, name)

    def mutex(self, name: str, *, timeout: timedelta | None = None) -> AbstractContextManager[Held]:
        """Hold a Mutex of the namespace: ``with ctx.mutex("deploys") as lock: ...``.

        See ``ExecutionContext.mutex``.

        Args:
            name: of the Mutex.
            timeout: how long to wait for it at most.
        """
        return self._held(lambda: calls.hold_call(calls.MUTEX, name, "lock"), timeout)

    def rwmutex(self, name: str) -> SyncDurableRWMutex:
        """Return an RWMutex of the namespace: ``with ctx.rwmutex("config").read(): ...``."""
        return SyncDurableRWMutex(self._held, name)

    def semaphore(self, name: str, *, timeout: timedelta | None = None) -> AbstractContextManager[Held]:
        """Hold a permit of a Semaphore of the namespace: ``with ctx.semaphore("licences"): ...``.

        See ``ExecutionContext.semaphore``.

        Args:
            name: of the Semaphore.
            timeout: how long to wait for a permit at most.
        """
        return self._held(lambda: calls.hold_call(calls.SEMAPHORE, name, "lock"), timeout)

    def lease(
        self, name: str, *, priority: int | None = None, timeout: timedelta | None = None
    ) -> AbstractContextManager[Held]:
        """Hold a Lease of ``konductor.io``: ``with ctx.lease("leader", priority=5) as lease: ...``.

        See ``ExecutionContext.lease``.

        Args:
            name: of the Lease.
            priority: the highest is granted first, among equal ones the oldest; None: as the Lease says.
            timeout: how long to wait for it at most.
        """
        return self._held(lambda: calls.lease_call(name, priority), timeout)

    def gate(self, name: str) -> SyncDurableGate:
        """Return a Gate of the namespace, to wait for."""
        return SyncDurableGate(self._limited, name)

    def barrier(self, name: str) -> SyncDurableBarrier:
        """Return a Barrier of the namespace, to arrive at and to wait for."""
        return SyncDurableBarrier(self._limited, name)

    def once(self, name: str) -> SyncDurableOnce:
        """Return a Once of the namespace: ``ctx.once("migrated").do(migrate)``."""
        return SyncDurableOnce(self._limited, self._give_back, name)

    def _limited(self, call: Call, timeout: timedelta | None) -> Any:
        """Make a call and wait for its outcome, no longer than ``timeout``."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _held(self, hold: Callable[[], Call], timeout: timedelta | None) -> Generator[Held]:
        call = hold()
        held: Held = self._limited(call, timeout)
        try:
            yield held
        except BaseException:
            with contextlib.suppress(PrimitiveFailed):  # what the body raises goes first
                self._give_back(calls.release_call(call))
            raise
        self._give_back(calls.release_call(call))

    def _give_back(self, release: Call) -> None:
        """Whatever limits the block has: what was held is given back. A branch that was given up does not wait."""
        if self._port.open_last(release):
            self._port.wait([release])
            release.result()


class SyncDurableRWMutex:
    """One RWMutex, for a sync function."""

    def __init__(
        self, held: Callable[[Callable[[], Call], timedelta | None], AbstractContextManager[Held]], name: str
    ) -> None:
        self._held = held
        self._name = name

    def read(self, *, timeout: timedelta | None = None) -> AbstractContextManager[Held]:
        """Hold it together with other readers: ``with``."""
        return self._held(lambda: calls.hold_call(calls.RW_MUTEX, self._name, "lock", shared=True), timeout)

    def write(self, *, timeout: timedelta | None = None) -> AbstractContextManager[Held]:
        """Hold it alone: ``with``."""
        return self._held(lambda: calls.hold_call(calls.RW_MUTEX, self._name, "lock", shared=False), timeout)


class SyncDurableOnce:
    """One Once, for a sync function."""

    def __init__(self, ask: Ask, give_back: Callable[[Call], None], name: str) -> None:
        self._ask = ask
        self._give_back = give_back
        self._name = name

    def do(self, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run ``fn`` as a step unless it has been done; return whether it was us.

        See ``kontinue.primitives.DurableOnce``.

        Args:
            fn: as of ``ctx.step``.
            args: its positional arguments.
            kwargs: its arguments by name.
        """
        step = durable_calls.step_call(fn, args, kwargs, may_be_async=False)
        hold = calls.hold_call(calls.ONCE, self._name, "begin", result=Begun)
        begun: Begun = self._ask(hold, None)
        failure = "it was given up"
        try:
            if not begun.is_executed:
                self._ask(step, None)
            failure = ""
        except Exception as error:
            failure = str(error)
            raise
        finally:
            self._give_back(calls.release_call(hold, failure=failure, isTheirs=begun.is_executed))
        return begun.is_ours or not begun.is_executed
