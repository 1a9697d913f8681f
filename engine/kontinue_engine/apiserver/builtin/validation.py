"""Internal. Rules of Kubernetes' own kinds: the required, the impossible and the immutable that clients meet.

Not every rule of kube-apiserver: a Pod that it would refuse for an odd volume is stored here. Each function adds causes
to a list; documents have been read and defaulted, so types are right and structs are there. Called by
``builtin.rules``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from kontinue_engine.apiserver.builtin.checks import Document, at_least, one_of, require, unchanged
from kontinue_engine.apiserver.builtin.pod_rules import pod_problems, pod_spec_problems
from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_equal

Rule = Callable[[Document, "Document | None", list[Cause]], None]

_CONFIG_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_KEY_DETAIL: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_CRON_FIELDS: Final = 5
_CRON_MACROS: Final = frozenset({"@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly"})


def problems(struct: str, new: Document, old: Document | None) -> list[Cause]:
    """Return why ``new`` may not be stored in place of ``old`` (None: created)."""
    causes: list[Cause] = []
    rule = _RULES.get(struct)
    if rule is not None:
        rule(new, old, causes)
    return causes


def _selected_template(new: Document, old: Document | None, causes: list[Cause], *, is_selector_fixed: bool) -> None:
    """Rules of what selects its own pods."""
    spec = new["spec"]
    at_least(causes, spec, ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"), "spec")
    template = spec["template"]
    labels = (template.get("metadata") or {}).get("labels")
    selector = spec.get("selector")
    if not selector:
        causes.append(cause("FieldValueRequired", "spec.selector"))
    if not selector or not _selects(selector, labels or {}):
        detail = "`selector` does not match template `labels`"
        causes.append(cause("FieldValueInvalid", "spec.template.metadata.labels", value=labels, detail=detail))
    claims = [claim["metadata"].get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    pod_spec_problems(template["spec"], "spec.template.spec", causes, claims=claims)
    policy = template["spec"].get("restartPolicy")
    one_of(causes, policy, ("Always",), "spec.template.spec.restartPolicy")
    if old is not None and is_selector_fixed:
        unchanged(causes, spec, old["spec"], ("selector",), "spec")


def _selects(selector: Document, labels: Document) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        value, values = labels.get(expression["key"]), expression.get("values") or ()
        matches = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not matches.get(expression["operator"], False):
            return False
    return True


def _workload(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _selected_template(new, old, causes, is_selector_fixed=True)


def _deployment(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _workload(new, old, causes)
    strategy = new["spec"]["strategy"]
    one_of(causes, strategy.get("type"), ("Recreate", "RollingUpdate"), "spec.strategy.type")
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(cause("FieldValueForbidden", "spec.strategy.rollingUpdate", detail=detail))


_STATEFUL_MUTABLE: Final = frozenset(
    {
        *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
        *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
    }
)


def _stateful_set(new: Document, old: Document | None, causes: list[Cause]) -> None:
    _selected_template(new, old, causes, is_selector_fixed=False)
    if old is None:
        return
    before, after = (
        {key: value for key, value in document["spec"].items() if key not in _STATEFUL_MUTABLE}
        for document in (old, new)
    )
    if not json_equal(before, after):
        detail = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(cause("FieldValueForbidden", "spec", detail=detail))


def _job_spec(spec: Document, path: str, causes: list[Cause]) -> None:
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    at_least(causes, spec, numbers, path)
    template = f"{path}.template.spec"
    pod_spec_problems(spec["template"]["spec"], template, causes)
    policy = spec["template"]["spec"].get("restartPolicy")
    if policy == "Always":
        detail = 'valid values: "OnFailure", "Never"'
        causes.append(cause("FieldValueRequired", f"{template}.restartPolicy", detail=detail))
    else:
        one_of(causes, policy, ("OnFailure", "Never"), f"{template}.restartPolicy")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        detail = "when completion mode is Indexed"
        causes.append(cause("FieldValueRequired", f"{path}.completions", detail=detail))


def _job(new: Document, old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    _job_spec(spec, "spec", causes)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not spec.get("selector"):
        causes.append(cause("FieldValueRequired", "spec.selector"))
    elif not _selects(spec["selector"], labels):
        detail = "`selector` does not match template `labels`"
        causes.append(cause("FieldValueInvalid", "spec.template.metadata.labels", value=labels, detail=detail))
    if old is None:
        return
    fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"]
    is_indexed = spec.get("completionMode") == "Indexed"
    if not is_indexed or spec.get("completions") != spec.get("parallelism"):
        fixed.insert(0, "completions")
    unchanged(causes, spec, old["spec"], fixed, "spec")
    if not (old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime")):
        unchanged(causes, spec, old["spec"], ("template",), "spec")
    else:
        unchanged(
            causes, _unscheduled(spec["template"]), _unscheduled(old["spec"]["template"]), ("spec",), "spec.template"
        )


def _unscheduled(template: Document) -> Document:
    """Return a template without what a queueing controller may change while the Job is suspended."""
    spec = {
        key: value
        for key, value in template["spec"].items()
        if key not in {"nodeSelector", "affinity", "tolerations", "schedulingGates"}
    }
    for key in ("containers", "initContainers"):
        if key in spec:
            spec[key] = [{**container, "resources": {}} for container in spec[key]]
    return {"spec": spec}


def _cron_job(new: Document, _old: Document | None, causes: list[Cause]) -> None:
    spec = new["spec"]
    if require(causes, spec, "schedule", "spec"):
        fields = spec["schedule"].split()
        if len(fields) != _CRON_FIELDS and spec["schedule"] not in _CRON_MACROS and fields[:1] != ["@every"]:
            detail = f"expected exactly {_CRON_FIELDS} fields, found {len(fields)}: [{' '.join(fields)}]"
            causes.append(cause("FieldValueInvalid", "spec.schedule", value=spec["schedule"], detail=detail))
    one_of(causes, spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"), "spec.concurrencyPolicy")
    _job_spec(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", causes)


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
    "apps/v1.DaemonSet": _workload,
    "apps/v1.Deployment": _deployment,
    "apps/v1.ReplicaSet": _workload,
    "apps/v1.StatefulSet": _stateful_set,
    "autoscaling/v2.HorizontalPodAutoscaler": _autoscaler,
    "batch/v1.CronJob": _cron_job,
    "batch/v1.Job": _job,
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
