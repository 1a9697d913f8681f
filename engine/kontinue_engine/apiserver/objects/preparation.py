"""Internal. From what a client sent to what will be stored: system metadata, status split, generation, finalizers.

Pure rules of the generic API machinery for creates and updates of any kind; schemas are applied afterwards by
``kontinue_engine.apiserver.objects.writing``, which calls this. Nothing here mutates its arguments.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.objects import namespace_rules
from kontinue_engine.apiserver.resources import NAMESPACES, ResourceInfo
from kontinue_engine.apiserver.schemas.metadata import check_name

NAMESPACE_FINALIZER: Final = "kubernetes"
NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"

_SYSTEM_FIELDS: Final = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_IMMUTABLE_FIELDS: Final = ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
"""System fields that refuse what differs; others are silently kept."""
_DROPPED_FIELDS: Final = ("managedFields", "selfLink", "resourceVersion")
_SUBRESOURCE_FIELDS: Final = {"binding": ("spec", "status"), "finalize": ("spec",)}
"""What a subresource owns that does not carry its name."""
_NOT_GIVEN_AT_CREATE: Final = frozenset({*_SYSTEM_FIELDS, *_DROPPED_FIELDS})


def prepare_create(
    resource: ResourceInfo, document: dict[str, Any], *, namespace: str, name: str, uid: str, now: str
) -> dict[str, Any]:
    """Return the object as it is to be stored, before pruning and defaulting."""
    given = document["metadata"].items()
    metadata = {key: value for key, value in given if _is_given(value) and key not in _NOT_GIVEN_AT_CREATE}
    metadata["name"] = name
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now
    if resource.has_generation:
        metadata["generation"] = 1
    prepared = {**document, "metadata": metadata}
    if "status" in resource.subresources:
        prepared.pop("status", None)
    if resource is NAMESPACES:
        _label_with_name(metadata)
        given_finalizers = (document.get("spec") or {}).get("finalizers") or []
        own = [] if NAMESPACE_FINALIZER in given_finalizers else [NAMESPACE_FINALIZER]
        prepared["spec"] = {"finalizers": [*given_finalizers, *own]}
        _checked_namespace(prepared, "finalize")
        prepared["status"] = {"phase": "Active"}
    return prepared


def prepare_update(
    resource: ResourceInfo,
    current: dict[str, Any],
    document: dict[str, Any],
    *,
    subresource: str,
    is_patched: bool = False,
) -> dict[str, Any]:
    """Return ``document`` as it would replace ``current``: what the subresource does not own stays as it is.

    Raises:
        StatusError: 400 no or another name, another namespace; 409 another uid; 422 a patched uid, a deletion marked
            by hand, finalizers added to an object being deleted.
    """
    _check_identity(resource, current["metadata"], document["metadata"], is_uid_precondition=not is_patched)
    if subresource:
        prepared = current
        for field in _SUBRESOURCE_FIELDS.get(subresource, (subresource,)):
            prepared = _with_field(prepared, document, field)
        return _checked_namespace(prepared, subresource) if resource is NAMESPACES else prepared
    metadata = {key: value for key, value in document["metadata"].items() if _is_given(value)}
    old = current["metadata"]
    _check_immutable(resource, old, metadata)
    for field in _DROPPED_FIELDS:
        metadata.pop(field, None)
    for field in (*_SYSTEM_FIELDS, "name", "namespace"):
        if field in old:
            metadata[field] = old[field]
        else:
            metadata.pop(field, None)
    if "deletionTimestamp" in old:
        _check_finalizers(resource, old, metadata)
    prepared = {**document, "metadata": metadata}
    if "status" in resource.subresources:
        prepared = _with_field(prepared, current, "status")
    if resource is NAMESPACES:
        _label_with_name(metadata)
        prepared = _with_field(prepared, current, "spec")
    return prepared


def with_generation(resource: ResourceInfo, current: dict[str, Any], updated: dict[str, Any]) -> dict[str, Any]:
    """Return ``updated`` with its generation: one more when anything but metadata (and a split status) changed."""
    if not resource.has_generation:
        return updated
    ignored = {"metadata", "status"} if "status" in resource.subresources else {"metadata"}
    keys = (current.keys() | updated.keys()) - ignored
    if all(current.get(key) == updated.get(key) for key in keys):
        return updated
    metadata = updated["metadata"]
    return {**updated, "metadata": {**metadata, "generation": int(metadata.get("generation", 0)) + 1}}


def _checked_namespace(prepared: dict[str, Any], subresource: str) -> dict[str, Any]:
    if causes := namespace_rules.problems(prepared, subresource=subresource):
        raise statuses.invalid(NAMESPACES, prepared["metadata"]["name"], causes)
    if subresource == "finalize":
        finalizers = (prepared.get("spec") or {}).get("finalizers")
        prepared["spec"] = {"finalizers": finalizers} if finalizers else {}
    return prepared


def _label_with_name(metadata: dict[str, Any]) -> None:
    metadata["labels"] = {**(metadata.get("labels") or {}), NAMESPACE_NAME_LABEL: metadata["name"]}


def _is_given(value: Any) -> bool:
    """Tell whether a member of metadata is stored: not what Go leaves out when it is empty."""
    return value is not None and value != [] and value != {}


def _with_field(document: dict[str, Any], source: dict[str, Any], field: str) -> dict[str, Any]:
    result = dict(document)
    if source.get(field) is None:
        result.pop(field, None)
    else:
        result[field] = source[field]
    return result


def _check_identity(
    resource: ResourceInfo, old: dict[str, Any], new: dict[str, Any], *, is_uid_precondition: bool
) -> None:
    name = old["name"]
    check_name(new, name)
    if new.get("namespace") and new["namespace"] != old.get("namespace"):
        raise statuses.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if is_uid_precondition and new.get("uid") and new["uid"] != old["uid"]:
        problem = f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {old['uid']}"
        raise statuses.conflict(resource, name, problem)


def _check_immutable(resource: ResourceInfo, old: dict[str, Any], new: dict[str, Any]) -> None:
    causes = [
        statuses.cause("FieldValueInvalid", f"metadata.{field}", value=new[field], detail="field is immutable")
        for field in _IMMUTABLE_FIELDS
        if field in new and not _is_same(new[field], old.get(field))
    ]
    if causes:
        raise statuses.invalid(resource, old["name"], causes)


def _is_same(new: Any, old: Any) -> bool:
    """Compare system fields; clients may write a time in another form than they read it in."""
    if new == old or not isinstance(new, str) or not isinstance(old, str) or old[10:11] != "T":
        return bool(new == old)
    return datetime.fromisoformat(new) == datetime.fromisoformat(old)


def _check_finalizers(resource: ResourceInfo, old: dict[str, Any], new: dict[str, Any]) -> None:
    before = old.get("finalizers") or []
    added = [finalizer for finalizer in new.get("finalizers") or [] if finalizer not in before]
    if added:
        listed = ", ".join(f'"{finalizer}"' for finalizer in added)
        detail = (
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
        )
        raise statuses.invalid(
            resource, old["name"], [statuses.cause("FieldValueForbidden", "metadata.finalizers", detail=detail)]
        )
