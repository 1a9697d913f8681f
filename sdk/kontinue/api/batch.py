"""``batch/v1`` Jobs and their Pods as frozen structs: what a client reads of them.

The specs of Pods stay bytes of JSON; they are Kubernetes', and who reads them knows what for. The engine has its own,
smaller view of the same objects. Read by ``kontinue.client``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ApiObject, ApiStruct, Condition, ObjectMeta
from kontinue.api.v1alpha1 import Phase

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
"""Label that the Job controller gives the Pods of a Job."""
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
"""Annotation of a Pod: the container that is meant when none is named."""


class JobSpec(ApiStruct, frozen=True):
    """What a Job is to run.

    Attributes:
        template: of its Pods, as JSON.
    """

    parallelism: int | None = None
    completions: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")


class JobStatus(ApiStruct, frozen=True):
    """How far a Job is."""

    active: int = 0
    ready: int | None = None
    succeeded: int = 0
    failed: int = 0
    start_time: datetime | None = None
    completion_time: datetime | None = None
    conditions: list[Condition] = []


class Job(ApiObject, frozen=True):
    """A Job of Kubernetes."""

    metadata: ObjectMeta
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()
    api_version: str = "batch/v1"
    kind: str = "Job"

    @property
    def display_name(self) -> str:
        """What the code that has started it calls it; empty for a Job of somebody else."""
        return self.metadata.annotations.get(labels.DISPLAY_NAME, "")

    @property
    def end(self) -> Condition | None:
        """The condition that says how it has ended, Complete or Failed; None while it has not."""
        ends = (one for one in self.status.conditions if one.type in {"Complete", "Failed"} and one.status == "True")
        return next(ends, None)

    @property
    def phase(self) -> Phase:
        """Where it is, in the words for Executions: Pending, Executing, Suspended, Completed or Failed."""
        if (end := self.end) is not None:
            return Phase.COMPLETED if end.type == "Complete" else Phase.FAILED
        if self.spec.suspend:
            return Phase.SUSPENDED
        return Phase.EXECUTING if self.status.active else Phase.PENDING

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; None while it has not."""
        return None if (end := self.end) is None else self.status.completion_time or end.last_transition_time


class ContainerTerminated(ApiStruct, frozen=True):
    """How a container has ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerWaiting(ApiStruct, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerRunning(ApiStruct, frozen=True):
    """A container that runs."""

    started_at: datetime | None = None


class ContainerState(ApiStruct, frozen=True):
    """At most one of the three."""

    waiting: ContainerWaiting | None = None
    running: ContainerRunning | None = None
    terminated: ContainerTerminated | None = None


class ContainerStatus(ApiStruct, frozen=True):
    """Where one container of a Pod is."""

    name: str
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class Container(ApiStruct, frozen=True):
    """One container of a Pod; only its name is read."""

    name: str


class PodSpec(ApiStruct, frozen=True):
    """Which containers a Pod has, and where it runs."""

    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[Container] = []
    node_name: str = ""
    restart_policy: str = "Always"


class PodStatus(ApiStruct, frozen=True):
    """How far a Pod is."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []
    ephemeral_container_statuses: list[ContainerStatus] = []


class Pod(ApiObject, frozen=True):
    """A Pod, as far as somebody reads it who wants its logs, or to know why it does not run."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
    api_version: str = "v1"
    kind: str = "Pod"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status.phase in {"Succeeded", "Failed"}

    def container(self, name: str | None) -> str:
        """Return the container that is meant by ``name``; None: its default one, which is the first unless it says."""
        if name is not None:
            return name
        first = self.spec.containers[0].name if self.spec.containers else ""
        return self.metadata.annotations.get(DEFAULT_CONTAINER) or first

    def has_container(self, name: str) -> bool:
        """Tell whether one of its containers has this name."""
        spec = self.spec
        return any(one.name == name for one in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers))

    def state_of(self, container: str) -> ContainerState:
        """Return where a container is; an empty state if nobody has said so yet."""
        status = self.status
        found = (
            *status.container_statuses,
            *status.init_container_statuses,
            *status.ephemeral_container_statuses,
        )
        return next((one.state for one in found if one.name == container), ContainerState())

    def is_over(self, container: str) -> bool:
        """Tell whether a container has ended and is not started again in this Pod."""
        if self.has_ended:
            return True
        ended = self.state_of(container).terminated
        if ended is None:
            return False
        is_init = any(one.name == container for one in self.spec.init_containers)
        policy = self.spec.restart_policy
        return policy == "Never" or (ended.exit_code == 0 and (policy == "OnFailure" or is_init))
