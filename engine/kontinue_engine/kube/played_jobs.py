"""Internal. Plays Kubernetes' part in a Job where no Kubernetes is: the Pod that it starts, and both their statuses.

Called by ``testing``, where a test says how a Job ends, and by ``cli.dev``, which runs its command. Writes what the Job
controller and a kubelet would write, as far as anybody reads it; schedules nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.kube.jobs import CONTROLLER_UID

_NAME_LABEL: Final = "batch.kubernetes.io/job-name"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a container has ended.

    Attributes:
        reason: as Kubernetes has it; empty for ``Completed`` or ``Error``.
        started_at: None if it has never run, or nobody knows.
    """

    name: str
    exit_code: int
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None


async def start_pod(transport: Transport, *, namespace: str, job: Mapping[str, Any], number: int) -> str:
    """Create a Pod of a Job, or find it, and return its name.

    Args:
        transport: where to.
        namespace: of the Job.
        job: as the server has it.
        number: counts the Pods of this Job.
    """
    metadata, template = job["metadata"], job["spec"]["template"]
    name = f"{metadata['name'][:58]}-{number}"
    given = template.get("metadata") or {}
    owned = {CONTROLLER_UID: metadata["uid"], _NAME_LABEL: metadata["name"]}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**(given.get("labels") or {}), **owned},
            "annotations": given.get("annotations") or {},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": template["spec"],
    }
    with contextlib.suppress(errors.AlreadyExists):
        await transport.send(requests.create(requests.PODS, namespace, pod), repeatable=True)
    return name


async def say_running(transport: Transport, *, namespace: str, name: str, container: str, now: datetime) -> None:
    """Say that the only container of a Pod has started, and with it the Pod; nothing happens if it is gone."""
    running = _container_status(container, {"running": {"startedAt": _time(now)}})
    status = {
        "phase": "Running",
        "startTime": _time(now),
        "containerStatuses": [running | {"ready": True, "started": True}],
    }
    await _report(transport, requests.PODS, namespace, name, status)


async def end_pod(
    transport: Transport, *, namespace: str, name: str, containers: Sequence[Ended], now: datetime
) -> None:
    """Say how the containers of a Pod have ended, and with them the Pod; nothing happens if it is gone."""
    succeeded = all(one.exit_code == 0 for one in containers)
    status = {
        "phase": "Succeeded" if succeeded else "Failed",
        "containerStatuses": [_container_status(one.name, _ended_state(one, now)) for one in containers],
    }
    await _report(transport, requests.PODS, namespace, name, status)


async def end_job(
    transport: Transport,
    *,
    namespace: str,
    name: str,
    succeeded: bool,
    reason: str = "",
    message: str = "",
    started_at: datetime | None = None,
    now: datetime,
) -> None:
    """Say that a Job has ended, and since when it has run, or that it took no time; nothing happens if it is gone."""
    kinds = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
    when = _time(now)
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": when}
        for kind in kinds
    ]
    status: dict[str, Any] = {"conditions": conditions, "startTime": _time(started_at or now)}
    status |= {"succeeded": 1, "completionTime": when} if succeeded else {"failed": 1}
    await _report(transport, requests.JOBS, namespace, name, status)


def containers_of(pod_spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the containers of a Pod."""
    return [one["name"] for one in pod_spec["containers"]]


def _ended_state(ended: Ended, now: datetime) -> dict[str, Any]:
    terminated = {
        "exitCode": ended.exit_code,
        "reason": ended.reason or ("Error" if ended.exit_code else "Completed"),
        "message": ended.message,
        "finishedAt": _time(now),
    }
    started = {} if ended.started_at is None else {"startedAt": _time(ended.started_at)}
    return {"terminated": terminated | started}


def _container_status(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


async def _report(
    transport: Transport, resource: requests.Resource, namespace: str, name: str, status: Mapping[str, Any]
) -> None:
    patch = requests.merge_patch(resource, namespace, name, {"status": status}, subresource="status")
    with contextlib.suppress(errors.NotFound):
        await transport.send(patch, repeatable=True)


def _time(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
