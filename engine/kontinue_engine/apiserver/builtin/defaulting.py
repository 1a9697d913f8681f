"""Internal. Defaults of Kubernetes' own kinds: what kube-apiserver fills in at create and update.

Only what clients see and rely on; it works in place on a document that ``builtin.decoding`` has read, so every value
has its right type. Called by ``builtin.rules``. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

Document = dict[str, Any]
_FILE_MODE: Final = 420
_MODE_VOLUMES: Final = ("configMap", "downwardAPI", "projected", "secret")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_RBAC_GROUP: Final = "rbac.authorization.k8s.io"


def apply_defaults(struct: str, document: Document) -> None:
    """Fill in the defaults of a document of the given Go type."""
    default = _DEFAULTS.get(struct)
    if default is not None:
        default(document)


def _fill(target: Document, **defaults: Any) -> None:
    for key, value in defaults.items():
        if target.get(key) in (None, ""):
            target[key] = value


def _spec(document: Document) -> Document:
    spec: Document = document.setdefault("spec", {})
    return spec


def pod_spec(spec: Document) -> None:
    """Fill in a pod's spec, also that of a template."""
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
    )
    spec.setdefault("securityContext", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for container in containers_of(spec):
        _container(container)


def containers_of(spec: Document) -> Iterator[Document]:
    """Iterate over the containers of a pod's spec, init containers first."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _volume(volume: Document) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
    for source in _MODE_VOLUMES:
        if source in volume:
            volume[source].setdefault("defaultMode", _FILE_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    items = list((volume.get("downwardAPI") or {}).get("items") or ())
    for projection in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in projection:
            projection["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        items += (projection.get("downwardAPI") or {}).get("items") or ()
    for item in items:
        if "fieldRef" in item:
            _fill(item["fieldRef"], apiVersion="v1")


def _container(container: Document) -> None:
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2]
    is_latest = "@" not in image and tag in {"", "latest"}
    _fill(
        container,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if is_latest else "IfNotPresent",
    )
    for port in container.get("ports") or ():
        _fill(port, protocol="TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _fill(reference, apiVersion="v1")
    for key in _PROBES:
        if key in container:
            _probe(container[key])
    for handler in (container.get("lifecycle") or {}).values():
        _http_action(handler)


def _probe(probe: Document) -> None:
    _http_action(probe)
    _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_action(handler: Any) -> None:
    action = handler.get("httpGet") if isinstance(handler, dict) else None
    if action is not None:
        _fill(action, path="/", scheme="HTTP")


def _template(document: Document) -> None:
    pod_spec(_spec(_spec(document)["template"]))


def _pod(document: Document) -> None:
    spec = _spec(document)
    for container in containers_of(spec):
        resources = container["resources"]
        if "limits" in resources:
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    _fill(document["status"], phase="Pending")


def _deployment(document: Document) -> None:
    spec = _spec(document)
    for key, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        spec.setdefault(key, value)
    strategy = spec["strategy"]
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        _fill(rolling, maxUnavailable="25%", maxSurge="25%")
    _template(document)


def _stateful_set(document: Document) -> None:
    spec = _spec(document)
    _fill(spec, podManagementPolicy="OrderedReady")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec["updateStrategy"]
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    _fill(spec.setdefault("persistentVolumeClaimRetentionPolicy", {}), whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        _fill(_spec(claim), volumeMode="Filesystem")
        _fill(claim["status"], phase="Pending")
        claim.update(kind="PersistentVolumeClaim", apiVersion="v1")
    _template(document)


def _replica_set(document: Document) -> None:
    _spec(document).setdefault("replicas", 1)
    _template(document)


def _daemon_set(document: Document) -> None:
    spec = _spec(document)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec["updateStrategy"]
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        _fill(rolling, maxUnavailable=1, maxSurge=0)
    _template(document)


def _job_spec(spec: Document) -> None:
    pod_spec(_spec(spec["template"]))


def _job(document: Document) -> None:
    spec = _spec(document)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2**31 - 1 if "backoffLimitPerIndex" in spec else 6
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    _job_spec(spec)


def _cron_job(document: Document) -> None:
    spec = _spec(document)
    _fill(spec, concurrencyPolicy="Allow")
    for key, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
        spec.setdefault(key, value)
    _job_spec(_spec(spec["jobTemplate"]))


def _service(document: Document) -> None:
    spec = _spec(document)
    _fill(spec, sessionAffinity="None", type="ClusterIP")
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port["port"]
    if spec["type"] == "ExternalName":
        return
    _fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _secret(document: Document) -> None:
    _fill(document, type="Opaque")


def _autoscaler(document: Document) -> None:
    spec = _spec(document)
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _binding(document: Document) -> None:
    _fill(document["roleRef"], apiGroup=_RBAC_GROUP)
    for subject in document.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            _fill(subject, apiGroup=_RBAC_GROUP)


def _endpoint_slice(document: Document) -> None:
    for port in document.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(document: Document) -> None:
    for subset in document.get("subsets") or ():
        for port in subset.get("ports") or ():
            _fill(port, protocol="TCP")


def _priority_class(document: Document) -> None:
    document.setdefault("preemptionPolicy", "PreemptLowerPriority")


_DEFAULTS: Final[dict[str, Callable[[Document], None]]] = {
    "apps/v1.DaemonSet": _daemon_set,
    "apps/v1.Deployment": _deployment,
    "apps/v1.ReplicaSet": _replica_set,
    "apps/v1.StatefulSet": _stateful_set,
    "autoscaling/v2.HorizontalPodAutoscaler": _autoscaler,
    "batch/v1.CronJob": _cron_job,
    "batch/v1.Job": _job,
    "core/v1.Endpoints": _endpoints,
    "core/v1.Pod": _pod,
    "core/v1.Secret": _secret,
    "core/v1.Service": _service,
    "discovery/v1.EndpointSlice": _endpoint_slice,
    "rbac/v1.ClusterRoleBinding": _binding,
    "rbac/v1.RoleBinding": _binding,
    "scheduling/v1.PriorityClass": _priority_class,
}
