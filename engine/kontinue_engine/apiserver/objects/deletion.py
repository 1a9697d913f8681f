"""Internal. What a delete asks for, and what it makes of the object: options, preconditions, finalizers, the mark.

Pure. Called by ``kontinue_engine.apiserver.objects.writing`` and ``router``; the server's own deletes
(``garbage_collector``, ``namespaces``, expiry) make ``DeleteOptions`` themselves. Nothing here mutates its arguments.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.custom import crd_status
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.objects.object_store import Entry
from kontinue_engine.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, ResourceInfo

FOREGROUND_FINALIZER: Final = "foregroundDeletion"
ORPHAN_FINALIZER: Final = "orphan"
COLLECTOR_FINALIZERS: Final = (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)
"""Those that the garbage collector takes away."""
_POLICIES: Final = {"Foreground": (FOREGROUND_FINALIZER,), "Background": (), "Orphan": (ORPHAN_FINALIZER,)}
_PODS: Final = "pods"
_RETURNED: Final = frozenset({"serviceaccounts", "services"})
"""Kinds whose delete answers with the object, as in kube-apiserver; Pods come with their mark."""
_MAX_DIGITS: Final = 20
_MAX_GRACE_S: Final = 2**31
"""Judgement: two generations, so that the end stays a time that can be written."""
_ORPHANS_BY_DEFAULT: Final = frozenset({"jobs.batch"})
"""As kube-apiserver has it, for clients of the time before propagation policies."""


class DeleteOptions(NamedTuple):
    """Options of a delete.

    Attributes:
        propagation: "" when the client names none.
        grace_s: of Pods alone; None: what the Pod asks for.
    """

    uid: str | None = None
    resource_version: str | None = None
    propagation: str = ""
    is_dry_run: bool = False
    grace_s: int | None = None


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _Given(msgspec.Struct, rename="camel"):
    """What is read of a DeleteOptions."""

    kind: str = "DeleteOptions"
    preconditions: _Preconditions | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    dry_run: list[str] | None = None
    grace_period_seconds: int | None = None


def parse_delete_options(query: dict[str, str], body: bytes, content_type: str) -> DeleteOptions:
    """Read the options of a delete from its body, or without one from the query.

    Raises:
        StatusError: 400, 415 or 422, they cannot be understood.
    """
    given = _from_body(body, content_type) if body else _from_query(query)
    causes = _problems(given)
    if causes:
        raise statuses.invalid_options("DeleteOptions", causes)
    propagation = given.propagation_policy or ""
    if given.orphan_dependents is not None:
        propagation = "Orphan" if given.orphan_dependents else "Background"
    preconditions = given.preconditions or _Preconditions()
    grace_s = given.grace_period_seconds
    return DeleteOptions(
        preconditions.uid,
        preconditions.resource_version,
        propagation,
        is_dry_run=bool(given.dry_run),
        grace_s=None if grace_s is None else _possible_grace_s(grace_s),
    )


def _from_body(body: bytes, content_type: str) -> _Given:
    kind = requests.media_type(content_type)
    if kind.endswith("+json"):
        raise statuses.unsupported_media_type((*requests.JSON_TYPES, requests.PROTOBUF_TYPE))
    document = requests.parse_body(body, content_type, takes_protobuf=True)
    try:
        given = msgspec.convert({} if document is None else document, _Given)
    except msgspec.ValidationError as error:
        raise statuses.bad_request(f"the body is no DeleteOptions: {error}") from error
    if given.kind != "DeleteOptions":
        raise statuses.bad_request(f"the body is no DeleteOptions but of kind {given.kind!r}")
    return given


def _from_query(query: dict[str, str]) -> _Given:
    if not query:
        return _Given()
    grace = query.get("gracePeriodSeconds", "")
    if grace and (len(grace) > _MAX_DIGITS or not grace.removeprefix("-").isdecimal()):
        raise statuses.bad_request(f"gracePeriodSeconds: {grace!r} is no whole number")
    orphans = query.get("orphanDependents")
    return _Given(
        propagation_policy=query.get("propagationPolicy"),
        orphan_dependents=None if orphans is None else requests.is_true(orphans),
        dry_run=[query["dryRun"]] if query.get("dryRun") else None,
        grace_period_seconds=int(grace) if grace else None,
    )


def _problems(given: _Given) -> list[statuses.Cause]:
    causes: list[statuses.Cause] = []
    policy = given.propagation_policy
    if policy is not None and given.orphan_dependents is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(statuses.cause("FieldValueInvalid", "propagationPolicy", value=policy, detail=detail))
    if policy is not None and policy not in _POLICIES:
        supported = ", ".join(f'"{name}"' for name in (*_POLICIES, "nil"))
        detail = f"supported values: {supported}"
        causes.append(statuses.cause("FieldValueNotSupported", "propagationPolicy", value=policy, detail=detail))
    if given.dry_run and set(given.dry_run) != {"All"}:
        detail = 'supported values: "All"'
        causes.append(statuses.cause("FieldValueNotSupported", "dryRun", value=given.dry_run, detail=detail))
    return causes


def check_preconditions(resource: ResourceInfo, entry: Entry, options: DeleteOptions) -> None:
    """Compare the object with what the client took it for.

    Raises:
        StatusError: 409, it is another one, or was changed.
    """
    if options.uid is not None and options.uid != entry.facts.uid:
        raise statuses.precondition_failed(resource, entry.name, "UID", options.uid, entry.facts.uid)
    if options.resource_version is not None and options.resource_version != str(entry.rev):
        raise statuses.precondition_failed(
            resource, entry.name, "ResourceVersion", options.resource_version, str(entry.rev)
        )


def mark_deleted(
    resource: ResourceInfo, current: dict[str, Any], *, now: str, propagation: str, grace_s: int | None = None
) -> dict[str, Any]:
    """Return ``current`` being deleted: with a deletionTimestamp and the finalizer of its propagation policy."""
    metadata = dict(current["metadata"])
    is_marked = "deletionTimestamp" in metadata
    if resource is CUSTOM_RESOURCE_DEFINITIONS and not is_marked:
        return crd_status.with_terminating(current, now=now)  # its objects go first, whatever the policy
    if resource is NAMESPACES and is_marked and (current.get("spec") or {}).get("finalizers"):
        return current  # its content goes first; until then a delete changes nothing
    finalizers = finalizers_of_delete(resource, metadata.get("finalizers") or [], propagation)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if not is_marked:
        period_s = _pod_grace_s(current, grace_s) if resource.store_key == _PODS else 0
        metadata["deletionTimestamp"] = _moved(now, period_s)
        if metadata.get("generation"):
            metadata["generation"] += 1
        if resource is not NAMESPACES:
            metadata["deletionGracePeriodSeconds"] = period_s
    elif grace_s is not None and grace_s < (left_s := metadata.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionTimestamp"] = _moved(metadata["deletionTimestamp"], grace_s - left_s)
        metadata["deletionGracePeriodSeconds"] = grace_s
    marked = {**current, "metadata": metadata}
    if resource is NAMESPACES:
        marked["status"] = {**(current.get("status") or {}), "phase": "Terminating"}
    return marked


def finalizers_of_delete(resource: ResourceInfo, finalizers: list[str], propagation: str) -> list[str]:
    """Return the finalizers after a delete: without a policy, that of an earlier delete stays."""
    if propagation:
        wanted = _POLICIES[propagation]
    elif any(finalizer in COLLECTOR_FINALIZERS for finalizer in finalizers):
        return finalizers
    else:
        wanted = (ORPHAN_FINALIZER,) if resource.store_key in _ORPHANS_BY_DEFAULT else ()
    kept = [finalizer for finalizer in finalizers if finalizer not in COLLECTOR_FINALIZERS or finalizer in wanted]
    return [*kept, *(finalizer for finalizer in wanted if finalizer not in kept)]


def _pod_grace_s(pod: dict[str, Any], asked_s: int | None) -> int:
    """Return how long a Pod may take to end: nothing, where nobody runs it."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    return asked_s if asked_s is not None else _possible_grace_s(spec.get("terminationGracePeriodSeconds") or 0)


def _possible_grace_s(asked_s: int) -> int:
    return min(asked_s, _MAX_GRACE_S) if asked_s >= 0 else 1


def _moved(time: str, by_s: int) -> str:
    if not by_s:
        return time
    moved = datetime.fromisoformat(time) + timedelta(seconds=by_s)
    return moved.isoformat(timespec="seconds").replace("+00:00", "Z")


def shown_when_gone(resource: ResourceInfo, current: dict[str, Any], marked: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a delete answers with that has removed the object; None: a Status, as for most kinds."""
    if resource.store_key == _PODS:
        return marked
    return current if resource.store_key in _RETURNED else None


def is_held(resource: ResourceInfo, document: dict[str, Any]) -> bool:
    """Tell whether a finalizer keeps the object from going away, or time that it was given to end."""
    metadata = document["metadata"]
    if metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"):
        return True
    return resource is NAMESPACES and bool((document.get("spec") or {}).get("finalizers"))
