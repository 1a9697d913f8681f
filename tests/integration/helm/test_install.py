"""An installation by helm into a real cluster, as far as one without nodes goes: its pods are created, and wait."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest

import chart
from api import Api

RELEASE = "shop"
PODS = [f"{RELEASE}-kontinue-worker-{number}" for number in range(3)]
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}

pytestmark = pytest.mark.slow


@pytest.fixture
async def api(audited: Any) -> AsyncIterator[Api]:
    """A client of a namespace that takes only pods with the least rights."""
    server, namespace = audited.server, chart.new_namespace()
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": RESTRICTED}})
    one = Api(server.url, server.token, namespace=namespace, ca_file=server.ca_file)
    yield one
    await one.close()


async def test_install_upgrade_and_uninstall(audited: Any, api: Api) -> None:
    """The pods that its values ask for appear under the strictest policy of Kubernetes; at the end nothing is left."""

    def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
        place = ("--kubeconfig", str(audited.server.kubeconfig), "--namespace", api.namespace)
        done = chart.helm(*arguments, *place)
        assert (done.returncode, done.stderr) == (0, "")
        return done

    async def pods_are(names: list[str]) -> None:
        await api.eventually(
            api.path("pods"),
            lambda found: sorted(pod["metadata"]["name"] for pod in found["items"]) == names,
        )

    notes = helm("install", RELEASE, str(chart.FOLDER), *chart.REQUIRED).stdout
    assert f"rollout status statefulset/{RELEASE}-kontinue-worker" in notes
    assert "kubectl apply --server-side -f crds/" not in notes
    await pods_are(PODS[:2])
    helm("upgrade", RELEASE, str(chart.FOLDER), "--reuse-values", "--set", "replicas=3")
    await pods_are(PODS)
    budget = await api.eventually(
        api.path("policy/v1/poddisruptionbudgets", f"{RELEASE}-kontinue-worker"),
        lambda found: found.get("status", {}).get("expectedPods") == 3,
    )
    assert budget["spec"]["maxUnavailable"] == 1
    helm("uninstall", RELEASE)
    for plural in ("rbac.authorization.k8s.io/v1/roles", "rbac.authorization.k8s.io/v1/rolebindings", "services"):
        await api.eventually(api.path(plural), lambda found: not found["items"])
    flow_schema = f"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{api.namespace}.{RELEASE}-kontinue-worker"
    await api.eventually(flow_schema, 404)
