"""Internal. What kube-apiserver itself writes into its own kinds: a Job's selector, a Secret's data, a Pod's status.

Works in place on a document that ``builtin.decoding`` has read, after its defaults. Called by ``builtin.rules``. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from kontinue_engine.apiserver.builtin.defaulting import containers_of

Document = dict[str, Any]
_TOLERATION_S: Final = 300
_COUNTED: Final = ("cpu", "memory")
NEW_JOB: Final = "batch.kubernetes.io/"


def prepare(struct: str, new: Document, old: Document | None) -> None:
    """Write what only the server writes; ``old`` None means a create."""
    prepare_kind = (_CREATES if old is None else _UPDATES).get(struct)
    if prepare_kind is not None:
        prepare_kind(new, old or {})


def _secret(new: Document, _old: Document) -> None:
    plain = new.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        new["data"] = {**new.get("data", {}), **encoded}


def _job(new: Document, _old: Document) -> None:
    """Select the Job's own pods, unless the user does; a Job without labels has those of its template."""
    spec = new["spec"]
    if spec.get("manualSelector"):
        labels = spec["template"].get("metadata", {}).get("labels")
        if labels and not new["metadata"].get("labels"):
            new["metadata"]["labels"] = labels
        return
    uid, name = new["metadata"]["uid"], new["metadata"]["name"]
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    if not new["metadata"].get("labels"):
        new["metadata"]["labels"] = labels  # as in kube-apiserver, with the ones that follow
    for prefix in ("", NEW_JOB):
        labels.setdefault(f"{prefix}controller-uid", uid)
        labels.setdefault(f"{prefix}job-name", name)
    selector = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selector.setdefault(f"{NEW_JOB}controller-uid", uid)


def _pod(new: Document, _old: Document) -> None:
    spec = new["spec"]
    _tolerate_lost_nodes(spec)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    new["status"] = {"phase": "Pending", "qosClass": _quality(spec)}


def _kept_pod(new: Document, old: Document) -> None:
    """Write again what a client left out that did not write it."""
    spec, before = new["spec"], old["spec"]
    _tolerate_lost_nodes(spec)
    for key in ("priority", "preemptionPolicy"):
        if key in before:
            spec.setdefault(key, before[key])


def _tolerate_lost_nodes(spec: Document) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(toleration.get("key", key) == key for toleration in tolerations):
            toleration = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_S}
            tolerations.append({"key": key, **toleration})


def _quality(spec: Document) -> str:
    """Return the Pod's class of service by its requests and limits."""
    resources = [container["resources"] for container in containers_of(spec)]
    if not any(kind.get(name) for kind in resources for name in ("limits", "requests")):
        return "BestEffort"
    is_guaranteed = all(
        kind.get("limits", {}).get(name) and kind["limits"][name] == kind.get("requests", {}).get(name)
        for kind in resources
        for name in _COUNTED
    )
    return "Guaranteed" if is_guaranteed else "Burstable"


def _kept_service(new: Document, old: Document) -> None:
    """Keep the addresses that were assigned, for clients that replace without reading."""
    spec, before = new["spec"], old["spec"]
    for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if key in before and not spec.get(key) and spec["type"] != "ExternalName":
            spec[key] = before[key]


def _node(new: Document, _old: Document) -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    taints = new["spec"].setdefault("taints", [])
    if taint not in taints:
        taints.append(taint)


def _daemon_set(new: Document, _old: Document) -> None:
    new["metadata"].setdefault("annotations", {})["deprecated.daemonset.template.generation"] = "1"


_CREATES: Final[dict[str, Callable[[Document, Document], None]]] = {
    "apps/v1.DaemonSet": _daemon_set,
    "batch/v1.Job": _job,
    "core/v1.Node": _node,
    "core/v1.Pod": _pod,
    "core/v1.Secret": _secret,
}
_UPDATES: Final[dict[str, Callable[[Document, Document], None]]] = {
    "core/v1.Pod": _kept_pod,
    "core/v1.Secret": _secret,
    "core/v1.Service": _kept_service,
}
