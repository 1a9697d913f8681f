"""Internal. Errors of the engine.

EngineError
├── IllegalTransitionError    a phase event that the lifecycle table does not allow (ours: a bug)
├── WireError                 a pipe between supervisor and runner carried what it must not (ours, or a broken runner)
│   ├── ProtocolError         bytes that are no frame, or a frame that is not legal now
│   └── FrameTooLargeError    a frame past the limit was about to be sent
├── UnreadableError           in kube.executions: an Execution does not decode (user, or a newer version)
├── LeaseLost                 in kube.lease: another replica may have taken over
├── MemoUnreadableError       status.state does not decode (user: edited by hand, or written by a newer version)
└── StartupError              the worker cannot start: message says what to do (user)
    ├── FunctionOwnedError    a function belongs to another worker group
    └── AppLoadFailedError    the user's module does not import, or holds no usable App
"""

from __future__ import annotations

from kontinue.errors import KontinueError


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


class WireError(EngineError):
    """A pipe between supervisor and runner carried, or was about to carry, what it must not."""


class ProtocolError(WireError):
    """The peer sent bytes that are no frame, or a frame that is not legal now. Give the peer up."""


class FrameTooLargeError(WireError):
    """A frame past the limit was not sent; the stream is intact.

    Attributes:
        frame: name of the frame's type.
        size_bytes: its encoded size.
        limit_bytes: the limit.
    """

    def __init__(self, *, frame: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"frame {frame} has {size_bytes} bytes, the limit is {limit_bytes}")
        self.frame = frame
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class MemoUnreadableError(EngineError):
    """``status.state`` is not a memo of this version."""


class PageForbiddenError(EngineError):
    """A page of an Execution's history may not be created: a quota, a policy, or a Role that is older than pages."""


class StartupError(EngineError):
    """The worker cannot start; the message names the remedy."""


class FunctionOwnedError(StartupError):
    """A function is registered by another worker group. The first two lines are the reference's (worker groups).

    Attributes:
        function: registered name.
        owner: the group that has it.
        group: ours.
    """

    def __init__(self, *, function: str, owner: str, group: str) -> None:
        super().__init__(
            f"function {function} is owned by worker group {owner} (current worker group: {group}).\n"
            "Set TakeOwnershipOfFunctions=true to override\n"
            f"(kontinue worker run --take-ownership), or leave {function} out of this app: docs/worker-groups.md"
        )
        self.function = function
        self.owner = owner
        self.group = group


class AppLoadFailedError(StartupError):
    """The user's module does not import, or holds no usable App.

    Attributes:
        message: what was found.
        traceback: of the import error, without the engine's own frames; may be empty.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.traceback = traceback


def first_known(error: BaseException) -> KontinueError | EngineError | None:
    """Return the first error in a group of tasks' errors, or the error itself; None if one of them is a bug."""
    if isinstance(error, BaseExceptionGroup):
        found = [first_known(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, KontinueError | EngineError) else None
