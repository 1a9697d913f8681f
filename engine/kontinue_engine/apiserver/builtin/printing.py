"""Internal. How kubectl shows Kubernetes' own kinds: their columns and, computed, the cells of a row.

The columns are kube-apiserver's, the ones that only ``-o wide`` shows with priority 1. Called through
``ResourceInfo.cells`` by ``kontinue_engine.apiserver.tables``. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver.durations import human_duration, parse_time
from kontinue_engine.apiserver.resources import Column, ResourceInfo

Document = dict[str, Any]
Cells = Callable[[Document, datetime], list[Any]]
_NONE: Final = "<none>"
_UNKNOWN: Final = "<unknown>"
_SHOWN_ENDPOINTS: Final = 3
_ROLE_LABEL: Final = "node-role.kubernetes.io/"
_JOB_STATES: Final = {
    "Complete": "Complete",
    "Failed": "Failed",
    "": "Terminating",
    "Suspended": "Suspended",
    "FailureTarget": "FailureTarget",
    "SuccessCriteriaMet": "SuccessCriteriaMet",
}
"""Status by condition, the first that is true; "" stands for a deletionTimestamp."""


def columns(*names: str, wide: Sequence[str] = ()) -> tuple[Column, ...]:
    """Return columns of text; a name may end in ``:integer`` or ``:boolean``."""
    found = []
    for index, name in enumerate((*names, *wide)):
        title, _, kind = name.partition(":")
        form = "name" if title == "Name" else ""
        priority = 0 if index < len(names) else 1
        found.append(Column(name=title, type=kind or "string", json_path="", format=form, priority=priority))
    return tuple(found)


def age(moment: Any, now: datetime) -> str:
    """Return the time since ``moment`` as people read it."""
    time = parse_time(moment) if isinstance(moment, str) else None
    return human_duration(now - time) if time else _UNKNOWN


def _named(*cells: Callable[[Document], Any], wide: Sequence[Callable[[Document], Any]] = ()) -> Cells:
    """Return a row of name, ``cells``, age, and the wide ones."""

    def row(obj: Document, now: datetime) -> list[Any]:
        metadata = obj["metadata"]
        return [
            metadata["name"],
            *(cell(obj) for cell in cells),
            age(metadata.get("creationTimestamp"), now),
            *(cell(obj) for cell in wide),
        ]

    return row


def _get(path: str, default: Any) -> Callable[[Document], Any]:
    keys = path.split(".")

    def cell(obj: Document) -> Any:
        value: Any = obj
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return default if value is None else value

    return cell


def _template(obj: Document) -> Document:
    found: Document = _get("spec.template.spec", {})(obj)
    return found


def _containers(obj: Document) -> str:
    return ",".join(container.get("name", "") for container in _template(obj).get("containers") or ())


def _images(obj: Document) -> str:
    return ",".join(container.get("image", "") for container in _template(obj).get("containers") or ())


def _labels(labels: Document | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def selector_text(selector: Document | None) -> str:
    """Return a LabelSelector in the form of a query."""
    if selector is None:
        return _NONE
    terms = {key: f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()}
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms[key] = forms.get(expression.get("operator", ""), f"!{key}")
    return ",".join(terms[key] for key in sorted(terms)) or _NONE


def _selector(obj: Document) -> str:
    return selector_text(_get("spec.selector", None)(obj))


_WORKLOAD_WIDE: Final = ("Containers", "Images", "Selector")
_workload_wide: Final = (_containers, _images, _selector)


def _ready(obj: Document) -> str:
    return f"{_get('status.readyReplicas', 0)(obj)}/{_get('spec.replicas', 0)(obj)}"


def _job_status(obj: Document) -> str:
    true = {
        condition.get("type") for condition in _get("status.conditions", ())(obj) if condition.get("status") == "True"
    }
    if "deletionTimestamp" in obj["metadata"]:
        true.add("")
    return next((shown for condition, shown in _JOB_STATES.items() if condition in true), "Running")


def _completions(obj: Document) -> str:
    succeeded = _get("status.succeeded", 0)(obj)
    wanted = _get("spec.completions", None)(obj)
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallelism = _get("spec.parallelism", 0)(obj)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job(obj: Document, now: datetime) -> list[Any]:
    started = parse_time(_get("status.startTime", "")(obj))
    ended = parse_time(_get("status.completionTime", "")(obj)) or now
    duration = human_duration(ended - started) if started else ""
    row = _named(_job_status, _completions, lambda _: duration, wide=_workload_wide)
    return row(obj, now)


def _cron_job(obj: Document, now: datetime) -> list[Any]:
    last = _get("status.lastScheduleTime", None)(obj)
    suspended = _get("spec.suspend", None)(obj)
    row = _named(
        _get("spec.schedule", ""),
        _get("spec.timeZone", _NONE),
        lambda _: {True: "True", False: "False"}.get(suspended, "<unset>"),
        lambda _: len(_get("status.active", ())(obj)),
        lambda _: _NONE if last is None else age(last, now),
    )
    job = {"spec": _get("spec.jobTemplate.spec", {})(obj)}
    return [*row(obj, now), _containers(job), _images(job), _selector(job)]


def _pod(obj: Document, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = status.get("containerStatuses") or ()
    containers = spec.get("containers") or ()
    restarts = sum(container.get("restartCount", 0) for container in found)
    ready = sum(1 for container in found if container.get("ready") and "running" in (container.get("state") or {}))
    ips = status.get("podIPs") or [{}]
    return [
        obj["metadata"]["name"],
        f"{ready}/{len(containers)}",
        _pod_reason(obj, status, is_running=ready > 0),
        _restarts(restarts, found, now),
        age(obj["metadata"].get("creationTimestamp"), now),
        ips[0].get("ip") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _readiness_gates(spec, status),
    ]


def _restarts(count: int, containers: Iterable[Document], now: datetime) -> str:
    ends = [((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for container in containers]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _readiness_gates(spec: Document, status: Document) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return _NONE
    true = {condition["type"] for condition in status.get("conditions") or () if condition.get("status") == "True"}
    return f"{sum(1 for gate in gates if gate.get('conditionType') in true)}/{len(gates)}"


def _pod_reason(obj: Document, status: Document, *, is_running: bool) -> str:
    phase: str = status.get("phase", "")
    reason = status.get("reason") or phase
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    if conditions.get("PodScheduled", {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    initializing = _init_reason(obj, status)
    if initializing and conditions.get("Initialized", {}).get("status") != "True":
        reason = initializing
    else:
        reason = _container_reason(reason, status, conditions, is_running=is_running)
    if "deletionTimestamp" in obj["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in {"Failed", "Succeeded"}:
            return "Terminating"
    return reason


def _init_reason(obj: Document, status: Document) -> str:
    total = len((obj.get("spec") or {}).get("initContainers") or ())
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if ended is not None:
            return f"Init:{_end(ended)}"
        if waiting.get("reason") not in {None, "", "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _end(ended: Document) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _container_reason(reason: str, status: Document, conditions: Document, *, is_running: bool) -> str:
    failure = ""
    for container in reversed(status.get("containerStatuses") or ()):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _end(ended)
            failure = reason if ended.get("exitCode") else failure
    if reason != "Completed":
        return reason
    if is_running and conditions.get("Ready", {}).get("status") == "True":
        return "Running"
    return failure or ("NotReady" if is_running else reason)


def _external_ip(obj: Document) -> str:
    spec = obj["spec"]
    ips = spec.get("externalIPs") or []
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") == "LoadBalancer":
        ingress = _get("status.loadBalancer.ingress", ())(obj)
        found = [entry.get("ip") or entry.get("hostname", "") for entry in ingress]
        return ",".join([*found, *ips]) or "<pending>"
    return ",".join(ips) or _NONE


def _ports(obj: Document) -> str:
    ports = obj["spec"].get("ports") or ()
    texts = (
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol')}"
        for port in ports
    )
    return ",".join(texts) or _NONE


def _cluster_ip(obj: Document) -> str:
    ips: list[str] = obj["spec"].get("clusterIPs") or [_NONE]
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
    return _limited(found) if found else _NONE


def _slice_ports(obj: Document) -> str:
    return _limited([str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or ()])


def _slice_endpoints(obj: Document) -> str:
    return _limited([address for end in obj.get("endpoints") or () for address in end.get("addresses") or ()])


def _node_status(obj: Document) -> str:
    ready = [
        condition.get("status") for condition in _get("status.conditions", ())(obj) if condition.get("type") == "Ready"
    ]
    texts = ["Ready" if ready[-1] == "True" else "NotReady"] if ready else ["Unknown"]
    if _get("spec.unschedulable", None)(obj):
        texts.append("SchedulingDisabled")
    return ",".join(texts)


def _node_roles(obj: Document) -> str:
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)} - {""}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or _NONE


def _node_address(kind: str) -> Callable[[Document], str]:
    def cell(obj: Document) -> str:
        addresses = _get("status.addresses", ())(obj)
        return next((entry["address"] for entry in addresses if entry.get("type") == kind), _NONE)

    return cell


def _kernel(obj: Document) -> str:
    version = _get("status.nodeInfo.kernelVersion", "")(obj) or _UNKNOWN
    architecture = _get("status.nodeInfo.architecture", "")(obj)
    return f"{version} ({architecture})" if architecture else version


def _node(obj: Document, now: datetime) -> list[Any]:
    return [
        *_named(_node_status, _node_roles)(obj, now),
        _get("status.nodeInfo.kubeletVersion", "")(obj),
        _node_address("InternalIP")(obj),
        _node_address("ExternalIP")(obj),
        _get("status.nodeInfo.osImage", "")(obj) or _UNKNOWN,
        _kernel(obj),
        _get("status.nodeInfo.containerRuntimeVersion", "")(obj) or _UNKNOWN,
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
            found.append(f"{_UNKNOWN}/{_target_value(next((v for v in metric.values() if isinstance(v, dict)), {}))}")
        else:
            found.append(f"{source.get('name', '')}: {_UNKNOWN}/{_target_value(source)}")
    more = f" + {len(found) - 2} more..." if len(found) > 2 else ""
    return ", ".join(found[:2]) + more or _NONE


def _target_value(source: Document) -> str:
    target = source.get("target") or {}
    if "averageUtilization" in target:
        return f"{target['averageUtilization']}%"
    return f"{target['averageValue']} (avg)" if "averageValue" in target else str(target.get("value", "<auto>"))


def _scale_target(obj: Document) -> str:
    target = obj["spec"].get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _priority_class(obj: Document, now: datetime) -> list[Any]:
    row = _named(_get("value", 0), lambda obj: bool(obj.get("globalDefault")))
    return [*row(obj, now), obj.get("preemptionPolicy", "")]


_BINDING_WIDE: Final = ("Users", "Groups", "ServiceAccounts")
_binding: Final = _named(_role_reference, wide=[_subjects(kind) for kind in ("User", "Group", "ServiceAccount")])

PRINTED: Final[dict[str, tuple[tuple[Column, ...], Cells]]] = {
    "ClusterRole": (columns("Name", "Created At:date"), _role),
    "ClusterRoleBinding": (columns("Name", "Role", "Age", wide=_BINDING_WIDE), _binding),
    "ConfigMap": (
        columns("Name", "Data", "Age"),
        _named(lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ())),
    ),
    "CronJob": (
        columns(
            *("Name", "Schedule", "Timezone", "Suspend:boolean", "Active:integer", "Last Schedule", "Age"),
            wide=_WORKLOAD_WIDE,
        ),
        _cron_job,
    ),
    "DaemonSet": (
        columns(
            *("Name", "Desired:integer", "Current:integer", "Ready:integer", "Up-to-date:integer"),
            *("Available:integer", "Node Selector", "Age"),
            wide=_WORKLOAD_WIDE,
        ),
        _named(
            _get("status.desiredNumberScheduled", 0),
            _get("status.currentNumberScheduled", 0),
            _get("status.numberReady", 0),
            _get("status.updatedNumberScheduled", 0),
            _get("status.numberAvailable", 0),
            lambda obj: _labels(_template(obj).get("nodeSelector")),
            wide=_workload_wide,
        ),
    ),
    "Deployment": (
        columns("Name", "Ready", "Up-to-date", "Available", "Age", wide=_WORKLOAD_WIDE),
        _named(_ready, _get("status.updatedReplicas", 0), _get("status.availableReplicas", 0), wide=_workload_wide),
    ),
    "EndpointSlice": (
        columns("Name", "AddressType", "Ports", "Endpoints", "Age"),
        _named(_get("addressType", ""), _slice_ports, _slice_endpoints),
    ),
    "Endpoints": (columns("Name", "Endpoints", "Age"), _named(_endpoints)),
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
        _named(
            _scale_target,
            _targets,
            lambda obj: str(obj["spec"].get("minReplicas", "<unset>")),
            _get("spec.maxReplicas", 0),
            _get("status.currentReplicas", 0),
        ),
    ),
    "Job": (columns("Name", "Status", "Completions", "Duration", "Age", wide=_WORKLOAD_WIDE), _job),
    "Lease": (columns("Name", "Holder", "Age"), _named(_get("spec.holderIdentity", ""))),
    "Namespace": (columns("Name", "Status", "Age"), _named(_get("status.phase", ""))),
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
        _pod,
    ),
    "PodDisruptionBudget": (
        columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"),
        _named(
            lambda obj: str(_get("spec.minAvailable", "N/A")(obj)),
            lambda obj: str(_get("spec.maxUnavailable", "N/A")(obj)),
            _get("status.disruptionsAllowed", 0),
        ),
    ),
    "PriorityClass": (
        columns("Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"),
        _priority_class,
    ),
    "ReplicaSet": (
        columns("Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", wide=_WORKLOAD_WIDE),
        _named(
            _get("spec.replicas", 0),
            _get("status.replicas", 0),
            _get("status.readyReplicas", 0),
            wide=_workload_wide,
        ),
    ),
    "Role": (columns("Name", "Created At:date"), _role),
    "RoleBinding": (columns("Name", "Role", "Age", wide=_BINDING_WIDE), _binding),
    "Secret": (
        columns("Name", "Type", "Data", "Age"),
        _named(_get("type", ""), lambda obj: len(obj.get("data") or ())),
    ),
    "Service": (
        columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        _named(
            _get("spec.type", ""),
            _cluster_ip,
            _external_ip,
            _ports,
            wide=(lambda obj: _labels(obj["spec"].get("selector")),),
        ),
    ),
    "ServiceAccount": (columns("Name", "Age"), _named()),
    "StatefulSet": (
        columns("Name", "Ready", "Age", wide=("Containers", "Images")),
        _named(_ready, wide=(_containers, _images)),
    ),
}
"""Columns and cells by kind."""


def layout(resource: ResourceInfo) -> tuple[tuple[Column, ...], Cells | None]:
    """Return the columns of a kind and how its cells are computed; None: by the JSONPaths of the columns."""
    if resource.custom:
        return resource.columns, None
    return PRINTED.get(resource.kind, (resource.columns, None))
