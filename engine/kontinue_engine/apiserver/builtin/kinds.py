"""Internal. The kinds that need no CustomResourceDefinition, as they are served.

Names, verbs and subresources are those of kube-apiserver 1.36; a conformance test compares them. Kinds that the server
itself treats specially stand by name in ``kontinue_engine.apiserver.resources``, what their objects consist of in
``builtin.types``, how they are shown in ``builtin.printing``. Called by the registry.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import resources
from kontinue_engine.apiserver.builtin import events
from kontinue_engine.apiserver.resources import ResourceInfo, ScalePaths

_STATUS: Final = ("status",)
_ALL: Final = ("all",)
_CREATE_ONLY: Final = ("create",)
_SCALED: Final[dict[str, Any]] = {
    "subresources": ("scale", "status"),
    "scale": ScalePaths(
        spec_replicas=".spec.replicas", status_replicas=".status.replicas", label_selector=".spec.selector"
    ),
    "categories": _ALL,
    "has_generation": True,
}


def _core(kind: str, plural: str = "", **fields: Any) -> ResourceInfo:
    return _kind("", kind, plural, **fields)


def _kind(group: str, kind: str, plural: str = "", *, version: str = "v1", **fields: Any) -> ResourceInfo:
    return ResourceInfo(
        group=group,
        version=version,
        plural=plural or f"{kind.lower()}s",
        kind=kind,
        singular=kind.lower(),
        list_kind=f"{kind}List",
        **fields,
    )


def _review(group: str, kind: str, *, namespaced: bool = False) -> ResourceInfo:
    return _kind(group, kind, namespaced=namespaced, verbs=_CREATE_ONLY)


_AUTHENTICATION: Final = "authentication.k8s.io"
_AUTHORIZATION: Final = "authorization.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"

PODS: Final = _core(
    "Pod",
    short_names=("po",),
    categories=_ALL,
    subresources=("binding", "log", "status"),
    has_generation=True,
    selectable_fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
)

BINDINGS: Final = _core("Binding", verbs=_CREATE_ONLY)

BUILT_IN: Final = (
    BINDINGS,
    resources.CONFIG_MAPS,
    _core("Endpoints", "endpoints", short_names=("ep",)),
    resources.EVENTS,
    resources.NAMESPACES,
    _core(
        "Node",
        namespaced=False,
        short_names=("no",),
        subresources=_STATUS,
        selectable_fields=("spec.unschedulable",),
    ),
    PODS,
    resources.SECRETS,
    resources.SERVICE_ACCOUNTS,
    _core(
        "Service",
        short_names=("svc",),
        categories=_ALL,
        subresources=_STATUS,
        selectable_fields=("spec.clusterIP", "spec.type"),
    ),
    _kind("apps", "DaemonSet", short_names=("ds",), categories=_ALL, subresources=_STATUS, has_generation=True),
    _kind("apps", "Deployment", short_names=("deploy",), **_SCALED),
    _kind("apps", "ReplicaSet", short_names=("rs",), **_SCALED),
    _kind("apps", "StatefulSet", short_names=("sts",), **_SCALED),
    _review(_AUTHENTICATION, "SelfSubjectReview"),
    _review(_AUTHENTICATION, "TokenReview"),
    _review(_AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _review(_AUTHORIZATION, "SelfSubjectAccessReview"),
    _review(_AUTHORIZATION, "SelfSubjectRulesReview"),
    _review(_AUTHORIZATION, "SubjectAccessReview"),
    _kind(
        "autoscaling",
        "HorizontalPodAutoscaler",
        version="v2",
        short_names=("hpa",),
        categories=_ALL,
        subresources=_STATUS,
    ),
    _kind("batch", "CronJob", short_names=("cj",), categories=_ALL, subresources=_STATUS, has_generation=True),
    _kind(
        "batch",
        "Job",
        categories=_ALL,
        subresources=_STATUS,
        has_generation=True,
        selectable_fields=("status.successful",),
    ),
    resources.LEASES,
    _kind("discovery.k8s.io", "EndpointSlice", has_generation=True),
    _kind(
        "events.k8s.io",
        "Event",
        short_names=("ev",),
        store_key=resources.EVENTS.store_key,
        convert=events.to_new,
        selectable_fields=("reason", "type"),
        field_aliases=events.FIELD_ALIASES,
    ),
    _kind(
        "policy",
        "PodDisruptionBudget",
        short_names=("pdb",),
        subresources=_STATUS,
        has_generation=True,
    ),
    _kind(_RBAC, "ClusterRole", namespaced=False),
    _kind(_RBAC, "ClusterRoleBinding", namespaced=False),
    _kind(_RBAC, "Role"),
    _kind(_RBAC, "RoleBinding"),
    _kind(
        "scheduling.k8s.io",
        "PriorityClass",
        "priorityclasses",
        namespaced=False,
        short_names=("pc",),
        has_generation=True,
    ),
    resources.CUSTOM_RESOURCE_DEFINITIONS,
)
"""Every kind that needs no CRD."""
