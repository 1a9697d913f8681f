"""Internal. From a stored CustomResourceDefinition to the resources it defines: a ResourceInfo for each version.

What may be stored is judged by ``kontinue_engine.apiserver.custom.definitions`` before; names are the accepted ones
of its status. Called by ``kontinue_engine.apiserver.registry``. No I/O.
"""

from __future__ import annotations

import re
from typing import Any, Final

from kontinue_engine.apiserver.resources import AGE, Column, ResourceInfo, ScalePaths

_KUBE_VERSION: Final = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STABILITY: Final = {None: 2, "beta": 1, "alpha": 0}


def resource_infos(crd: dict[str, Any]) -> list[ResourceInfo]:
    """Return a ResourceInfo for every version of a valid ``crd``, the most stable and newest first."""
    versions = sorted(crd["spec"]["versions"], key=lambda version: version_rank(version["name"]))
    return [_info(crd, version) for version in versions]


def version_rank(name: str) -> tuple[Any, ...]:
    """Return what versions are sorted by: v2, v1, v1beta2, v1alpha1; then names of other forms."""
    match = _KUBE_VERSION.fullmatch(name)
    if match is None:
        return (1, name)
    return (0, -_STABILITY[match[2]], -int(match[1]), -int(match[3] or 0))


def _info(crd: dict[str, Any], version: dict[str, Any]) -> ResourceInfo:
    spec = crd["spec"]
    names = {**spec["names"], **((crd.get("status") or {}).get("acceptedNames") or {})}
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    return ResourceInfo(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(key for key in ("status", "scale") if subresources.get(key) is not None),
        columns=tuple(map(_column, version.get("additionalPrinterColumns") or ())) or (AGE,),
        selectable_fields=tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()),
        schema=version["schema"]["openAPIV3Schema"],
        scale=_scale(scale) if scale is not None else None,
        deprecation=_deprecation(spec, version),
        has_generation=True,
        custom=True,
    )


def _deprecation(spec: dict[str, Any], version: dict[str, Any]) -> str:
    """Return what is said of a deprecated version: its own words, or which version to use instead."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    kind, rank = spec["names"]["kind"], version_rank(version["name"])
    better = [one["name"] for one in spec["versions"] if one["served"] and not one.get("deprecated")]
    instead = min((name for name in better if version_rank(name) < rank), key=version_rank, default="")
    hint = f"; use {spec['group']}/{instead} {kind}" if instead else ""
    return f"{spec['group']}/{version['name']} {kind} is deprecated{hint}"


def _column(column: dict[str, Any]) -> Column:
    return Column(
        name=column["name"],
        type=column["type"],
        json_path=column["jsonPath"],
        description=column.get("description", ""),
        format=column.get("format", ""),
        priority=column.get("priority", 0),
    )


def _scale(scale: dict[str, Any]) -> ScalePaths:
    return ScalePaths(
        spec_replicas=scale["specReplicasPath"],
        status_replicas=scale["statusReplicasPath"],
        label_selector=scale.get("labelSelectorPath") or "",
    )
