"""Internal. Every frame between a supervisor and its runners, as tagged msgspec structs (msgpack on the pipe).

Pure data: ``wire.framing`` turns frames into bytes and back, ``wire.session`` knows which frame is legal when.
Commands (supervisor to runner) are imperative, events (runner to supervisor) are past tense. User values travel as
JSON bytes that the supervisor never reads. ``activation`` numbers one run of user code; the supervisor never
reuses a number, so a frame of an activation that it has given up is recognised and dropped.
"""

from __future__ import annotations

import msgspec


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True, tag_field="frame"):
    """Base of all frames."""


# Parts of frames.


class ErrorInfo(Frame, frozen=True, tag="ErrorInfo"):
    """An exception of user code.

    Attributes:
        types: qualified names of all its classes, most derived first.
        traceback: at most 8 KiB of text.
    """

    type: str
    message: str = ""
    traceback: str = ""
    types: list[str] = []


class EncodedRecord(Frame, frozen=True, tag="EncodedRecord"):
    """One memo record: its step id, and JSON of ``kontinue.replay.records.Record``.

    Attributes:
        holds: from here on the Execution holds something of ``konductor.io``.
        frees: step of the hold that ends here, or empty.
    """

    step: str
    json: bytes
    holds: bool = False
    frees: str = ""


class CreateChild(Frame, frozen=True, tag="CreateChild"):
    """Create (or find) the child Execution of this step.

    Attributes:
        name: deterministic name of the child object.
        arguments: JSON object.
        arguments_digest: compared with the annotation of a child that exists already.
        group: worker group of a ``@remote`` function, or empty for the caller's own.
        spec: JSON object of further spec fields (retry, timeout, ttl, mutex), or empty.
        leaves_shard: the leader places it, instead of keeping it in its parent's shard.
    """

    name: str
    function: str
    arguments: bytes
    arguments_digest: str
    group: str = ""
    spec: bytes = b""
    leaves_shard: bool = False


class StartTimer(Frame, frozen=True, tag="StartTimer"):
    """Wake the step after ``duration_ms``; a timer that the memo already knows keeps its wake time."""

    duration_ms: int


class StartPoll(Frame, frozen=True, tag="StartPoll"):
    """Say when to look whether the condition of a poll holds: at once, or when the pause since the last look is over.

    Attributes:
        every_ms: pause between two looks.
        name: what the program calls it, for people.
        has_looked: it was looked at just now, and does not hold.
    """

    every_ms: int
    name: str = ""
    has_looked: bool = False


class CancelPoll(Frame, frozen=True, tag="CancelPoll"):
    """Forget the poll of this step: the program has abandoned it."""


class StartSuspension(Frame, frozen=True, tag="StartSuspension"):
    """Wait for the end of a Suspension: create it, or find it. A short sleep is kept as a timer.

    Attributes:
        name: deterministic name of the object.
        duration_ms: until the sleep ends, or the wait for somebody times out; -1 for never.
        payload_schema: JSON object, or empty where no payload is read.
    """

    name: str
    is_sleep: bool
    duration_ms: int = -1
    display_name: str = ""
    description: str = ""
    payload_schema: bytes = b""


class CancelSuspension(Frame, frozen=True, tag="CancelSuspension"):
    """Delete the Suspension of this step, or forget its timer: the program has abandoned it."""

    name: str


class StartJob(Frame, frozen=True, tag="StartJob"):
    """Wait for the end of a Job or Pod: create it, or find it.

    Attributes:
        kind: ``Job`` or ``Pod``.
        name: deterministic name of the object.
        manifest: JSON object.
        digest: of the manifest, compared with the annotation of one that exists already.
        title: what the program calls it, or empty.
    """

    kind: str
    name: str
    manifest: bytes
    digest: str
    title: str = ""


class CancelJob(Frame, frozen=True, tag="CancelJob"):
    """Delete the Job or Pod of this step: the program has abandoned it."""

    kind: str
    name: str


class CancelChild(Frame, frozen=True, tag="CancelChild"):
    """Cancel the child of this step.

    Attributes:
        is_abandoned: the program has given it up, its outcome is of no interest; else it is still awaited.
    """

    name: str
    message: str = ""
    is_abandoned: bool = True


class CancelTimer(Frame, frozen=True, tag="CancelTimer"):
    """Forget the timer of this step: the program has abandoned it."""


class WaitingItem(Frame, frozen=True, tag="WaitingItem"):
    """One thing that a parked activation waits for; ``kind`` as in ``status.waitingFor``, or Step."""

    kind: str
    name: str
    step: str = ""


class ChildFinished(Frame, frozen=True, tag="ChildFinished"):
    """Outcome of a child: ``result`` (JSON) when it completed or was skipped, else ``error``."""

    name: str
    uid: str
    attempt: int
    phase: str
    finished_at_ms: int
    result: bytes | None = None
    error: ErrorInfo | None = None


class TimerFired(Frame, frozen=True, tag="TimerFired"):
    """The wake time of a timer has come."""

    at_ms: int


class LookDue(Frame, frozen=True, tag="LookDue"):
    """It is time to look whether the condition of a poll holds. No outcome: the runner asks again if it does not."""


class AskPrimitive(Frame, frozen=True, tag="AskPrimitive"):
    """Ask something of an object of ``konductor.io``, and answer when it is so.

    Attributes:
        kind: of the object, as ``Mutex``.
        name: of the object.
        verb: what is asked, as ``lock``.
        id: of what is asked; asking again with it changes nothing. A release has that of what it gives back.
        options: JSON object.
        may_repeat: an earlier activation may have asked.
        since_ms: not before this, milliseconds since the epoch: what its program was told last, it was told then.
    """

    kind: str
    name: str
    verb: str
    id: str
    options: bytes
    may_repeat: bool = False
    since_ms: int = 0


class WithdrawPrimitive(Frame, frozen=True, tag="WithdrawPrimitive"):
    """The program has abandoned what this step has asked of an object: leave its queue, or give back what is held."""

    kind: str
    name: str
    verb: str
    id: str


class PrimitiveAnswered(Frame, frozen=True, tag="PrimitiveAnswered"):
    """What was asked of an object of ``konductor.io`` is so; ``answer`` is JSON.

    Attributes:
        is_durable: the object keeps it: who asks again is answered the same.
    """

    at_ms: int
    answer: bytes
    is_durable: bool


class SuspensionEnded(Frame, frozen=True, tag="SuspensionEnded"):
    """A Suspension is over: ``payload`` (JSON, or empty) from whoever resumed it, or it timed out."""

    at_ms: int
    payload: bytes = b""
    timed_out: bool = False


class JobEnded(Frame, frozen=True, tag="JobEnded"):
    """A Job or Pod has ended: ``result`` is JSON of a ``JobResult`` or ``PodResult``."""

    at_ms: int
    result: bytes


# Supervisor to runner.


class Activate(Frame, frozen=True, tag="Activate"):
    """Run a function: from the start, or by replaying ``memo``.

    Attributes:
        arguments: JSON object, not yet checked against the signature.
        memo: JSON of ``status.state``, or empty.
        fencing_token: the owner's epoch.
    """

    activation: int
    namespace: str
    execution: str
    uid: str
    function: str
    arguments: bytes
    memo: bytes
    attempt: int
    resumption: int
    run_epoch: int
    created_at_ms: int
    fencing_token: int


class StepRecorded(Frame, frozen=True, tag="StepRecorded"):
    """Every record up to and including ``flush`` is durable."""

    activation: int
    flush: int


class StepArrived(Frame, frozen=True, tag="StepArrived"):
    """What a requested step waited for has happened."""

    activation: int
    step: str
    outcome: ChildFinished | TimerFired | LookDue | SuspensionEnded | JobEnded | PrimitiveAnswered


class StepRejected(Frame, frozen=True, tag="StepRejected"):
    """A requested step cannot start; raised at the call (``reason``: for example UnknownFunction)."""

    activation: int
    step: str
    error: ErrorInfo


class CancelActivation(Frame, frozen=True, tag="CancelActivation"):
    """Raise ExecutionInterrupted / CancelledError in user code; then ``Interrupted`` comes."""

    activation: int
    message: str


class Recall(Frame, frozen=True, tag="Recall"):
    """Give an activation back if it has not started; answered by ``Recalled`` or not at all."""

    activation: int


# Runner to supervisor.


class Ready(Frame, frozen=True, tag="Ready"):
    """The runner serves its pipe and has the user's module loaded."""

    pid: int


class LoadFailed(Frame, frozen=True, tag="LoadFailed"):
    """The user's module does not import, or holds no usable App."""

    message: str
    traceback: str


class Running(Frame, frozen=True, tag="Running"):
    """User code of this activation is about to run (first start, or after being parked).

    Attributes:
        arguments: JSON object of the arguments with defaults, at the first start and only where there are any.
        looks: only to see whether the condition of a poll holds.
    """

    activation: int
    arguments: bytes = b""
    looks: bool = False


class Recalled(Frame, frozen=True, tag="Recalled"):
    """The activation was given back unstarted."""

    activation: int


class StepRequested(Frame, frozen=True, tag="StepRequested"):
    """The program wants an effect that the supervisor performs."""

    activation: int
    step: str
    command: (
        CreateChild
        | StartTimer
        | StartPoll
        | StartSuspension
        | StartJob
        | AskPrimitive
        | CancelChild
        | CancelTimer
        | CancelPoll
        | CancelSuspension
        | CancelJob
        | WithdrawPrimitive
    )


class PayloadRefused(Frame, frozen=True, tag="PayloadRefused"):
    """The payload of the Suspension ``name`` does not fit: the step still waits, for another one."""

    activation: int
    step: str
    name: str
    message: str


class RecordsProduced(Frame, frozen=True, tag="RecordsProduced"):
    """Make these records durable, then answer ``StepRecorded`` with the same ``flush`` (or a later one)."""

    activation: int
    flush: int
    records: list[EncodedRecord]


class Waiting(Frame, frozen=True, tag="Waiting"):
    """The activation is parked: it holds no slot until something arrives.

    Attributes:
        waiting_for: the first few of what it waits for.
        more: how many others there are.
        has_step: it waits for a step too, which runs in the runner or is being recorded, or has something to ask for
            once its records are durable: the wait ends by itself.
        heard: how many ``StepArrived`` and ``StepRejected`` it has got by now.
    """

    activation: int
    waiting_for: list[WaitingItem]
    more: int = 0
    has_step: bool = False
    heard: int = 0


class Completed(Frame, frozen=True, tag="Completed"):
    """The function returned, or is to start again.

    Attributes:
        result: JSON.
        records: those not yet sent in ``RecordsProduced``.
        arguments: JSON object of the arguments to start again with, by ``ctx.continue_as_new``; then no result.
    """

    activation: int
    result: bytes
    records: list[EncodedRecord] = []
    arguments: bytes = b""


class Failed(Frame, frozen=True, tag="Failed"):
    """The function raised, or its arguments or result do not fit.

    Attributes:
        reason: UserError, NonRetryable, InvalidArguments, InvalidResult, ContextMisuse, InternalError.
        seqs: records to blame: those whose errors were found in the escaping exception's chain, and failures that
            nobody has handled. The next attempt cuts the memo at the smallest.
        kinds: qualified names of all classes of the exception, of those in its group, and of the exceptions of steps
            that they stand for: what a retry policy compares.
    """

    activation: int
    reason: str
    error: ErrorInfo
    records: list[EncodedRecord] = []
    seqs: list[int] = []
    kinds: list[str] = []


class Mismatched(Frame, frozen=True, tag="Mismatched"):
    """The program does not match its memo: phase Blocked. Texts name step, kind, name, arguments digest and line.

    Attributes:
        only_arguments: the same call on the same line, with other arguments.
    """

    activation: int
    step: str
    recorded: str
    requested: str
    only_arguments: bool = False


class Interrupted(Frame, frozen=True, tag="Interrupted"):
    """User code has ended after ``CancelActivation``; its outcome is discarded."""

    activation: int


class ThreadLeft(Frame, frozen=True, tag="ThreadLeft"):
    """A try of a sync step took longer than it may: a thread of the runner goes on with it, which nobody waits for."""

    activation: int
    step: str


class LogLine(Frame, frozen=True, tag="LogLine"):
    """One line of user output or logging.

    Attributes:
        activation: 0 for output that belongs to no activation.
        level: ``info``, ``warning`` ... for logging; ``stdout`` or ``stderr`` for output.
        logger: logger name, or empty.
        at_ms: milliseconds since the epoch.
    """

    activation: int
    level: str
    text: str
    logger: str = ""
    step: str = ""
    at_ms: int = 0


Command = Activate | StepRecorded | StepArrived | StepRejected | CancelActivation | Recall
RunnerEvent = (
    Ready
    | LoadFailed
    | Running
    | Recalled
    | StepRequested
    | PayloadRefused
    | RecordsProduced
    | Waiting
    | Completed
    | Failed
    | Mismatched
    | Interrupted
    | ThreadLeft
    | LogLine
)


# Supervisor and zygote (over a socket of their own; pipe ends travel as file descriptors beside ForkRunner).


class FunctionDescription(Frame, frozen=True, tag="FunctionDescription"):
    """A function as the user's module declares it. Schemas and defaults are JSON objects, or empty."""

    name: str
    is_async: bool
    takes_context: bool
    description: str = ""
    arguments_schema: bytes = b""
    result_schema: bytes = b""
    defaults: bytes = b""
    limit: int = 0
    hidden: bool = False


class AppLoaded(Frame, frozen=True, tag="AppLoaded"):
    """The zygote has imported the user's module.

    Attributes:
        build: digest of the user's code and the Python minor version.
        warnings: for the operator, for example "importing app started 2 threads".
    """

    pid: int
    group: str
    build: str
    functions: list[FunctionDescription]
    warnings: list[str] = []


class ForkRunner(Frame, frozen=True, tag="ForkRunner"):
    """Fork a runner; ``colour`` is ``sync`` or ``async``; file descriptors: command pipe, event pipe, output pipe."""

    runner: int
    colour: str


class RunnerForked(Frame, frozen=True, tag="RunnerForked"):
    """A runner process exists."""

    runner: int
    pid: int


class RunnerExited(Frame, frozen=True, tag="RunnerExited"):
    """A runner process ended: ``code`` is its exit status, negative for a signal (as in ``subprocess``)."""

    runner: int
    pid: int
    code: int


ZygoteEvent = AppLoaded | LoadFailed | RunnerForked | RunnerExited


# The one argument of ``python -m kontinue_engine.runner``, as JSON.


class LaunchZygote(Frame, frozen=True, tag="LaunchZygote"):
    """Start as the zygote of the supervisor ``parent_pid``, which listens at the other end of ``control_fd``."""

    parent_pid: int
    control_fd: int
    app: str
    app_dir: str
    nice: int


class LaunchRunner(Frame, frozen=True, tag="LaunchRunner"):
    """Start as a runner without fork: the user's module left threads in the zygote ``parent_pid``."""

    parent_pid: int
    colour: str
    command_fd: int
    event_fd: int
    output_fd: int
    app: str
    app_dir: str
    nice: int
