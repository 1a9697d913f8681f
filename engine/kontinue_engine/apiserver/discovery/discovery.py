"""Internal. Discovery documents: which groups, versions and resources are served, in both forms that clients ask for.

Old clients walk ``/api``, ``/apis`` and every group version; kubectl asks ``/api`` and ``/apis`` for the aggregated
form by Accept (``negotiate``). All are built from ResourceInfo values; the router caches and serves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.resources import ResourceInfo

AGGREGATED_CONTENT_TYPE: Final = {
    version: f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for version in ("v2", "v2beta1")
}
"""Content types of the aggregated form; kubectl compares them to the letter."""

_CHANGED_VERBS: Final = ("get", "patch", "update")
_SUBRESOURCE_VERBS: Final = {
    "binding": ("create",),
    "finalize": ("update",),
    "log": ("get",),
    "scale": _CHANGED_VERBS,
    "status": _CHANGED_VERBS,
}
_SUBRESOURCE_KINDS: Final = {
    "binding": {"kind": "Binding"},
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
}
"""Of those that are of another kind than the resource."""
_MINOR: Final = 36


def negotiate(accept: str) -> str:
    """Return the version of the aggregated form to answer with, ``v2`` or ``v2beta1``; empty for the plain form.

    An aggregated form in ``accept`` wins over the plain one wherever it stands, as in kube-apiserver; kubectl 1.27 to
    1.29 know only v2beta1, which kube-apiserver no longer has, 1.37 only v2.

    Raises:
        StatusError: 406, neither is accepted.
    """
    is_plain = not accept
    for clause in accept.split(","):
        media_type, *parts = (part.strip() for part in clause.split(";"))
        parameters = dict(part.split("=", 1) for part in parts if "=" in part)
        if media_type not in {"application/json", "application/*", "*/*"}:
            continue
        if "as" not in parameters:
            is_plain = True
            continue
        is_aggregated = parameters["as"] == "APIGroupDiscoveryList" and parameters.get("g") == "apidiscovery.k8s.io"
        if is_aggregated and parameters.get("v") in AGGREGATED_CONTENT_TYPE:
            return parameters["v"]
    if not is_plain:
        raise statuses.not_acceptable(["application/json"])
    return ""


def build_version() -> dict[str, str]:
    """Return the answer of ``/version``: the Kubernetes version whose behaviour this server follows."""
    return {
        "major": "1",
        "minor": str(_MINOR),
        "gitVersion": f"v1.{_MINOR}.0+kontinue",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "any",
    }


def build_api_versions(address: str) -> dict[str, Any]:
    """Return the plain answer of ``/api``; ``address`` is host:port of this server."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def build_group_list(resources: Iterable[ResourceInfo]) -> dict[str, Any]:
    """Return the plain answer of ``/apis``."""
    groups = [_group(group, versions) for group, versions in _by_group(resources).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def build_group(resources: Iterable[ResourceInfo], group: str) -> dict[str, Any] | None:
    """Return the answer of ``/apis/GROUP``; None when nothing of the group is served."""
    versions = _by_group(resources).get(group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)} if versions and group else None


def build_resource_list(resources: Iterable[ResourceInfo], group: str, version: str) -> dict[str, Any] | None:
    """Return the answer of ``/api/v1`` or ``/apis/GROUP/VERSION``; None when nothing of it is served."""
    found = _by_group(resources).get(group, {}).get(version)
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": [entry for info in found for entry in _entries(info)],
    }


def build_aggregated(resources: Iterable[ResourceInfo], *, version: str, is_core: bool) -> dict[str, Any]:
    """Return the aggregated answer of ``/api`` (``is_core``) or ``/apis``, in ``v2`` or ``v2beta1``."""
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {"version": name, "resources": list(map(_aggregated, found)), "freshness": "Current"}
                for name, found in versions.items()
            ],
        }
        for group, versions in _by_group(resources).items()
        if is_core is not bool(group)
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _by_group(resources: Iterable[ResourceInfo]) -> dict[str, dict[str, list[ResourceInfo]]]:
    """Group by API group and version, in order of first appearance."""
    groups: dict[str, dict[str, list[ResourceInfo]]] = {}
    for info in resources:
        groups.setdefault(info.group, {}).setdefault(info.version, []).append(info)
    return groups


def _group(group: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _entries(info: ResourceInfo) -> list[dict[str, Any]]:
    entry = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
        **_optional(info),
    }
    return [
        entry,
        *(
            {
                "name": f"{info.plural}/{subresource}",
                "singularName": "",
                "namespaced": info.namespaced,
                **_SUBRESOURCE_KINDS.get(subresource, {"kind": info.kind}),
                "verbs": list(_SUBRESOURCE_VERBS[subresource]),
            }
            for subresource in info.subresources
        ),
    ]


def _aggregated(info: ResourceInfo) -> dict[str, Any]:
    kind = {"group": info.group, "version": info.version, "kind": info.kind}
    entry: dict[str, Any] = {
        "resource": info.plural,
        "responseKind": kind,
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
        **_optional(info),
    }
    if info.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {**kind, **_SUBRESOURCE_KINDS.get(name, {})},
                "verbs": list(_SUBRESOURCE_VERBS[name]),
            }
            for name in info.subresources
        ]
    return entry


def _optional(info: ResourceInfo) -> dict[str, list[str]]:
    lists: dict[str, Sequence[str]] = {"shortNames": info.short_names, "categories": info.categories}
    return {key: list(value) for key, value in lists.items() if value}
