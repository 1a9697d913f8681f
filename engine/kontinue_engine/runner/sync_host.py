"""Internal. Runs sync functions in one runner: at most one activation is active, the parked ones wait in their threads.

``receive`` is called by the thread that reads the pipe and never blocks on user code. One lock guards the host and
its activations; user code runs without it. Functions without a context take the short way through ``_run_plain``.
Next: ``sync_activation``.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from kontinue.definition import FunctionDefinition
from kontinue.errors import UnknownFunction
from kontinue.replay.call import Mismatch
from kontinue_engine.runner import function_calls
from kontinue_engine.runner.activation import NowMs, Send, check_nothing_recorded, send_ended, send_mismatched
from kontinue_engine.runner.current import clean_context
from kontinue_engine.runner.failures import Failure
from kontinue_engine.runner.sync_activation import SyncActivation
from kontinue_engine.runner.threads import Threads
from kontinue_engine.wire import frames


def _nothing() -> None:
    pass


class SyncHost:
    """Runs activations of sync functions, one active at a time.

    The *slot* belongs to the activation whose code or steps run. Who waits gives it up; woken activations get it
    before new ones, each kind in the order of arrival.

    Args:
        functions: by registered name.
        send: thread-safe and ordered; called from any thread, often with the host's lock held: it must not call back.
        now_ms: milliseconds since the epoch; read when a step ends.
        threads: run everything.
        skips_pauses: whether a step that is tried again is so at once.
        only_replays: whether activations stop where their records end: nothing is ever started.
        on_idle: called, like ``send``, when the slot is free and nobody wants it.
    """

    def __init__(
        self,
        functions: Mapping[str, FunctionDefinition[..., Any]],
        *,
        send: Send,
        now_ms: NowMs,
        threads: Threads | None = None,
        skips_pauses: bool = False,
        only_replays: bool = False,
        on_idle: Callable[[], None] = _nothing,
    ) -> None:
        self.lock = threading.Lock()
        self.threads = threads or Threads()
        self.skips_pauses = skips_pauses
        self.only_replays = only_replays
        self._on_idle = on_idle
        self._functions = functions
        self._send = send
        self._now_ms = now_ms
        self._is_busy = False
        self._is_passing_on = False
        self._new: deque[frames.Activate] = deque()
        self._woken: deque[SyncActivation] = deque()
        self._activations: dict[int, SyncActivation] = {}
        self._taken = 0  # number of the latest that got the slot as a new one
        self._taken_is_interrupted = False

    def receive(self, frame: frames.Command) -> None:
        """Take in a frame of the supervisor. Frames of activations that have ended are ignored."""
        with self.lock:
            match frame:
                case frames.Activate():
                    self._new.append(frame)
                    if not self._is_busy:
                        self.give_slot_away()
                case frames.Recall():
                    if self._drop_new(frame.activation):
                        self._send(frames.Recalled(frame.activation))
                case frames.CancelActivation():
                    self._cancel(frame)
                case frames.StepRecorded():
                    if (activation := self._activations.get(frame.activation)) is not None:
                        activation.recorded(frame.flush)
                case frames.StepArrived() | frames.StepRejected():
                    if (activation := self._activations.get(frame.activation)) is not None:
                        activation.arrived(frame)

    @property
    def is_idle(self) -> bool:
        """Whether no activation is active, or about to be."""
        with self.lock:
            return not (self._is_busy or self._woken or self._new)

    def is_quiet(self, number: int) -> bool:
        """Tell whether an activation waits for the supervisor, and nothing of it runs."""
        with self.lock:
            activation = self._activations.get(number)
            return activation is not None and activation.is_quiet

    # For activations; the lock is held.

    def wake(self, activation: SyncActivation) -> None:
        """Give the slot to a parked activation as soon as it is free."""
        self._woken.append(activation)
        if not self._is_busy:
            self.give_slot_away()

    def give_slot_away(self) -> None:
        """The slot is free: the next activation gets it, in another thread."""
        self._is_busy = False
        if self._is_passing_on:  # one that parks at once comes back here: the loop below goes on, no recursion
            return
        self._is_passing_on = True
        while not self._is_busy and (self._woken or self._new):
            self._is_busy = True
            if self._woken:
                self._woken.popleft().resume()
            else:
                self.threads.start(functools.partial(self._work, self._take_new()))
        self._is_passing_on = False
        if not self._is_busy:
            self._on_idle()

    def forget(self, activation: SyncActivation) -> None:
        """The activation has ended."""
        self._activations.pop(activation.number, None)

    def _take_new(self) -> frames.Activate:
        frame = self._new.popleft()
        self._taken, self._taken_is_interrupted = frame.activation, False
        return frame

    def _drop_new(self, number: int) -> bool:
        for frame in self._new:
            if frame.activation == number:
                self._new.remove(frame)
                return True
        return False

    def _cancel(self, frame: frames.CancelActivation) -> None:
        activation = self._activations.get(frame.activation)
        if activation is not None:
            activation.interrupt(frame.message)
        elif self._drop_new(frame.activation):
            self._send(frames.Interrupted(frame.activation))
        elif self._taken == frame.activation:
            self._taken_is_interrupted = True

    # In threads of activations, which have the slot; the lock is not held.

    def _work(self, frame: frames.Activate) -> None:
        """Run an activation, and the next ones as long as they are new: no other thread need wake up for them."""
        while True:
            self._run(frame)
            with self.lock:
                if self._woken or not self._new:
                    self.give_slot_away()
                    return
                frame = self._take_new()

    def _run(self, frame: frames.Activate) -> None:
        function = self._functions.get(frame.function)
        if function is None:
            error = UnknownFunction(f"this worker has no function {frame.function!r}", function=frame.function)
            send_ended(self._send, frame.activation, Failure(error, "UnknownFunction"))
        elif function.takes_context:
            self._run_durable(frame, function)
        else:
            self._run_plain(frame, function)

    def _run_durable(self, frame: frames.Activate, function: FunctionDefinition[..., Any]) -> None:
        try:
            activation = SyncActivation(self, frame, function, send=self._send, now_ms=self._now_ms)
        except Mismatch as mismatch:
            send_mismatched(self._send, frame.activation, mismatch)
            return
        with self.lock:
            if self._taken_is_interrupted:
                self._send(frames.Interrupted(frame.activation))
                return
            self._activations[frame.activation] = activation
        activation.run()

    def _run_plain(self, frame: frames.Activate, function: FunctionDefinition[..., Any]) -> None:
        number = frame.activation
        try:
            check_nothing_recorded(frame, function)
        except Mismatch as mismatch:
            send_mismatched(self._send, number, mismatch)
            return
        self._send(frames.Running(number))
        result = clean_context(number).run(function_calls.call, function, (), frame.arguments)
        with self.lock:
            self._taken = 0
        if self._taken_is_interrupted:
            self._send(frames.Interrupted(number))
        else:
            send_ended(self._send, number, result)
