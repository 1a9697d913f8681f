"""Internal. The objects that run a worker group in a cluster, as ``kontinue manifest`` prints them. Pure.

The same that the chart ``helm/kontinue-worker`` makes of equal values, rights aside, which ``kontinue install`` gives:
a test renders both. Whoever needs more than these options takes the chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from kontinue_engine.cli.deployment.rights import WORKER_ACCOUNT
from kontinue_engine.cli.deployment.stamps import stamp

APP_NAME: Final = "kontinue-worker"
MAX_NAME_LENGTH: Final = 52
"""The StatefulSet's controller adds 11 characters for a label, and pods a number."""
TERMINATION_MARGIN_S: Final = 15
"""Beyond the grace: to end runners and give Leases back, also when the API server does not answer."""
LEAST_MEMORY_BYTES: Final = 256 * 2**20
"""What a replica needs for itself; beyond that it is for the user's code. The chart refuses less, too."""
_REQUESTED_MEMORY: Final = "512Mi"
HEALTH_PORT: Final = 8081
METRICS_PORT: Final = 8080
_USER: Final = 10001
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGT]|[KMGT]i|)", re.ASCII)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        app: ``module:attribute``, in the image.
        name: of all objects.
        namespace: empty: whoever applies them says it.
        group: empty: the App's.
        app_dir: folder of the image to import from; empty: its working directory.
        env: name and value.
        extra_args: further options of ``kontinue worker run``.
    """

    app: str
    image: str
    name: str
    namespace: str = ""
    group: str = ""
    app_dir: str = ""
    replicas: int = 2
    sharding: bool = True
    grace_s: int = 20
    cpu: str = "500m"
    memory: str = "1Gi"
    env: dict[str, str] = {}
    pull_secrets: list[str] = []
    service_account: str = WORKER_ACCOUNT
    extra_args: list[str] = []


def name_for(app: str, group: str) -> str:
    """Return a name for the objects of an app: of its group, or of its module."""
    text = re.sub(r"[^a-z0-9]+", "-", (group or app.partition(":")[0].partition(".")[0]).lower()).strip("-")
    return text[:MAX_NAME_LENGTH].rstrip("-") or "worker"


def quantity(text: str) -> float | None:
    """Return what a quantity means, as ``1.5Gi`` or ``500m``; None if it is none."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    if found[2] == "m":
        return float(found[1]) / 1000
    power = " kMGT".index(found[2][:1].replace("K", "k") or " ")
    base = 1024.0 if found[2].endswith("i") else 1000.0
    return float(found[1]) * base**power


def worker_arguments(workload: Workload) -> list[str]:
    """Return the container's arguments, from ``worker run`` on."""
    group = ["--group", workload.group] if workload.group else []
    app_dir = ["--app-dir", workload.app_dir] if workload.app_dir else []
    return [
        *("worker", "run", workload.app, *app_dir),
        *("--namespace", "$(KONTINUE_POD_NAMESPACE)"),
        # The pod's name, which a restart keeps.
        *("--shard", "$(KONTINUE_POD_NAME)", *group),
        *(["--sharding"] if workload.sharding else []),
        *("--grace", str(workload.grace_s)),
        *("--health-port", str(HEALTH_PORT), "--health-host", "$(KONTINUE_POD_IP)"),
        *("--metrics-port", str(METRICS_PORT), "--metrics-host", "$(KONTINUE_POD_IP)"),
        *workload.extra_args,
    ]


def objects(workload: Workload) -> Iterator[dict[str, Any]]:
    """Yield the objects, in the order to create them."""
    selector = _selector(workload)
    metadata: dict[str, Any] = {
        "name": workload.name,
        **({"namespace": workload.namespace} if workload.namespace else {}),
        "labels": {**stamp("worker"), **selector},
    }
    # A StatefulSet wants a Service. Nobody connects to workers: it has no ports.
    service = {"clusterIP": "None", "selector": selector}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}
    if workload.replicas > 1:
        # A pod that does not become ready must not keep a node from being emptied.
        chosen = {"matchLabels": selector}
        budget = {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": chosen}
        yield {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget}
    yield {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": workload.replicas,
            "serviceName": workload.name,
            "podManagementPolicy": "Parallel",  # replicas do not need each other to start
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector},
            "template": _template(workload, selector),
        },
    }


def _selector(workload: Workload) -> dict[str, str]:
    return {"app.kubernetes.io/name": APP_NAME, "app.kubernetes.io/instance": workload.name}


def _template(workload: Workload, selector: Mapping[str, str]) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }
    secrets = [{"name": name} for name in workload.pull_secrets]
    return {
        "metadata": {
            "labels": {**selector, "app.kubernetes.io/component": "worker"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(METRICS_PORT),
                "prometheus.io/path": "/metrics",
            },
        },
        "spec": {
            "serviceAccountName": workload.service_account,
            "terminationGracePeriodSeconds": workload.grace_s + TERMINATION_MARGIN_S,
            "enableServiceLinks": False,  # variables of every Service of the namespace are of no use here
            **({"imagePullSecrets": secrets} if secrets else {}),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(workload)],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            "topologySpreadConstraints": [spread],
        },
    }


def _container(workload: Workload) -> dict[str, Any]:
    # A container that is started anew in the same pod takes its shard back at once: the uid tells it from others.
    fields = {
        "KONTINUE_POD_UID": "metadata.uid",
        "KONTINUE_POD_NAME": "metadata.name",
        "KONTINUE_POD_NAMESPACE": "metadata.namespace",
        "KONTINUE_POD_IP": "status.podIP",
    }
    env: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
    ]
    return {
        "name": "worker",
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["kontinue"],
        "args": worker_arguments(workload),
        "env": env + [{"name": name, "value": value} for name, value in workload.env.items()],
        "ports": [
            {"name": "health", "containerPort": HEALTH_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        # Patient: it is only for a worker that answers nothing at all. Without the API server it lives on, fenced.
        "livenessProbe": _probe("/livez", period_s=10, failures=6),
        "readinessProbe": _probe("/readyz", period_s=2, failures=3),
        "resources": {
            "requests": {"cpu": workload.cpu, "memory": _requested_memory(workload.memory)},
            "limits": {"memory": workload.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of the pod, an emptyDir
    }


def _requested_memory(limit: str) -> str:
    """Return the request that fits a limit: a server refuses one above it."""
    allowed, wanted = quantity(limit), quantity(_REQUESTED_MEMORY)
    return limit if allowed is not None and wanted is not None and allowed < wanted else _REQUESTED_MEMORY


def _probe(path: str, *, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "health"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
