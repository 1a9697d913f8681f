"""Internal. Suspensions as API objects: create or find, read, complete when time is up, open again, delete.

Called by ``controllers.suspensions`` and ``coordinator.wake_times``. Decides nothing. Every change of a status carries
the resourceVersion that was seen; names are deterministic, so that one that is created twice collides with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ApiStruct, Condition
from kontinue.api.v1alpha1 import PAYLOAD_INVALID, Suspension, SuspensionKind, SuspensionPhase, SuspensionStatus
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue_engine.errors import EngineError
from kontinue_engine.kube.open_suspensions import OpenSuspension
from kontinue_engine.lifecycle.times import time_of

RESUMED_BY_TIMER: Final = "Timer"

_decode: Final = msgspec.json.Decoder(Suspension).decode


class SuspensionUnusableError(EngineError):
    """The Suspension cannot be created: refused, or its name is taken by something else."""


class _Metadata(ApiStruct, frozen=True, kw_only=True):
    name: str
    resource_version: str


class _StatusBody(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    metadata: _Metadata
    status: SuspensionStatus
    api_version: str = labels.API_VERSION
    kind: str = "Suspension"


async def create_or_find(
    transport: Transport, *, namespace: str, suspension: Suspension, look_first: bool
) -> Suspension:
    """Create it, or return the one of the same name and owner that an earlier run has created.

    One that cannot be waited for as it is gives way: without its labels, or with the time of an earlier attempt.

    Args:
        transport: where to.
        namespace: of the Execution.
        suspension: with its owner.
        look_first: GET before POST: after a crash it usually exists.

    Raises:
        SuspensionUnusableError: the server refuses it, or the name is taken by something else.
    """
    name = suspension.metadata.name
    backoff: Backoff | None = None
    while True:
        found = await read(transport, namespace=namespace, name=name) if look_first else None
        if found is None:
            try:
                request = requests.create(requests.SUSPENSIONS, namespace, suspension)
                return _decode(await transport.send(request, repeatable=True))
            except errors.AlreadyExists:
                look_first = True
                continue
            except (errors.Invalid, errors.TooLarge, errors.Forbidden, errors.NotFound) as error:
                raise SuspensionUnusableError(f"Suspension {name}: {error}") from error
        if not _has_same_owner(found, suspension):
            raise SuspensionUnusableError(
                f"Suspension {name} exists already and belongs to something else: delete it if it is a leftover"
            )
        if found.is_open and not _has_labels_of(found, suspension):
            suspension = msgspec.structs.replace(suspension, spec=found.spec)  # it would never end: nobody sees it
        elif not _is_of_earlier_attempt(found, suspension):
            return found
        if backoff is None:
            backoff = Backoff()
        else:
            await asyncio.sleep(backoff.next_s())  # it has a finalizer
        await _give_way(transport, namespace, found)
        look_first = True


def _has_labels_of(found: Suspension, wanted: Suspension) -> bool:
    return all(found.metadata.labels.get(key) == value for key, value in wanted.metadata.labels.items())


def _is_of_earlier_attempt(found: Suspension, wanted: Suspension) -> bool:
    """Tell whether its time is that of an attempt that failed, and nobody has answered: this one has its own."""
    is_unanswered = found.is_open or found.status.timed_out
    has_limit = found.spec.kind is SuspensionKind.MANUAL and found.spec.resume_at is not None
    return is_unanswered and has_limit and _attempt_of(found) < _attempt_of(wanted)


def _attempt_of(suspension: Suspension) -> int:
    return labels.number_in(suspension.metadata.annotations.get(labels.PARENT_ATTEMPT)) or 1


def _has_same_owner(found: Suspension, wanted: Suspension) -> bool:
    uids = {owner.uid for owner in found.metadata.owner_references}
    return wanted.metadata.owner_references[0].uid in uids


async def read(transport: Transport, *, namespace: str, name: str) -> Suspension | None:
    """GET a Suspension; None when there is none of that name.

    Raises:
        SuspensionUnusableError: it does not decode.
    """
    try:
        return _decode(await transport.send(requests.get(requests.SUSPENSIONS, namespace, name)))
    except errors.NotFound:
        return None
    except msgspec.MsgspecError as error:
        raise SuspensionUnusableError(f"Suspension {name} cannot be read: {error}") from error


async def complete(transport: Transport, *, namespace: str, seen: OpenSuspension, now_ms: int) -> None:
    """Its time has come: end the sleep, or give up waiting for somebody.

    Raises:
        Conflict: it has changed since.
        NotFound: it was deleted.
    """
    status = SuspensionStatus(
        phase=SuspensionPhase.COMPLETED,
        resumed_at=time_of(now_ms),
        resumed_by=RESUMED_BY_TIMER,
        timed_out=not seen.is_sleep,
    )
    await _replace_status(transport, namespace, _Metadata(name=seen.name, resource_version=seen.version), status)


async def reopen(transport: Transport, *, namespace: str, name: str, version: str, message: str, now_ms: int) -> None:
    """Its payload does not fit: say so, and wait for another one. Nothing happens if it has changed since ``version``.

    Then somebody may have given another answer, which is not to be wiped out.
    """
    condition = Condition(
        type=PAYLOAD_INVALID,
        status="True",
        reason="DoesNotFit",
        message=message,
        last_transition_time=time_of(now_ms),
    )
    status = SuspensionStatus(phase=SuspensionPhase.SUSPENDED, conditions=[condition])
    with contextlib.suppress(errors.Conflict, errors.NotFound):
        await _replace_status(transport, namespace, _Metadata(name=name, resource_version=version), status)


async def _replace_status(transport: Transport, namespace: str, metadata: _Metadata, status: SuspensionStatus) -> None:
    body = _StatusBody(metadata=metadata, status=status)
    await transport.send(requests.replace_status(requests.SUSPENSIONS, namespace, metadata.name, body))


async def delete(transport: Transport, *, namespace: str, name: str, owner_uid: str) -> None:
    """Delete one that its Execution does not wait for any more; nothing happens if it is gone, or somebody else's."""
    found = await read(transport, namespace=namespace, name=name)
    if found is not None and any(owner.uid == owner_uid for owner in found.metadata.owner_references):
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await transport.send(requests.delete(requests.SUSPENSIONS, namespace, name, uid=found.metadata.uid))


async def _give_way(transport: Transport, namespace: str, found: Suspension) -> None:
    """Delete it as it was seen: somebody may be answering it."""
    meta = found.metadata
    request = requests.delete(
        requests.SUSPENSIONS, namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
    )
    with contextlib.suppress(errors.NotFound, errors.Conflict):
        await transport.send(request)
