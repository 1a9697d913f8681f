"""Internal. Errors of the engine.

EngineError
├── IllegalTransitionError    a phase event that the lifecycle table does not allow (ours: a bug)
├── MemoUnreadableError       status.state does not decode (user: edited by hand, or written by a newer version)
└── StartupError              the worker cannot start: message says what to do (user)
    └── FunctionOwnedError    a function belongs to another worker group
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error that the engine raises on purpose."""


class IllegalTransitionError(EngineError):
    """The lifecycle table does not allow this event in this phase.

    Attributes:
        phase: the phase the Execution was in.
        event: what happened.
    """

    def __init__(self, *, phase: str, event: str) -> None:
        super().__init__(f"an Execution in phase {phase} cannot take event {event}")
        self.phase = phase
        self.event = event


class MemoUnreadableError(EngineError):
    """``status.state`` is not a memo of this version."""


class StartupError(EngineError):
    """The worker cannot start; the message names the remedy."""


class FunctionOwnedError(StartupError):
    """A function is registered by another worker group (reference: worker groups, function ownership)."""

    def __init__(self, *, function: str, owner: str, group: str) -> None:
        super().__init__(
            f"function {function} is owned by worker group {owner} (current worker group: {group}).\n"
            "Set TakeOwnershipOfFunctions=true to override"
        )
        self.function = function
        self.owner = owner
        self.group = group
