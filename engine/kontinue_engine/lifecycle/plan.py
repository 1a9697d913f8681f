"""Internal. What to do about one Execution: what ``decide`` returns and ``controllers.execution`` applies.

A status, if there is one, is written first; the actions happen only once it is durable.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kontinue.api.v1alpha1 import ExecutionStatus
from kontinue_engine.lifecycle.memo import MemoBytes


class Dispatch(msgspec.Struct, frozen=True):
    """Give it to a runner.

    Attributes:
        fencing_token: of this run; grows with every claim and, under a mutex, from one holder to the next.
        alone: to one that runs nothing else: it is suspected of having killed the last one.
    """

    attempt: int
    resumption: int
    fencing_token: int
    alone: bool = False


class AwaitAdmission(msgspec.Struct, frozen=True):
    """It is to be claimed when there is room to run it."""


class AwaitHistory(msgspec.Struct, frozen=True):
    """Look for its missing pages again and again."""


class Acknowledge(msgspec.Struct, frozen=True):
    """Tell the runner that every record up to ``flush`` is durable."""

    flush: int


class StopActivation(msgspec.Struct, frozen=True):
    """Raise the cancel in user code."""

    message: str


class KillActivation(msgspec.Struct, frozen=True):
    """User code did not end in time: kill its runner."""


class ForgetActivation(msgspec.Struct, frozen=True):
    """The activation has ended; nothing of it is needed any more.

    Attributes:
        is_dormant: the Execution goes on waiting without one; a wake dispatches it.
    """

    is_dormant: bool = False


class CancelChildren(msgspec.Struct, frozen=True):
    """Cancel every child that still lives.

    Attributes:
        is_anew: only those of earlier runs: the Execution goes on.
    """

    message: str
    is_anew: bool = False


class Finish(msgspec.Struct, frozen=True):
    """The Execution has ended and stopped: tell the parent, drop it from the store."""


class Report(msgspec.Struct, frozen=True):
    """Log it, and create a Kubernetes Event.

    Attributes:
        is_event: False for what is only logged: there were enough Events of its kind.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    is_event: bool = True


Action = (
    Dispatch
    | AwaitAdmission
    | AwaitHistory
    | Acknowledge
    | StopActivation
    | KillActivation
    | ForgetActivation
    | CancelChildren
    | Finish
    | Report
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        status: to be written, or None.
        memo: the memo that this status carries (meaningful with ``status``).
        actions: in order, after the write.
        requeue_after_ms: look again then, or None.
    """

    status: ExecutionStatus | None = None
    memo: MemoBytes = MemoBytes()
    actions: tuple[Action, ...] = ()
    requeue_after_ms: int | None = None


NOTHING = Plan()
