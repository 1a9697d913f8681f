"""Jobs and Pods as users write them and read their ends: ``JobTemplate``, ``JobResult``, ``PodResult``. Pure values.

What becomes of a template is a manifest, a JSON object as ``kubectl create`` takes it. ``kontinue.job_calls`` makes
durable calls of manifests; the engine creates the objects, and fills in the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kontinue.errors import DefinitionError, JobFailed

CONTAINER: Final = "main"
"""Name of a template's container."""


@dataclass(frozen=True, kw_only=True)
class JobTemplate:
    """One container to be run: what ``ctx.run_job`` and ``ctx.run_pod`` need in most cases.

    Attributes:
        image: of the container.
        command: replaces the image's entry point.
        args: of the command.
        env: environment variables.
        retries: how many Pods a Job may start after one that failed (``backoffLimit``); no meaning for a Pod.
        labels: of the Job or Pod, such as ``kueue.x-k8s.io/queue-name``.

    Raises:
        DefinitionError: ``command`` or ``args`` is one text, not a list of words.
    """

    image: str
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    retries: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for name, value in (("command", self.command), ("args", self.args)):
            if isinstance(value, str | bytes):
                raise DefinitionError(
                    f"JobTemplate({name}={value!r}): expected a list of words, as {name}={value.split()!r}; for a "
                    'shell, command=["sh", "-c", "..."]'
                )


@dataclass(frozen=True)
class ContainerResult:
    """How one container ended.

    Attributes:
        exit_code: None if it has not ended by itself, as far as Kubernetes tells.
        reason: such as ``Error`` or ``OOMKilled``.
        message: what the container has written to its termination log.
        restarts: how often it was started again in its Pod.
    """

    name: str
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    restarts: int = 0


@dataclass(frozen=True)
class _Ended:
    """What the ends of Jobs and Pods have in common."""

    name: str
    succeeded: bool
    message: str = ""
    reason: str = ""
    exit_code: int | None = None
    containers: tuple[ContainerResult, ...] = ()
    seq: int = field(default=-1, repr=False, compare=False, kw_only=True)

    def check(self) -> None:
        """Raise JobFailed unless it has succeeded. A new attempt of the Execution then runs it anew.

        Raises:
            JobFailed: it has not.
        """
        if not self.succeeded:
            raise JobFailed(self.message, job=self.name, seq=self.seq)


@dataclass(frozen=True)
class JobResult(_Ended):
    """How a Job ended.

    Attributes:
        name: of the Job.
        succeeded: it completed.
        message: why not, for people; empty if it has succeeded.
        reason: of its end, as Kubernetes has it: ``BackoffLimitExceeded``, ``DeadlineExceeded`` ...
        exit_code: of its last Pod: 0, or that of the first container that failed; None if no Pod tells.
        containers: of its last Pod.
        pod: name of that Pod; empty if there is none any more.
        seq: number of the record in the memo.
    """

    pod: str = ""


@dataclass(frozen=True)
class PodResult(_Ended):
    """How a Pod ended.

    Attributes:
        name: of the Pod.
        succeeded: all its containers have ended with 0.
        message: why not, for people; empty if it has succeeded.
        reason: of its end, as Kubernetes has it, such as ``Evicted``.
        exit_code: 0, or that of the first container that failed; None if Kubernetes does not tell.
        containers: all of them.
        seq: number of the record in the memo.
    """


def job_manifest(job: JobTemplate | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``batch/v1`` Job that is asked for.

    Raises:
        DefinitionError: it is neither a template nor a manifest of a Job.
    """
    if not isinstance(job, JobTemplate):
        return _checked(job, "ctx.run_job", api_version="batch/v1", kind="Job")
    template = {"spec": _pod_spec(job)}
    spec = {"backoffLimit": job.retries, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": dict(job.labels)}, "spec": spec}


def pod_manifest(pod: JobTemplate | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``v1`` Pod that is asked for.

    Raises:
        DefinitionError: it is neither a template nor a manifest of a Pod.
    """
    if not isinstance(pod, JobTemplate):
        return _checked(pod, "ctx.run_pod", api_version="v1", kind="Pod")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": dict(pod.labels)}, "spec": _pod_spec(pod)}


def _pod_spec(template: JobTemplate) -> dict[str, Any]:
    container: dict[str, Any] = {"name": CONTAINER, "image": template.image}
    if template.command:
        container["command"] = list(template.command)
    if template.args:
        container["args"] = list(template.args)
    if template.env:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(template.env.items())]
    return {"restartPolicy": "Never", "containers": [container]}


def _checked(manifest: object, what: str, *, api_version: str, kind: str) -> Mapping[str, Any]:
    if not isinstance(manifest, Mapping):
        raise DefinitionError(f"{what}: expected a JobTemplate or a manifest, got {type(manifest).__name__}")
    found: Mapping[str, Any] = manifest  # pyright: ignore[reportUnknownVariableType] - narrowed from object
    said = (found.get("apiVersion", api_version), found.get("kind", kind))
    if said != (api_version, kind):
        raise DefinitionError(f"{what}: expected a manifest of {api_version} {kind}, got {said[0]} {said[1]}")
    if not isinstance(found.get("spec"), Mapping):
        raise DefinitionError(f"{what}: the manifest has no spec: expected {{'spec': ...}} as kubectl create takes it")
    if not isinstance(found.get("metadata", {}), Mapping):
        raise DefinitionError(f"{what}: metadata of the manifest is no object")
    return {"apiVersion": api_version, "kind": kind, **found}


def name_in(manifest: Mapping[str, Any]) -> str:
    """Return the name that a manifest gives its object, or nothing."""
    metadata: Mapping[str, Any] = manifest.get("metadata", {})
    return str(metadata.get("name", ""))
