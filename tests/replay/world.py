"""A fake supervisor in the same process: it answers the frames of one activation, in an order of its own choosing.

Everything that the program waits for (gates in steps, children, timers, acknowledgements of flushes) becomes a choice;
``pick`` makes one. What the journal does is logged, for comparison with another run of the same program.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import zlib
from collections.abc import Callable
from typing import Any

from kontinue.replay.call import Call, Outcome
from kontinue.replay.journal import Journal
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.runner import activation as activation_module
from kontinue_engine.runner.current import current_activation, current_step_id
from kontinue_engine.wire import frames

CREATED_AT_MS = 1_700_000_000_000
_current: World | None = None
_worlds: dict[int, World] = {}
_numbers = itertools.count(1)


def current() -> World:
    """Return the world of the program that runs."""
    assert _current is not None
    return _current


def of_step() -> World:
    """Return the world of the step that runs here: a thread may come to its step after its program has crashed."""
    return _worlds[current_activation.get()]


def value_of(label: int, state: int, attempt: int = 1) -> int:
    """Return what a step or child of these arguments returns, or raise what it raises; a later attempt may be lucky."""
    if label % 7 == 0 and (attempt == 1 or zlib.crc32(f"{label} {attempt}".encode()) % 2):
        raise ValueError(f"unlucky {label}")
    return zlib.crc32(f"{label} {state}".encode()) % 1000


class World:
    """One activation, seen from the supervisor."""

    def __init__(self, rng: random.Random) -> None:
        global _current
        _current = self
        self.number = next(_numbers)  # of the activation
        self.attempt = 1
        self.passes_on = {0}  # remainders of operations that handle no failure
        self.blamed: list[int] = []
        self.memo: MemoBytes | None = None  # instead of the records alone
        _worlds[self.number] = self
        self.rng = rng
        self.clock_ms = CREATED_AT_MS
        self.shared: Any = None
        self.lock = threading.RLock()
        self.choices: dict[str, Callable[[], None]] = {}
        self.acks: list[int] = []
        self.durable = 0
        self.has_crashed = False
        self.replayed: list[str] = []
        self.records: list[str] = []
        self.end: list[Any] | None = None
        self.problems: list[str] = []
        self.receive: Callable[[Any], None] = lambda frame: None
        self.async_gates: dict[str, asyncio.Future[None]] = {}
        self.canceled: set[str] = set()
        self.told: dict[str, Any] | None = None  # the recorded outcome of the step that is picked
        self.requests: list[list[Any]] = []
        self.abandoned: list[list[Any]] = []
        self.delivered: list[list[Any]] = []
        self.started: list[str] = []
        # What outlives a crash: outcomes of children and timers, and what every effect was started as.
        self.facts: dict[str, frames.TimerFired | frames.ChildFinished | frames.SuspensionEnded] = {}
        self.refused: set[str] = set()
        self.asked_again: set[str] = set()
        self.effects: dict[tuple[str, int], list[Any]] = {}
        self.arrived: set[str] = set()

    # Steps.

    async def gate_async(self) -> None:
        step = current_step_id.get()
        future = asyncio.get_running_loop().create_future()

        def go_on() -> None:
            if not future.done():
                future.set_result(None)

        self.choices[step] = go_on
        try:
            await future
        finally:
            self.choices.pop(step, None)

    def gate_sync(self) -> None:
        step = current_step_id.get()
        opened = threading.Event()
        with self.lock:
            self.choices[step] = opened.set
        opened.wait()  # for ever, if nothing goes on: the process does not wait for its threads

    # Frames of the runner.

    def on_frame(self, frame: Any) -> None:
        with self.lock:
            if not self.has_crashed:
                self._on_frame(frame)

    def _on_frame(self, frame: Any) -> None:
        if self.end is not None:
            self.problems.append(f"frame after the end: {frame}")
        match frame:
            case frames.RecordsProduced():
                self.records.extend(record.json.decode() for record in frame.records)
                self.acks.append(frame.flush)
                if len(self.replayed) + len(self.records) != frame.flush:
                    self.problems.append(f"flush {frame.flush} after {len(self.records)} records")
            case frames.StepRequested(command=frames.CreateChild() | frames.StartTimer() | frames.StartSuspension()):
                self.choices[frame.step] = lambda: self._answer(frame)
            case frames.StepRequested(command=frames.CancelTimer()):
                self.choices.pop(frame.step, None)
            case frames.StepRequested(command=frames.CancelSuspension(name=name)):
                self.choices.pop(frame.step, None)
                self.facts.pop(name, None)  # it is deleted
            case frames.PayloadRefused(step=step, name=name):
                self.refused.add(name)
                self.asked_again.add(step)
                self.choices[step] = lambda: self._resume(step, name)
            case frames.StepRequested(command=frames.CancelChild()):
                self.canceled.add(frame.step)
            case frames.Completed():
                self.records.extend(record.json.decode() for record in frame.records)
                self.end = ["Completed", frame.result.decode()]
            case frames.Failed():
                self.records.extend(record.json.decode() for record in frame.records)
                steps = [json.loads(record)["id"] for record in [*self.replayed, *self.records]]
                self.blamed = frame.seqs
                blamed = [steps[seq - 1] for seq in frame.seqs]
                self.end = ["Failed", frame.reason, frame.error.type, frame.error.message, blamed]
            case frames.Mismatched():
                self.end = ["Mismatched", frame.step, frame.recorded, frame.requested]
                self.problems.append(f"mismatch: {frame}")
            case frames.Running() | frames.Waiting():
                pass
            case _:
                self.problems.append(f"unexpected {frame}")

    def _answer(self, frame: frames.StepRequested) -> None:
        command = frame.command
        if isinstance(command, frames.StartSuspension):
            self._resume(frame.step, command.name, is_sleep=command.is_sleep)
            return
        known_as = command.name if isinstance(command, frames.CreateChild) else frame.step
        outcome = self.facts.setdefault(known_as, self._outcome(frame))
        self.receive(frames.StepArrived(self.number, frame.step, outcome))

    def _resume(self, step: str, name: str, *, is_sleep: bool = False) -> None:
        """End a Suspension, by a payload that some get wrong at first."""
        kind = zlib.crc32(name.encode())
        if not is_sleep and kind % 3 == 0 and name not in self.refused:
            self.receive(frames.StepArrived(self.number, step, frames.SuspensionEnded(self.clock_ms, b'"wrong"')))
            return
        ended = frames.SuspensionEnded(self.clock_ms, str(kind % 100).encode())
        outcome = self.facts.setdefault(name, ended)
        self.receive(frames.StepArrived(self.number, step, outcome))

    def _outcome(self, frame: frames.StepRequested) -> frames.TimerFired | frames.ChildFinished:
        command = frame.command
        if isinstance(command, frames.StartTimer):
            return frames.TimerFired(self.clock_ms)
        assert isinstance(command, frames.CreateChild)
        result, error, phase = None, None, "Completed"
        is_canceled = frame.step in self.canceled
        if self.told is not None:
            is_canceled = self.told.get("error", {}).get("message") == "canceled"
        if is_canceled:
            phase, error = "Canceled", frames.ErrorInfo("kontinue.errors.ExecutionCanceled", "canceled")
        else:
            try:
                result = json.dumps(value_of(**json.loads(command.arguments), attempt=self.attempt)).encode()
            except ValueError as raised:
                phase, error = "Failed", frames.ErrorInfo("builtins.ValueError", str(raised))
        return frames.ChildFinished(command.name, "uid", 1, phase, self.clock_ms, result, error)

    # Choices.

    def pick(self, choice: str) -> None:
        """Let happen what ``choice`` waits for."""
        with self.lock:
            answer = self.choices.pop(choice)
        answer()

    def acknowledge(self) -> bool:
        """Say that the oldest flush is durable."""
        with self.lock:
            if not self.acks:
                return False
            flush = self.durable = self.acks.pop(0)
        self.receive(frames.StepRecorded(self.number, flush))
        return True

    def pick_at_random(self) -> bool:
        """Make one random choice; an acknowledgement counts like any other."""
        with self.lock:
            names = sorted(self.choices)
            choice = self.rng.randrange(len(names) + bool(self.acks)) if names or self.acks else None
        if choice is None:
            return False
        self.clock_ms += self.rng.randrange(5)
        if choice == len(names):
            return self.acknowledge()
        self.pick(names[choice])
        return True


class LoggedJournal(Journal):
    """The journal under test, with a log."""

    def request(self, call: Call) -> None:
        world = current()
        world.requests.append([call.id, call.kind, call.name, call.digest, len(world.delivered)])
        super().request(call)

    def abandon(self, call: Call, message: str = "") -> None:
        if call.id in self._calls:
            current().abandoned.append([call.id, len(current().delivered)])
        super().abandon(call, message)

    def arrive(self, step_id: str, outcome: Outcome) -> bool:
        counts = super().arrive(step_id, outcome)
        current().arrived.add(step_id)
        return counts

    def advance(self) -> Call | None:
        call = super().advance()
        if call is not None:
            record = call.record
            assert record is not None
            error = record.error and [record.error.type, record.error.message]
            value = None if error else bytes(record.value).decode()  # type: ignore[arg-type]
            current().delivered.append([call.id, record.digest, value, error])
        return call

    def take_effects(self) -> list[Any]:
        effects = super().take_effects()
        world = current()
        for call in [effect.call for effect in effects if not effect.is_cancel]:
            world.started.append(call.id)
            started_as = [call.kind, call.name, call.digest]
            before = world.effects.setdefault((call.id, self.generation(call)), started_as)
            if before != started_as:
                world.problems.append(f"{call.id} was started as {before}, after a crash as {started_as}")
        return effects


def install_log() -> None:
    """Have activations use the logged journal."""
    activation_module.Journal = LoggedJournal  # type: ignore[misc]
