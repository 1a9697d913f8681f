"""Internal. Sleeps and suspends as a runner asks for them, and payloads that do not fit. Called by ``Activation``.

Whether a sleep becomes a Suspension is the supervisor's business. A payload is judged here, where its type is known.
"""

from __future__ import annotations

from kontinue.api.v1alpha1 import MAX_RESULT_BYTES
from kontinue.durable_calls import SUSPEND_TIMEOUT, SuspendRequest, TimerRequest
from kontinue.errors import CodecError
from kontinue.replay.call import Call, Outcome
from kontinue.replay.records import RecordedError
from kontinue_engine.wire import frames

Command = frames.StartTimer | frames.CancelTimer | frames.StartSuspension | frames.CancelSuspension


def command_of(call: Call, name: str, *, is_cancel: bool) -> Command:
    """Return what the supervisor is told about a timer or a Suspension.

    Args:
        call: a call with one of our requests.
        name: of its Suspension, should there be one.
        is_cancel: it is no longer wanted.
    """
    request = call.request
    if isinstance(request, TimerRequest) and not request.is_sleep:
        return frames.CancelTimer() if is_cancel else frames.StartTimer(request.duration_ms)
    if is_cancel:
        return frames.CancelSuspension(name)
    if isinstance(request, TimerRequest):
        return frames.StartSuspension(name, True, request.duration_ms, call.name)  # noqa: FBT003 - a frame
    assert isinstance(request, SuspendRequest)  # noqa: S101
    return frames.StartSuspension(
        name=name,
        is_sleep=False,
        duration_ms=-1 if request.timeout_ms is None else request.timeout_ms,
        display_name=request.display_name,
        description=request.description,
        payload_schema=request.schema(),
    )


def refusal_of(call: Call | None, ended: frames.SuspensionEnded) -> str:
    """Return why the payload does not fit what the call waits for, with its path; nothing if it does."""
    if call is None or ended.timed_out or not isinstance(call.request, SuspendRequest) or call.request.payload is None:
        return ""
    if len(ended.payload) > MAX_RESULT_BYTES:
        return f"the payload is {len(ended.payload):,} bytes of JSON, the limit is {MAX_RESULT_BYTES:,}"
    try:
        call.request.decode(ended.payload or b"null")
    except CodecError as error:
        return str(error) if error.path != "$" else f"$: {error}"
    except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
        return f"$: {type(error).__name__}: {error}"
    return ""


def outcome_of(call: Call | None, ended: frames.SuspensionEnded) -> Outcome:
    """Return the outcome of a sleep or suspend: it counts once it is recorded, because the object may be deleted."""
    if ended.timed_out:
        message = "nobody has resumed it in time"
        error = RecordedError(type=SUSPEND_TIMEOUT, message=message, types=[SUSPEND_TIMEOUT])
        return Outcome(at_ms=ended.at_ms, error=error)
    is_read = call is not None and isinstance(call.request, SuspendRequest) and call.request.payload is not None
    return Outcome(at_ms=ended.at_ms, value=(ended.payload or b"null") if is_read else b"null")
