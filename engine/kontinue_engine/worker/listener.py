"""Internal. What the pool reports finds its way to the controller and into the log. Built by ``worker.replica``."""

from __future__ import annotations

from kontinue_engine.controllers.activations import Activations
from kontinue_engine.controllers.entries import EntryStore
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_log = get_logger(__name__)


class Listener:
    """Hands what the pool reports to the controller, which exists only once the app is loaded."""

    def __init__(self) -> None:
        self.activations: Activations | None = None
        self.entries: EntryStore | None = None

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        """Take a frame of a runner."""
        if self.activations is not None:
            self.activations.on_frame(frame)

    def on_lost(self, activation: int, *, was_active: bool, was_alone: bool, reason: str, message: str) -> None:
        """Take the end of an activation together with its runner."""
        if self.activations is not None:
            self.activations.on_lost(
                activation, was_active=was_active, was_alone=was_alone, reason=reason, message=message
            )

    def on_log(self, runner_pid: int, frame: frames.LogLine) -> None:
        """Write a line of user output or logging, with the Execution it belongs to."""
        entry = self.entries.by_activation(frame.activation) if self.entries is not None else None
        owner = entry.log_fields if entry is not None else {}
        if frame.step:
            owner["step"] = frame.step
        if frame.logger:
            owner["user_logger"] = frame.logger
        _log.info("output", stream=frame.level, text=frame.text, runner=runner_pid, at_ms=frame.at_ms, **owner)
