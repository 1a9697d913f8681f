"""Internal. The scale subresource: how many replicas an object wants and has, as ``autoscaling/v1`` Scale.

Where an object keeps these numbers its ResourceInfo says (``ScalePaths``), for Deployments and for custom kinds alike.
Called by ``kontinue_engine.apiserver.virtual``. Pure; nothing here mutates its arguments.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import printing
from kontinue_engine.apiserver.resources import ResourceInfo, ScalePaths

API_VERSION: Final = "autoscaling/v1"
SCALES: Final = ResourceInfo(
    group="autoscaling", version="v1", plural="scales", kind="Scale", singular="scale", list_kind="ScaleList"
)
_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(paths: ScalePaths, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the Scale that an object shows."""
    wanted, found = _at(obj, paths.spec_replicas), _at(obj, paths.status_replicas)
    status: dict[str, Any] = {"replicas": found if isinstance(found, int) else 0}
    selector = _at(obj, paths.label_selector) if paths.label_selector else None
    text = printing.selector_text(selector) if isinstance(selector, dict) else selector
    if text:
        status["selector"] = text
    metadata = {key: obj["metadata"][key] for key in _METADATA if key in obj["metadata"]}
    spec = {"replicas": wanted} if isinstance(wanted, int) and wanted else {}
    return {"kind": "Scale", "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, "status": status}


def with_scale(paths: ScalePaths, obj: dict[str, Any], scale: Any) -> dict[str, Any]:
    """Return the object as ``scale`` wants it; its resourceVersion is the one that ``scale`` names, or none.

    Raises:
        StatusError: 400, it is no Scale; 422, it wants less than nothing.
    """
    metadata, spec = (scale.get(key) or {} if isinstance(scale, dict) else None for key in ("metadata", "spec"))
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise statuses.bad_request("the body of the request is no Scale")
    replicas = spec.get("replicas") or 0
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise statuses.bad_request("Scale.spec.replicas must be a whole number")
    if (
        scale.get("kind", "Scale") != "Scale"
        or metadata.get("name", obj["metadata"]["name"]) != obj["metadata"]["name"]
    ):
        raise statuses.bad_request("the body of the request is no Scale of this object")
    if replicas < 0:
        detail = "must be greater than or equal to 0"
        found = statuses.cause("FieldValueInvalid", "spec.replicas", value=replicas, detail=detail)
        raise statuses.invalid(SCALES, obj["metadata"]["name"], [found])
    kept = {**obj["metadata"], "resourceVersion": metadata.get("resourceVersion") or ""}
    return _with(_keys(paths.spec_replicas), {**obj, "metadata": kept}, replicas)


def _keys(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _at(obj: dict[str, Any], path: str) -> Any:
    value: Any = obj
    for key in _keys(path):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _with(keys: list[str], obj: Any, value: int) -> dict[str, Any]:
    key, *rest = keys
    before = obj if isinstance(obj, dict) else {}
    return {**before, key: _with(rest, before.get(key), value) if rest else value}
