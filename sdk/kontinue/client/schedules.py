"""What the client does with ScheduledExecutions: read them, stop and continue them, run one now.

Called by ``Client``; knows requests and the typed API, no configuration.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kontinue import errors, naming
from kontinue.api import labels
from kontinue.api.meta import ObjectList, ObjectMeta
from kontinue.api.scheduling import build_scheduled_run
from kontinue.api.v1alpha1 import Function, ScheduledExecution
from kontinue.client.reading import fetch_named, fetch_pages
from kontinue.client.spawning import Send, create_once
from kontinue.kube import requests
from kontinue.kube.answers import reader

PAGE_SIZE: Final = 500

_decode: Final = reader(ScheduledExecution)
_decode_page: Final = reader(ObjectList[ScheduledExecution], what="list of ScheduledExecutions")


async def fetch(send: Send, namespace: str, name: str) -> ScheduledExecution:
    """Read a ScheduledExecution.

    Raises:
        NotFound: there is none of that name.
    """
    return await fetch_named(send, requests.SCHEDULED_EXECUTIONS, _decode, namespace=namespace, name=name)


async def fetch_all(
    send: Send, namespace: str, *, function: str | None, wanted_labels: Mapping[str, str]
) -> Sequence[ScheduledExecution]:
    """Read those of a function (None: of any) that carry the labels, sorted by namespace and name."""
    selector = ",".join(f"{key}={value}" for key, value in wanted_labels.items())
    pages = fetch_pages(
        send,
        requests.SCHEDULED_EXECUTIONS,
        _decode_page,
        namespace=namespace,
        size=PAGE_SIZE,
        label_selector=selector,
    )
    found = [one async for page in pages for one in page.items if function is None or one.spec.function == function]
    return sorted(found, key=lambda one: (one.metadata.namespace, one.metadata.name))


async def set_suspended(send: Send, schedule: ScheduledExecution, *, suspend: bool) -> None:
    """Write ``spec.suspend``.

    Raises:
        NotFound: it was deleted, whether or not there is another one of its name.
    """
    meta = schedule.metadata
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": meta.uid},
        {"op": "add", "path": "/spec/suspend", "value": suspend},
    ]
    request = requests.json_patch(requests.SCHEDULED_EXECUTIONS, meta.namespace, meta.name, operations)
    try:
        await send(request)
    except errors.Invalid as error:
        found = await fetch(send, meta.namespace, meta.name)
        if found.metadata.uid != meta.uid:
            raise errors.NotFound(
                f"ScheduledExecution {meta.namespace}/{meta.name} was deleted and created again", status=404
            ) from error
        raise


async def trigger(send: Send, schedule: ScheduledExecution, function: Function) -> ObjectMeta:
    """Start an Execution of the schedule now, and return its metadata. Policies do not hold it up."""
    meta = schedule.metadata
    nonce = secrets.token_hex(16)
    run = build_scheduled_run(
        schedule,
        name=naming.root_name(meta.name, nonce[:10]),
        group=labels.label_value(function.spec.worker_group),
        annotations={labels.NONCE: nonce},
    )
    return await create_once(send, meta.namespace, run)
