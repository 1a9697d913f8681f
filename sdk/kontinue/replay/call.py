"""A durable call as the journal sees it, and the error for a program that no longer matches its memo.

Pure data and texts. Contexts create calls, ``kontinue.replay.journal`` moves them through their states.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, Protocol

from kontinue.replay.records import ChildOutcome, Record, RecordedError, RecordKind


class Request(Protocol):
    """What a call asks for. The journal only decodes its results; the engine knows how to perform it."""

    def decode(self, data: bytes) -> Any:
        """Return the value that JSON ``data`` stands for, or raise ResultDecodeError."""
        ...

    def failure(self, record: Record) -> Exception:
        """Return the exception that the failed ``record`` raises in user code."""
        ...


class CallState(enum.Enum):
    """How far a call has come. OPEN: it has an id. DELIVERED and ABANDONED are final."""

    OPEN = enum.auto()
    REQUESTED = enum.auto()
    STARTED = enum.auto()
    ARRIVED = enum.auto()
    DELIVERED = enum.auto()
    ABANDONED = enum.auto()


class Parallelism:
    """A limit on how many of the calls that share it are started at a time; the journal keeps its counts.

    Attributes:
        taken: places taken by calls that may start or have started.
        queue: calls without a place, in order; given up or answered ones may still stand in it.
    """

    __slots__ = ("limit", "queue", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.queue: deque[Call] = deque()


class Call:
    """One durable call of the program.

    Attributes:
        id: step id; empty until the call is opened.
        digest: of the encoded arguments; empty where they do not matter (timers).
        line: ``file:line`` of the call.
        comes_after_all: it is started only when everything that was delivered before is durable, so that a replay that
            comes to it knows by the memo whether an earlier activation may have started it.
        position: records delivered when it was requested.
        needs: seq that must be durable before its effect may start.
        parallelism: limit that it shares with others; ``has_place`` says whether it counts there.
        record: its outcome, once delivered.
        listener: what the engine wakes on delivery; not the journal's business.
    """

    __slots__ = (
        "_value",
        "comes_after_all",
        "digest",
        "has_place",
        "id",
        "kind",
        "line",
        "listener",
        "name",
        "needs",
        "parallelism",
        "position",
        "record",
        "request",
        "state",
    )

    def __init__(
        self,
        kind: RecordKind,
        name: str,
        request: Request,
        *,
        digest: str = "",
        line: str = "",
        parallelism: Parallelism | None = None,
        comes_after_all: bool = False,
    ) -> None:
        self.id = ""
        self.kind = kind
        self.name = name
        self.request = request
        self.digest = digest
        self.line = line
        self.parallelism = parallelism
        self.comes_after_all = comes_after_all
        self.has_place = False
        self.state = CallState.OPEN
        self.position = 0
        self.needs = 0
        self.record: Record | None = None
        self.listener: Any = None
        self._value: Any = None

    @property
    def is_finished(self) -> bool:
        """Whether ``result`` may be called."""
        return self.state is CallState.DELIVERED

    @property
    def is_failed(self) -> bool:
        """Whether the delivered outcome is a failure."""
        return self.record is not None and self.record.error is not None

    def deliver(self, record: Record, value: Any) -> None:
        """Set the outcome; called by the journal."""
        self.state = CallState.DELIVERED
        self.record = record
        self._value = value

    def result(self) -> Any:
        """Return the value of the delivered record, or raise its failure (a new exception each time)."""
        assert self.record is not None, "not delivered"  # noqa: S101
        if self.record.error is not None:
            raise self.request.failure(self.record)
        return self._value

    def describe(self) -> str:
        """Return kind, name, arguments digest and line for a message."""
        return describe(self.kind, self.name, self.digest, self.line)


class Outcome:
    """What has become of a call: JSON of its value, or an error.

    Attributes:
        at_ms: when.
        child: for children: which run of which child.
        is_durable: somebody else keeps it (a child's own status, a timer's wake time), so it may be delivered before
            its record is written.
    """

    __slots__ = ("at_ms", "child", "error", "is_durable", "value")

    def __init__(
        self,
        *,
        at_ms: int,
        value: bytes = b"null",
        error: RecordedError | None = None,
        child: ChildOutcome | None = None,
        is_durable: bool = False,
    ) -> None:
        self.at_ms = at_ms
        self.value = value
        self.error = error
        self.child = child
        self.is_durable = is_durable


class Mismatch(Exception):  # noqa: N818
    """The program does not match its memo. Ends the activation; user code never sees it.

    Attributes:
        step: id of the step that does not match.
        recorded: what the memo holds there.
        requested: what the program does there now.
        only_arguments: it is the same call on the same line, with other arguments.
    """

    def __init__(self, *, step: str, recorded: str, requested: str, only_arguments: bool = False) -> None:
        super().__init__(f"step {step}: recorded {recorded}; now {requested}")
        self.step = step
        self.recorded = recorded
        self.requested = requested
        self.only_arguments = only_arguments


class Exhausted(Mismatch):
    """The program goes on asking although it was refused again and again. Ends the activation as a Mismatch does.

    Attributes:
        error: what the call would have been refused with.
    """

    def __init__(self, call: Call, error: RecordedError) -> None:
        super().__init__(step=call.id, recorded="as much as one run may", requested=call.describe())
        self.error = error


def describe(kind: str, name: str, digest: str, line: str) -> str:
    """Return one side of a mismatch: ``step charge (arguments digest 9c1f...) at shop/app.py:12``."""
    text = f"{kind} {name} (arguments digest {digest})" if digest else f"{kind} {name}".rstrip()
    return f"{text} at {line}" if line else text
