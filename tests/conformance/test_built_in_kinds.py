"""Kubernetes' own kinds: what is filled in, what is refused, how they are shown, and what kubectl learns of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from api import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, unique

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
POD = {"containers": [{"name": "c", "image": "busybox"}]}
SELECTOR = {"matchLabels": {"app": "x"}}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": POD}
RICH_POD = {
    "containers": [
        {
            "name": "c",
            "image": "registry.example/busybox:1.2",
            "env": [
                {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "Y", "value": ""},
            ],
            "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"exec": {"command": ["true"]}},
            "lifecycle": {"preStop": {"httpGet": {"port": "web"}}},
            "stdin": False,
            "command": [],
            "workingDir": None,
        }
    ],
    "initContainers": [{"name": "i", "image": "busybox@sha256:" + "a" * 64}],
    "volumes": [
        {"name": "a", "configMap": {"name": "x"}},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c"},
        {"name": "d", "hostPath": {"path": "/x"}},
        {"name": "e", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "f", "projected": {"sources": [{"configMap": {"name": "x"}}]}},
    ],
    "nodeSelector": {},
    "hostNetwork": False,
    "tolerations": [{"key": "a", "operator": "Exists"}],
}

FILLED_IN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "configmaps": ("configmaps", {"data": {}, "immutable": None}, {}),
    "secrets": (
        "secrets",
        {"stringData": {"a": "b"}, "data": {"c": "ZA=="}},
        {
            "type": "Opaque",
            "data": {"a": "Yg==", "c": "ZA=="},
        },
    ),
    "serviceaccounts": ("serviceaccounts", {}, {}),
    "endpoints": (
        "endpoints",
        {"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}]},
        {"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80, "protocol": "TCP"}]}]},
    ),
    "leases": (
        "coordination.k8s.io/v1/leases",
        {"spec": {"renewTime": "2026-01-01T02:00:00.000001+02:00"}},
        {"spec": {"renewTime": "2026-01-01T00:00:00.000001Z"}},
    ),
    "roles": ("rbac.authorization.k8s.io/v1/roles", {"rules": []}, {"rules": None}),
    "rolebindings": (
        "rbac.authorization.k8s.io/v1/rolebindings",
        {"roleRef": {"kind": "Role", "name": "x"}, "subjects": [{"kind": "User", "name": "u"}]},
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}],
        },
    ),
    "endpointslices": (
        "discovery.k8s.io/v1/endpointslices",
        {"addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]},
        {"addressType": "IPv4", "endpoints": None, "ports": [{"name": "", "port": 80, "protocol": "TCP"}]},
    ),
    "poddisruptionbudgets": (
        "policy/v1/poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "selector": SELECTOR}},
        {
            "spec": {"minAvailable": 1, "selector": SELECTOR},
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        },
    ),
    "horizontalpodautoscalers": (
        "autoscaling/v2/horizontalpodautoscalers",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}}},
        {
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"averageUtilization": 80, "type": "Utilization"}},
                    }
                ],
                "minReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"},
            },
            "status": {"currentMetrics": None, "desiredReplicas": 0},
        },
    ),
    "events": (
        "events",
        {"firstTimestamp": "2026-01-01T01:00:00+01:00", "reason": "R", "count": 0},
        {
            "involvedObject": {"kind": "Pod", "name": "x"},
            "reason": "R",
            "source": {},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": None,
            "eventTime": None,
            "reportingComponent": "",
            "reportingInstance": "",
        },
    ),
}


@pytest.mark.parametrize("kind", FILLED_IN)
async def test_an_object_is_stored_as_go_writes_it(api: Api, kind: str) -> None:
    """Defaults are there, what is empty is left out or null as its Go type says, times and keys are canonical."""
    plural, body, expected = copy.deepcopy(FILLED_IN[kind])
    if kind == "events":
        body["involvedObject"] = {"kind": "Pod", "name": "x", "namespace": api.namespace}
        expected["involvedObject"]["namespace"] = api.namespace
    status, created = await api.send("POST", api.path(plural), {"metadata": {"name": "x"}, **body})
    assert status == 201, created
    assert {key: value for key, value in created.items() if key not in {"kind", "apiVersion", "metadata"}} == expected
    _, read = await api.send("GET", api.path(plural, "x"))
    read["metadata"], read["status"] = created["metadata"], created.get("status")  # controllers may have been there
    assert read == {**created, "status": created.get("status")}


CONTAINER_DEFAULTS = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
SPEC_DEFAULTS = {
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}


async def test_a_pod_is_filled_in_to_the_last_field(api: Api) -> None:
    """Containers, probes, volumes, quantities, tolerations, class of service: what controllers and people read."""
    status, pod = await api.send("POST", api.path("pods"), {"metadata": {"name": "p"}, "spec": RICH_POD})
    assert status == 201, pod
    assert pod["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    assert pod["metadata"]["generation"] == 1
    spec = pod["spec"]
    main, init = spec.pop("containers"), spec.pop("initContainers")
    assert init == [{**CONTAINER_DEFAULTS, **RICH_POD["initContainers"][0], "imagePullPolicy": "IfNotPresent"}]  # type: ignore[index]
    probe = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    field = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    assert main == [
        {
            **CONTAINER_DEFAULTS,
            "name": "c",
            "image": "registry.example/busybox:1.2",
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "X", "valueFrom": field}, {"name": "Y"}],
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, **probe},
            "readinessProbe": {"exec": {"command": ["true"]}, **probe},
            "lifecycle": {"preStop": {"httpGet": {"path": "/", "port": "web", "scheme": "HTTP"}}},
        }
    ]
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in ("not-ready", "unreachable")
    ]
    assert spec == {
        **SPEC_DEFAULTS,
        "restartPolicy": "Always",
        "enableServiceLinks": True,
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [{"key": "a", "operator": "Exists"}, *tolerations],
        "volumes": [
            {"name": "a", "configMap": {"name": "x", "defaultMode": 420}},
            {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "emptyDir": {}},
            {"name": "d", "hostPath": {"path": "/x", "type": ""}},
            {"name": "e", "downwardAPI": {"items": [{"path": "a", **field}], "defaultMode": 420}},
            {"name": "f", "projected": {"sources": [{"configMap": {"name": "x"}}], "defaultMode": 420}},
        ],
    }


WORKLOADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "apps/v1/deployments": (
        {},
        {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
    ),
    "apps/v1/replicasets": ({"replicas": 0}, {"replicas": 0}),
    "apps/v1/statefulsets": (
        {"serviceName": "s", "replicas": 0},
        {
            "replicas": 0,
            "serviceName": "s",
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        },
    ),
    "apps/v1/daemonsets": (
        {},
        {
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
        },
    ),
}


@pytest.mark.parametrize("plural", WORKLOADS)
async def test_what_runs_pods_is_filled_in(api: Api, plural: str) -> None:
    """Replicas, strategy and the template's pod have their defaults; generation begins at 1."""
    given, expected = WORKLOADS[plural]
    body = {"metadata": {"name": "x"}, "spec": {"selector": SELECTOR, "template": TEMPLATE, **given}}
    status, created = await api.send("POST", api.path(plural) + "?dryRun=All", body)
    assert status == 201, created
    assert created["metadata"]["generation"] == 1
    container = {**CONTAINER_DEFAULTS, "name": "c", "image": "busybox", "imagePullPolicy": "Always"}
    pod = {**SPEC_DEFAULTS, "containers": [container], "restartPolicy": "Always"}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": pod}
    assert created["spec"] == {"selector": SELECTOR, "template": template, **expected}


async def test_a_job_selects_its_own_pods(api: Api) -> None:
    """Its selector and its template's labels carry its uid; how often it runs and retries has defaults."""
    pod = {**POD, "restartPolicy": "Never"}
    body = {"metadata": {"name": "j"}, "spec": {"suspend": True, "template": {"spec": pod}}}
    status, job = await api.send("POST", api.path("batch/v1/jobs"), body)
    assert status == 201, job
    uid, spec = job["metadata"]["uid"], job["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid,
        "job-name": "j",
    }
    counted = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": True}
    assert {key: spec[key] for key in counted} == counted
    path = api.path("batch/v1/jobs", "j")
    status, changed = await api.send("PATCH", path, {"spec": {"parallelism": 3}}, content_type=MERGE_PATCH)
    assert (status, changed["metadata"]["generation"]) == (200, 2)
    status, same = await api.send("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE_PATCH)
    assert (status, same["metadata"]["generation"]) == (200, 2)
    status, refused = await api.send("PATCH", path, {"spec": {"completions": 5}}, content_type=MERGE_PATCH)
    assert (status, refused["details"]["causes"][0]["field"]) == (422, "spec.completions")


async def test_a_cron_job_is_filled_in(api: Api) -> None:
    """Its policy and the limits of its history."""
    job = {"template": {"spec": {**POD, "restartPolicy": "OnFailure"}}}
    body = {"metadata": {"name": "c"}, "spec": {"schedule": "@hourly", "suspend": True, "jobTemplate": {"spec": job}}}
    status, created = await api.send("POST", api.path("batch/v1/cronjobs"), body)
    assert status == 201, created
    spec = created["spec"]
    assert (spec["concurrencyPolicy"], spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (
        "Allow",
        3,
        1,
    )
    assert spec["jobTemplate"]["metadata"] == {}
    assert spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


REFUSED: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("pods", {}, [("FieldValueRequired", "spec.containers")]),
    (
        "pods",
        {"spec": {"containers": [{}]}},
        [("FieldValueRequired", "spec.containers[0].name"), ("FieldValueRequired", "spec.containers[0].image")],
    ),
    (
        "pods",
        {"spec": {"restartPolicy": "Foo", "containers": [{"name": "A", "image": "x"}]}},
        [("FieldValueInvalid", "spec.containers[0].name"), ("FieldValueNotSupported", "spec.restartPolicy")],
    ),
    (
        "pods",
        {"spec": {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/a"}]}]}},
        [("FieldValueNotFound", "spec.containers[0].volumeMounts[0].name")],
    ),
    (
        "apps/v1/deployments",
        {},
        [
            ("FieldValueRequired", "spec.selector"),
            ("FieldValueInvalid", "spec.template.metadata.labels"),
            ("FieldValueRequired", "spec.template.spec.containers"),
        ],
    ),
    (
        "apps/v1/deployments",
        {
            "spec": {
                "replicas": -1,
                "selector": SELECTOR,
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {**POD, "restartPolicy": "Never"}},
            }
        },
        [
            ("FieldValueInvalid", "spec.replicas"),
            ("FieldValueNotSupported", "spec.template.spec.restartPolicy"),
        ],
    ),
    (
        "batch/v1/jobs",
        {},
        [
            ("FieldValueRequired", "spec.template.spec.containers"),
            ("FieldValueRequired", "spec.template.spec.restartPolicy"),
        ],
    ),
    (
        "batch/v1/jobs",
        {"spec": {"parallelism": -1, "template": {"spec": {**POD, "restartPolicy": "Never"}}}},
        [("FieldValueInvalid", "spec.parallelism")],
    ),
    (
        "batch/v1/cronjobs",
        {"spec": {"jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}},
        [("FieldValueRequired", "spec.schedule")],
    ),
    (
        "batch/v1/cronjobs",
        {"spec": {"schedule": "x", "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}},
        [("FieldValueInvalid", "spec.schedule")],
    ),
    ("services", {}, [("FieldValueRequired", "spec.ports")]),
    (
        "services",
        {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 443}]}},
        [("FieldValueRequired", "spec.ports[1].name")],
    ),
    ("events", {}, [("FieldValueInvalid", "involvedObject.namespace")]),
    ("secrets", {"data": {"a/b": ""}}, [("FieldValueInvalid", "data[a/b]")]),
    (
        "secrets",
        {"type": "kubernetes.io/tls"},
        [("FieldValueRequired", "data[tls.crt]"), ("FieldValueRequired", "data[tls.key]")],
    ),
    ("configmaps", {"data": {"a/b": ""}}, [("FieldValueInvalid", "data[a/b]")]),
    ("configmaps", {"data": {"a": ""}, "binaryData": {"a": ""}}, [("FieldValueInvalid", "data[a]")]),
    (
        "coordination.k8s.io/v1/leases",
        {"spec": {"leaseDurationSeconds": 0}},
        [("FieldValueInvalid", "spec.leaseDurationSeconds")],
    ),
    (
        "policy/v1/poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
        [("FieldValueInvalid", "spec")],
    ),
    (
        "rbac.authorization.k8s.io/v1/roles",
        {"rules": [{"verbs": [], "resources": ["x"]}]},
        [("FieldValueRequired", "rules[0].verbs"), ("FieldValueRequired", "rules[0].apiGroups")],
    ),
    (
        "rbac.authorization.k8s.io/v1/rolebindings",
        {},
        [("FieldValueNotSupported", "roleRef.kind"), ("FieldValueRequired", "roleRef.name")],
    ),
]


@pytest.mark.parametrize(("plural", "body", "causes"), REFUSED)
async def test_what_cannot_work_is_refused_by_field(
    api: Api, plural: str, body: dict[str, Any], causes: list[tuple[str, str]]
) -> None:
    """Every cause names the field and the kind of the mistake."""
    status, refused = await api.send("POST", api.path(plural), {"metadata": {"name": "x"}, **body})
    assert (status, refused["reason"]) == (422, "Invalid")
    assert [(cause["reason"], cause["field"]) for cause in refused["details"]["causes"]] == causes


@pytest.mark.parametrize(
    ("plural", "body", "problem"),
    [
        (
            "configmaps",
            {"data": {"a": 1}},
            "cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        ("configmaps", {"data": []}, "cannot unmarshal array into Go struct field ConfigMap.data of type"),
        (
            "configmaps",
            {"immutable": "yes"},
            "cannot unmarshal string into Go struct field ConfigMap.immutable of type bool",
        ),
        ("secrets", {"data": {"a": "%%"}}, "illegal base64 data"),
        ("coordination.k8s.io/v1/leases", {"spec": {"leaseDurationSeconds": 1.5}}, "cannot unmarshal number 1.5"),
        ("coordination.k8s.io/v1/leases", {"spec": {"leaseDurationSeconds": 2**40}}, "of type int32"),
        ("coordination.k8s.io/v1/leases", {"spec": {"renewTime": "2026-01-01T00:00:00Z"}}, "parsing time"),
        ("coordination.k8s.io/v1/leases", {"spec": []}, "of type v1.LeaseSpec"),
        ("pods", {"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}}, "quantities must match"),
    ],
)
async def test_a_field_of_the_wrong_type_is_a_bad_request(
    api: Api, plural: str, body: dict[str, Any], problem: str
) -> None:
    """It cannot be decoded, and the message says which field."""
    status, refused = await api.send("POST", api.path(plural), {"metadata": {"name": "x"}, **body})
    assert (status, refused["reason"]) == (400, "BadRequest")
    assert problem in refused["message"]


async def test_unknown_fields_are_dropped_warned_of_or_refused(api: Api) -> None:
    """As the client asks by fieldValidation; kubectl asks for Strict."""
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{**POD["containers"][0], "imagge": "y"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": SELECTOR, "template": template}, "foo": 1}
    path = api.path("apps/v1/deployments")
    status, refused = await api.send("POST", path + "?fieldValidation=Strict", body)
    assert (status, refused["reason"]) == (400, "BadRequest")
    for field in ('unknown field "spec.template.spec.containers[0].imagge"', 'unknown field "foo"'):
        assert field in refused["message"]
    status, created = await api.send("POST", path, body)
    assert status == 201
    assert "foo" not in created
    assert "imagge" not in created["spec"]["template"]["spec"]["containers"][0]
    warnings = api.headers.getall("Warning")
    assert any("imagge" in warning for warning in warnings)
    status, _ = await api.send("POST", path + "?fieldValidation=Ignore", {**body, "metadata": {"name": "e"}})
    assert (status, api.headers.getall("Warning", [])) == (201, [])


async def test_what_is_immutable_stays(api: Api) -> None:
    """A Secret's type, the data of what is marked immutable, a Deployment's selector, a Pod's spec."""
    await api.send("POST", api.path("secrets"), {"metadata": {"name": "s"}, "immutable": True, "data": {"a": "Yg=="}})
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "c"}, "immutable": True, "data": {"a": "b"}})
    spec = {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}
    await api.send("POST", api.path("apps/v1/deployments"), {"metadata": {"name": "d"}, "spec": spec})
    await api.send("POST", api.path("pods"), {"metadata": {"name": "p"}, "spec": POD})
    for plural, name, patch, field in (
        ("secrets", "s", {"type": "other"}, "type"),
        ("secrets", "s", {"data": {"a": "Yw=="}}, "data"),
        ("secrets", "s", {"immutable": False}, "immutable"),
        ("configmaps", "c", {"data": {"a": "c"}}, "data"),
        ("apps/v1/deployments", "d", {"spec": {"selector": {"matchLabels": {"b": "c"}}}}, "spec.selector"),
        ("pods", "p", {"spec": {"dnsPolicy": "Default"}}, "spec"),
        ("pods", "p", {"spec": {"nodeName": "n"}}, "spec"),
    ):
        status, refused = await api.send("PATCH", api.path(plural, name), patch, content_type=MERGE_PATCH)
        assert status == 422, (plural, patch, refused)
        assert field in [cause["field"] for cause in refused["details"]["causes"]]
    patch = {"spec": {"containers": [{**POD["containers"][0], "image": "other"}]}}
    status, changed = await api.send("PATCH", api.path("pods", "p"), patch, content_type=MERGE_PATCH)
    assert status == 422 or changed["spec"]["containers"][0]["image"] == "other"


async def test_the_status_of_a_workload_is_written_apart(api: Api) -> None:
    """The object's own path ignores a status, the status' path ignores the rest and counts no generation."""
    template = {"spec": {**POD, "restartPolicy": "Never"}}
    body = {"metadata": {"name": "j"}, "spec": {"suspend": True, "managedBy": "example.com/none", "template": template}}
    status, job = await api.send("POST", api.path("batch/v1/jobs"), {**body, "status": {"active": 5}})
    assert (status, job["status"]) == (201, {})
    path = api.path("batch/v1/jobs", "j", "status")
    patch = {"status": {"active": 2, "ready": 0, "startTime": "2026-01-01T00:00:00Z"}, "spec": {"parallelism": 9}}
    status, changed = await api.send("PATCH", path, patch, content_type=MERGE_PATCH)
    assert status == 200, changed
    assert changed["status"] == {"active": 2, "ready": 0, "startTime": "2026-01-01T00:00:00Z"}
    assert (changed["spec"]["parallelism"], changed["metadata"]["generation"]) == (1, 1)


async def test_replicas_are_read_and_set_through_scale(api: Api) -> None:
    """Scale shows what is wanted, what there is and the selector; setting it is a change of the spec."""
    spec = {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE, "paused": True}
    await api.send("POST", api.path("apps/v1/deployments"), {"metadata": {"name": "d"}, "spec": spec})
    path = api.path("apps/v1/deployments", "d", "scale")
    status, scale = await api.send("GET", path)
    assert (status, scale["kind"], scale["apiVersion"]) == (200, "Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]["selector"]) == ({}, "app=x")
    status, scale = await api.send("PATCH", path, {"spec": {"replicas": 2}}, content_type=MERGE_PATCH)
    assert (status, scale["spec"]) == (200, {"replicas": 2})
    scale["spec"]["replicas"] = 3
    scale["metadata"].pop("resourceVersion")
    status, scale = await api.send("PUT", path, scale)
    assert (status, scale["spec"]) == (200, {"replicas": 3})
    _, deployment = await api.send("GET", api.path("apps/v1/deployments", "d"))
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (3, 3)
    status, refused = await api.send("PATCH", path, {"spec": {"replicas": -1}}, content_type=MERGE_PATCH)
    assert (status, refused["details"]["causes"][0]["field"]) == (422, "spec.replicas")
    stale = {**scale, "metadata": {**scale["metadata"], "resourceVersion": "1"}}
    assert (await api.send("PUT", path, stale))[0] == 409
    assert (await api.send("GET", api.path("apps/v1/deployments", "none", "scale")))[0] == 404


async def test_a_pod_is_bound_once(api: Api) -> None:
    """Its node and a condition are set together; a second binding conflicts, and field selectors find it by node."""
    await api.send("POST", api.path("pods"), {"metadata": {"name": "p"}, "spec": POD})
    node = unique("node")
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}
    status, bound = await api.send("POST", api.path("pods", "p", "binding"), binding)
    assert (status, bound["status"]) == (201, "Success")
    _, pod = await api.send("GET", api.path("pods", "p"))
    assert pod["spec"]["nodeName"] == node
    assert [(found["type"], found["status"]) for found in pod["status"]["conditions"]] == [("PodScheduled", "True")]
    status, refused = await api.send("POST", api.path("pods", "p", "binding"), binding)
    assert (status, refused["reason"]) == (409, "Conflict")
    _, found = await api.send("GET", api.path("pods", namespace="") + f"?fieldSelector=spec.nodeName={node}")
    assert [item["metadata"]["name"] for item in found["items"]] == ["p"]
    other = {**binding, "metadata": {"name": "none"}}
    assert (await api.send("POST", api.path("pods", "none", "binding"), other))[0] == 404


async def test_events_are_the_same_in_both_groups(api: Api) -> None:
    """What is written through one is read through the other, under its names of the fields."""
    core, new = api.path("events"), api.path("events.k8s.io/v1/events")
    involved = {"kind": "Pod", "name": "x", "namespace": api.namespace}
    await api.send(
        "POST",
        core,
        {"metadata": {"name": "old"}, "involvedObject": involved, "message": "M", "reason": "R", "count": 2},
    )
    status, shown = await api.send("GET", f"{new}/old")
    assert (status, shown["apiVersion"]) == (200, "events.k8s.io/v1")
    assert (shown["regarding"], shown["note"], shown["deprecatedCount"]) == (involved, "M", 2)
    assert "message" not in shown
    body = {
        "metadata": {"name": "new"},
        "eventTime": "2026-01-01T00:00:00.500000Z",
        "regarding": involved,
        "reason": "R",
        "action": "A",
        "type": "Normal",
        "note": "N",
        "reportingController": "a/b",
        "reportingInstance": "c",
    }
    status, created = await api.send("POST", new, body)
    assert (status, created["note"], created["deprecatedSource"]) == (201, "N", {})
    status, shown = await api.send("GET", f"{core}/new")
    assert (shown["message"], shown["reportingComponent"], shown["involvedObject"]) == ("N", "a/b", involved)
    _, listed = await api.send("GET", f"{new}?limit=500")
    assert {item["metadata"]["name"] for item in listed["items"]} == {"old", "new"}
    assert {item.get("apiVersion", "events.k8s.io/v1") for item in listed["items"]} == {"events.k8s.io/v1"}


SHOWN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "built_in_rows.json").read_text())


@pytest.mark.parametrize("case", SHOWN, ids=[case["plural"].rpartition("/")[2] for case in SHOWN])
async def test_columns_are_those_of_kubectl(api: Api, case: dict[str, Any]) -> None:
    """Their names, types and priorities, and what stands in them, ages aside."""
    body = copy.deepcopy(case["body"])
    if "involvedObject" in body:
        body["involvedObject"]["namespace"] = api.namespace
    status, created = await api.send("POST", api.path(case["plural"]), {"metadata": {"name": "x"}, **body})
    assert status == 201, created
    _, table = await api.send("GET", api.path(case["plural"], "x"), Accept=TABLE)
    columns = table["columnDefinitions"]
    (row,) = table["rows"]
    cells = {column["name"]: cell for column, cell in zip(columns, row["cells"], strict=True)}
    for name in ("Age", "Last Seen", "First Seen", "Created At"):
        assert cells.pop(name, "0s")
    assert cells == case["cells"]
    special = [
        f"{column['name']}:{column['type']}{' wide' * column['priority']}"
        for column in columns
        if column["type"] != "string" or column["priority"]
    ]
    assert special == case["columns"]


DISCOVERY: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "built_in_discovery.json").read_text()
)
"""Entries of kube-apiserver 1.36.3 by group version; of subresources those that the local server has."""


@pytest.mark.parametrize("group_version", DISCOVERY)
async def test_kinds_are_discovered_with_their_names_and_verbs(api: Api, group_version: str) -> None:
    """Short names, categories, scope and subresources as of a real server, in the plain and the aggregated form."""
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    _, listed = await api.send("GET", root)
    found = {entry.pop("name"): entry for entry in listed["resources"]}
    for entry in found.values():
        entry.pop("storageVersionHash", None)
    expected = DISCOVERY[group_version]
    assert {name: found.get(name) for name in expected} == expected


def _pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


@pytest.mark.parametrize("tolerations", [[], [{"key": "own", "operator": "Exists"}]])
async def test_what_the_server_wrote_into_a_pod_comes_back_when_a_client_leaves_it_out(
    api: Api, tolerations: Any
) -> None:
    """So a manifest can be sent again: replaced, patched or applied, it changes nothing."""
    pods = api.path("pods")
    manifest = {"apiVersion": "v1", "kind": "Pod", **_pod(**({"tolerations": tolerations} if tolerations else {}))}
    sent, applied = ({**manifest, "metadata": {"name": name}} for name in ("sent", "applied"))
    revisions = set()
    for method, path, body, content_type in (
        ("POST", pods, sent, "application/json"),
        ("PUT", f"{pods}/sent", sent, "application/json"),
        ("PATCH", f"{pods}/sent", sent, STRATEGIC_PATCH),
        ("PATCH", f"{pods}/sent", sent, MERGE_PATCH),
        ("PATCH", f"{pods}/applied?fieldManager=one", applied, APPLY_PATCH),
        ("PATCH", f"{pods}/applied?fieldManager=one", applied, APPLY_PATCH),
    ):
        status, answer = await api.send(method, path, body, content_type=content_type)
        assert status in {200, 201}, answer
        revisions.add((answer["metadata"]["name"], answer["metadata"]["resourceVersion"]))
    assert len(revisions) == 2


async def test_tolerations_of_a_pod_are_only_added(api: Api) -> None:
    """How long one holds may change, nothing else of it."""
    pods, own = api.path("pods"), {"key": "own", "operator": "Exists", "effect": "NoExecute"}
    body = {"metadata": {"name": "a"}, **_pod(tolerations=[own])}
    status, created = await api.send("POST", pods, body)
    assert status == 201, created
    for tolerations, code in (
        ([], 422),
        ([{**own, "key": "other"}], 422),
        ([{**own, "tolerationSeconds": 5}], 200),
        ([own, {"key": "more", "operator": "Exists"}], 200),
    ):
        patch = {"spec": {"tolerations": tolerations}}
        status, answer = await api.send("PATCH", f"{pods}/a", patch, content_type=MERGE_PATCH)
        assert status == code, (tolerations, answer)
        if code == 422:
            assert [cause["field"] for cause in answer["details"]["causes"]] == ["spec.tolerations"]
