"""``kontinue.cloud/v1alpha1``: Function and Execution as frozen structs.

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
RawObject = Annotated[msgspec.Raw, Description(description="A JSON object.")]
RawValue = Annotated[msgspec.Raw, Description(description="Any JSON value.")]
GoDuration = Annotated[str, Description(description="A duration such as 5s, 10m or 1h30m.")]

MAX_ARGUMENTS_BYTES: Final = 256 * 1024
MAX_RESULT_BYTES: Final = 512 * 1024
MAX_MEMO_BYTES: Final = 512 * 1024
"""Whole memo in status.state, until MemoPages exist."""
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


class ChildPolicy(enum.StrEnum):
    """What a new attempt does with the children of the one before."""

    NONE = "None"
    RETRY_FAILED = "RetryFailed"
    RETRY_ALL = "RetryAll"


class ExecutionRetry(ApiStruct):
    """How often and how fast a failed attempt is repeated."""

    retries: Annotated[int, Description(ge=0, description="Attempts after the first one.")] = 0
    backoff: GoDuration = "5s"
    multiplier: Annotated[float, Description(ge=1, description="Factor by which backoff grows.")] = 1.0
    max_backoff: GoDuration = ""
    child_policy: ChildPolicy | None = None


class ExecutionTimeout(ApiStruct):
    """Limits of time; unset means none."""

    attempt: GoDuration = ""
    overall: GoDuration = ""


class ExecutionTTL(ApiStruct):
    """When a finished root Execution is archived or deleted; unset means never."""

    archive_after: GoDuration = ""
    delete_after: GoDuration = ""


class ExecutionMutex(ApiStruct):
    """At most one Execution holds the mutex of this name at a time."""

    name: Annotated[str, Description(min_length=1, max_length=253)]


class ExecutionSpec(ApiStruct):
    """What to run. Immutable after creation, retry.retries and retry.childPolicy aside."""

    function: Annotated[
        str, Description(min_length=1, max_length=253, description="Registered name of the function to run.")
    ]
    arguments: RawObject = msgspec.Raw(b"{}")
    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None
    mutex: ExecutionMutex | None = None


class ExecutionOwner(ApiStruct):
    """Who may write this status: grows by one epoch with every claim."""

    shard: Annotated[str, Description(description="Shard id of the owning replica.")]
    incarnation: Annotated[str, Description(description="Random id of that replica's process.")]
    epoch: Annotated[int, Description(ge=1, description="Fencing token; grows with every claim.")]


class ExecutionError(ApiStruct):
    """An exception as recorded."""

    type: Annotated[str, Description(description="Qualified class name.")] = ""
    message: str = ""
    traceback: Annotated[str, Description(description="At most 8 KiB.")] = ""
    types: Annotated[list[str], Description(description="Qualified names of all classes, most derived first.")] = []


class ExecutionAttempt(ApiStruct):
    """One run of the function from start to outcome."""

    number: Annotated[int, Description(ge=1)]
    started_at: datetime | None = None
    finished_at: datetime | None = None
    phase: Phase | None = None
    reason: str = ""
    message: str = ""
    error: ExecutionError | None = None
    worker: Annotated[str, Description(description="Shard id of the replica that ran it.")] = ""


class WaitingFor(ApiStruct):
    """One thing that an Execution waits for."""

    kind: Annotated[str, Description(description="Execution, Timer, Step, Worker, Function, Build ...")]
    name: str = ""
    until: datetime | None = None
    message: str = ""


class ExecutionStatus(ApiStruct):
    """What happened so far. Written by the owning worker; clients change the phase by a tested JSON patch."""

    phase: Phase | None = None
    reason: Annotated[str, Description(description="Machine-readable cause of the phase.")] = ""
    message: Annotated[str, Description(description="Cause of the phase, for people.")] = ""
    result: RawValue | msgspec.UnsetType = msgspec.UNSET
    owner: ExecutionOwner | None = None
    state: RawObject | msgspec.UnsetType = msgspec.UNSET
    attempts: Annotated[list[ExecutionAttempt], Description(max_length=MAX_ATTEMPTS_KEPT)] = []
    attempt_count: Annotated[int, Description(ge=0, description="Attempts so far; the last ten are listed.")] = 0
    resumptions: Annotated[int, Description(ge=0, description="Re-entries after a crash or eviction.")] = 0
    crashes: Annotated[int, Description(ge=0, description="Runner deaths since the last recorded step.")] = 0
    observed_retries: Annotated[int, Description(ge=0)] = 0
    run_epoch: Annotated[int, Description(ge=0)] = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    waiting_for: list[WaitingFor] = []
    conditions: list[Condition] = []


class Execution(ApiObject):
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


class FunctionDefaults(ApiStruct):
    """Used by Executions that do not say otherwise."""

    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None


class FunctionConcurrency(ApiStruct):
    """Limit on how many Executions of the function run at once, in the whole group."""

    limit: Annotated[int, Description(ge=1)]


class FunctionSpec(ApiStruct):
    """A registered function: its name, owner and signature."""

    name: Annotated[str, Description(min_length=1, max_length=253, description="Name used in Execution spec.function.")]
    worker_group: Annotated[str, Description(min_length=1, max_length=63, description="Group that runs it.")]
    description: str = ""
    arguments: RawObject | msgspec.UnsetType = msgspec.UNSET
    result: RawObject | msgspec.UnsetType = msgspec.UNSET
    defaults: FunctionDefaults | None = None
    concurrency: FunctionConcurrency | None = None


class Function(ApiObject):
    """A function that workers of a group can run. Created by workers, read by clients."""

    metadata: ObjectMeta
    spec: FunctionSpec
    api_version: str = labels.API_VERSION
    kind: str = "Function"
