"""Internal. Rules of what runs Pods: Deployments and the like, Jobs. Pure; looked up by ``builtin.validation``."""

from __future__ import annotations

from typing import Final

from kontinue_engine.apiserver.builtin.checks import Document, Rule, at_least, one_of, require, unchanged
from kontinue_engine.apiserver.builtin.pod_rules import pod_spec_problems
from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_equal

_CRON_FIELDS: Final = 5
_CRON_MACROS: Final = frozenset({"@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly"})


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


RULES: Final[dict[str, Rule]] = {
    "apps/v1.DaemonSet": _workload,
    "apps/v1.Deployment": _deployment,
    "apps/v1.ReplicaSet": _workload,
    "apps/v1.StatefulSet": _stateful_set,
    "batch/v1.CronJob": _cron_job,
    "batch/v1.Job": _job,
}
