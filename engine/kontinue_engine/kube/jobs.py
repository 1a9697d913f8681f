"""Internal. Jobs and Pods as API objects: create or find, read with the Pods that tell of it, delete.

Called by ``controllers.jobs`` and ``coordinator.closing``. Decides nothing. Names are deterministic, so that one that
is created twice collides with itself: it is ours only if it has our owner and was made of the same manifest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.kube import requests
from kontinue.kube.reflector import Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.errors import EngineError
from kontinue_engine.kube.job_views import JOB, POD, JobView

RESOURCES: Final[Mapping[str, Resource]] = {JOB: requests.JOBS, POD: requests.PODS}
CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
"""Label that the Job controller gives the Pods of a Job."""

_decode: Final = msgspec.json.Decoder(JobView).decode


class JobUnusableError(EngineError):
    """The Job or Pod cannot be created, or is not what was asked for.

    Attributes:
        kind: name of the class in ``kontinue.errors`` that says what is wrong.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The Execution that a Job or Pod belongs to, in one of its attempts."""

    name: str
    uid: str
    group: str
    root: str
    attempt: int = 1


def build(manifest: bytes, *, name: str, owner: Owner, step: str, digest: str, title: str) -> dict[str, Any]:
    """Return the object to create.

    Args:
        manifest: JSON object, as the user's code gives it.
        name: of the object.
        owner: its Execution.
        step: id of the step.
        digest: of the manifest.
        title: what the user's code calls it.
    """
    found: dict[str, Any] = msgspec.json.decode(manifest)
    said: dict[str, Any] = found.get("metadata") or {}
    ours = {
        labels.WORKER_GROUP: owner.group,
        labels.PARENT_GROUP: owner.group,
        labels.ROOT: owner.root,
        labels.PARENT: labels.label_value(owner.name),
    }
    notes = {labels.STEP: step, labels.ARGUMENTS_DIGEST: digest} | ({labels.DISPLAY_NAME: title} if title else {})
    if owner.attempt > 1:
        notes[labels.PARENT_ATTEMPT] = str(owner.attempt)
    reference = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": owner.name, "uid": owner.uid}
    metadata = {
        "name": name,
        "labels": {**(said.get("labels") or {}), **ours},
        "annotations": {**(said.get("annotations") or {}), **notes},
        "ownerReferences": [{**reference, "controller": True}],
    }
    return {**found, "metadata": metadata}


async def create_or_find(
    transport: Transport,
    *,
    namespace: str,
    kind: str,
    body: Mapping[str, Any],
    look_first: bool,
    may_create: bool,
) -> JobView | None:
    """Create it, or return the one that an earlier run has created.

    Returns None if there is none and ``may_create`` forbids to create one: it was there.

    Args:
        transport: where to.
        namespace: of the Execution.
        kind: ``Job`` or ``Pod``.
        body: as ``build`` returns it.
        look_first: GET before POST: after a crash it usually exists.
        may_create: it is not known to have been there.

    Raises:
        AlreadyExists: its name was taken when it was to be created, and was free a moment later: try again.
        JobUnusableError: the server refuses it, or its name is taken by something else, or it does not decode.
    """
    name = body["metadata"]["name"]
    found = await read(transport, namespace=namespace, kind=kind, name=name) if look_first or not may_create else None
    if found is None:
        if not may_create:
            return None
        try:
            request = requests.create(RESOURCES[kind], namespace, body)
            return _read(await transport.send(request, repeatable=True), f"{kind} {name}")
        except errors.AlreadyExists:
            found = await read(transport, namespace=namespace, kind=kind, name=name)
            if found is None:
                raise
        except (errors.Invalid, errors.TooLarge, errors.Forbidden, errors.NotFound) as error:
            raise JobUnusableError(f"{kind} {name}: {error}", kind=type(error).__name__) from error
    if not _is_same(found, body):
        raise JobUnusableError(
            f"{kind} {name} exists already, with another owner or of another manifest: delete it if it is a leftover",
            kind="AlreadyExists",
        )
    return found


def _is_same(found: JobView, body: Mapping[str, Any]) -> bool:
    wanted = body["metadata"]
    told = (found.owner_uid, found.metadata.annotations.get(labels.ARGUMENTS_DIGEST, ""))
    return told == (wanted["ownerReferences"][0]["uid"], wanted["annotations"][labels.ARGUMENTS_DIGEST])


async def read(transport: Transport, *, namespace: str, kind: str, name: str) -> JobView | None:
    """GET one; None when there is none of that name.

    Raises:
        JobUnusableError: it does not decode, or this worker may not read it.
    """
    try:
        return _read(await transport.send(requests.get(RESOURCES[kind], namespace, name)), f"{kind} {name}")
    except errors.NotFound:
        return None
    except errors.Forbidden as error:
        raise JobUnusableError(f"{kind} {name} cannot be read: {error}", kind="Forbidden") from error


def _read(body: bytes, title: str) -> JobView:
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise JobUnusableError(f"{title} cannot be read: {error}", kind="Invalid") from error


def attempt_of(found: JobView) -> int:
    """Return the attempt of its Execution that has started it."""
    return labels.number_in(found.metadata.annotations.get(labels.PARENT_ATTEMPT)) or 1


async def pods_of(transport: Transport, *, namespace: str, job: JobView) -> list[JobView]:
    """List the Pods that a Job has started; none if this worker may not list them.

    Raises:
        JobUnusableError: they do not decode.
    """
    request = requests.list_objects(requests.PODS, namespace, label_selector=f"{CONTROLLER_UID}={job.metadata.uid}")
    try:
        return msgspec.json.decode(await transport.send(request), type=_Pods).items
    except errors.Forbidden:
        return []
    except msgspec.MsgspecError as error:
        name = job.metadata.name
        raise JobUnusableError(f"the Pods of Job {name} cannot be read: {error}", kind="Invalid") from error


class _Pods(msgspec.Struct):
    items: list[JobView]


async def list_unended(transport: Transport, *, namespace: str, label_selector: str) -> list[tuple[str, JobView]]:
    """Return kind and view of the Jobs and Pods with these labels that have not ended.

    None of a kind that this worker may not list, or that the server does not know: then it has started none.

    Raises:
        ApiError: the server does not tell.
    """
    found: list[tuple[str, JobView]] = []
    for kind, resource in RESOURCES.items():
        reflector = Reflector(transport, resource, namespace, type_=JobView, label_selector=label_selector)
        with contextlib.suppress(errors.Forbidden, errors.NotFound):
            found += [(kind, one) for one in (await reflector.fetch()).objects if not one.has_ended]
    return found


async def delete_unended(transport: Transport, *, namespace: str, kind: str, name: str, owner_uid: str) -> None:
    """Delete one that nobody waits for any more, with what it has started; what has ended, stays.

    Nothing happens if it is gone, or somebody else's.

    Raises:
        JobUnusableError: it does not decode, or this worker may not read or delete it.
    """
    found = await read(transport, namespace=namespace, kind=kind, name=name)
    if found is None or found.owner_uid != owner_uid or found.has_ended:
        return
    await delete(transport, namespace=namespace, kind=kind, found=found)


async def delete(transport: Transport, *, namespace: str, kind: str, found: JobView) -> None:
    """Delete one, with what it has started; nothing happens if it is gone.

    Raises:
        JobUnusableError: this worker may not delete it.
    """
    name, uid = found.metadata.name, found.metadata.uid
    request = requests.delete(RESOURCES[kind], namespace, name, uid=uid, propagation="Background")
    try:
        with contextlib.suppress(errors.NotFound, errors.Conflict):  # gone, and another one of its name
            await transport.send(request)
    except errors.Forbidden as error:
        raise JobUnusableError(f"{kind} {name} cannot be deleted: {error}", kind="Forbidden") from error
