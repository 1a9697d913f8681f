"""Internal. An asyncio event loop whose callbacks run in the same order in every replay; one per activation.

Problem: replay repeats a program only if its tasks wake in the same order, and an outcome may be delivered only when
nothing in the program can run. A shared loop interleaves other work, and cannot tell when one program has settled:
any number of quiet rounds to wait is too small for some nesting.
Solution: each activation has a loop of its own, which has no selector, no clock and no threads: a queue of callbacks,
run in turns by a callback of the runner's host loop. The queue is empty exactly when the program has settled; then
``on_idle`` may deliver one outcome. A turn is bounded, so that activations share the host fairly.
What the body of a function cannot do here (sockets, threads, subprocesses) is an error that names the remedy.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import logging
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import AsyncGeneratorType, FrameType
from typing import Any, Final, Protocol, TypeVar

from kontinue.context import CONTEXT_COROUTINES
from kontinue.errors import ContextError
from kontinue.replay.branch import Branch
from kontinue_engine.runner import breakdown
from kontinue_engine.runner.refused_io import LoopWithoutIO

T = TypeVar("T")

_TURN: Final = 100
"""Callbacks per turn; judgement: about 0.2 ms, then other activations and the pipe get theirs."""
_SPIN: Final = 1_000_000
"""Callbacks without settling that count as endless; judgement: some seconds of ``sleep(0)``."""
_log = logging.getLogger("asyncio")


class LoopOwner(Protocol):
    """The activation behind a loop."""

    @property
    def is_replaying(self) -> bool:
        """Whether the program repeats what it did before."""

    def now_s(self) -> float:
        """Return the time of the program, in seconds since the epoch."""

    def on_idle(self) -> bool:
        """The program has settled: deliver one outcome. Returns whether anything can run now."""

    def on_turn_end(self) -> None:
        """A turn has ended; the host's loop is the running one again."""

    def on_spin(self, error: ContextError) -> None:
        """The program never settles: it must be ended, no further turn will run."""

    def open_timer(self, branch: Branch, when_s: float, fire: Callable[[], None]) -> Callable[[], None]:
        """Start a durable timer; returns how to give it up."""

    def seq_of_timer(self, when_s: float) -> int:
        """Return the number of the record of a timer that was due then; -1 if there is none."""


class HostLoop(Protocol):
    """What hosts and their activations need of the loop that they live on: a runner's own, or a part of it."""

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> object:
        """Run ``callback`` soon."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> object:
        """Run ``callback`` soon; from any thread."""

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Run a step, or a function without a context: any I/O is welcome there."""
        ...


class DeterministicTask(asyncio.Task[T]):
    """A task that knows its branch, and whose hash is a number of its activation, so that sets iterate alike.

    The number is set after construction: asyncio puts each task into one set of the whole process, where equal
    hashes of many activations would collide; there it goes by its address.
    """

    branch: Branch
    serial: int | None = None

    def __hash__(self) -> int:
        return self.serial if self.serial is not None else super().__hash__()


class DeterministicFuture(asyncio.Future[T]):
    """A future with a hash like a task's."""

    serial: int | None = None

    def __hash__(self) -> int:
        return self.serial if self.serial is not None else super().__hash__()


class DeterministicLoop(LoopWithoutIO):
    """See the module. Created on, and run by callbacks of, the host loop."""

    def __init__(self, owner: LoopOwner, host: HostLoop) -> None:
        self._owner = owner
        self._host = host
        self._ready: deque[asyncio.Handle] = deque()
        self._is_scheduled = False
        self._is_in_turn = False
        self._is_settled = False
        self._is_halted = False
        self._unsettled = 0
        self._serials = itertools.count(1)
        self._tasks: set[DeterministicTask[Any]] = set()
        self._generators: list[weakref.ref[AsyncGeneratorType[Any, Any]]] = []
        self._generators_limit = 64
        self._dropped_generators: list[AsyncGenerator[Any, Any]] = []
        self._turn_context = contextvars.Context()
        self._context = contextvars.Context()
        self._root = Branch()

    # Turns.

    @property
    def is_settled(self) -> bool:
        """Whether no callback is queued and ``on_idle`` had nothing to deliver."""
        return self._is_settled and not (self._ready or self._is_scheduled)

    def wake(self) -> None:
        """Have the host run a turn soon; any number of calls make one."""
        if not self._is_scheduled and not self._is_halted:
            self._is_scheduled = True
            self._host.call_soon(self._turn, context=self._turn_context)

    def halt(self) -> None:
        """Run nothing any more. User code is not told: its frames stay as they are."""
        self._is_halted = True

    def unfinished_tasks(self) -> list[DeterministicTask[Any]]:
        """Return the tasks that have not ended, oldest first."""
        return sorted((task for task in self._tasks if not task.done()), key=hash)

    def take_unfinished_generators(self) -> list[AsyncGenerator[Any, Any]]:
        """Return the async generators that were left in the middle and must be closed at the end of the function."""
        generators = [*self._living_generators(), *self._dropped_generators]
        self._generators, self._dropped_generators = [], []
        return generators

    def close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close an async generator in a task of its own."""
        parent = self.branch_of_caller() or self._root
        self._add_task(generator.aclose(), parent.fork("aclose"), name="aclose", context=None)

    def _turn(self) -> None:
        self._is_scheduled = self._is_settled = False
        if self._is_halted:
            return
        hooks = sys.get_asyncgen_hooks()
        previous = asyncio._get_running_loop()
        # The cyclic collector would run finalizers of user objects at points that differ between replays.
        collects = gc.isenabled()
        gc.disable()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=self._generator_started, finalizer=self._generator_dropped)
        self._is_in_turn = True
        try:
            try:
                self._run_callbacks()
            finally:
                self._is_in_turn = False
                sys.set_asyncgen_hooks(*hooks)
                asyncio._set_running_loop(previous)
                if collects:
                    gc.enable()
            if not self.is_settled:
                self.wake()
            self._owner.on_turn_end()
        except Exception:  # noqa: BLE001 - user code's are in its tasks; the host loop would only log it
            breakdown.end_process()

    def _run_callbacks(self) -> None:
        for _ in range(_TURN):
            while not self._ready:
                self._unsettled = 0
                if self._is_halted or not self._owner.on_idle():
                    self._is_settled = True
                    return
            handle = self._ready.popleft()
            if handle.cancelled():
                continue
            self._unsettled += 1
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # stored in their task; must not end the runner
                handle._run()
            if self._is_halted:
                return
        if self._unsettled > _SPIN:
            self._is_halted = True
            self._owner.on_spin(
                ContextError(
                    "the function runs without ever waiting for a durable call (a loop around asyncio.sleep(0)?): "
                    "wait with ctx.sleep, ctx.step or a Future"
                )
            )

    # Callbacks and time.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` after those that are queued."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._is_in_turn:
            self.wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Like ``call_soon`` from code of this loop; an error from elsewhere."""
        if asyncio._get_running_loop() is not self:
            raise ContextError("another thread or loop cannot wake a function with a context: put the work in a step")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` after ``delay`` seconds: a durable timer."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when``: a durable timer, or soon if it is past."""
        handle = _DurableTimer(when, callback, args, self, context)
        if when <= self.time():
            self._ready.append(handle)
        else:
            handle.give_up = self._owner.open_timer(
                self.branch_of_caller() or self._root, when, lambda: self._ready.append(handle)
            )
        return handle

    def seq_of_timer(self, when_s: float) -> int:
        """Return the number of the record of a timer that was due then; -1 if none has fired."""
        return self._owner.seq_of_timer(when_s)

    def time(self) -> float:
        """Return the time of the program: that of the outcome it was told last."""
        return self._owner.now_s()

    # Tasks and futures.

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        future: DeterministicFuture[Any] = DeterministicFuture(loop=self)
        future.serial = next(self._serials)
        return future

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Return a new task; unless it only wraps a context call, it is a branch of its own."""
        if _comes_from_a_set(sys._getframe(1)):
            coro.close()
            raise ContextError(
                "asyncio.as_completed() starts coroutines in an order that changes: use ctx.as_completed(), "
                "or make them tasks first with asyncio.create_task()"
            )
        parent = self.branch_of_caller() or self._root
        if getattr(coro, "cr_code", None) in CONTEXT_COROUTINES:
            branch = parent
        else:
            branch = parent.fork(getattr(coro, "__qualname__", type(coro).__qualname__))
        return self._add_task(coro, branch, name=name, context=context)

    def create_main_task(self, coro: Coroutine[Any, Any, T], context: contextvars.Context) -> asyncio.Task[T]:
        """Return the task of the function itself: the root branch."""
        return self._add_task(coro, self._root, name="function", context=context)

    def branch_of_caller(self) -> Branch | None:
        """Return the branch of the running task; None when the caller is not a task of this loop."""
        if asyncio._get_running_loop() is not self:
            return None
        task = asyncio.current_task(self)
        return task.branch if isinstance(task, DeterministicTask) else None

    def _add_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        branch: Branch,
        *,
        name: str | None,
        context: contextvars.Context | None,
    ) -> asyncio.Task[T]:
        serial = next(self._serials)
        name = name or f"Task-{serial}"  # asyncio's own counter is of the process
        task = DeterministicTask(coro, loop=self, name=name, context=context)
        task.branch = branch
        task.serial = serial
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=self._context)
        return task

    # Async generators.

    def _generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        if isinstance(generator, AsyncGeneratorType):  # not compiled code
            self._generators.append(weakref.ref(generator))
        if len(self._generators) > self._generators_limit:
            self._generators = [weakref.ref(living) for living in self._living_generators()]
            self._generators_limit = max(64, 2 * len(self._generators))

    def _living_generators(self) -> list[AsyncGeneratorType[Any, Any]]:
        living = (ref() for ref in self._generators)
        return [generator for generator in living if generator is not None and generator.ag_frame is not None]

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Nobody holds it any more. Within a turn the program dropped it, at the same point in each replay.

        Between turns it was the cyclic collector, whenever it liked: then it is closed at the end of the function.
        """
        if self._is_in_turn:
            self.close_generator(generator)
        else:
            self._dropped_generators.append(generator)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _DurableTimer) and handle.give_up is not None:
            handle.give_up()

    # What asyncio asks a loop.

    def get_debug(self) -> bool:
        """Return False: debug mode measures real time."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Do nothing."""

    def is_running(self) -> bool:
        """Tell whether a turn is being run."""
        return self._is_in_turn

    def is_closed(self) -> bool:
        """Return False: a parked activation must not be closed, or its ``finally`` blocks would run."""
        return False

    def get_task_factory(self) -> None:
        """Return None."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody else will ever see: exceptions of callbacks, and of tasks that nobody awaited."""
        if not self._is_halted and not self._owner.is_replaying:
            _log.error(context.get("message"), exc_info=context.get("exception"))


class _DurableTimer(asyncio.TimerHandle):
    """A timer handle that knows how to give its timer up."""

    give_up: Callable[[], None] | None = None


def _comes_from_a_set(frame: FrameType | None) -> bool:
    """Tell whether ``asyncio.as_completed`` makes a task here: it iterates over a set of coroutines."""
    while frame is not None and frame.f_code.co_filename == _TASKS_FILE:
        if frame.f_code in _AS_COMPLETED:
            return True
        frame = frame.f_back
    return False


_TASKS_FILE: Final = asyncio.ensure_future.__code__.co_filename
_AS_COMPLETED: Final = {
    getattr(function, "__code__", None)
    for function in (
        asyncio.as_completed,
        getattr(asyncio.tasks, "_AsCompletedIterator", object).__init__,  # since 3.13
    )
}
