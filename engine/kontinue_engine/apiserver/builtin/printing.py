"""Internal. How kubectl shows Kubernetes' own kinds: their columns and, computed, the cells of a row.

The columns are kube-apiserver's, the ones that only ``-o wide`` shows with priority 1. Called through
``ResourceInfo.cells`` by ``kontinue_engine.apiserver.reads.tables``. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver.builtin import workload_cells
from kontinue_engine.apiserver.builtin.cells import (
    NONE,
    UNKNOWN,
    Cells,
    Document,
    age,
    columns,
    get,
    labels_text,
    named,
)
from kontinue_engine.apiserver.builtin.pod_cells import pod_row
from kontinue_engine.apiserver.resources import Column, ResourceInfo

_SHOWN_ENDPOINTS: Final = 3
_ROLE_LABEL: Final = "node-role.kubernetes.io/"


def _external_ip(obj: Document) -> str:
    spec = obj["spec"]
    ips = spec.get("externalIPs") or []
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") == "LoadBalancer":
        ingress = get("status.loadBalancer.ingress", ())(obj)
        found = [entry.get("ip") or entry.get("hostname", "") for entry in ingress]
        return ",".join([*found, *ips]) or "<pending>"
    return ",".join(ips) or NONE


def _ports(obj: Document) -> str:
    ports = obj["spec"].get("ports") or ()
    texts = (
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol')}"
        for port in ports
    )
    return ",".join(texts) or NONE


def _cluster_ip(obj: Document) -> str:
    ips: list[str] = obj["spec"].get("clusterIPs") or [NONE]
    return ips[0]


def _limited(texts: Sequence[str]) -> str:
    if not texts:
        return "<unset>"
    more = f" + {len(texts) - _SHOWN_ENDPOINTS} more..." if len(texts) > _SHOWN_ENDPOINTS else ""
    return ",".join(texts[:_SHOWN_ENDPOINTS]) + more


def _endpoints(obj: Document) -> str:
    found = []
    for subset in obj.get("subsets") or ():
        ports = [f":{port['port']}" for port in subset.get("ports") or ()] or [""]
        found += [address["ip"] + port for port in ports for address in subset.get("addresses") or ()]
    return _limited(found) if found else NONE


def _slice_ports(obj: Document) -> str:
    return _limited([str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or ()])


def _slice_endpoints(obj: Document) -> str:
    return _limited([address for end in obj.get("endpoints") or () for address in end.get("addresses") or ()])


def _node_status(obj: Document) -> str:
    ready = [
        condition.get("status") for condition in get("status.conditions", ())(obj) if condition.get("type") == "Ready"
    ]
    texts = ["Ready" if ready[-1] == "True" else "NotReady"] if ready else ["Unknown"]
    if get("spec.unschedulable", None)(obj):
        texts.append("SchedulingDisabled")
    return ",".join(texts)


def _node_roles(obj: Document) -> str:
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)} - {""}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or NONE


def _node_address(kind: str) -> Callable[[Document], str]:
    def cell(obj: Document) -> str:
        addresses = get("status.addresses", ())(obj)
        return next((entry["address"] for entry in addresses if entry.get("type") == kind), NONE)

    return cell


def _kernel(obj: Document) -> str:
    version = get("status.nodeInfo.kernelVersion", "")(obj) or UNKNOWN
    architecture = get("status.nodeInfo.architecture", "")(obj)
    return f"{version} ({architecture})" if architecture else version


def _node(obj: Document, now: datetime) -> list[Any]:
    return [
        *named(_node_status, _node_roles)(obj, now),
        get("status.nodeInfo.kubeletVersion", "")(obj),
        _node_address("InternalIP")(obj),
        _node_address("ExternalIP")(obj),
        get("status.nodeInfo.osImage", "")(obj) or UNKNOWN,
        _kernel(obj),
        get("status.nodeInfo.containerRuntimeVersion", "")(obj) or UNKNOWN,
    ]


def _event(obj: Document, now: datetime) -> list[Any]:
    event_time = obj.get("eventTime")
    first = age(obj.get("firstTimestamp") or event_time, now)
    last = age(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series:
        last, count = age(series.get("lastObservedTime"), now), series.get("count", 0)
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    target = involved.get("kind", "").lower()
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{target}/{involved['name']}" if involved.get("name") else target,
        involved.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        obj.get("message", "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


def _subjects(kind: str) -> Callable[[Document], str]:
    def cell(obj: Document) -> str:
        found = [subject for subject in obj.get("subjects") or () if subject.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{subject.get('namespace', '')}/{subject['name']}" for subject in found)
        return ", ".join(subject["name"] for subject in found)

    return cell


def _role_reference(obj: Document) -> str:
    return f"{obj['roleRef'].get('kind', '')}/{obj['roleRef'].get('name', '')}"


def _role(obj: Document, _now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"]["creationTimestamp"]]


def _targets(obj: Document) -> str:
    """Return what an autoscaler steers by; no metric is measured here, so the current value is unknown."""
    found = []
    for metric in obj["spec"].get("metrics") or ():
        source = next((metric[key] for key in ("resource", "containerResource") if key in metric), None)
        if source is None:
            found.append(f"{UNKNOWN}/{_target_value(next((v for v in metric.values() if isinstance(v, dict)), {}))}")
        else:
            found.append(f"{source.get('name', '')}: {UNKNOWN}/{_target_value(source)}")
    more = f" + {len(found) - 2} more..." if len(found) > 2 else ""
    return ", ".join(found[:2]) + more or NONE


def _target_value(source: Document) -> str:
    target = source.get("target") or {}
    if "averageUtilization" in target:
        return f"{target['averageUtilization']}%"
    return f"{target['averageValue']} (avg)" if "averageValue" in target else str(target.get("value", "<auto>"))


def _scale_target(obj: Document) -> str:
    target = obj["spec"].get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _priority_class(obj: Document, now: datetime) -> list[Any]:
    row = named(get("value", 0), lambda obj: bool(obj.get("globalDefault")))
    return [*row(obj, now), obj.get("preemptionPolicy", "")]


_BINDING_WIDE: Final = ("Users", "Groups", "ServiceAccounts")
_binding: Final = named(_role_reference, wide=[_subjects(kind) for kind in ("User", "Group", "ServiceAccount")])

PRINTED: Final[dict[str, tuple[tuple[Column, ...], Cells]]] = {
    "ClusterRole": (columns("Name", "Created At:date"), _role),
    "ClusterRoleBinding": (columns("Name", "Role", "Age", wide=_BINDING_WIDE), _binding),
    "ConfigMap": (
        columns("Name", "Data", "Age"),
        named(lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ())),
    ),
    "CronJob": (
        columns(
            *("Name", "Schedule", "Timezone", "Suspend:boolean", "Active:integer", "Last Schedule", "Age"),
            wide=workload_cells.WIDE,
        ),
        workload_cells.cron_job_row,
    ),
    "DaemonSet": (
        columns(
            *("Name", "Desired:integer", "Current:integer", "Ready:integer", "Up-to-date:integer"),
            *("Available:integer", "Node Selector", "Age"),
            wide=workload_cells.WIDE,
        ),
        named(
            get("status.desiredNumberScheduled", 0),
            get("status.currentNumberScheduled", 0),
            get("status.numberReady", 0),
            get("status.updatedNumberScheduled", 0),
            get("status.numberAvailable", 0),
            lambda obj: labels_text(workload_cells.template(obj).get("nodeSelector")),
            wide=workload_cells.WIDE_CELLS,
        ),
    ),
    "Deployment": (
        columns("Name", "Ready", "Up-to-date", "Available", "Age", wide=workload_cells.WIDE),
        named(
            workload_cells.ready,
            get("status.updatedReplicas", 0),
            get("status.availableReplicas", 0),
            wide=workload_cells.WIDE_CELLS,
        ),
    ),
    "EndpointSlice": (
        columns("Name", "AddressType", "Ports", "Endpoints", "Age"),
        named(get("addressType", ""), _slice_ports, _slice_endpoints),
    ),
    "Endpoints": (columns("Name", "Endpoints", "Age"), named(_endpoints)),
    "Event": (
        (
            *columns("Last Seen", "Type", "Reason", "Object"),
            *columns(wide=("Subobject", "Source")),
            *columns("Message", wide=("First Seen", "Count", "Name")),
        ),
        _event,
    ),
    "HorizontalPodAutoscaler": (
        columns("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"),
        named(
            _scale_target,
            _targets,
            lambda obj: str(obj["spec"].get("minReplicas", "<unset>")),
            get("spec.maxReplicas", 0),
            get("status.currentReplicas", 0),
        ),
    ),
    "Job": (
        columns("Name", "Status", "Completions", "Duration", "Age", wide=workload_cells.WIDE),
        workload_cells.job_row,
    ),
    "Lease": (columns("Name", "Holder", "Age"), named(get("spec.holderIdentity", ""))),
    "Namespace": (columns("Name", "Status", "Age"), named(get("status.phase", ""))),
    "Node": (
        columns(
            *("Name", "Status", "Roles", "Age", "Version"),
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        _node,
    ),
    "Pod": (
        columns(
            *("Name", "Ready", "Status", "Restarts", "Age"),
            wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
        ),
        pod_row,
    ),
    "PodDisruptionBudget": (
        columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"),
        named(
            lambda obj: str(get("spec.minAvailable", "N/A")(obj)),
            lambda obj: str(get("spec.maxUnavailable", "N/A")(obj)),
            get("status.disruptionsAllowed", 0),
        ),
    ),
    "PriorityClass": (
        columns("Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"),
        _priority_class,
    ),
    "ReplicaSet": (
        columns("Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", wide=workload_cells.WIDE),
        named(
            get("spec.replicas", 0),
            get("status.replicas", 0),
            get("status.readyReplicas", 0),
            wide=workload_cells.WIDE_CELLS,
        ),
    ),
    "Role": (columns("Name", "Created At:date"), _role),
    "RoleBinding": (columns("Name", "Role", "Age", wide=_BINDING_WIDE), _binding),
    "Secret": (
        columns("Name", "Type", "Data", "Age"),
        named(get("type", ""), lambda obj: len(obj.get("data") or ())),
    ),
    "Service": (
        columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        named(
            get("spec.type", ""),
            _cluster_ip,
            _external_ip,
            _ports,
            wide=(lambda obj: labels_text(obj["spec"].get("selector")),),
        ),
    ),
    "ServiceAccount": (columns("Name", "Age"), named()),
    "StatefulSet": (
        columns("Name", "Ready", "Age", wide=("Containers", "Images")),
        named(workload_cells.ready, wide=(workload_cells.container_names, workload_cells.images)),
    ),
}
"""Columns and cells by kind."""


def layout(resource: ResourceInfo) -> tuple[tuple[Column, ...], Cells | None]:
    """Return the columns of a kind and how its cells are computed; None: by the JSONPaths of the columns."""
    if resource.custom:
        return resource.columns, None
    return PRINTED.get(resource.kind, (resource.columns, None))
