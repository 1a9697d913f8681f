"""Internal. Runs async functions in one runner: many activations on one event loop, the *host loop*.

Functions with a context run on a deterministic loop each (``async_activation``), in turns on the host loop. Steps,
and functions without a context, run on the host loop itself and may do any I/O. Everything here is called on it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from kontinue.definition import FunctionDefinition
from kontinue.errors import UnknownFunction
from kontinue.replay.call import Mismatch
from kontinue_engine.runner import breakdown, function_calls
from kontinue_engine.runner.activation import NowMs, Send, check_nothing_recorded, send_ended, send_mismatched
from kontinue_engine.runner.async_activation import AsyncActivation
from kontinue_engine.runner.current import clean_context
from kontinue_engine.runner.deterministic_loop import HostLoop
from kontinue_engine.runner.failures import Failure, user_failure
from kontinue_engine.runner.threads import Threads
from kontinue_engine.wire import frames


class AsyncHost:
    """Runs activations of async functions; constructed and called on the host loop.

    Args:
        functions: by registered name.
        send: thread-safe and ordered.
        now_ms: milliseconds since the epoch; read when a step ends.
        loop: the host loop; by default the running one.
        threads: run sync steps.
        skips_pauses: whether a step that is tried again is so at once.
        only_replays: whether activations stop where their records end: nothing is ever started.
    """

    def __init__(
        self,
        functions: Mapping[str, FunctionDefinition[..., Any]],
        *,
        send: Send,
        now_ms: NowMs,
        loop: HostLoop | None = None,
        threads: Threads | None = None,
        skips_pauses: bool = False,
        only_replays: bool = False,
    ) -> None:
        self.loop: HostLoop = loop or asyncio.get_running_loop()
        self.threads = threads or Threads()
        self.skips_pauses = skips_pauses
        self.only_replays = only_replays
        self._functions = functions
        self._send = send
        self._now_ms = now_ms
        self._activations: dict[int, AsyncActivation] = {}
        self._blocked: list[AsyncActivation] = []
        self._plain: dict[int, asyncio.Task[bytes | Failure]] = {}
        self._interrupted: set[int] = set()
        self._calls: deque[Callable[[], None]] = deque()
        self._is_called = False

    def call_from_thread(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the host loop, in order. Any number of them wake it once: that is a system call."""
        self._calls.append(call)
        if not self._is_called:
            self._is_called = True
            self.loop.call_soon_threadsafe(self._run_calls)

    def _run_calls(self) -> None:
        self._is_called = False  # first: what comes from now on may wake the loop for nothing, but is never left
        try:
            while self._calls:
                self._calls.popleft()()
        except Exception:  # noqa: BLE001 - the loop would only log it
            breakdown.end_process()

    def receive(self, frame: frames.Command) -> None:
        """Take in a frame of the supervisor. Frames of activations that have ended are ignored."""
        match frame:
            case frames.Activate():
                self._activate(frame)
            case frames.Recall():
                pass  # everything has started
            case frames.CancelActivation():
                self._cancel(frame)
            case frames.StepRecorded():
                if (activation := self._activations.get(frame.activation)) is not None:
                    activation.recorded(frame.flush)
            case frames.StepArrived() | frames.StepRejected():
                if (activation := self._activations.get(frame.activation)) is not None:
                    activation.arrived(frame)

    def forget(self, activation: AsyncActivation, *, is_blocked: bool) -> None:
        """The activation has ended. A blocked one is kept: to drop it would run its ``finally`` blocks."""
        self._activations.pop(activation.number, None)
        if is_blocked:
            self._blocked.append(activation)

    def is_quiet(self, number: int) -> bool:
        """Tell whether an activation waits for the supervisor, and nothing of it runs."""
        activation = self._activations.get(number)
        return activation is not None and activation.is_quiet

    def cancel_running(self, number: int) -> None:
        """Cancel what runs of an activation on the host loop, which nobody cares for any more."""
        if (activation := self._activations.get(number)) is not None:
            activation.cancel_steps()
        elif (task := self._plain.get(number)) is not None:
            task.cancel()

    def _activate(self, frame: frames.Activate) -> None:
        number = frame.activation
        function = self._functions.get(frame.function)
        if function is None:
            error = UnknownFunction(f"this worker has no function {frame.function!r}", function=frame.function)
            send_ended(self._send, number, Failure(error, "UnknownFunction"))
        elif function.takes_context:
            try:
                activation = AsyncActivation(self, frame, function, send=self._send, now_ms=self._now_ms)
            except Mismatch as mismatch:
                send_mismatched(self._send, number, mismatch)
                return
            self._activations[number] = activation
            activation.start()
        else:
            try:
                check_nothing_recorded(frame, function)
            except Mismatch as mismatch:
                send_mismatched(self._send, number, mismatch)
                return
            self._send(frames.Running(number))
            running = function_calls.call_async(function, (), frame.arguments)
            task = self.loop.create_task(running, name=frame.execution, context=clean_context(number))
            self._plain[number] = task
            task.add_done_callback(functools.partial(self._plain_ended, number))

    def _plain_ended(self, number: int, task: asyncio.Task[bytes | Failure]) -> None:
        try:
            del self._plain[number]
            if number in self._interrupted:
                self._interrupted.discard(number)
                self._send(frames.Interrupted(number))
            elif task.cancelled():  # before it began, and not by us
                send_ended(self._send, number, user_failure(asyncio.CancelledError()))
            else:
                send_ended(self._send, number, task.result())
        except Exception:  # noqa: BLE001 - the loop would only log it
            breakdown.end_process()

    def _cancel(self, frame: frames.CancelActivation) -> None:
        activation = self._activations.get(frame.activation)
        if activation is not None:
            activation.interrupt(frame.message)
        elif (task := self._plain.get(frame.activation)) is not None:
            self._interrupted.add(frame.activation)
            task.cancel(frame.message)
