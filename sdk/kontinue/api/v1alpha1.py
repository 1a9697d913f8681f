"""``kontinue.cloud/v1alpha1``: its kinds as frozen structs.

The CRDs in ``crds/`` are generated from these structs (``tools/generate_crds.py``): docstrings become descriptions,
so they speak to a reader of ``kubectl explain``. Rules between fields (CEL) stand in the generator.
Free-form JSON (arguments, result, memo) is kept as raw bytes: who reads it knows its type.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ApiObject, ApiStruct, Condition, ObjectMeta

Description = msgspec.Meta
RawObject = Annotated[msgspec.Raw, Description(extra_json_schema={"type": "object"})]
RawValue = msgspec.Raw
GoDuration = Annotated[
    str,
    # Not ``pattern=``: the API server judges, a worker must be able to read whatever is stored.
    Description(extra_json_schema={"pattern": r"^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$", "maxLength": 32}),
]

MAX_ARGUMENTS_BYTES: Final = 256 * 1024
MAX_RESULT_BYTES: Final = 512 * 1024
MAX_STATE_BYTES: Final = 64 * 1024
"""Records in status.state; what is more goes into MemoPages."""
MAX_PAGE_BYTES: Final = 256 * 1024
"""Records of one MemoPage, unless it is a single larger one."""
MAX_RECORD_BYTES: Final = 1024 * 1024
"""One record of a memo. With what is around it, it fits into what etcd takes by default, 1.5 MiB."""
MAX_HISTORY_BYTES: Final = 32 * 1024 * 1024
"""All records of one run of a function: a runner reads them at once. Half of the largest frame."""
MAX_CALLS: Final = 20_000
"""Durable calls of one run of a function. Judgement: a replay of so many takes about a second."""
MAX_TRACEBACK_BYTES: Final = 8 * 1024
MAX_ATTEMPTS_KEPT: Final = 10


class Phase(enum.StrEnum):
    """Where an Execution is in its life. An Execution without a status is Pending."""

    PENDING = "Pending"
    EXECUTING = "Executing"
    SUSPENDED = "Suspended"
    BACKOFF = "Backoff"
    BLOCKED = "Blocked"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    SKIPPED = "Skipped"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing runs any more, a retry aside."""
        return self in TERMINAL_PHASES


TERMINAL_PHASES: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELED, Phase.SKIPPED})
RETRYABLE_PHASES: Final = frozenset({Phase.FAILED, Phase.CANCELED})
"""Phases that a retry leaves."""
RETRYABLE_PHASES_SELECTOR: Final = ",".join(
    f"status.phase!={phase}" for phase in ("", *sorted(set(Phase) - RETRYABLE_PHASES))
)
"""Field selector of what a retry may be asked for."""
LIVE_PHASES_SELECTOR: Final = ",".join(f"status.phase!={phase}" for phase in sorted(TERMINAL_PHASES))
"""Field selector of what can still run; an Execution without a status matches too."""
TERMINAL_PHASES_SELECTOR: Final = ",".join(
    f"status.phase!={phase}" for phase in ("", *sorted(set(Phase) - TERMINAL_PHASES))
)
"""Field selector of what has ended."""
ENDED_PHASES: Final = TERMINAL_PHASES | {Phase.BLOCKED}
"""Phases in which nothing goes on without somebody doing something."""


UNTOUCHED_GENERATION: Final = 1
"""``metadata.generation`` of an object whose spec nobody has changed since it was created."""


class ChildPolicy(enum.StrEnum):
    """What a new attempt does with the children of the one before."""

    NONE = "None"
    RETRY_FAILED = "RetryFailed"
    RETRY_ALL = "RetryAll"


class ExecutionRetry(ApiStruct, frozen=True):
    """How often and how fast a failed attempt is repeated."""

    retries: Annotated[int, Description(ge=0, description="Attempts after the first one.")] = 0
    backoff: Annotated[GoDuration, Description(description="Pause before the next attempt, as 10s or 1m30s.")] = "5s"
    multiplier: Annotated[float, Description(ge=1, description="Factor by which backoff grows.")] = 1.0
    max_backoff: Annotated[GoDuration, Description(description="Where backoff stops growing; unset means never.")] = ""
    jitter: Annotated[
        float, Description(ge=0, le=1, description="Share by which each pause is shortened at random, at most.")
    ] = 0.0
    non_retryable: Annotated[
        list[Annotated[str, Description(max_length=253, description="As in builtins.ValueError.")]],
        Description(max_length=32, description="Qualified names of exception classes that fail at once."),
    ] = []
    child_policy: Annotated[
        ChildPolicy | None,
        Description(
            description="What happens to the children of the failed attempt: None keeps them as they ended, RetryFailed"
            " retries those that failed or were canceled, RetryAll runs everything anew."
        ),
    ] = None


class ExecutionTimeout(ApiStruct, frozen=True):
    """Limits of time; unset or zero means none."""

    attempt: Annotated[
        GoDuration,
        Description(
            description="Of one attempt while it is not Suspended, as 10m; anew after each suspension. Such a failure"
            " is retried."
        ),
    ] = ""
    overall: Annotated[
        GoDuration, Description(description="From the first start over all attempts and pauses, as 24h; final.")
    ] = ""


class ExecutionTTL(ApiStruct, frozen=True):
    """When a root Execution that has ended is archived or deleted; unset or zero means never. For roots only."""

    archive_after: Annotated[
        GoDuration,
        Description(description="Since the end, as 24h: its whole tree is replaced by an ArchivedExecution."),
    ] = ""
    delete_after: Annotated[
        GoDuration,
        Description(description="Since the end, as 720h: its whole tree is deleted, or its archive."),
    ] = ""


class ExecutionMutex(ApiStruct, frozen=True):
    """At most one Execution holds the mutex of this name at a time."""

    name: Annotated[str, Description(min_length=1, max_length=253, description="Name of the mutex, per group.")]


class ExecutionSpec(ApiStruct, frozen=True):
    """What to run. Immutable after creation, retry.retries and retry.childPolicy aside."""

    function: Annotated[
        str, Description(min_length=1, max_length=253, description="Registered name of the function to run.")
    ]
    arguments: Annotated[
        RawObject, Description(description="Arguments by parameter name, at most 256 KiB of JSON.")
    ] = msgspec.Raw(b"{}")
    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None
    mutex: ExecutionMutex | None = None


class ExecutionOwner(ApiStruct, frozen=True):
    """Who may write this status: grows by one epoch with every claim."""

    shard: Annotated[str, Description(description="Shard id of the owning replica.")]
    incarnation: Annotated[str, Description(description="Random id of that replica's process.")]
    epoch: Annotated[int, Description(ge=1, description="Fencing token; grows with every claim.")]


class ExecutionError(ApiStruct, frozen=True):
    """An exception as recorded."""

    type: Annotated[str, Description(description="Qualified class name.")] = ""
    message: Annotated[str, Description(description="The exception as text.")] = ""
    traceback: Annotated[str, Description(description="At most 8 KiB.")] = ""
    types: Annotated[list[str], Description(description="Qualified names of all classes, most derived first.")] = []


class ExecutionAttempt(ApiStruct, frozen=True):
    """One run of the function from start to outcome."""

    number: Annotated[int, Description(ge=1, description="Counts from 1.")]
    started_at: Annotated[datetime | None, Description(description="When a runner took it.")] = None
    resumed_at: Annotated[
        datetime | None, Description(description="When it last went on after being Suspended or Blocked.")
    ] = None
    finished_at: Annotated[datetime | None, Description(description="When its outcome was known.")] = None
    phase: Annotated[Phase | None, Description(description="How it ended.")] = None
    reason: Annotated[str, Description(description="Machine-readable cause of the end.")] = ""
    message: Annotated[str, Description(description="Cause of the end, for people.")] = ""
    error: ExecutionError | None = None
    worker: Annotated[str, Description(description="Shard id of the replica that ran it.")] = ""


class WaitingFor(ApiStruct, frozen=True):
    """One thing that an Execution waits for."""

    kind: Annotated[str, Description(description="Execution, Timer, Step, Worker, Function, Build ...")]
    name: Annotated[str, Description(description="Name of the object or step waited for.")] = ""
    until: Annotated[datetime | None, Description(description="When the wait ends at the latest.")] = None
    message: Annotated[str, Description(description="Why it waits, for people.")] = ""


class ExecutionDefaults(ApiStruct, frozen=True):
    """Used by Executions that do not say otherwise."""

    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None


class MemoPagesStatus(ApiStruct, frozen=True):
    """The chain of an Execution's MemoPages, by its last one; each names the one before."""

    count: Annotated[int, Description(ge=1, description="How many there are.")]
    last: Annotated[str, Description(description="Digest of the last one: the end of its name.")]
    records: Annotated[int, Description(ge=0, description="Records of the memo that stand in them.")]
    bytes: Annotated[int, Description(ge=0, description="Size of all records that were ever written to them.")]


class ExecutionStatus(ApiStruct, frozen=True):
    """What happened so far. Written by the owning worker; clients change the phase by a tested JSON patch."""

    phase: Annotated[
        Phase | None,
        Description(description="Where it is in its life; unset means Pending. Completed and Skipped stay."),
    ] = None
    reason: Annotated[str, Description(description="Machine-readable cause of the phase.")] = ""
    message: Annotated[str, Description(description="Cause of the phase, for people.")] = ""
    result: Annotated[
        RawValue | msgspec.UnsetType,
        Description(description="What the function returned, any JSON value up to 512 KiB."),
    ] = msgspec.UNSET
    owner: ExecutionOwner | None = None
    state: Annotated[
        RawObject | msgspec.UnsetType,
        Description(description="Memo: the recorded outcomes of steps, children and timers."),
    ] = msgspec.UNSET
    memo_pages: Annotated[
        MemoPagesStatus | None, Description(description="Earlier records, which stand in MemoPages.")
    ] = None
    defaults: Annotated[
        ExecutionDefaults | None,
        Description(description="Of the function, where the spec is silent, as they were when it first ran."),
    ] = None
    attempts: Annotated[
        list[ExecutionAttempt], Description(max_length=MAX_ATTEMPTS_KEPT, description="The last ten, oldest first.")
    ] = []
    attempt_count: Annotated[int, Description(ge=0, description="Attempts so far; the last ten are listed.")] = 0
    resumptions: Annotated[int, Description(ge=0, description="Re-entries after a crash or eviction.")] = 0
    crashes: Annotated[int, Description(ge=0, description="Runner deaths since the last recorded step.")] = 0
    observed_retries: Annotated[
        int,
        Description(
            ge=0,
            description="spec.retry.retries as last seen by a worker; when it has failed or was canceled, a larger one"
            " asks for a retry.",
        ),
    ] = 0
    run_epoch: Annotated[
        int, Description(ge=0, description="How often everything was run anew, children included.")
    ] = 0
    started_at: Annotated[datetime | None, Description(description="When the first attempt started.")] = None
    finished_at: Annotated[datetime | None, Description(description="When it reached its last phase.")] = None
    deadline: Annotated[datetime | None, Description(description="When the overall timeout strikes.")] = None
    waiting_for: Annotated[list[WaitingFor], Description(description="What it waits for, the most telling first.")] = []
    conditions: Annotated[list[Condition], Description(description="Facts beside the phase, one per type.")] = []


class Execution(ApiObject, frozen=True):
    """One durable call of a function: what to run, how far it is, and how it ended."""

    metadata: ObjectMeta
    spec: ExecutionSpec
    status: ExecutionStatus = ExecutionStatus()
    api_version: str = labels.API_VERSION
    kind: str = "Execution"

    @property
    def phase(self) -> Phase:
        """The phase; Pending while there is no status."""
        return self.status.phase or Phase.PENDING

    @property
    def is_archived(self) -> bool:
        """Whether this was read from an archive: the object itself does not exist any more."""
        return labels.ARCHIVED_IN in self.metadata.annotations

    @property
    def is_retry_requested(self) -> bool:
        """Whether it has failed or was canceled, and somebody has asked for another attempt that has not begun yet.

        That takes an edit of the spec: the retries that it was created with are no wish of now.
        """
        asked = self.spec.retry.retries if self.spec.retry else 0
        was_edited = self.metadata.generation > UNTOUCHED_GENERATION
        return was_edited and self.status.phase in RETRYABLE_PHASES and asked > self.status.observed_retries


class SuspensionKind(enum.StrEnum):
    """What a Suspension is there for."""

    SLEEP = "Sleep"
    """A long sleep: it ends by itself, and can be ended early."""
    MANUAL = "Manual"
    """Somebody has to resume it."""


class SuspensionPhase(enum.StrEnum):
    """Whether it still holds its Execution up. A Suspension without a status is Suspended."""

    SUSPENDED = "Suspended"
    COMPLETED = "Completed"


OPEN_SUSPENSIONS_SELECTOR: Final = f"status.phase!={SuspensionPhase.COMPLETED}"
"""Field selector of what is not resumed yet; a Suspension without a status matches too."""
PAYLOAD_INVALID: Final = "PayloadInvalid"
"""Condition of a Suspension that was resumed with a payload that does not fit: it waits for another one."""


class SuspensionSpec(ApiStruct, frozen=True):
    """What an Execution waits for. Immutable, resumeAt aside."""

    execution: Annotated[str, Description(min_length=1, max_length=253, description="Name of the Execution.")]
    kind: Annotated[SuspensionKind, Description(description="Sleep ends at resumeAt; Manual waits to be resumed.")]
    resume_at: Annotated[
        datetime | None,
        Description(description="When a sleep ends, or a manual one times out; unset means never. May be changed."),
    ] = None
    display_name: Annotated[str, Description(description="What it is called, for people.")] = ""
    description: Annotated[str, Description(description="What to know before resuming it, for people.")] = ""
    payload_schema: Annotated[
        RawObject | msgspec.UnsetType,
        Description(description="JSON Schema of status.payload; unset means that no payload is read."),
    ] = msgspec.UNSET


class SuspensionStatus(ApiStruct, frozen=True):
    """Whether it is over. Whoever resumes it writes this: phase Completed, and a payload where there is a schema."""

    phase: Annotated[
        SuspensionPhase | None,
        Description(description="Unset means Suspended. Completed is final, unless the payload is refused."),
    ] = None
    resumed_at: Annotated[datetime | None, Description(description="When it was resumed.")] = None
    resumed_by: Annotated[str, Description(description="Who resumed it: Client, Timer, or a name.")] = ""
    timed_out: Annotated[bool, Description(description="Nobody resumed it until resumeAt.")] = False
    payload: Annotated[
        RawValue | msgspec.UnsetType, Description(description="What the Execution is told, any JSON value.")
    ] = msgspec.UNSET
    conditions: Annotated[
        list[Condition], Description(max_length=8, description="PayloadInvalid: why the last payload was refused.")
    ] = []


class Suspension(ApiObject, frozen=True):
    """Something that an Execution waits for: a point in time, or somebody who resumes it."""

    metadata: ObjectMeta
    spec: SuspensionSpec
    status: SuspensionStatus = SuspensionStatus()
    api_version: str = labels.API_VERSION
    kind: str = "Suspension"

    @property
    def is_open(self) -> bool:
        """Whether it waits to be resumed."""
        return self.status.phase is not SuspensionPhase.COMPLETED


class FunctionConcurrency(ApiStruct, frozen=True):
    """Limit on how many Executions of the function run at once, in the whole group."""

    limit: Annotated[int, Description(ge=1, description="How many.")]


class FunctionSpec(ApiStruct, frozen=True):
    """A registered function: its name, owner and signature."""

    name: Annotated[str, Description(min_length=1, max_length=253, description="Name used in Execution spec.function.")]
    worker_group: Annotated[str, Description(min_length=1, max_length=63, description="Group that runs it.")]
    description: Annotated[str, Description(description="First lines of the function's docstring.")] = ""
    arguments: Annotated[
        RawObject | msgspec.UnsetType, Description(description="JSON Schema of the arguments, from the signature.")
    ] = msgspec.UNSET
    result: Annotated[
        RawObject | msgspec.UnsetType, Description(description="JSON Schema of the result, from the signature.")
    ] = msgspec.UNSET
    defaults: ExecutionDefaults | None = None
    concurrency: FunctionConcurrency | None = None


class Function(ApiObject, frozen=True):
    """A function that workers of a group can run. Created by workers, read by clients."""

    metadata: ObjectMeta
    spec: FunctionSpec
    api_version: str = labels.API_VERSION
    kind: str = "Function"


class ConcurrencyPolicy(enum.StrEnum):
    """What a schedule does when an occurrence is due and an earlier one still runs."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class ScheduledExecutionSpec(ApiStruct, frozen=True):
    """What to run, and when."""

    schedule: Annotated[
        str,
        Description(
            min_length=1,
            max_length=253,
            description="Five cron fields (minute, hour, day of month, month, day of week), or a macro such as @daily.",
        ),
    ]
    function: Annotated[
        str, Description(min_length=1, max_length=253, description="Registered name of the function to run.")
    ]
    time_zone: Annotated[
        str, Description(max_length=253, description="Name of the IANA database, as Europe/Berlin; unset means UTC.")
    ] = ""
    arguments: Annotated[
        RawObject, Description(description="Arguments by parameter name, at most 256 KiB of JSON.")
    ] = msgspec.Raw(b"{}")
    history_limit: Annotated[
        int, Description(ge=0, description="How many of its ended Executions are kept; older ones are deleted.")
    ] = 5
    suspend: Annotated[bool, Description(description="Start nothing; what runs goes on.")] = False
    concurrency_policy: Annotated[
        ConcurrencyPolicy,
        Description(
            description="When an occurrence is due and an earlier one still runs: Allow starts it too, Forbid waits for"
            " the earlier one, Replace cancels the earlier one first."
        ),
    ] = ConcurrencyPolicy.ALLOW
    starting_deadline: Annotated[
        GoDuration, Description(description="How late an occurrence may be started, as 10m; unset means any time.")
    ] = ""
    execution_defaults: Annotated[
        ExecutionDefaults | None, Description(description="Retry, timeout and ttl of its Executions.")
    ] = None


class ScheduledExecutionStatus(ApiStruct, frozen=True):
    """What happened so far. Written by the leader of the group that has the function."""

    last_schedule_time: Annotated[datetime | None, Description(description="The occurrence that was started last.")] = (
        None
    )
    next_schedule_time: Annotated[
        datetime | None, Description(description="The occurrence that is dealt with next; unset while suspended.")
    ] = None
    active: Annotated[list[str], Description(description="Names of its Executions that have not stopped.")] = []
    observed_generation: Annotated[
        int, Description(ge=0, description="metadata.generation that this speaks about.")
    ] = 0
    conditions: Annotated[list[Condition], Description(description="Ready: whether anything can be started.")] = []


class ScheduledExecution(ApiObject, frozen=True):
    """Starts an Execution at the times that a cron expression names."""

    metadata: ObjectMeta
    spec: ScheduledExecutionSpec
    status: ScheduledExecutionStatus = ScheduledExecutionStatus()
    api_version: str = labels.API_VERSION
    kind: str = "ScheduledExecution"


class MemoPageSpec(ApiStruct, frozen=True):
    """A closed run of records. Immutable."""

    execution: Annotated[str, Description(min_length=1, max_length=253, description="Name of the Execution.")]
    run_epoch: Annotated[int, Description(ge=0, description="status.runEpoch of the Execution.")]
    number: Annotated[int, Description(ge=1, description="Place in the chain; counts from 1.")]
    memo: Annotated[RawObject, Description(description="Records in their order, as in status.state of the Execution.")]
    previous: Annotated[
        str, Description(max_length=64, description="Digest of the page before; unset in the first one.")
    ] = ""


class MemoPage(ApiObject, frozen=True):
    """Part of the memo of an Execution that has more records than its status keeps. Belongs to its Execution."""

    metadata: ObjectMeta
    spec: MemoPageSpec
    api_version: str = labels.API_VERSION
    kind: str = "MemoPage"


class ArchivedExecutionSpec(ApiStruct, frozen=True):
    """What is kept of a root Execution and everything below it, or a part of that. Immutable."""

    execution: Annotated[str, Description(min_length=1, max_length=253, description="Name of the root Execution.")]
    uid: Annotated[str, Description(max_length=64, description="Its uid.")]
    version: Annotated[str, Description(max_length=64, description="Its resourceVersion when it was archived.")]
    function: Annotated[str, Description(max_length=253, description="Function that it ran.")]
    phase: Annotated[Phase, Description(description="How it ended.")]
    executions: Annotated[int, Description(ge=1, description="Executions in the archive, the root included.")]
    bytes: Annotated[int, Description(ge=0, description="Size of all objects in the archive, before compression.")]
    part: Annotated[int, Description(ge=1, description="Which part of the archive this is.")]
    parts: Annotated[int, Description(ge=1, description="Of how many. An archive counts once it has its last part.")]
    data: Annotated[
        str,
        Description(
            description="The objects, one per line as JSON, compressed by zlib; of all parts together, each in Base64."
        ),
    ]
    worker_group: Annotated[str, Description(max_length=63, description="Group that ran it.")] = ""
    created_at: Annotated[datetime | None, Description(description="When it was created.")] = None
    started_at: Annotated[datetime | None, Description(description="When its first attempt started.")] = None
    finished_at: Annotated[datetime | None, Description(description="When it ended.")] = None


class ArchivedExecution(ApiObject, frozen=True):
    """A root Execution with everything below it that has been archived, or one of several parts of it."""

    metadata: ObjectMeta
    spec: ArchivedExecutionSpec
    api_version: str = labels.API_VERSION
    kind: str = "ArchivedExecution"
