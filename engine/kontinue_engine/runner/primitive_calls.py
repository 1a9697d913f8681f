"""Internal. What a runner asks of objects of ``konductor.io``, and what has come of it. Called by ``Activation``.

Ids are made of the Execution's uid and the step: who asks again after a crash, or in a later attempt, asks with the
same one. So what is held stays held, and what was counted is not counted again.
"""

from __future__ import annotations

import hashlib

from kontinue.primitive_calls import PrimitiveRequest
from kontinue.replay.call import Call
from kontinue.replay.records import Record, RecordKind
from kontinue_engine.wire import frames

Command = frames.AskPrimitive | frames.WithdrawPrimitive


def command_of(call: Call, *, uid: str, run: str, is_cancel: bool, may_repeat: bool, since_ms: int) -> Command:
    """Return what the supervisor is told.

    Args:
        call: a call with one of our requests.
        uid: of the Execution.
        run: tells apart what different runs and attempts ask for by one step id.
        is_cancel: it is no longer wanted.
        may_repeat: an earlier activation may have asked.
        since_ms: not before this.
    """
    request = call.request
    assert isinstance(request, PrimitiveRequest)  # noqa: S101
    # Of what is held the same id in all attempts: what an attempt that was cut off still holds is its successor's.
    parts = (uid, request.holds or call.id) if _is_of_hold(call) else (uid, call.id, run)
    id_ = hashlib.blake2b("\0".join(parts).encode(), digest_size=10).hexdigest()
    if is_cancel:
        return frames.WithdrawPrimitive(request.kind, request.name, request.verb, id_)
    return frames.AskPrimitive(request.kind, request.name, request.verb, id_, request.options, may_repeat, since_ms)


def encoded(step: str, json: bytes, hold: Record | None) -> frames.EncodedRecord:
    """Return a record for the supervisor, with what it says of holds."""
    if hold is None or hold.error is not None:
        return frames.EncodedRecord(step, json)
    is_release = hold.kind is RecordKind.RELEASE
    return frames.EncodedRecord(step, json, holds=not is_release, frees=hold.digest if is_release else "")


def _is_of_hold(call: Call) -> bool:
    return call.kind in (RecordKind.HOLD, RecordKind.RELEASE)
