"""``kontinue install`` and ``kontinue manifest`` against a server: what is there afterwards, and what kubectl takes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import kubectls
from accounts import kubeconfig_of
from api import PATIENCE_S, execution, unique
from kontinue.api.rights import INSTALLED, RULES, rights
from kontinue.errors import Conflict, Invalid, NotFound
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue_engine.apiserver.registry import load_crds

pytestmark = pytest.mark.slow

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{}.kontinue-worker"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"


async def run(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end, while the server answers on our loop."""
    return await asyncio.to_thread(
        subprocess.run, words, input=stdin, capture_output=True, text=True, timeout=90, check=False
    )


async def kontinue(kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    program = Path(sys.executable).parent / "kontinue"
    where = ("--kubeconfig", kubeconfig) if words[0] == "install" else ()  # a manifest asks no server
    return await run(program, *words[:1], *where, *words[1:])


async def read(transport: KubeTransport, path: str) -> Any:
    """Return what the server has there."""
    return msgspec.json.decode(await transport.send(requests.Request("GET", path)))


async def test_roles_are_created_once_and_kinds_that_are_current_are_left_alone(api_server: Any) -> None:
    """The second time nothing changes; the roles say what they are said to."""
    first = await kontinue(api_server.kubeconfig, "install")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in lines if line.startswith("custom")] == ["unchanged"] * len(load_crds())
    assert "role/kontinue-worker created" in lines
    assert "rolebinding/kontinue-worker created" in lines
    assert "serviceaccount/kontinue-worker created" in lines
    second = await kontinue(api_server.kubeconfig, "install")
    assert {line.rpartition(" ")[2] for line in second.stdout.splitlines()} == {"unchanged"}
    transport = api_server.transport()
    try:
        found = await read(transport, ROLES.format(api_server.namespace))
        with contextlib.suppress(NotFound):  # the local server has no flows; a real one keeps them beyond the test
            await transport.send(requests.Request("DELETE", FLOW.format(api_server.namespace)))
    finally:
        await transport.close()
    granted = {
        one["metadata"]["name"]: {
            (group, resource, verb)
            for rule in one["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for one in found["items"]
    }
    wanted = {
        role.object_name: {(right.group, right.resource, right.verb) for right in rights(RULES[role])}
        for role in INSTALLED
    }
    assert granted == wanted


async def test_another_namespace_is_created_with_the_roles_that_are_asked_for(api_server: Any) -> None:
    """And with no others."""
    namespace = f"{api_server.namespace}-more"
    done = await kontinue(api_server.kubeconfig, "install", "-n", namespace, "--roles", "client")
    assert done.returncode == 0, done.stderr
    assert f"namespace/{namespace} created" in done.stdout
    transport = api_server.transport()
    try:
        found = await read(transport, ROLES.format(namespace))
        await transport.send(requests.delete(requests.NAMESPACES, "", namespace))
    finally:
        await transport.close()
    assert [one["metadata"]["name"] for one in found["items"]] == ["kontinue-client"]


async def test_a_coordinator_gets_its_account_and_its_role_where_one_is_to_run(api_server: Any) -> None:
    """Not otherwise: it may delete WaitGroups."""
    done = await kontinue(api_server.kubeconfig, "install", "--roles", "coordinator")
    assert done.returncode == 0, done.stderr
    names = ("serviceaccount", "role", "rolebinding")
    assert done.stdout.splitlines()[-3:] == [f"{name}/kontinue-coordinator created" for name in names]
    transport = api_server.transport()
    try:
        found = await read(transport, f"{BINDINGS.format(api_server.namespace)}/kontinue-coordinator")
    finally:
        await transport.close()
    assert [(one["kind"], one["name"]) for one in found["subjects"]] == [("ServiceAccount", "kontinue-coordinator")]
    assert (found["roleRef"]["kind"], found["roleRef"]["name"]) == ("Role", "kontinue-coordinator")


async def test_kubectl_takes_what_is_printed(api_server: Any, server_kind: str) -> None:
    """Dry runs on the server, with strict validation, of the kinds, the roles and a worker group."""
    kubectl = kubectls.program(kubectls.ENVIRONMENT)
    apply = (
        kubectl,
        "--kubeconfig",
        api_server.kubeconfig,
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    )
    printed = await kontinue(api_server.kubeconfig, "install", "--dry-run", "-n", api_server.namespace)
    objects = list(yaml.safe_load_all(printed.stdout))
    assert {one["kind"] for one in objects} >= {"CustomResourceDefinition", "Role", "FlowSchema"}
    if server_kind == "local":  # it sorts no requests into flows
        objects = [one for one in objects if one["kind"] != "FlowSchema"]
    done = await run(*apply, "--server-side", "--force-conflicts", stdin=yaml.safe_dump_all(objects))
    assert done.returncode == 0, done.stderr
    for options in ((), ("-n", api_server.namespace), ("--memory", "300Mi")):
        words = ("manifest", "shop.jobs:app", "--image", "registry.example/shop:1", "--env", "A=b=c", *options)
        printed = await kontinue(api_server.kubeconfig, *words, "--", "--crash-budget", "5")
        assert printed.returncode == 0, printed.stderr
        done = await run(*apply, stdin=printed.stdout)
        assert (done.returncode, done.stdout.count("created (server dry run)")) == (0, 3), done.stderr


async def test_older_kinds_are_updated_and_newer_ones_only_if_told(restartable_server: Any) -> None:
    """What is stored stays; a refusal names the field that would be lost."""
    await asyncio.to_thread(restartable_server.start)
    transport = KubeTransport(load_config(kubeconfig=restartable_server.kubeconfig), user_agent="tests")
    path = requests.EXECUTIONS.path("default")

    def fields_of(crd: Any) -> Any:
        spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        return spec["properties"]["timeout"]["properties"]

    async def edit_fields(change: Any) -> None:
        while True:
            crd = await read(transport, requests.CRDS.path("", "executions.kontinue.cloud"))
            change(fields_of(crd))
            with contextlib.suppress(Conflict):  # the server writes the status of a kind, too
                await transport.send(requests.replace(requests.CRDS, "", "executions.kontinue.cloud", crd))
                return

    async def field_names() -> set[str]:
        return set(fields_of(await read(transport, requests.CRDS.path("", "executions.kontinue.cloud"))))

    try:
        await transport.send(requests.create(requests.EXECUTIONS, "default", execution("kept", spec={"function": "f"})))
        await edit_fields(lambda fields: (fields.pop("overall"), fields["attempt"].update(maxLength=3)))
        done = await kontinue(restartable_server.kubeconfig, "install", "--roles", "")
        assert (done.returncode, "executions.kontinue.cloud configured" in done.stdout) == (0, True), done.stderr
        assert "overall" in await field_names()
        timeout = {"function": "f", "timeout": {"attempt": "10m30s"}}  # longer than the older kind allowed
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(Invalid):  # a real server judges by the new kind a little later
                    create = requests.create(requests.EXECUTIONS, "default", execution("fits", spec=timeout))
                    await transport.send(create)
                    break
                await asyncio.sleep(0.05)

        await edit_fields(lambda fields: fields.update(queued={"type": "integer"}))
        refused = await kontinue(restartable_server.kubeconfig, "install", "--roles", "")
        assert refused.returncode == 1
        assert "is of a newer kontinue than this one: it has also spec.timeout.queued" in refused.stderr
        assert "queued" in await field_names()

        done = await kontinue(restartable_server.kubeconfig, "install", "--roles", "", "--allow-downgrade")
        assert done.returncode == 0, done.stderr
        assert "queued" not in await field_names()
        assert (await read(transport, f"{path}/kept"))["spec"]["function"] == "f"
    finally:
        await transport.close()


async def test_who_may_only_grant_rights_in_a_namespace_installs_its_roles(kube_server: Any, tmp_path: Path) -> None:
    """Kinds, flows and the namespace itself are left to an administrator; who may do nothing is told to ask one."""
    namespace = unique("install")
    kube_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    nobody = kubeconfig_of(kube_server, namespace, "nobody", tmp_path)
    refused = await kontinue(nobody, "install")
    assert refused.returncode == 1
    assert 'cannot get resource "serviceaccounts"' in refused.stderr
    assert f"kontinue install --dry-run -n {namespace} | kubectl apply" in refused.stderr
    grants = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]}
    accounts = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "create", "patch"]}
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    kube_server.request("POST", f"{path}/roles", {"metadata": {"name": "granter"}, "rules": [grants, accounts]})
    subject = {"kind": "ServiceAccount", "name": "granter", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "granter"}
    body = {"metadata": {"name": "granter"}, "roleRef": role, "subjects": [subject]}
    kube_server.request("POST", f"{path}/rolebindings", body)
    granter = kubeconfig_of(kube_server, namespace, "granter", tmp_path)
    async with asyncio.timeout(PATIENCE_S):
        while (done := await kontinue(granter, "install")).returncode != 0:  # a real server grants a little later
            assert "cannot" in done.stderr
    assert "role/kontinue-worker created" in done.stdout
    assert "kinds are left as they are" in done.stderr
    assert f"flowschema/{namespace}.kontinue-worker is left out" in done.stderr
    kube_server.leave(namespace)
