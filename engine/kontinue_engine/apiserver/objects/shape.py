"""Internal. Whether a body, or what a patch made of an object, is an object of the path's kind at all.

Kind, version and the types of ``metadata``; what stands in metadata is judged by ``metadata``, the rest by schemas.
A body that is none is 400, a patch that would make it none 422, as in kube-apiserver. Pure. Called by ``writing``
before ``preparation``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.schemas.metadata import ObjectMeta


def check_shape(resource: ResourceInfo, document: Any, *, is_patched: bool = False) -> dict[str, Any]:
    """Return ``document`` with apiVersion, kind and metadata in place; typed clients leave the first two out.

    Raises:
        StatusError: 400 (422 when ``is_patched``), it is no object of the path's kind and version.
    """
    if not isinstance(document, dict):
        raise statuses.undecodable("the body of the request must be an object", is_patched=is_patched)
    _check_kind(resource, document, is_patched=is_patched)
    metadata = document.get("metadata")
    if metadata is None:
        metadata = {}
    try:
        typed = msgspec.convert(metadata, ObjectMeta)
    except msgspec.ValidationError as error:
        problem = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: metadata: '
        raise statuses.undecodable(f"{problem}{error}", is_patched=is_patched) from error
    for field, texts in (("labels", typed.labels), ("annotations", typed.annotations)):
        if texts and None in texts.values():
            metadata = {**metadata, field: {key: value or "" for key, value in texts.items()}}
    return {**document, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _check_kind(resource: ResourceInfo, document: dict[str, Any], *, is_patched: bool) -> None:
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if api_version == resource.api_version and kind == resource.kind:
        return
    if not isinstance(api_version, str | None) or not isinstance(kind, str | None):
        raise statuses.undecodable("apiVersion and kind must be strings", is_patched=is_patched)
    if resource.custom and not kind:
        problem = f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing"
        raise statuses.undecodable(problem, is_patched=is_patched)
    if api_version != resource.api_version and (api_version or resource.custom):
        if is_patched and resource.custom:
            detail = f"must be {resource.api_version}"
            raise _invalid(resource, document, "apiVersion", api_version, detail)
        problem = (
            f"the API version in the data ({api_version or ''}) does not match the expected API version "
            f"({resource.api_version})"
        )
        raise statuses.undecodable(problem, is_patched=is_patched)
    if kind and kind != resource.kind:
        if resource.custom:
            raise _invalid(resource, document, "kind", kind, f"must be {resource.kind}")
        problem = f"{kind} in version {resource.api_version!r} cannot be handled as a {resource.kind}"
        raise statuses.undecodable(problem, is_patched=is_patched)


def _invalid(
    resource: ResourceInfo, document: dict[str, Any], field: str, value: Any, detail: str
) -> statuses.StatusError:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    cause = statuses.cause("FieldValueInvalid", field, value=value, detail=detail)
    return statuses.invalid(resource, name if isinstance(name, str) else "", [cause])
