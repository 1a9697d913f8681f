"""What helm makes of the chart's values, and what a real API server says to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart
import kubectls
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker.options import parse_options

pytestmark = pytest.mark.slow

VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "not sharded": ("--set", "sharding=false"),
    "nothing in the cluster's scope": ("--set", "flowSchema.create=false"),
    "no probes": ("--set", "probes.enabled=false"),
    "no metrics": ("--set", "metrics.enabled=false"),
    "nothing listens": ("--set", "probes.enabled=false,metrics.enabled=false"),
    "one replica": ("--set", "replicas=1"),
    "an account of somebody else": ("--set", "serviceAccount.create=false,serviceAccount.name=mine,rbac.create=false"),
    "everything set": (
        *("--set", "group=shop,appDir=/srv,lease.durationSeconds=20,lease.renewSeconds=2.5,graceSeconds=60"),
        *("--set", "syncRunners=2,asyncRunners=3,maxInFlight=9,prune=false,takeOwnership=true,logLevel=debug"),
        *("--set-json", 'extraArgs=["--crash-budget","5"]'),
        *("--set", "env[0].name=A,env[0].value=b,imagePullSecrets[0].name=s"),
        *("--set", "podAnnotations.a=b,podLabels.a=b,nodeSelector.a=b,priorityClassName=high"),
        *("--set", "tolerations[0].key=a,volumes[0].name=v,volumes[0].emptyDir.medium=Memory"),
        *("--set", "volumeMounts[0].name=v,volumeMounts[0].mountPath=/v,fullnameOverride=" + "n" * 60),
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_server_takes_what_the_chart_renders(audited: Any, tmp_path: Path, variant: str) -> None:
    """A dry run on the server: schemas, defaults and validation, with no field unknown."""
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(chart.render(*VARIANTS[variant]).values()))
    command = [kubectls.program(kubectls.ENVIRONMENT), "--kubeconfig", audited.server.kubeconfig]
    command += ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", manifest]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("serverside-applied (server dry run)") == len(chart.render(*VARIANTS[variant]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_lint_finds_nothing(variant: str) -> None:
    """Neither errors nor warnings."""
    done = chart.helm("lint", "--strict", str(chart.FOLDER), *chart.REQUIRED, *VARIANTS[variant])
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_worker_understands_its_arguments(variant: str) -> None:
    """All of them, and they say what the values say."""
    rendered = chart.render(*VARIANTS[variant])
    arguments = chart.container(rendered)["args"]
    assert arguments[:2] == ["worker", "run"]
    options = parse_options(arguments[2:])
    assert (options.app, options.shard) == ("app:app", "$(KONTINUE_POD_NAME)")
    assert options.namespace == "$(KONTINUE_POD_NAMESPACE)"
    assert options.sharding == (variant != "not sharded")
    assert (options.health is None) == (variant in {"no probes", "nothing listens"})
    assert (options.metrics is None) == (variant in {"no metrics", "nothing listens"})
    if variant == "everything set":
        assert (options.group, options.app_dir) == ("shop", "/srv")
        assert options.lease == LeaseTimes(duration_s=20, renew_s=2.5)
        assert (options.sync_runners, options.async_runners, options.max_in_flight) == (2, 3, 9)
        assert (options.prune, options.take_ownership, options.crash_budget) == (False, True, 5)
    spec = rendered["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > options.grace_s


def test_prometheus_finds_each_pod_by_annotations_or_by_its_operator() -> None:
    """Never by both: each Execution would be counted twice."""
    rendered = chart.render()
    template = rendered["StatefulSet"]["spec"]["template"]
    port = {"name": "metrics", "containerPort": 8080}
    assert port in chart.container(rendered)["ports"]
    wanted = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}
    assert template["metadata"]["annotations"] == wanted
    rendered = chart.render("--set", "metrics.podMonitor.create=true,metrics.podMonitor.labels.release=prometheus")
    template = rendered["StatefulSet"]["spec"]["template"]
    assert "annotations" not in template["metadata"]
    monitor = rendered["PodMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "30s"}]


def test_the_default_is_a_group_that_survives_the_loss_of_a_node() -> None:
    """Two replicas on different nodes, that are stopped one at a time, and run without rights on the machine."""
    rendered = chart.render()
    spec = rendered["StatefulSet"]["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (2, "Parallel")
    assert rendered["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    pod = spec["template"]["spec"]
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert chart.container(rendered)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("variant", "missing"),
    [
        ("nothing in the cluster's scope", {"FlowSchema"}),
        ("one replica", {"PodDisruptionBudget"}),
        ("an account of somebody else", {"ServiceAccount", "Role", "RoleBinding"}),
    ],
)
def test_what_is_switched_off_is_not_there(variant: str, missing: set[str]) -> None:
    """And nothing else is missing."""
    assert chart.render().keys() - chart.render(*VARIANTS[variant]).keys() == missing


def test_only_the_flow_schema_is_outside_of_the_namespace() -> None:
    """Whoever may write to one namespace only can install the rest."""
    rendered = chart.render(namespace="apart")
    outside = {kind for kind, one in rendered.items() if one["metadata"].get("namespace") != "apart"}
    assert outside == {"FlowSchema"}


def test_a_group_whose_functions_use_no_primitives_needs_no_rights_on_them() -> None:
    """All its other rights stay as they are."""
    whole = chart.render()["Role"]["rules"]
    left = chart.render("--set", "primitives.enabled=false")["Role"]["rules"]
    assert left == [one for one in whole if one["apiGroups"] != ["konductor.io"]]
    assert len(left) < len(whole)


def test_pods_are_not_replaced_because_the_chart_has_another_version() -> None:
    """Their labels and annotations say nothing of it."""
    template = chart.render()["StatefulSet"]["spec"]["template"]
    version = yaml.safe_load((chart.FOLDER / "Chart.yaml").read_text())["version"]
    assert version not in yaml.safe_dump(template)


@pytest.mark.parametrize(
    "options",
    [
        "image=registry.example:5000/shop/worker:v1.2@sha256:0123456789abcdef",
        "updateStrategy.type=OnDelete",
        "tmpSizeLimit=1.5Gi,resources.limits.memory=256Mi,resources.limits.cpu=1500m",
        "tmpSizeLimit=1048576,resources.limits.memory=1073741824,resources.requests.cpu=0.5",
        "resources.limits.memory=1e9",
        "resources.limits.memory=null",
        "resources.limits=null",
        "resources=null",
    ],
)
def test_other_ways_to_write_values_are_taken(options: str) -> None:
    """As Kubernetes takes them."""
    chart.render("--set", options)


def test_a_number_of_bytes_in_a_values_file_is_one(tmp_path: Path) -> None:
    """Its parser makes a fraction of it."""
    values = tmp_path / "values.yaml"
    values.write_text("tmpSizeLimit: 1048576\nresources:\n  limits:\n    memory: 1073741824\n")
    chart.render("--values", str(values))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--set", "app=a:b"), "image is required: build one with kontinue and your code"),
        (("--set", "image=x"), "app is required: where your App is, as MODULE:ATTRIBUTE"),
        (("--set", "image=x,app=shop/jobs"), "at '/app': 'shop/jobs' does not match pattern"),
        (("--set", "image=x,app=a:b,replica=3"), "additional properties 'replica' not allowed"),
        (("--set", "image=x,app=a:b,group=A.B"), "at '/group': 'A.B' does not match pattern"),
        (("--set", "image=x,app=a:b,lease.renewSeconds=18"), "lease.renewSeconds 18 is too long for"),
        (("--set", "image=x,app=a:b,serviceAccount.create=false"), "serviceAccount.name is required when"),
        (("--set", "image=a b,app=a:b"), "at '/image': 'a b' does not match pattern"),
        (("--set", "image=x,app=a:b,updateStrategy.type=Recreate"), "at '/updateStrategy/type': value must be one of"),
        (("--set", "image=x,app=a:b,tmpSizeLimit=1GB"), "at '/tmpSizeLimit': '1GB' does not match pattern"),
        (("--set", "image=x,app=a:b,resources.limits.memory=lots"), "'lots' does not match pattern"),
        (("--set", "image=x,app=a:b,resources.limits.memory=128Mi"), "resources.limits.memory 128Mi is too little: a"),
        (("--set", "image=x,app=a:b,resources.limits.memory=1e8"), "resources.limits.memory 1e8 is too little: a"),
        (("--set", "image=x,app=a:b,resources.limits.memory=200000000"), "resources.limits.memory 200000000 is too"),
        (("--set", "image=x,app=a:b,probes.port=80"), "at '/probes/port': minimum: got 80, want 1,024"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_reason(options: tuple[str, ...], says: str) -> None:
    """By helm, before anything reaches the cluster."""
    done = chart.template(*options)
    assert done.returncode != 0
    assert says in done.stderr
