"""Internal. The scale subresource: an object's replicas as an ``autoscaling/v1`` Scale, and back again.

``kubectl scale`` and autoscalers read and write it without knowing the kind. Where a kind keeps its numbers is said by
``ResourceInfo.scale``, for built-in and custom kinds alike. Called by ``reading``, ``write_handlers`` and ``judging``.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import cells
from kontinue_engine.apiserver.resources import ResourceInfo, ScalePaths

API_VERSION: Final = "autoscaling/v1"
KIND: Final = "Scale"
_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_NO_PATHS: Final = ScalePaths(spec_replicas="", status_replicas="", label_selector="")


MAX_REPLICAS: Final = 2**31 - 1
_Replicas = Annotated[int, msgspec.Meta(ge=-(2**31), le=MAX_REPLICAS)]
_ABSENT: Final = object()


class _Given(msgspec.Struct, rename="camel"):
    """Types of what a Scale says."""

    api_version: str | None = None
    kind: str | None = None
    metadata: dict[str, Any] | None = None
    spec: dict[str, _Replicas | None] | None = None


def scale_of(resource: ResourceInfo, obj: dict[str, Any], *, is_complete: bool = True) -> dict[str, Any]:
    """Return the Scale of ``obj``.

    Raises:
        StatusError: 404, it says nothing of replicas, and ``is_complete`` is asked for.
    """
    paths = resource.scale or _NO_PATHS
    replicas = _find(obj, paths.spec_replicas)
    if replicas is None and is_complete:
        problem = f'the spec replicas field "{paths.spec_replicas}" does not exist'
        raise statuses.StatusError(404, "NotFound", problem)
    status: dict[str, Any] = {"replicas": _find(obj, paths.status_replicas) or 0}
    selector = _find(obj, paths.label_selector)
    text = cells.selector_text(selector) if isinstance(selector, dict) else selector
    if text and isinstance(text, str):
        status["selector"] = text
    return {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {key: obj["metadata"][key] for key in _METADATA if key in obj["metadata"]},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def with_scale(resource: ResourceInfo, obj: dict[str, Any], scale: Any, *, is_patched: bool) -> dict[str, Any]:
    """Return ``obj`` with the replicas of ``scale``; its identity and resourceVersion become preconditions.

    Raises:
        StatusError: 400 (422 when ``is_patched``), it is no Scale; 422, it has fewer than no replicas.
    """
    try:
        given = msgspec.convert(scale, _Given)
    except msgspec.ValidationError as error:
        raise statuses.undecodable(f"the object is no Scale: {error}", is_patched=is_patched) from error
    if given.api_version not in {None, "", API_VERSION} or given.kind not in {None, "", KIND}:
        problem = f"the object provided is unrecognized (must be of type Scale of {API_VERSION})"
        raise statuses.undecodable(problem, is_patched=is_patched)
    path = (resource.scale or _NO_PATHS).spec_replicas
    replicas = (given.spec or {}).get("replicas")
    if replicas is None and is_patched and _find(obj, path) is None:
        raise statuses.bad_request(f'the spec replicas field "{path}" cannot be empty')
    replicas = replicas or 0
    if replicas < 0:
        field = path if resource.custom else path.removeprefix(".")
        detail = "should be a non-negative integer"
        cause = statuses.cause("FieldValueInvalid", field, value=replicas, detail=detail)
        raise statuses.invalid(resource, obj["metadata"]["name"], [cause])
    said = given.metadata or {}
    preconditions = {key: said[key] for key in ("name", "namespace", "uid", "resourceVersion") if said.get(key)}
    return {**_with(obj, path.removeprefix(".").split("."), replicas), "metadata": {**obj["metadata"], **preconditions}}


def problems(paths: ScalePaths, obj: dict[str, Any], *, is_status: bool) -> Iterator[statuses.Cause]:
    """Yield what keeps an object of a custom kind from being shown as a Scale, whatever its schema allows.

    Args:
        paths: of its kind.
        obj: it.
        is_status: whether nothing but its status is written.
    """
    for path in (paths.status_replicas,) if is_status else (paths.spec_replicas, paths.status_replicas):
        replicas = _at(obj, path)
        if replicas is _ABSENT:
            continue
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            detail = "should be an integer"
        elif replicas < 0:
            detail = "should be a non-negative integer"
        elif replicas > MAX_REPLICAS:
            detail = f"should be less than or equal to {MAX_REPLICAS}"
        else:
            continue
        yield statuses.cause("FieldValueInvalid", path, value=replicas, detail=detail)
    selector = _at(obj, paths.label_selector) if paths.label_selector else _ABSENT
    if selector is not _ABSENT and not isinstance(selector, str):
        yield statuses.cause("FieldValueInvalid", paths.label_selector, value=selector, detail="should be a string")


def _at(obj: Any, path: str) -> Any:
    """Return what stands at ``path``; of a path that runs through something else than objects, that."""
    for key in path.removeprefix(".").split("."):
        if not isinstance(obj, dict):
            return _ABSENT if obj is None else obj
        obj = obj.get(key, _ABSENT)
        if obj is _ABSENT:
            return _ABSENT
    return obj


def _find(obj: Any, path: str) -> Any:
    if not path:
        return None
    for key in path.removeprefix(".").split("."):
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _with(obj: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    if not rest:
        return {**obj, first: value}
    below = obj.get(first)
    return {**obj, first: _with(below if isinstance(below, dict) else {}, rest, value)}
