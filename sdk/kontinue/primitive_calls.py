"""Builds the durable calls by which functions use the primitives of ``konductor.io``: WaitGroups, locks, Gates ...

The counterpart of ``kontinue.durable_calls`` for these objects. Contexts use the builders; the runner
hands what is asked for to the supervisor, which talks to the server. Something that is held is two calls: ``hold`` and
``release``, and between them the Execution holds it, through crashes and replays
(docs/adr/0032-primitives-in-functions.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from kontinue import codec
from kontinue.durable_calls import line_of_caller
from kontinue.errors import ContextError, PrimitiveFailed
from kontinue.replay.call import Call
from kontinue.replay.records import Record, RecordKind

WAIT_GROUP: Final = "WaitGroup"
MUTEX: Final = "Mutex"
RW_MUTEX: Final = "RWMutex"
SEMAPHORE: Final = "Semaphore"
BARRIER: Final = "Barrier"
ONCE: Final = "Once"
LEASE: Final = "Lease"
GATE: Final = "Gate"

LEAST_WAIT: Final = timedelta(seconds=1)
"""By when what is free, open or done has been had. Judgement: hundreds of times what a server takes for it."""


class Held(msgspec.Struct, frozen=True):
    """Something that an Execution holds.

    Attributes:
        name: of the Mutex, RWMutex, Lease or Semaphore.
        token: of a lock: grows with each lock of its object; pass it on, so that what you write to can refuse older
            ones. 0 for a permit.
    """

    name: str
    token: int = 0


class Begun(msgspec.Struct, frozen=True):
    """What asking to do a Once has come to.

    Attributes:
        is_executed: it has been done; there is nothing to do.
        is_ours: and by this call.
    """

    is_executed: bool = False
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class PrimitiveRequest:
    """Ask something of a primitive.

    Attributes:
        kind: of the object, as ``Mutex``.
        name: of the object.
        verb: what is asked: ``lock``, ``add``, ``wait`` ...
        options: JSON object.
        holds: of a release: step that holds what is given back; empty otherwise.
        result: type of the answer.
    """

    kind: str
    name: str
    verb: str
    options: bytes
    holds: str
    result: Any

    def decode(self, data: bytes) -> Any:
        """Return the answer."""
        return msgspec.json.decode(data, type=self.result)

    def failure(self, record: Record) -> Exception:
        """Return PrimitiveFailed."""
        error = record.error
        assert error is not None  # noqa: S101
        return PrimitiveFailed(error.message, primitive=record.name, type=error.type, types=error.types, seq=record.seq)


def ask_call(kind: str, name: str, verb: str, *, result: Any = None, **options: Any) -> Call:
    """Return the call of something that is over with its answer: to wait, to arrive.

    Raises:
        ContextError: the object has no name.
    """
    return _call(RecordKind.PRIMITIVE, kind, name, verb, result, options)


def count_call(name: str, delta: int, *, is_bound: bool) -> Call:
    """Return the call that counts on a WaitGroup, which does not remember it for ever.

    Raises:
        ContextError: the WaitGroup has no name, or the delta is no whole number.
    """
    _require_number("delta", delta)
    options = {"delta": delta, "bound": is_bound}
    return _call(RecordKind.PRIMITIVE, WAIT_GROUP, name, "add", int, options, comes_after_all=True)


def done_call(name: str, delta: int, *, is_bound: bool) -> Call:
    """Return the call that takes off a WaitGroup what is done, at least 1. Raises like ``count_call``."""
    _require_number("delta", delta)
    if delta < 1:
        raise ContextError(f"done of {WAIT_GROUP}/{name} takes a delta of 1 or more, got {delta}")
    return count_call(name, -delta, is_bound=is_bound)


def lease_call(name: str, priority: int | None) -> Call:
    """Return the call of a Lease that is held from its outcome on.

    Raises:
        ContextError: the Lease has no name, or the priority is no whole number.
    """
    if priority is not None:
        _require_number("priority", priority)
    return hold_call(LEASE, name, "lock", priority=priority)


def hold_call(kind: str, name: str, verb: str, *, result: Any = Held, **options: Any) -> Call:
    """Return the call of something that is held from its outcome on. Raises like ``ask_call``."""
    return _call(RecordKind.HOLD, kind, name, verb, result, options)


def release_call(hold: Call, **options: Any) -> Call:
    """Return the call that gives back what ``hold`` has got; a replay compares what it gives back, not the options."""
    held = hold.request
    assert isinstance(held, PrimitiveRequest)  # noqa: S101
    request = PrimitiveRequest(held.kind, held.name, "release", msgspec.json.encode(options), hold.id, None)
    return Call(RecordKind.RELEASE, hold.name, request, digest=hold.id, line=line_of_caller())


def waiting_time(limit: timedelta | None) -> timedelta | None:
    """Return how long to wait: as long as asking may take, at least.

    So 0 and what is left of a time that is over, which is negative, still get what is free, as in ``kontinue.sync``.
    """
    # What is no duration is refused by whoever starts the timer.
    return LEAST_WAIT if isinstance(limit, timedelta) and limit < LEAST_WAIT else limit


def _call(
    record: RecordKind,
    kind: str,
    name: str,
    verb: str,
    result: Any,
    options: dict[str, Any],
    *,
    comes_after_all: bool = False,
) -> Call:
    if not name or not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ContextError(f"a {kind} has a name, which is a text, got {name!r}")
    data = msgspec.json.encode(options, order="deterministic")
    request = PrimitiveRequest(kind, name, verb, data, "", result)
    digest = codec.digest(verb.encode() + b" " + data)
    return Call(
        record,
        f"{kind}/{name}",
        request,
        digest=digest,
        line=line_of_caller(),
        comes_after_all=comes_after_all,
    )


def _require_number(name: str, value: object) -> None:
    if not isinstance(value, int):
        raise ContextError(f"{name} is a whole number, for example {name}=1, got {value!r}")
