"""``kontinue doctor`` against a server: what it finds there, and what it says with few rights or no server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from accounts import kubeconfig_of
from api import PATIENCE_S, Api, execution, unique
from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.rights import Role
from kontinue_engine.cli.deployment.rights import role_objects

pytestmark = pytest.mark.slow

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SCHEDULES = "kontinue.cloud/v1alpha1/scheduledexecutions"


async def doctor(kubeconfig: Path, *words: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return its exit code, and what it finds by check."""
    program = Path(sys.executable).parent / "kontinue"
    done = await asyncio.to_thread(
        subprocess.run,
        [program, "doctor", "--kubeconfig", kubeconfig, "-o", "json", *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return done.returncode, found


async def test_what_is_wrong_in_a_namespace_is_found(api_server: Any) -> None:
    """Executions and schedules of nobody's functions, one that is blocked and one that is too large."""
    code, found = await doctor(api_server.kubeconfig)
    assert code == 0, found
    assert {finding["severity"] for finding in found["kinds"] + found["rights"]} == {"ok"}

    api = Api(api_server.url, api_server.token, namespace=api_server.namespace, ca_file=api_server.ca_file)
    try:
        large = execution("large", spec={"function": "gone", "arguments": {"text": "x" * 200_000}})
        assert (await api.send("POST", api.path(EXECUTIONS), large))[0] == 201
        status = {"phase": "Suspended", "result": "x" * 500_000, "message": "y" * 400_000}
        patch = {"status": status}
        path = api.path(EXECUTIONS, "large", "status")
        answer = await api.send("PATCH", path, patch, content_type="application/merge-patch+json")
        assert answer[0] == 200, answer
        blocked = execution("blocked", spec={"function": "gone"})
        assert (await api.send("POST", api.path(EXECUTIONS), blocked))[0] == 201
        path = api.path(EXECUTIONS, "blocked", "status")
        patch = {"status": {"phase": "Blocked", "message": "the code does something else"}}
        assert (await api.send("PATCH", path, patch, content_type="application/merge-patch+json"))[0] == 200
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "ScheduledExecution",
            "metadata": {"name": "nightly"},
            "spec": {"schedule": "0 3 * * *", "timeZone": "Mars/Olympus", "function": "gone"},
        }
        assert (await api.send("POST", api.path(SCHEDULES), body))[0] == 201
    finally:
        await api.close()
    code, found = await doctor(api_server.kubeconfig, "-q")
    assert code == 1
    assert sorted((finding["object"], finding["severity"]) for finding in found["executions"]) == [
        ("executions/blocked", "error"),
        ("executions/large", "warning"),
    ]
    (schedule,) = found["schedules"]
    assert "Mars/Olympus" in schedule["what"]
    assert "kinds" not in found  # -q: nothing is wrong with them


async def test_somebody_without_rights_is_told_what_is_missing(kube_server: Any, tmp_path: Path) -> None:
    """And no check fails because of it."""
    namespace = unique("doctor")
    kube_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    code, found = await doctor(kubeconfig_of(kube_server, namespace, "nobody", tmp_path))
    assert code == 1
    (lacking,) = found["rights"]
    assert "nobody cannot work as client: may not" in lacking["what"]
    assert "functions.kontinue.cloud" in lacking["what"]
    unread = {check for check, findings in found.items() if any("could not be" in one["what"] for one in findings)}
    assert unread == {
        *("kinds", "functions", "executions", "leases", "suspensions", "scheduledexecutions", "archives", "pods"),
        *("waitgroups", "mutexes", "rwmutexes", "onces", "semaphores", "barriers", "gates"),
    }
    kube_server.leave(namespace)


async def test_counts_that_need_a_coordinator_are_found_while_there_is_none(kube_server: Any, tmp_path: Path) -> None:
    """By a client's rights, who sees no Leases of other namespaces; what keeps one here ends it."""
    namespace = unique("doctor")
    kube_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    kubeconfig = kubeconfig_of(kube_server, namespace, "ada", tmp_path)
    (role,) = role_objects(Role.CLIENT, namespace, {})
    kube_server.request("POST", f"{RBAC}/namespaces/{namespace}/roles", role)
    subjects = [{"kind": "ServiceAccount", "name": "ada", "namespace": namespace}]
    bound = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]}
    binding = {"metadata": {"name": "ada"}, "roleRef": bound, "subjects": subjects}
    kube_server.request("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
    groups = f"/apis/{group.API_VERSION}/namespaces/{namespace}/waitgroups"
    body = {"apiVersion": group.API_VERSION, "kind": "WaitGroup", "metadata": {"name": "jobs"}}
    created = kube_server.request("POST", groups, body)
    holders = [{"kind": "Pod", "name": "worker-0", "uid": "u", "count": 3}]
    status = {"counter": 3, "phase": "Waiting", "added": 3, "holders": holders}
    kube_server.request("PUT", f"{groups}/jobs/status", {**created, "status": status})
    async with asyncio.timeout(PATIENCE_S):  # the authorizer learns of the Role by a watch
        while (seen := await doctor(kubeconfig))[1]["rights"][0]["severity"] != "ok":
            pass
    (found,) = seen[1]["waitgroups"]
    assert (found["severity"], found["object"]) == ("warning", "waitgroups/jobs")
    assert "1 holder with 3 of its counter" in found["what"]
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {"holderIdentity": "c-0", "leaseDurationSeconds": 3600, "acquireTime": now, "renewTime": now}
    meta = {"name": "kontinue-coordinator", "labels": {labels.COORDINATOR: group.GROUP}}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    kube_server.request("POST", leases, {"metadata": meta, "spec": spec})
    (found,) = (await doctor(kubeconfig))[1]["waitgroups"]
    assert (found["severity"], namespace in found["what"]) == ("ok", True)
    kube_server.leave(namespace)


async def test_without_a_server_it_says_what_was_tried(tmp_path: Path) -> None:
    """As a finding, like anything else."""
    kubeconfig = tmp_path / "config"
    cluster = {"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}
    user = {"name": "x", "user": {"token": "x"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    document = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
    kubeconfig.write_text(json.dumps(document))
    code, found = await doctor(kubeconfig)
    assert (code, list(found)) == (1, ["server"])
    assert "http://127.0.0.1:9" in found["server"][0]["what"]
    assert "kontinue dev" in found["server"][0]["remedy"]


async def test_credentials_that_are_not_accepted_are_told_as_such(api_server: Any, tmp_path: Path) -> None:
    """And not as a server that is away."""
    document = yaml.safe_load(api_server.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "stale"}
    for cluster in document["clusters"]:
        address = urlsplit(cluster["cluster"]["server"])
        cluster["cluster"]["server"] = f"{address.scheme}://{address.netloc}"  # a local server's path is a token
    kubeconfig = tmp_path / "stale"
    kubeconfig.write_text(yaml.safe_dump(document))
    code, found = await doctor(kubeconfig)
    assert (code, list(found)) == (1, ["server"])
    assert "log in again" in found["server"][0]["remedy"]
