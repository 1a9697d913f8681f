"""kubectl, unmodified, as people type it: several versions against the local server, one against a real one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kubectls
from servers import Server, running

TARGETS = [
    ("local", kubectls.ENVIRONMENT),
    ("local", kubectls.NEWER),
    ("local", kubectls.MACHINE),
    ("kube", kubectls.ENVIRONMENT),
]
MANIFEST = """
apiVersion: kontinue.cloud/v1alpha1
kind: Execution
metadata:
  name: demo
  labels: {team: a}
spec:
  function: hello
  arguments: {name: world}
"""
WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  paused: true
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: one, image: "nginx:1", env: [{name: A, value: "1"}]}
      - {name: two, image: "busybox:1"}
"""


@pytest.fixture(scope="module", params=TARGETS, ids=["-".join(target) for target in TARGETS])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path, Path]]:
    """A server, a kubectl, and the home where it keeps what it has discovered."""
    kind, version = request.param
    program = kubectls.program(version)
    home = tmp_path_factory.mktemp("home")
    if kind == "kube":
        yield request.getfixturevalue("kube_server"), program, home
        return
    with running(kind, tmp_path_factory.mktemp(kind)) as found:
        yield found, program, home


@pytest.fixture(scope="module")
def server(target: tuple[Server, Path, Path]) -> Server:
    """The server of this target, for the fixtures that ask for one."""
    return target[0]


@dataclasses.dataclass(frozen=True)
class Kubectl:
    """Runs kubectl in a namespace of its own."""

    program: Path
    environment: dict[str, str]
    namespace: str

    async def run(self, *arguments: str, stdin: str = "", **variables: str) -> tuple[int, str]:
        """Return exit code and output; keywords become environment variables."""
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            env={**self.environment, **variables},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> str:
        """Return the output of a command that must succeed."""
        code, output = await self.run(*arguments, stdin=stdin, **variables)
        assert code == 0, output
        return output

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """Return the output of a command that must fail."""
        code, output = await self.run(*arguments, stdin=stdin)
        assert code == 1, output
        return output

    @contextlib.asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
        """Give the output of a command that goes on until it is killed."""
        process = await asyncio.create_subprocess_exec(
            self.program, *arguments, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(120):
                yield process.stdout
        finally:
            process.kill()
            await process.communicate()


@pytest.fixture
def kubectl(target: tuple[Server, Path, Path], namespace: str, tmp_path: Path) -> Kubectl:
    """A kubectl whose namespace is a new one."""
    server, program, home = target
    config = yaml.safe_load(server.kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return Kubectl(program, {**os.environ, "HOME": str(home), "KUBECONFIG": str(file)}, namespace)


async def test_create_apply_get_describe_label_and_delete(kubectl: Kubectl) -> None:
    """The everyday verbs work on our kinds, with short names and printer columns."""
    assert "demo created" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "demo unchanged" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "demo configured" in await kubectl("apply", "-f", "-", stdin=MANIFEST.replace("team: a", "team: b"))
    second = MANIFEST.replace("name: demo", "name: second")
    assert "second created" in await kubectl("create", "-f", "-", stdin=second)
    assert "AlreadyExists" in await kubectl.refused("create", "-f", "-", stdin=second)
    lines = (await kubectl("get", "kex", "-l", "team=b")).splitlines()
    assert lines[0].split()[:3] == ["NAME", "FUNCTION", "PHASE"]
    assert [line.split()[:2] for line in lines[1:]] == [["demo", "hello"]]
    assert "labeled" in await kubectl("label", "execution", "demo", "stage=prod")
    assert "annotated" in await kubectl("annotate", "execution", "demo", "example.com/note=x")
    assert "stage=prod" in await kubectl("describe", "kex", "demo")
    assert json.loads(await kubectl("get", "kex", "demo", "-o", "json"))["spec"]["function"] == "hello"
    assert "deleted" in await kubectl("delete", "kex", "demo", "second")
    assert "No resources found" in await kubectl("get", "kex")


async def test_a_malformed_execution_is_refused_with_field_and_remedy(kubectl: Kubectl) -> None:
    """Both validation on behalf of kubectl and the schema's name the field."""
    wrong = MANIFEST.replace("function:", "fonction:")
    assert "fonction" in await kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert "spec.function" in await kubectl.refused("apply", "--validate=false", "-f", "-", stdin=wrong)
    wrong = WORKLOAD.replace("image:", "imagge:")
    assert 'unknown field "spec.template.spec.containers[0].imagge"' in await kubectl.refused(
        "apply", "-f", "-", stdin=wrong
    )


async def test_patches_and_waits(kubectl: Kubectl) -> None:
    """Patching the status subresource moves the phase; wait sees conditions, jsonpaths and deletion."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    waiting = asyncio.create_task(
        kubectl("wait", "kex/demo", "--for=jsonpath={.status.phase}=Completed", "--timeout=60s")
    )
    condition = {"type": "Stopped", "status": "True", "reason": "Done", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = json.dumps({"status": {"phase": "Completed", "conditions": [condition]}})
    await kubectl("patch", "kex", "demo", "--subresource=status", "--type=merge", "-p", patch)
    assert "condition met" in await waiting
    assert "condition met" in await kubectl("wait", "kex/demo", "--for=condition=Stopped", "--timeout=60s")
    operations = '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'
    assert "patched" in await kubectl("patch", "kex", "demo", "--type=json", "-p", operations)
    output = await kubectl.refused("patch", "kex", "demo", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    assert "UnsupportedMediaType" in output or "unknown format" in output
    deleting = asyncio.create_task(kubectl("wait", "kex/demo", "--for=delete", "--timeout=60s"))
    await kubectl("delete", "kex", "demo")
    await deleting
    assert "NotFound" in await kubectl.refused("get", "kex", "demo")


async def test_get_w_shows_each_change(kubectl: Kubectl) -> None:
    """The watch prints the table's head once and a row per change."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    async with kubectl.started("get", "kex", "-w") as output:
        lines = [await output.readline() for _ in range(2)]
        patch = '{"status":{"phase":"Executing"}}'
        await kubectl("patch", "kex", "demo", "--subresource=status", "--type=merge", "-p", patch)
        lines.append(await output.readline())
    rows = [line.decode().split()[:3] for line in lines]
    assert rows[0] == ["NAME", "FUNCTION", "PHASE"]
    assert rows[2] == ["demo", "hello", "Executing"]


async def test_watch_only_shows_what_comes_and_nothing_that_is_there(kubectl: Kubectl) -> None:
    """The first row is the first change."""
    await kubectl("create", "-f", "-", stdin=MANIFEST.replace("name: demo", "name: earlier"))
    async with kubectl.started("get", "kex", "--watch-only", "--output-watch-events") as stream:
        output = asyncio.create_task(stream.readuntil(b"DELETED"))
        names = (f"later{number}" for number in itertools.count())
        while not output.done():  # kubectl does not say when its watch has begun
            later = MANIFEST.replace("name: demo", f"name: {next(names)}")
            await kubectl("create", "-f", "-", stdin=later)
            await kubectl("delete", "-f", "-", stdin=later)
            await asyncio.wait([output], timeout=0.1)
    # The watch may have begun between a create and its delete: then the first row is DELETED.
    header, *rows = (await output).decode().splitlines()
    assert header.split()[0] == "EVENT"
    assert [row.split()[0] for row in rows] in (["ADDED", "DELETED"], ["DELETED"])
    assert "earlier" not in "".join(rows)


async def test_apply_twice_keeps_the_resource_version(kubectl: Kubectl) -> None:
    """An apply of the same manifest writes nothing, on this side and on the server's."""
    version = "jsonpath={.metadata.resourceVersion}/{.metadata.generation}"
    for manifest, name, options in (
        (MANIFEST, "kex/demo", ()),
        (WORKLOAD, "deploy/web", ()),
        (MANIFEST.replace("demo", "server"), "kex/server", ("--server-side",)),
    ):
        await kubectl("apply", *options, "-f", "-", stdin=manifest)
        before = await kubectl("get", name, "-o", version)
        await kubectl("apply", *options, "-f", "-", stdin=manifest)
        assert await kubectl("get", name, "-o", version) == before
        await kubectl("apply", *options, "-f", "-", stdin=manifest.replace("labels: {", "labels: {changed: 'yes', "))
        assert await kubectl("get", name, "-o", version) != before


async def test_apply_changes_lists_of_built_in_kinds_by_their_keys(kubectl: Kubectl) -> None:
    """A container that the manifest drops goes, one that somebody else has added stays, order is the manifest's."""
    await kubectl("apply", "-f", "-", stdin=WORKLOAD)
    sidecar = '{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"s:1"}]}}}}'
    await kubectl("patch", "deploy", "web", "-p", sidecar)
    changed = WORKLOAD.replace('- {name: two, image: "busybox:1"}', "").replace("nginx:1", "nginx:2")
    assert "configured" in await kubectl("apply", "-f", "-", stdin=changed)
    names = "jsonpath={range .spec.template.spec.containers[*]}{.name}={.image} {end}"
    assert set((await kubectl("get", "deploy", "web", "-o", names)).split()) == {"one=nginx:2", "sidecar=s:1"}
    await kubectl("set", "image", "deploy/web", "one=nginx:3")
    await kubectl("set", "env", "deploy/web", "-c", "one", "A-", "B=2")
    first = "jsonpath={.spec.template.spec.containers[?(@.name=='one')]['image','env']}"
    assert await kubectl("get", "deploy", "web", "-o", first) == 'nginx:3 [{"name":"B","value":"2"}]'
    code, output = await kubectl.run("diff", "-f", "-", stdin=changed)
    assert (code, "-        image: nginx:3" in output or "image: nginx:3" in output) == (1, True)


async def test_every_form_of_output(kubectl: Kubectl) -> None:
    """Yaml and json give the object back, wide has more columns, name is for pipes; of one object and of a list."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    for arguments in (("kex", "demo"), ("kex",)):
        parsed = [
            yaml.safe_load(await kubectl("get", *arguments, "-o", "yaml")),
            json.loads(await kubectl("get", *arguments, "-o", "json")),
        ]
        objects = [found["items"][0] if found["kind"] == "List" else found for found in parsed]
        assert objects[0] == objects[1]
        assert (objects[0]["kind"], objects[0]["apiVersion"]) == ("Execution", "kontinue.cloud/v1alpha1")
        assert objects[0]["spec"]["arguments"] == {"name": "world"}
        narrow, wide = [(await kubectl("get", *arguments, *option)).splitlines() for option in ((), ("-o", "wide"))]
        assert narrow[0].split() == wide[0].split()[: len(narrow[0].split())]
        assert len(wide[0].split()) > len(narrow[0].split())
        assert wide[1].split()[:2] == ["demo", "hello"]
        assert await kubectl("get", *arguments, "-o", "name") == "execution.kontinue.cloud/demo\n"
    shown = await kubectl("get", "kex", "--show-labels")
    assert "team=a" in shown
    await kubectl("create", "-f", "-", stdin=MANIFEST.replace("name: demo", "name: another"))
    columns = await kubectl("get", "kex", "-o", "custom-columns=N:.metadata.name,F:.spec.function")
    assert columns.split() == ["N", "F", "another", "hello", "demo", "hello"]
    ordered = await kubectl("get", "kex", "--sort-by=.metadata.creationTimestamp", "-o", "name")
    assert len(ordered.split()) == 2


async def test_delete_all_deletes_one_namespace_and_waits_for_finalizers(kubectl: Kubectl) -> None:
    """Wait --for=delete returns once the last finalizer has gone, and not before."""
    held = MANIFEST.replace("name: demo", "name: held\n  finalizers: [example.com/hold]")
    for manifest in (MANIFEST, MANIFEST.replace("name: demo", "name: second"), held):
        await kubectl("create", "-f", "-", stdin=manifest)
    output = await kubectl("delete", "kex", "--all", "--wait=false")
    assert output.count("deleted") == 3
    assert await kubectl("get", "kex", "-o", "name") == "execution.kontinue.cloud/held\n"
    assert "timed out" in await kubectl.refused("wait", "kex/held", "--for=delete", "--timeout=1s")
    waiting = asyncio.create_task(kubectl("wait", "kex/held", "--for=delete", "--timeout=60s"))
    await kubectl("patch", "kex", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await waiting
    assert "No resources found" in await kubectl("get", "kex")
    await kubectl("wait", "kex", "--all", "--for=delete", "--timeout=5s")  # of what is gone already


@pytest.mark.parametrize(("cascade", "is_kept"), [("background", False), ("foreground", False), ("orphan", True)])
async def test_a_delete_cascades_as_asked(kubectl: Kubectl, api: Any, cascade: str, is_kept: bool) -> None:
    """What belongs to the object goes with it, or loses its owner."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    uid = await kubectl("get", "kex", "demo", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "kontinue.cloud/v1alpha1", "kind": "Execution", "name": "demo", "uid": uid}
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [owner]}}
    await kubectl("create", "-f", "-", stdin=json.dumps(child))
    await kubectl("delete", "kex", "demo", f"--cascade={cascade}", "--timeout=60s")
    path = api.path("configmaps", "child")
    wanted: Any = (lambda found: not found["metadata"].get("ownerReferences")) if is_kept else 404
    await api.eventually(path, wanted)


async def test_generators_create_built_in_kinds(kubectl: Kubectl) -> None:
    """They send protobuf; what they make is shown by get, get all and describe."""
    for arguments in (
        ("cm", "settings", "--from-literal=a=1"),
        ("secret", "generic", "login", "--from-literal=password=x"),
        ("sa", "robot"),
        ("job", "once", "--image=busybox", "--", "true"),
        ("cronjob", "often", "--image=busybox", "--schedule=0 0 1 1 *"),
        ("deployment", "web", "--image=nginx", "--replicas=0", "--port=80"),
        ("role", "reader", "--verb=get", "--resource=pods"),
        ("rolebinding", "reads", "--role=reader", "--serviceaccount=default:robot"),
        ("pdb", "budget", "--selector=app=web", "--min-available=1"),
    ):
        assert "created" in await kubectl("create", *arguments)
    assert await kubectl("get", "cm", "settings", "-o", "jsonpath={.data.a}") == "1"
    assert await kubectl("get", "secret", "login", "-o", "jsonpath={.data.password} {.type}") == "eA== Opaque"
    rows = (await kubectl("get", "deploy,cronjob", "--no-headers")).splitlines()
    assert [row.split()[:4] for row in rows if row] == [
        ["deployment.apps/web", "0/0", "0", "0"],
        ["cronjob.batch/often", "0", "0", "1"],
    ]
    names = (await kubectl("get", "all", "-o", "name")).split()
    assert {"deployment.apps/web", "job.batch/once", "cronjob.batch/often"} <= set(names)
    described = await kubectl("describe", "job", "once")
    assert "Backoff Limit" in described or "Completions" in described
    assert "nginx" in await kubectl("describe", "deploy", "web")
    await kubectl("label", "cm", "settings", "x=y")
    await kubectl("annotate", "deploy", "web", "example.com/x=y")
    assert "x=y" in await kubectl("get", "cm", "settings", "--show-labels", "--no-headers")
    assert "deleted" in await kubectl("delete", "job/once", "cronjob/often", "deploy/web")


async def test_a_deployment_is_scaled_and_a_rollout_waits_for_its_controller(kubectl: Kubectl) -> None:
    """Scale goes through the subresource; status of a rollout is what the object's status says."""
    await kubectl("apply", "-f", "-", stdin=WORKLOAD)
    assert "scaled" in await kubectl("scale", "deploy", "web", "--replicas=2")
    assert await kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert "xpected replicas" in await kubectl.refused("scale", "deploy", "web", "--replicas=3", "--current-replicas=1")
    assert "resumed" in await kubectl("rollout", "resume", "deploy/web")
    assert "restarted" in await kubectl("rollout", "restart", "deploy/web")


async def test_edit_with_an_editor(kubectl: Kubectl, tmp_path: Path) -> None:
    """What the editor saves is sent as a patch; an invalid change is offered again and then given up."""
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/team: a/team: edited/; s/image: nginx:1/image: nginx:9/' \"$1\"\n")
    editor.chmod(0o755)
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    await kubectl("create", "-f", "-", stdin=WORKLOAD)
    assert "edited" in await kubectl("edit", "kex", "demo", KUBE_EDITOR=str(editor))
    assert await kubectl("get", "kex", "demo", "-o", "jsonpath={.metadata.labels.team}") == "edited"
    assert "edited" in await kubectl("edit", "deploy", "web", KUBE_EDITOR=str(editor))
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert await kubectl("get", "deploy", "web", "-o", image) == "nginx:9"


async def test_replace_and_dry_runs(kubectl: Kubectl) -> None:
    """A replace puts the manifest in the object's place; a dry run on the server changes nothing."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    replaced = MANIFEST.replace("team: a", "team: r")
    assert "dry run" in await kubectl("replace", "--dry-run=server", "-f", "-", stdin=replaced)
    assert await kubectl("get", "kex", "demo", "-o", "jsonpath={.metadata.labels.team}") == "a"
    assert "replaced" in await kubectl("replace", "-f", "-", stdin=replaced)
    assert await kubectl("get", "kex", "demo", "-o", "jsonpath={.metadata.labels.team}") == "r"
    assert "dry run" in await kubectl("delete", "kex", "demo", "--dry-run=server")
    assert "demo" in await kubectl("get", "kex", "demo")
    config = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}'
    await kubectl("create", "-f", "-", stdin=config)
    await kubectl("replace", "-f", "-", stdin=config.replace('"1"', '"2"'))
    assert await kubectl("get", "cm", "c", "-o", "jsonpath={.data}") == '{"a":"2"}'
    assert "replaced" in await kubectl("replace", "--force", "-f", "-", stdin=config)


async def test_events_and_describe(kubectl: Kubectl) -> None:
    """Events of an object stand under it, and in lists of their own."""
    await kubectl("create", "-f", "-", stdin=MANIFEST)
    uid = await kubectl("get", "kex", "demo", "-o", "jsonpath={.metadata.uid}")
    involved = {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "name": "demo",
        "namespace": kubectl.namespace,
        "uid": uid,
    }
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "demo.1"},
        "involvedObject": involved,
        "reason": "Happened",
        "message": "something",
        "type": "Normal",
    }
    await kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert "Happened" in await kubectl("describe", "kex", "demo")
    assert "execution/demo" in await kubectl("get", "events")
    assert "something" in await kubectl("events", "--for=execution.kontinue.cloud/demo")
    assert "something" in await kubectl("get", "events.events.k8s.io", "-o", "jsonpath={.items[0].note}")


async def test_explain_knows_every_field(kubectl: Kubectl) -> None:
    """Of our kinds and of Kubernetes' own, with types and descriptions."""
    assert "retries" in await kubectl("explain", "execution.spec.retry")
    job = await kubectl("explain", "job.spec.backoffLimit")
    assert "FIELD: backoffLimit <integer>" in job
    assert "number of retries" in job
    assert "<[]Container> -required-" in await kubectl("explain", "deploy.spec.template.spec")
    assert "livenessProbe" in await kubectl("explain", "pods.spec.containers", "--recursive")
    assert "x-kubernetes-validations" in await kubectl("explain", "crd.spec.versions.schema.openAPIV3Schema")


async def test_who_am_i_and_what_may_i(kubectl: Kubectl) -> None:
    """An administrator may do everything."""
    assert "system:masters" in await kubectl("auth", "whoami")
    assert "yes" in await kubectl("auth", "can-i", "delete", "kex")
    assert "*.*" in await kubectl("auth", "can-i", "--list")


async def test_a_pod_is_run_and_has_no_log(kubectl: Kubectl) -> None:
    """Run sends JSON; a log that is not there is a clear error or nothing, never a crash."""
    assert "created" in await kubectl("run", "p", "--image=busybox", "--restart=Never")
    assert (await kubectl("get", "pod", "p", "--no-headers")).split()[:4] == ["p", "0/1", "Pending", "0"]
    code, output = await kubectl.run("logs", "p")
    assert code == 0 or "no log" in output
    assert 'pods "none" not found' in await kubectl.refused("logs", "none")
    assert "deleted" in await kubectl("delete", "pod", "p", "--now")


async def test_discovery(kubectl: Kubectl) -> None:
    """What kubectl lists of kinds and versions."""
    assert "kex" in await kubectl("api-resources", "--api-group=kontinue.cloud")
    rows = (await kubectl("api-resources", "--api-group=apps", "--no-headers")).splitlines()
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in [row.split() for row in rows]
    assert {"v1", "batch/v1", "kontinue.cloud/v1alpha1"} <= set((await kubectl("api-versions")).split())
    assert "executions.kontinue.cloud" in await kubectl("get", "crd")
    assert "Server Version" in await kubectl("version")
    assert "ok" in await kubectl("get", "--raw", "/readyz")


async def test_a_namespace_comes_and_goes(kubectl: Kubectl) -> None:
    """With what is in it."""
    name = f"{kubectl.namespace}-more"
    assert "created" in await kubectl("create", "ns", name)
    await kubectl("create", "-n", name, "-f", "-", stdin=MANIFEST)
    assert "Active" in await kubectl("get", "ns", name)
    await kubectl("label", "ns", name, "x=y")
    await kubectl("delete", "ns", name, "--timeout=30s")
    assert "NotFound" in await kubectl.refused("get", "kex", "-n", name, "demo")


async def test_leases_are_those_of_kubernetes_unless_the_group_is_named(kubectl: Kubectl) -> None:
    """As docs/leases.md says: ours go by their group, or by their short name."""
    ours = {"apiVersion": "konductor.io/v1", "metadata": {"name": "deploy"}}
    lease = ours | {"kind": "Lease", "spec": {"ttl": "10m"}}
    assert await kubectl("apply", "-f", "-", stdin=json.dumps(lease)) == "lease.konductor.io/deploy created\n"
    for plain in ("lease", "leases"):
        assert "No resources found" in await kubectl("get", plain)
    for named in ("leases.konductor.io", "lease.konductor.io", "kls"):
        assert await kubectl("get", named, "-o", "name") == "lease.konductor.io/deploy\n"
    asks = ours | {"kind": "LeaseRequest", "spec": {"lease": "deploy", "holder": "me"}}
    assert await kubectl("apply", "-f", "-", stdin=json.dumps(asks)) == "leaserequest.konductor.io/deploy created\n"
    assert "deleted" in await kubectl("delete", "leaserequest", "deploy")
