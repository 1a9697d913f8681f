"""Reads Jobs and their Pods for a client.

Called by ``Client.get_job``, ``kontinue.client.job_logs`` and ``kontinue logs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from kontinue import errors
from kontinue.api import labels
from kontinue.api.batch import JOB_NAME_LABEL, Job, Pod
from kontinue.api.meta import ObjectList
from kontinue.client.reading import Send, fetch_named
from kontinue.kube import requests
from kontinue.kube.answers import reader

_decode_job: Final = reader(Job)
_decode_pod: Final = reader(Pod)
_decode_pods: Final = reader(ObjectList[Pod], what="list of Pods")
_EARLY: Final = datetime.min.replace(tzinfo=UTC)


async def fetch(send: Send, namespace: str, name: str) -> Job:
    """Read a Job.

    Raises:
        NotFound: there is none of that name.
    """
    return await fetch_named(send, requests.JOBS, _decode_job, namespace=namespace, name=name)


async def fetch_pod(send: Send, namespace: str, name: str) -> Pod | None:
    """Read a Pod; None if there is none of that name."""
    try:
        return _decode_pod(await send(requests.get(requests.PODS, namespace, name)))
    except errors.NotFound:
        return None


async def fetch_pods(send: Send, namespace: str, job: str) -> Sequence[Pod]:
    """Read the Pods that a Job has started, the first one first."""
    return await fetch_selected_pods(send, namespace, f"{JOB_NAME_LABEL}={labels.label_value(job)}")


async def fetch_selected_pods(send: Send, namespace: str, selector: str) -> Sequence[Pod]:
    """Read the Pods with certain labels, the oldest one first."""
    body = await send(requests.list_objects(requests.PODS, namespace, label_selector=selector))
    return sorted(
        _decode_pods(body).items, key=lambda pod: (pod.metadata.creation_timestamp or _EARLY, pod.metadata.name)
    )
