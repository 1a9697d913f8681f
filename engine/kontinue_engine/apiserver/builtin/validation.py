"""Internal. Rules of Kubernetes' own kinds: the required, the impossible and the immutable that clients meet.

Not every rule of kube-apiserver: a Pod that it would refuse for an odd volume is stored here. Each function adds causes
to a list; documents have been read and defaulted, so types are right and structs are there. Called by
``builtin.rules``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kontinue_engine.apiserver.builtin import workload_rules
from kontinue_engine.apiserver.builtin.checks import Document, Rule, at_least, one_of, require, unchanged
from kontinue_engine.apiserver.builtin.pod_rules import pod_problems
from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_equal

_CONFIG_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_KEY_DETAIL: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"


def problems(struct: str, new: Document, old: Document | None) -> list[Cause]:
    """Return why ``new`` may not be stored in place of ``old`` (None: created)."""
    causes: list[Cause] = []
    rule = _RULES.get(struct)
    if rule is not None:
        rule(new, old, causes)
    return causes


def _service(new: Document, old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    one_of(causes, spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"), "spec.type")
    if spec["type"] == "ExternalName":
        require(causes, spec, "externalName", "spec")
    elif spec.get("clusterIP") != "None":
        require(causes, spec, "ports", "spec")
    ports = spec.get("ports") or ()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1:
            require(causes, port, "name", at)
        if not 1 <= port["port"] <= 65535:
            detail = "must be between 1 and 65535, inclusive"
            causes.append(cause("FieldValueInvalid", f"{at}.port", value=port["port"], detail=detail))
    is_kept = old is not None and "ExternalName" not in {spec["type"], old["spec"]["type"]}
    if old is not None and is_kept and old["spec"].get("clusterIP"):
        unchanged(causes, spec, old["spec"], ("clusterIP",), "spec")


def _config_map(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _keys(new, ("data", "binaryData"), causes)
    for key in (new.get("binaryData") or {}).keys() & (new.get("data") or {}).keys():
        detail = "duplicate of key present in binaryData"
        causes.append(cause("FieldValueInvalid", f"data[{key}]", value=key, detail=detail))
    _frozen(new, old, ("data", "binaryData"), causes)


_SECRET_KEYS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _secret(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _keys(new, ("data",), causes)
    data = new.get("data") or {}
    causes += [
        cause("FieldValueRequired", f"data[{key}]") for key in _SECRET_KEYS.get(new["type"], ()) if key not in data
    ]
    if old is not None:
        unchanged(causes, new, old, ("type",), "")
    _frozen(new, old, ("data",), causes)


def _keys(document: Document, fields: Sequence[str], causes: list[Cause]) -> None:
    for field in fields:
        causes += [
            cause("FieldValueInvalid", f"{field}[{key}]", value=key, detail=_KEY_DETAIL)
            for key in document.get(field) or ()
            if not _CONFIG_KEY.fullmatch(key)
        ]


def _frozen(new: Document, old: Document | None, fields: Sequence[str], causes: list[Cause]) -> None:
    if old is None or not old.get("immutable"):
        return
    detail = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        causes.append(cause("FieldValueForbidden", "immutable", detail=detail))
    causes += [
        cause("FieldValueForbidden", field, detail=detail)
        for field in fields
        if not json_equal(new.get(field), old.get(field))
    ]


def _lease(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    at_least(causes, spec, ("leaseDurationSeconds",), "spec", least=1)
    at_least(causes, spec, ("leaseTransitions",), "spec")


def _core_event(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    involved = new["involvedObject"].get("namespace", "")
    namespace = new["metadata"].get("namespace")
    if involved != namespace and not (not involved and namespace == "default"):
        detail = "does not match event.namespace"
        causes.append(cause("FieldValueInvalid", "involvedObject.namespace", value=involved, detail=detail))


def _disruption_budget(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        causes.append(cause("FieldValueInvalid", "spec", value=spec, detail=detail))


def _role(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    for index, rule in enumerate(new.get("rules") or ()):
        at = f"rules[{index}]"
        require(causes, rule, "verbs", at, "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        require(causes, rule, "apiGroups", at, "resource rules must supply at least one api group")
        require(causes, rule, "resources", at, "resource rules must supply at least one resource")


def _role_binding(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _bound(new, old, ("Role", "ClusterRole"), causes)


def _cluster_role_binding(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _bound(new, old, ("ClusterRole",), causes)


def _bound(new: Document, old: Document | None, kinds: Sequence[str], causes: list[Cause]) -> None:
    one_of(causes, new["roleRef"].get("kind"), kinds, "roleRef.kind")
    require(causes, new["roleRef"], "name", "roleRef")
    for index, subject in enumerate(new.get("subjects") or ()):
        at = f"subjects[{index}]"
        require(causes, subject, "name", at)
        one_of(causes, subject.get("kind"), ("ServiceAccount", "User", "Group"), f"{at}.kind")
    if old is not None and not json_equal(new["roleRef"], old["roleRef"]):
        detail = "cannot change roleRef"
        causes.append(cause("FieldValueInvalid", "roleRef", value=new["roleRef"], detail=detail))


def _autoscaler(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    require(causes, spec, "maxReplicas", "spec", "must be set and greater than 0")
    if spec["maxReplicas"] < spec["minReplicas"]:
        detail = "must be greater than or equal to `minReplicas`"
        causes.append(cause("FieldValueInvalid", "spec.maxReplicas", value=spec["maxReplicas"], detail=detail))
    for key in ("kind", "name"):
        require(causes, spec["scaleTargetRef"], key, "spec.scaleTargetRef")


def _priority_class(new: Document, old: Document | None, causes: list[Cause]) -> None:
    if old is not None:
        unchanged(causes, new, old, ("value", "preemptionPolicy"), "")


def _endpoint_slice(new: Document, old: Document | None, causes: list[Cause]) -> None:
    one_of(causes, new.get("addressType"), ("FQDN", "IPv4", "IPv6"), "addressType")
    if old is not None:
        unchanged(causes, new, old, ("addressType",), "")


_RULES: Final[dict[str, Rule]] = {
    **workload_rules.RULES,
    "autoscaling/v2.HorizontalPodAutoscaler": _autoscaler,
    "coordination/v1.Lease": _lease,
    "core/v1.ConfigMap": _config_map,
    "core/v1.Event": _core_event,
    "core/v1.Pod": pod_problems,
    "core/v1.Secret": _secret,
    "core/v1.Service": _service,
    "discovery/v1.EndpointSlice": _endpoint_slice,
    "policy/v1.PodDisruptionBudget": _disruption_budget,
    "rbac/v1.ClusterRole": _role,
    "rbac/v1.ClusterRoleBinding": _cluster_role_binding,
    "rbac/v1.Role": _role,
    "rbac/v1.RoleBinding": _role_binding,
    "scheduling/v1.PriorityClass": _priority_class,
}
