"""``kontinue manifest`` and ``kontinue install`` say the same as the chart with the same values."""

from __future__ import annotations

from typing import Any

import pytest

import chart
from kontinue.api.rights import RULES, Role, rights
from kontinue_engine.cli.deployment.rights import WORKER_ACCOUNT, flow_schema, role_objects
from kontinue_engine.cli.deployment.workload import Workload, objects
from kontinue_engine.worker.options import parse_options

pytestmark = pytest.mark.slow

NAME = "shop"
OWN_RIGHTS = (
    f"serviceAccount.create=false,serviceAccount.name={WORKER_ACCOUNT},rbac.create=false,flowSchema.create=false"
)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "defaults": ("replicas=2", {}),
    "one replica that is not sharded": ("replicas=1,sharding=false", {"replicas": 1, "sharding": False}),
    "little memory": ("resources.limits.memory=300Mi", {"memory": "300Mi"}),
    "everything set": (
        (
            "group=g,appDir=/srv,graceSeconds=60,resources.requests.cpu=2,resources.limits.memory=3Gi,env[0].name=A,"
            "env[0].value=b,imagePullSecrets[0].name=s,syncRunners=2,prune=false,logLevel=debug"
        ),
        {
            "group": "g",
            "app_dir": "/srv",
            "grace_s": 60,
            "cpu": "2",
            "memory": "3Gi",
            "env": {"A": "b"},
            "pull_secrets": ["s"],
            "extra_args": ["--sync-runners", "2", "--no-prune", "--log-level", "debug"],
        },
    ),
}


def comparable(one: dict[str, Any]) -> dict[str, Any]:
    """Return an object without who made it, and with the worker's arguments as what they mean."""
    ours = {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
    named = one["metadata"]["labels"]
    metadata = {**one["metadata"], "labels": {key: value for key, value in named.items() if key not in ours}}
    found = {**one, "metadata": metadata}
    if one["kind"] == "StatefulSet":
        (container,) = one["spec"]["template"]["spec"].pop("containers")
        found["worker"] = parse_options(container.pop("args")[2:])
        requests = container["resources"]["requests"]
        found["container"] = {**container, "requested": str(requests.pop("cpu"))}
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_manifest_equals_the_chart_whose_rights_come_from_elsewhere(variant: str) -> None:
    """Service, budget and StatefulSet, to the last field."""
    values, options = VARIANTS[variant]
    rendered = chart.render("--set", f"{OWN_RIGHTS},fullnameOverride={NAME},{values}", release=NAME)
    workload = Workload(app="app:app", image="registry.example/shop:1", name=NAME, namespace="default", **options)
    ours = {one["kind"]: comparable(one) for one in objects(workload)}
    assert ours == {kind: comparable(one) for kind, one in rendered.items()}


def test_workers_get_the_rights_of_the_charts_role() -> None:
    """And their Leases the same flow."""
    rendered = chart.render("--set", f"fullnameOverride={WORKER_ACCOUNT}", namespace="shop")
    of_chart = {
        (group, resource, verb)
        for rule in rendered["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {(one.group, one.resource, one.verb) for one in rights(RULES[Role.WORKER])} == of_chart
    assert flow_schema("shop", {})["spec"] == rendered["FlowSchema"]["spec"]
    assert flow_schema("shop", {})["metadata"]["name"] == rendered["FlowSchema"]["metadata"]["name"]
    binding = next(one for one in role_objects(Role.WORKER, "shop", {}) if one["kind"] == "RoleBinding")
    assert binding["subjects"] == rendered["RoleBinding"]["subjects"]
    assert binding["roleRef"] == rendered["RoleBinding"]["roleRef"]
