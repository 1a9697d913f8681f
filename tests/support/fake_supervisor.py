"""A supervisor for hosts of activations in the same process: keeps their frames, answers what it is told to.

Records are durable as soon as they come, children return ten times their first argument, timers of less than a day
fire at once.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kontinue_engine.wire import frames

FrameT = TypeVar("FrameT")
ENDS = (frames.Completed, frames.Failed, frames.Mismatched, frames.Interrupted)
NOW_MS = 5_000
DAY_MS = 86_400_000


class FakeSupervisor:
    """Give ``send`` and ``now_ms`` to a host, then set ``host``.

    Attributes:
        frames: what the runner has sent, in order.
        memo: records per activation, as JSON texts.
        holds: kinds of commands (``frames.CreateChild`` ...) or ``frames.RecordsProduced`` that are left unanswered.
    """

    def __init__(self) -> None:
        self.host: Any = None
        self.frames: list[Any] = []
        self.memo: dict[int, list[str]] = {}
        self.holds: set[type] = set()
        self._changed = threading.Condition()

    def now_ms(self) -> int:
        return NOW_MS

    def send(self, frame: Any) -> None:
        with self._changed:
            self.frames.append(frame)
            records = getattr(frame, "records", [])
            self.memo.setdefault(getattr(frame, "activation", 0), []).extend(item.json.decode() for item in records)
            self._changed.notify_all()

    def activate(self, number: int, function: str, *, memo: list[str] | None = None, **arguments: Any) -> None:
        state = f'{{"build":"b1","records":[{",".join(memo)}]}}'.encode() if memo else b""
        self.host.receive(
            frames.Activate(
                number, "ns", f"ex-{number}", "uid", function, json.dumps(arguments).encode(), state, 1, 0, 0, 1_000, 7
            )
        )

    def answer(self, frame: Any) -> None:
        """Answer one frame, whatever ``holds`` says."""
        number = frame.activation
        match frame:
            case frames.RecordsProduced():
                self.host.receive(frames.StepRecorded(number, frame.flush))
            case frames.StepRequested(
                command=frames.StartTimer(duration_ms=duration)
                | frames.StartSuspension(is_sleep=True, duration_ms=duration)
            ) if duration < DAY_MS:
                self.host.receive(frames.StepArrived(number, frame.step, frames.TimerFired(NOW_MS)))
            case frames.StepRequested(command=frames.CreateChild() as command):
                result = 10 * next(iter(json.loads(command.arguments).values()))
                outcome = frames.ChildFinished(command.name, "u", 1, "Completed", NOW_MS, str(result).encode())
                self.host.receive(frames.StepArrived(number, frame.step, outcome))

    def answers(self, frame: Any) -> bool:
        """Whether ``serve`` answers this frame."""
        kind = type(frame.command) if isinstance(frame, frames.StepRequested) else type(frame)
        return kind not in self.holds

    def serve(self, until: Callable[[], bool], *, timeout_s: float = 30) -> None:
        """Answer frames until the condition holds; for hosts that run in other threads."""
        position = 0
        while not until():
            with self._changed:
                seen = position
                assert self._changed.wait_for(lambda: len(self.frames) > seen or until(), timeout_s), self.frames  # noqa: B023
            position = self._answer_from(position)

    async def serve_async(self, until: Callable[[], bool], *, timeout_s: float = 30) -> None:
        """Answer frames until the condition holds; for hosts on the running loop."""
        position = 0
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, self.frames
            position = self._answer_from(position)
            await asyncio.sleep(0)

    def _answer_from(self, position: int) -> int:
        while position < len(self.frames):
            if self.answers(self.frames[position]):
                self.answer(self.frames[position])
            position += 1
        return position

    def of(self, kind: type[FrameT], number: int = 1) -> list[FrameT]:
        """Return the frames of a kind that an activation has sent."""
        return [frame for frame in self.frames if isinstance(frame, kind) and frame.activation == number]  # type: ignore[attr-defined]

    def end(self, number: int = 1) -> Any:
        """Return the frame that ended an activation, or None."""
        ends = [frame for frame in self.frames if isinstance(frame, ENDS) and frame.activation == number]
        assert len(ends) <= 1, ends
        return ends[0] if ends else None
