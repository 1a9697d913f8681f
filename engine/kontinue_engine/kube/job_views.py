"""Internal. Jobs and Pods as this package reads them: whether they have ended, how, and what holds them up. Pure.

Called by ``kube.jobs`` and ``kube.followed_jobs``. Both kinds have one struct: what the other kind has not, is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue.api.meta import ApiStruct, Condition, ObjectMeta
from kontinue.jobs import ContainerResult, JobResult, PodResult
from kontinue_engine.lifecycle.times import ms_of

JOB: Final = "Job"
POD: Final = "Pod"
SUSPENDED_MESSAGE: Final = "suspended: it is started when whoever holds it back, such as Kueue, admits it"


class _Terminated(ApiStruct, frozen=True, kw_only=True):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class _State(ApiStruct, frozen=True, kw_only=True):
    terminated: _Terminated | None = None


class _ContainerStatus(ApiStruct, frozen=True, kw_only=True):
    name: str
    restart_count: int = 0
    state: _State = _State()


class _Gate(ApiStruct, frozen=True, kw_only=True):
    name: str


class _Spec(ApiStruct, frozen=True, kw_only=True):
    suspend: bool = False
    scheduling_gates: list[_Gate] = []


class _Status(ApiStruct, frozen=True, kw_only=True):
    conditions: list[Condition] = []
    phase: str = ""
    reason: str = ""
    message: str = ""
    container_statuses: list[_ContainerStatus] = []


class JobView(ApiStruct, frozen=True, kw_only=True):
    """A Job or a Pod without what nobody reads here."""

    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def owner_uid(self) -> str:
        """Uid of the Execution that it belongs to, or nothing."""
        return next((owner.uid for owner in self.metadata.owner_references if owner.kind == "Execution"), "")

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed, for good."""
        return self.status.phase in {"Succeeded", "Failed"} or self._end is not None

    @property
    def has_succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.status.phase == "Succeeded" or (self._end is not None and self._end.type == "Complete")

    @property
    def _end(self) -> Condition | None:
        """The condition that says how a Job has ended."""
        ends = (one for one in self.status.conditions if one.type in {"Complete", "Failed"} and one.status == "True")
        return next(ends, None)

    @property
    def held_up_by(self) -> str:
        """Why it may not start yet, for people; empty if it may."""
        if self.spec.suspend and not self.has_ended:
            return SUSPENDED_MESSAGE
        if self.spec.scheduling_gates and not self.has_ended:
            return f"held back by scheduling gates: {', '.join(gate.name for gate in self.spec.scheduling_gates)}"
        return ""


def ended_at_ms(view: JobView, now_ms: int) -> int:
    """Return when a Job or Pod ended; ``now_ms`` if it does not say."""
    times = [one.state.terminated.finished_at for one in view.status.container_statuses if one.state.terminated]
    times += [one.last_transition_time for one in view.status.conditions if one.type in {"Complete", "Failed"}]
    return max((ms_of(time) for time in times if time is not None), default=now_ms)


def job_result(job: JobView, pods: Iterable[JobView]) -> JobResult:
    """Return how a Job has ended, with what the last of its Pods tells."""
    pod = max(pods, key=lambda one: _order(job, one), default=None)
    end = next(one for one in job.status.conditions if one.type in {"Complete", "Failed"} and one.status == "True")
    containers = () if pod is None else _containers(pod)
    message = "" if job.has_succeeded else _joined(end.message or end.reason or "the Job has failed", containers)
    return JobResult(
        name=job.metadata.name,
        succeeded=job.has_succeeded,
        message=message,
        reason=end.reason,
        exit_code=_exit_code(containers),
        containers=containers,
        pod=pod.metadata.name if pod is not None else "",
    )


def pod_result(pod: JobView) -> PodResult:
    """Return how a Pod has ended."""
    containers = _containers(pod)
    status = pod.status
    message = "" if pod.has_succeeded else _joined(status.message or status.reason or "the Pod has failed", containers)
    return PodResult(
        name=pod.metadata.name,
        succeeded=pod.has_succeeded,
        message=message,
        reason=status.reason,
        exit_code=_exit_code(containers),
        containers=containers,
    )


def encode_result(result: JobResult | PodResult) -> bytes:
    """Return a result as it is recorded; the number of its record is not part of it."""
    fields: dict[str, Any] = msgspec.to_builtins(result)
    del fields["seq"]
    return msgspec.json.encode(fields)


def _order(job: JobView, pod: JobView) -> tuple[bool, bool, float, str]:
    """Return by what the Pod that tells most of the end of a Job comes last."""
    created = pod.metadata.creation_timestamp
    ended_as_the_job = pod.has_ended and pod.has_succeeded == job.has_succeeded
    return ended_as_the_job, pod.has_ended, created.timestamp() if created else 0.0, pod.metadata.name


def _containers(pod: JobView) -> tuple[ContainerResult, ...]:
    return tuple(_container(one) for one in pod.status.container_statuses)


def _container(status: _ContainerStatus) -> ContainerResult:
    ended = status.state.terminated
    if ended is None:
        return ContainerResult(status.name, restarts=status.restart_count)
    return ContainerResult(status.name, ended.exit_code, ended.reason, ended.message, status.restart_count)


def _exit_code(containers: Sequence[ContainerResult]) -> int | None:
    codes = [one.exit_code for one in containers if one.exit_code is not None]
    return next((code for code in codes if code), 0 if codes else None)


def _joined(message: str, containers: Sequence[ContainerResult]) -> str:
    """Return the message with how the first container that failed has ended."""
    failed = next((one for one in containers if one.exit_code), None)
    if failed is None:
        return message
    why = ", ".join(part for part in (failed.reason, failed.message.strip()) if part)
    return f"{message}; container {failed.name} exited with {failed.exit_code}" + (f" ({why})" if why else "")
