"""Internal. What sync and async activations share: the journal of one run of user code, and its frames.

Not thread-safe: the hosts see to that. ``SyncActivation`` and ``AsyncActivation`` add how user code is run.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from kontinue import naming, steps
from kontinue.definition import FunctionDefinition
from kontinue.durable_calls import ChildRequest, SuspendRequest, TimerRequest
from kontinue.errors import ContextError
from kontinue.job_calls import JobRequest
from kontinue.poll_calls import PollRequest
from kontinue.ports import ExecutionInfo
from kontinue.primitive_calls import PrimitiveRequest
from kontinue.replay.call import Call, CallState, Exhausted, Mismatch, Outcome
from kontinue.replay.journal import Effect, Journal
from kontinue.replay.records import EMPTY_MEMO, ChildOutcome, Memo, RecordKind, decode_memo
from kontinue_engine.errors import FrameTooLargeError
from kontinue_engine.runner import failures, function_calls, primitive_calls, suspension_calls
from kontinue_engine.runner.failures import Continuation, Failure
from kontinue_engine.runner.step_calls import StepRun
from kontinue_engine.wire import frames

Send = Callable[[frames.RunnerEvent], None]
NowMs = Callable[[], int]
Command = (
    frames.CreateChild
    | frames.CancelChild
    | frames.StartPoll
    | frames.CancelPoll
    | frames.StartJob
    | frames.CancelJob
    | suspension_calls.Command
    | primitive_calls.Command
)

_WAITING_KINDS: Final = {
    RecordKind.CHILD: "Execution",
    RecordKind.TIMER: "Timer",
    RecordKind.POLL: "Poll",
    RecordKind.SUSPENSION: "Suspension",
    RecordKind.JOB: "Job",
    RecordKind.POD: "Pod",
    RecordKind.STEP: "Step",
}
_NAMED_BY_OBJECT: Final = frozenset({RecordKind.CHILD, RecordKind.SUSPENSION, RecordKind.JOB, RecordKind.POD})
BY_THE_CODE_NOW: Final = ", requested by the code now"
"""Behind what a Mismatched says that is requested."""
_MAX_WAITING_SHOWN: Final = 10
"""Of what a parked activation waits for; judgement: status and people need a few, a fan-out has thousands."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Activation:
    """One run of a function with a context; with ``only_replays``, up to where the records of its memo end.

    Raises:
        Mismatch: the memo cannot be read.
    """

    def __init__(
        self,
        activate: frames.Activate,
        function: FunctionDefinition[..., Any],
        *,
        send: Send,
        now_ms: NowMs,
        only_replays: bool = False,
    ) -> None:
        self.number = activate.activation
        self._function = function
        self.activate = activate
        memo = _read_memo(activate.memo)
        self.journal = Journal(memo, created_at_ms=activate.created_at_ms, only_replays=only_replays)
        self._recorded_arguments = b"" if memo.arguments is msgspec.UNSET else bytes(memo.arguments)
        self.info = ExecutionInfo(
            name=activate.execution,
            namespace=activate.namespace,
            uid=activate.uid,
            function=activate.function,
            attempt=activate.attempt,
            resumption=activate.resumption,
            created_at=_EPOCH + timedelta(milliseconds=activate.created_at_ms),
            raw_arguments=self._recorded_arguments or activate.arguments,
            run_epoch=activate.run_epoch,
        )
        self.send = send
        self._host_now_ms = now_ms
        self._heard = 0
        self._due: list[Call] = []
        self._running_steps = 0
        self._owes_end = False

    # For contexts (``kontinue.ports.Port``).

    @property
    def now_ms(self) -> int:
        """Time of the latest outcome that the program has seen."""
        return self.journal.now_ms

    @property
    def is_replaying(self) -> bool:
        """Whether the program repeats what an earlier activation did."""
        return self.journal.is_replaying

    def child_name(self, call: Call) -> str:
        """Return the name of the child Execution, Suspension, Job or Pod of an open call."""
        request = call.request
        if isinstance(request, ChildRequest) and request.function.call_options.name is not None:
            return request.function.call_options.name
        activate = self.activate
        generation = self.journal.generation(call)
        return naming.child_name(activate.execution, call.id, activate.uid, activate.run_epoch, generation)

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Return the JSON object of arguments of the function that runs."""
        return self._function.codec.encode_arguments(args, kwargs)

    # For hosts.

    def send_running(self) -> bytes:
        """Say that user code is about to run for the first time; return the arguments to call it with."""
        completed = (
            b"" if self._recorded_arguments else function_calls.complete(self._function, self.activate.arguments)
        )
        self.send(frames.Running(self.number, completed))
        return self._recorded_arguments or completed or self.activate.arguments

    def arrived(self, frame: frames.StepArrived | frames.StepRejected) -> None:
        """Take in what the supervisor says about a step."""
        self._heard += 1
        if isinstance(frame, frames.StepArrived) and isinstance(frame.outcome, frames.SuspensionEnded):
            call = self.journal.find(frame.step)
            refusal = suspension_calls.refusal_of(call, frame.outcome)
            if call is not None and refusal:
                self.send(frames.PayloadRefused(self.number, frame.step, self.child_name(call), refusal))
                return
        if isinstance(frame, frames.StepArrived) and isinstance(frame.outcome, frames.LookDue):
            call = self.journal.find(frame.step)
            if call is not None and call.state is CallState.STARTED:
                self._due.append(call)
            return
        self.journal.arrive(frame.step, self._outcome(frame))

    def take_due(self) -> list[Call]:
        """Return the polls whose condition is to be looked at now."""
        due, self._due = self._due, []
        return [call for call in due if call.state is CallState.STARTED]

    def step_returned(self, call: Call, outcome: Outcome) -> bool:
        """Take in the outcome of a step; False for a look at the condition of a poll that does not hold yet."""
        request = call.request
        if isinstance(request, PollRequest) and not request.holds(outcome):
            command = frames.StartPoll(request.every_ms, call.name, has_looked=True)
            self.send(frames.StepRequested(self.number, call.id, command))
            return False
        self.journal.arrive(call.id, outcome)
        return True

    def step_run(self, call: Call) -> StepRun:
        """Return what runs the step of ``call``."""
        return StepRun(
            call,
            execution=self.info.name,
            uid=self.info.uid,
            run_epoch=self.activate.run_epoch,
            generation=self.journal.generation(call),
            fencing_token=self.activate.fencing_token,
            now_ms=self._host_now_ms,
            on_left=functools.partial(self.from_thread, functools.partial(self._thread_left, call.id)),
            on_late_end=functools.partial(self.from_thread, self.step_ended),
        )

    def from_thread(self, change: Callable[[], None]) -> None:
        """Have ``change`` done to this activation; from any thread of a step."""
        raise NotImplementedError

    def _thread_left(self, step: str) -> None:
        self.step_started()  # its code still runs, though its outcome is known
        self.send(frames.ThreadLeft(self.number, step))

    def send_flush(self) -> None:
        """Send the records that must be made durable now, if any."""
        flush = self.journal.take_flush()
        if flush is not None:
            self.send(frames.RecordsProduced(self.number, flush.seq, self._encoded(flush.records)))

    def send_effect(self, effect: Effect) -> None:
        """Ask the supervisor for the effect of a child, a timer, a Suspension or a Job."""
        self.send(frames.StepRequested(self.number, effect.call.id, self._command(effect)))

    def send_waiting(self) -> None:
        """Say that the activation is parked, and what it waits for."""
        outstanding = self.journal.outstanding
        items = [self._waiting_item(call) for call in itertools.islice(outstanding, _MAX_WAITING_SHOWN)]
        has_step = any(call.kind is RecordKind.STEP or call.state is CallState.ARRIVED for call in outstanding)
        has_step = has_step or self.journal.holds_back  # what was not asked for yet will wake nobody
        self.send(frames.Waiting(self.number, items, len(outstanding) - len(items), has_step, self._heard))

    def _waiting_item(self, call: Call) -> frames.WaitingItem:
        if isinstance(call.request, PrimitiveRequest):
            return frames.WaitingItem(kind=call.request.kind, name=call.request.name, step=call.id)
        name = self.child_name(call) if call.kind in _NAMED_BY_OBJECT else call.name
        return frames.WaitingItem(kind=_WAITING_KINDS[call.kind], name=name, step=call.id)

    def _encoded(self, records: list[tuple[str, bytes]]) -> list[frames.EncodedRecord]:
        return [primitive_calls.encoded(step, json, self.journal.hold_of(step)) for step, json in records]

    def send_mismatched(self, mismatch: Mismatch) -> None:
        """End the activation: the program does not match its memo."""
        send_mismatched(self.send, self.number, mismatch)

    def send_interrupted(self) -> None:
        """End the activation: user code was interrupted, and has ended; or it will have, with the last of its steps."""
        self._owes_end = self._running_steps > 0
        if not self._owes_end:
            self.send(frames.Interrupted(self.number))

    def step_started(self) -> None:
        """The code of a step begins to run."""
        self._running_steps += 1

    def step_ended(self) -> None:
        """The code of a step does not run any more; the step may have been given up long before."""
        self._running_steps -= 1
        if self._owes_end and not self._running_steps:
            self._owes_end = False
            self.send(frames.Interrupted(self.number))

    def send_ended(self, result: bytes | Failure) -> None:
        """End the activation with JSON of its result, or with its failure."""
        try:
            records = self._encoded(self.journal.finish())
        except Mismatch as mismatch:
            end = "returned"
            if isinstance(result, Failure):
                error = failures.error_info(result.error)
                end = f"raised {error.type}: {error.message}"
            requested = f"{mismatch.requested}: {described(self._function)} {end}"
            self.send_mismatched(Mismatch(step=mismatch.step, recorded=mismatch.recorded, requested=requested))
            return
        blamed: list[int] = []
        if isinstance(result, Failure):
            blamed = self.journal.blame(failures.seqs_of(result.error))
            for call in self.journal.orphans(blamed):
                self.send_effect(Effect(call, is_cancel=True, message="its parent's attempt has failed"))
        send_ended(self.send, self.number, result, records, blamed)

    def _command(self, effect: Effect) -> Command:
        call = effect.call
        request = call.request
        if isinstance(request, TimerRequest | SuspendRequest):
            return suspension_calls.command_of(call, self.child_name(call), is_cancel=effect.is_cancel)
        if isinstance(request, PrimitiveRequest):
            return primitive_calls.command_of(
                call,
                uid=self.info.uid,
                run=f"{self.info.run_epoch}.{self.journal.generation(call)}",
                is_cancel=effect.is_cancel,
                may_repeat=self.journal.may_repeat(call),
                since_ms=self.journal.now_ms,
            )
        if isinstance(request, PollRequest):
            return frames.CancelPoll() if effect.is_cancel else frames.StartPoll(request.every_ms, call.name)
        if isinstance(request, JobRequest):
            kind, name = _WAITING_KINDS[request.kind], self.child_name(call)
            if effect.is_cancel:
                return frames.CancelJob(kind, name)
            return frames.StartJob(kind, name, request.manifest, call.digest, call.name)
        if effect.is_cancel:
            is_abandoned = call.state is CallState.ABANDONED
            return frames.CancelChild(self.child_name(call), effect.message, is_abandoned)
        assert isinstance(request, ChildRequest)  # noqa: S101
        function = request.function
        return frames.CreateChild(
            name=self.child_name(call),
            function=function.name,
            arguments=request.arguments,
            arguments_digest=call.digest,
            group=function.group,
            spec=function.call_options.spec_json(),
            leaves_shard=function.call_options.disable_shard_inheritance,
        )

    def _outcome(self, frame: frames.StepArrived | frames.StepRejected) -> Outcome:
        if isinstance(frame, frames.StepRejected):
            return Outcome(at_ms=self._host_now_ms(), error=failures.recorded_error(frame.error))
        arrived = frame.outcome
        if isinstance(arrived, frames.TimerFired):
            return Outcome(at_ms=arrived.at_ms, is_durable=True)
        if isinstance(arrived, frames.SuspensionEnded):
            return suspension_calls.outcome_of(self.journal.find(frame.step), arrived)
        if isinstance(arrived, frames.JobEnded):  # counts once it is recorded, because the object may be deleted
            return Outcome(at_ms=arrived.at_ms, value=arrived.result)
        if isinstance(arrived, frames.PrimitiveAnswered):
            return Outcome(at_ms=arrived.at_ms, value=arrived.answer, is_durable=arrived.is_durable)
        assert isinstance(arrived, frames.ChildFinished)  # noqa: S101 - a look at a condition is no outcome
        child = ChildOutcome(name=arrived.name, uid=arrived.uid, attempt=arrived.attempt, phase=arrived.phase)
        error = None if arrived.error is None else failures.recorded_error(arrived.error)
        value = b"null" if arrived.result is None else arrived.result
        return Outcome(at_ms=arrived.finished_at_ms, value=value, error=error, child=child, is_durable=True)


def described(function: FunctionDefinition[..., Any]) -> str:
    """Return a function's name and where it stands, for the requested side of a mismatch."""
    return f"{function.name} at {function.location}"


def check_nothing_recorded(activate: frames.Activate, function: FunctionDefinition[..., Any]) -> None:
    """Refuse to run a function without a context that had one, and records that it would never ask for.

    Raises:
        Mismatch: there are records, or the memo cannot be read.
    """
    if not activate.memo:
        return
    try:
        Journal(_read_memo(activate.memo), created_at_ms=activate.created_at_ms).finish()
    except Mismatch as mismatch:
        if not mismatch.step:
            raise
        requested = f"{described(function)} takes no context: it asks for nothing"
        raise Mismatch(step=mismatch.step, recorded=mismatch.recorded, requested=requested) from None


def context_misuse(function: str, *, has_ended: bool) -> ContextError:
    """Return the error for a context call that comes from where none may come from."""
    if has_ended:
        return ContextError(f"the function {function!r} has ended: its context cannot be used any more")
    try:
        step = steps.current_step().step
    except ContextError:
        return ContextError(
            "context used outside its function: in another thread, event loop or callback. "
            "Durable calls belong into the function's own tasks and branches"
        )
    return ContextError(f"context used inside step {step}: return from the step first, then make durable calls")


def send_ended(
    send: Send,
    activation: int,
    result: bytes | Failure,
    records: Sequence[frames.EncodedRecord] = (),
    blamed: Sequence[int] = (),
) -> None:
    """Send Completed with JSON of a result, or Failed; a small Failed if that is too large for a frame."""
    event: frames.Completed | frames.Failed
    if isinstance(result, Continuation):
        event = frames.Completed(activation, b"", arguments=bytes(result))
    elif isinstance(result, bytes):
        event = frames.Completed(activation, result, list(records))
    else:
        error = failures.error_info(result.error)
        kinds = failures.kinds_of(result.error)
        event = frames.Failed(activation, result.reason, error, list(records), list(blamed), kinds)
    try:
        send(event)
    except FrameTooLargeError as error:
        send(frames.Failed(activation, "InternalError", failures.error_info(error)))


def send_mismatched(send: Send, activation: int, mismatch: Mismatch) -> None:
    """Send Mismatched; Failed if nothing is wrong but that the program has no end."""
    if isinstance(mismatch, Exhausted):
        error = mismatch.error
        info = frames.ErrorInfo(type=error.type, message=error.message, types=error.types)
        send(frames.Failed(activation, "NonRetryable", info, kinds=error.types))
        return
    requested = mismatch.requested + BY_THE_CODE_NOW
    send(frames.Mismatched(activation, mismatch.step, mismatch.recorded, requested, mismatch.only_arguments))


def _read_memo(data: bytes) -> Memo:
    if not data:
        return EMPTY_MEMO
    try:
        return decode_memo(data)
    except msgspec.MsgspecError as error:
        raise Mismatch(step="", recorded=f"a memo that cannot be read: {error}", requested="a memo") from error
