"""Ends waits from outside: reads Suspensions, checks payloads, and completes them beside a busy worker.

A JSON patch that tests the state seen succeeds at the first try, and cannot answer what somebody else has answered.
Called by ``Client``; knows requests and schemas, no configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from kontinue import codec, errors
from kontinue.api import labels
from kontinue.api.meta import ObjectList, parent_of
from kontinue.api.v1alpha1 import (
    MAX_RESULT_BYTES,
    OPEN_SUSPENSIONS_SELECTOR,
    Execution,
    Suspension,
    SuspensionPhase,
    SuspensionStatus,
)
from kontinue.client.arguments import first_problem
from kontinue.client.reading import fetch_named, fetch_pages
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.patching import patch_as_seen
from kontinue.kube.requests import Request

RESUMED_BY_CLIENT: Final = "Client"
PAGE_SIZE: Final = 500

_decode: Final = reader(Suspension)
_decode_page: Final = reader(ObjectList[Suspension], what="list of Suspensions")

Send = Callable[[Request], Coroutine[Any, Any, bytes]]


async def fetch(send: Send, namespace: str, name: str) -> Suspension:
    """Read a Suspension.

    Raises:
        NotFound: there is none of that name.
    """
    return await fetch_named(send, requests.SUSPENSIONS, _decode, namespace=namespace, name=name)


async def fetch_open(send: Send, namespace: str, *, label: str, value: str) -> Sequence[Suspension]:
    """Read the open Suspensions that carry a label."""
    pages = fetch_pages(
        send,
        requests.SUSPENSIONS,
        _decode_page,
        namespace=namespace,
        size=PAGE_SIZE,
        label_selector=f"{label}={labels.label_value(value)}",
        field_selector=OPEN_SUSPENSIONS_SELECTOR,
    )
    return [one async for page in pages for one in page.items]


def of_owners(suspensions: Iterable[Suspension], uids: frozenset[str]) -> Sequence[Suspension]:
    """Return those of the Executions with these uids."""
    return [one for one in suspensions if any(owner.uid in uids for owner in one.metadata.owner_references)]


def uids_below(top: Execution, others: Iterable[Execution]) -> frozenset[str]:
    """Return the uids of ``top`` and of all that descend from it."""
    children: dict[str, list[str]] = {}
    for execution in others:
        parent = parent_of(execution.metadata.owner_references)
        if parent is not None:
            children.setdefault(parent.uid, []).append(execution.metadata.uid)
    found, left = set[str](), [top.metadata.uid]
    while left:
        uid = left.pop()
        found.add(uid)
        left += [child for child in children.get(uid, ()) if child not in found]
    return frozenset(found)


def reads_payload(suspension: Suspension) -> bool:
    """Tell whether whoever resumes it is to say something."""
    return suspension.spec.payload_schema is not msgspec.UNSET


def encode_payload(suspension: Suspension, payload: object) -> bytes:
    """Return JSON of the payload, or nothing where none is read.

    Raises:
        InvalidPayload: it does not fit the schema, or is too large; ``path`` says where.
    """
    name = suspension.metadata.name
    schema = suspension.spec.payload_schema
    if schema is msgspec.UNSET:
        if payload is not None:
            raise errors.InvalidPayload(f"Suspension {name} reads no payload: resume it without one")
        return b""
    try:
        data = codec.encode_any(payload)
    except errors.CodecError as error:
        raise errors.InvalidPayload(f"Suspension {name}: {error}", path=error.path) from error
    if len(data) > MAX_RESULT_BYTES:
        raise errors.InvalidPayload(
            f"Suspension {name}: the payload is {len(data):,} bytes of JSON, the limit is {MAX_RESULT_BYTES:,}"
        )
    problem = first_problem(bytes(schema), msgspec.json.decode(data))
    if problem is not None:
        path, message = problem
        raise errors.InvalidPayload(f"Suspension {name}: {path}: {message}", path=path)
    return data


async def resume(send: Send, namespace: str, name: str, payload: object, *, uid: str = "") -> None:
    """Complete a Suspension.

    Raises:
        InvalidState: it is completed already.
        InvalidPayload: the payload does not fit; nothing was changed.
        NotFound: there is no such Suspension.
    """
    tried: SuspensionStatus | None = None

    async def build(found: Suspension, refusals: int) -> Request | None:
        nonlocal tried
        del refusals
        if uid and found.metadata.uid != uid:
            raise errors.NotFound(f"Suspension {namespace}/{name} was deleted and created again", status=404)
        if not found.is_open:
            if tried is not None and _is_same_write(found.status, tried):
                return None  # its answer was lost
            by = f" by {found.status.resumed_by}" if found.status.resumed_by else ""
            raise errors.InvalidState(f"Suspension {namespace}/{name} is completed already{by}")
        tried = _completed(encode_payload(found, payload))
        operations = _operations(found, tried)
        return requests.json_patch(requests.SUSPENSIONS, namespace, name, operations, subresource="status")

    await patch_as_seen(read=lambda: fetch(send, namespace, name), build=build, send=send)


def _completed(payload: bytes) -> SuspensionStatus:
    return SuspensionStatus(
        phase=SuspensionPhase.COMPLETED,
        resumed_at=datetime.now(UTC),
        resumed_by=RESUMED_BY_CLIENT,
        payload=msgspec.Raw(payload) if payload else msgspec.UNSET,
    )


def _is_same_write(found: SuspensionStatus, ours: SuspensionStatus) -> bool:
    return (found.resumed_at, found.resumed_by) == (ours.resumed_at, ours.resumed_by)


def _operations(seen: Suspension, wanted: SuspensionStatus) -> list[dict[str, Any]]:
    phase = seen.status.phase
    test = {"path": "/status", "value": None} if phase is None else {"path": "/status/phase", "value": phase.value}
    return [
        {"op": "test", "path": "/metadata/uid", "value": seen.metadata.uid},
        {"op": "test", **test},
        {"op": "add", "path": "/status", "value": wanted},
    ]
