"""Memo records: what one durable call left behind, and the memo that ``status.state`` carries.

Pure data. ``kontinue.replay.journal`` consumes and produces records; a runner sends each one to its supervisor as
encoded JSON (``encode_record``), and the supervisor stores those bytes in ``status.state.records`` unread.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class RecordKind(enum.StrEnum):
    """Which durable call made a record."""

    STEP = "step"
    CHILD = "child"
    TIMER = "timer"
    POLL = "poll"
    SUSPENSION = "suspension"
    JOB = "job"
    POD = "pod"
    HOLD = "hold"
    RELEASE = "release"
    PRIMITIVE = "primitive"


class RecordedError(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A failure as recorded: class names and texts, never a pickled exception."""

    type: str
    message: str = ""
    traceback: str = ""
    types: list[str] = []


class ChildOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which run of which child the record's value or error came from."""

    name: str
    uid: str = ""
    attempt: int = 1
    phase: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The recorded outcome of one durable call.

    Attributes:
        id: step id: where in the program the call was made.
        kind: which kind of call.
        name: of the step function, the child's function, or the timer's display name.
        digest: of the encoded arguments.
        seq: position in the order of delivery; starts at 1, no gaps.
        at_ms: time of the outcome, milliseconds since the epoch: what ``ctx.now()`` returns after delivery.
        value: JSON of the result; unset when it failed.
        error: the failure, if it failed.
        child: for children: whose outcome this is.
        line: ``file:line`` of the call, for messages; not compared.
    """

    id: str
    kind: RecordKind
    name: str
    digest: str
    seq: int
    at_ms: int
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: RecordedError | None = None
    child: ChildOutcome | None = None
    line: str = ""


class Memo(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``status.state``: every record of the Execution, and the timers that are running.

    Attributes:
        build: digest of the code that wrote it last.
        records: in ``seq`` order.
        timers: step id -> wake time in milliseconds since the epoch, for started timers without a record.
        arguments: what the function was called with, defaults included, where they differ from ``spec.arguments``:
            a default that changes with the code must not change a call that has begun.
        cache: outcomes of earlier attempts, from where the memo was cut: whoever asks for the same gets them.
        cuts: (seq, generation) each, both rising: what is asked for after that record was delivered may differ from
            what an earlier attempt asked for by the same id, so names of children differ by the generation.
        blamed: where the attempt that failed is to be blamed: the next one cuts the memo at the smallest of them.
        begun: step id -> digest of the name of a child, Job or Pod that is known to have been there, for steps without
            a record: the supervisor tells by it what was deleted.
        since_ms: when this run began, by ``ctx.continue_as_new``; 0 for the first, which began with the Execution.
    """

    build: str = ""
    records: list[Record] = []
    timers: dict[str, int] = {}
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    cache: list[Record] = []
    cuts: list[tuple[int, int]] = []
    blamed: list[int] = []
    begun: dict[str, str] = {}
    since_ms: int = 0


EMPTY_MEMO: Final = Memo()

encode_record = msgspec.json.Encoder().encode
decode_memo = msgspec.json.Decoder(Memo).decode
