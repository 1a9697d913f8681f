"""A worker group lives with the rights of the chart's Role and no others, and needs each of them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart
import job_answers
import kube
import service_accounts
from api import MERGE_PATCH, Api, execution
from api_server import kubeconfig_for
from kontinue import Retention
from kontinue.api import labels
from kontinue.api.konductor.child_names import child_name
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from looked_after import World
from ports import free_port
from service_accounts import granted

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs" / "deploying.md"
YAML_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
SOON = timedelta(seconds=40)
VALUES = (
    *("--set", f"app=group_app:app,appDir={HERE},syncRunners=1,graceSeconds=1"),
    *("--set", "lease.durationSeconds=7,lease.renewSeconds=1"),
)
pytestmark = pytest.mark.slow


class Group:
    """A worker group of two pods, whose service account has the chart's Role.

    Attributes:
        audited: the control plane.
        api: an administrator's client, in the group's namespace.
        client: kontinue's client of the same.
        pods: the replicas.
        user: the service account, as a user of the API server.
        rendered: the chart's objects.
    """

    def __init__(self, audited: Any, api: Api, client: Client, folder: Path) -> None:
        self.audited = audited
        self.api = api
        self.client = client
        self.pods: list[chart.Pod] = []
        self.port = free_port()
        self.rendered = self.render("first")
        account = self.rendered["ServiceAccount"]["metadata"]["name"]
        self.user = f"system:serviceaccount:{api.namespace}:{account}"
        self.folder = folder
        self.token = ""

    def render(self, release: str) -> dict[str, dict[str, Any]]:
        """Render the chart for a release of the app."""
        env = ["--set", "env[0].name=RELEASE,env[1].name=KONTINUE_BUILD"]
        env += ["--set-string", f"env[0].value={release},env[1].value={release}"]
        env += ["--set", f"probes.port={self.port}"]
        return chart.render(*VALUES, *env, namespace=self.api.namespace)

    async def install(self) -> None:
        """Create everything but the StatefulSet, which nobody here could run."""
        paths = {
            "ServiceAccount": "serviceaccounts",
            "Role": "rbac.authorization.k8s.io/v1/roles",
            "RoleBinding": "rbac.authorization.k8s.io/v1/rolebindings",
            "FlowSchema": "flowcontrol.apiserver.k8s.io/v1/flowschemas",
        }
        for kind, plural in paths.items():
            path = self.api.path(plural, namespace="" if kind == "FlowSchema" else None)
            status, answer = await self.api.send("POST", path, self.rendered[kind])
            assert status == 201, answer
        self.token, kubeconfig = await self.log_in(self.rendered["ServiceAccount"]["metadata"]["name"])
        self.pods = [chart.Pod(self.folder, self.rendered, number, kubeconfig) for number in range(2)]

    async def log_in(self, account: str) -> tuple[str, Path]:
        """Return a token of a service account, and a kubeconfig with it."""
        original = self.audited.server.kubeconfig
        return await service_accounts.log_in(self.api, account, original=original, folder=self.folder)

    async def start(self) -> None:
        """Start the pods and wait for their probes."""
        for pod in self.pods:
            pod.start()
        for pod in self.pods:
            await asyncio.to_thread(pod.until_ready)

    async def eventually(self, name: str, check: Callable[[Execution], object]) -> Execution:
        """Read an Execution until it is as wanted."""
        async with asyncio.timeout(SOON.total_seconds()):
            while not check(found := await self.client.get(name)):
                await asyncio.sleep(0.02)
            return found

    async def finished(self, name: str, phase: Phase = Phase.COMPLETED) -> None:
        """Wait until an Execution has ended so."""
        found = await self.eventually(name, lambda one: one.phase.is_terminal)
        assert found.phase is phase, found.status.message


@pytest.fixture
async def group(audited: Any, tmp_path: Path) -> AsyncIterator[Group]:
    """A group that is installed, and not started."""
    server, namespace = audited.server, chart.new_namespace()
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    api = Api(server.url, server.token, namespace=namespace, ca_file=server.ca_file)
    kubeconfig = kubeconfig_for(namespace, server.kubeconfig, tmp_path / "of-the-administrator")
    async with Client(ClientOptions(kubeconfig=str(kubeconfig), qps=None)) as client:
        one = Group(audited, api, client, tmp_path)
        await one.install()
        yield one
    for pod in one.pods:
        pod.end()
    await api.send("DELETE", api.path("flowcontrol.apiserver.k8s.io/v1/flowschemas", namespace="") + "/" + flow(one))
    await api.close()


def flow(group: Group) -> str:
    """Return the name of the group's FlowSchema."""
    return str(group.rendered["FlowSchema"]["metadata"]["name"])


def shard_of(execution: Execution) -> str:
    """Return where it is."""
    return execution.metadata.labels[labels.SHARD]


async def children_are_placed(group: Group) -> None:
    """Those that inherit are beside their parent, the others everywhere."""
    parent = await group.client.spawn("family", {"count": 4}, result=int)
    assert await parent.result(timeout=SOON) == 12
    children = await group.client.get_child_executions(parent.name)
    shards = [shard_of(child) for child in children]
    assert (len(shards), set(shards)) == (8, {pod.name for pod in group.pods})
    assert shards.count(shard_of(await group.client.get(parent.name))) >= 4


async def applied_by_hand(group: Group) -> None:
    """An Execution without labels is adopted and run."""
    spec = {"function": "add", "arguments": {"a": 1, "b": 2}}
    path = group.api.path("kontinue.cloud/v1alpha1/executions")
    assert (await group.api.send("POST", path, execution("by-hand", spec=spec)))[0] == 201
    await group.finished("by-hand")


async def cancelled_with_children(group: Group) -> None:
    """What a canceled Execution has started is canceled, too, wherever it runs."""
    parent = await group.client.spawn("sleepers", {"count": 4})
    async with asyncio.timeout(SOON.total_seconds()):
        while len(children := await group.client.get_child_executions(parent.name)) < 4:
            await asyncio.sleep(0.02)
    for child in children:
        await group.eventually(child.metadata.name, lambda one: one.status.owner is not None)
    await group.client.cancel(parent.name)
    for child in children:
        await group.finished(child.metadata.name, Phase.CANCELED)


async def crashes(group: Group) -> None:
    """What kills its runner again and again is given up, with Events."""
    await group.finished((await group.client.spawn("crash")).name, Phase.FAILED)


async def leftover_in_the_way(group: Group) -> None:
    """A child's name that is taken by what a vanished parent left is cleared."""
    gone = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "gone", "uid": str(uuid.uuid4())}
    # Of a group without workers: nobody writes to it meanwhile.
    metadata = {"ownerReferences": [gone], "labels": {labels.WORKER_GROUP: "nobody"}}
    body = execution("leftover", metadata=metadata, spec={"function": "add"})
    # The garbage collector would be faster.
    group.audited.plane.kill("kube-controller-manager", signal.SIGSTOP)
    try:
        assert (await group.api.send("POST", group.api.path("kontinue.cloud/v1alpha1/executions"), body))[0] == 201
        parent = await group.client.spawn("named", {"name": "leftover"}, result=int)
        assert await parent.result(timeout=SOON) == 2
    finally:
        group.audited.plane.kill("kube-controller-manager", signal.SIGCONT)


async def long_history(group: Group) -> None:
    """Records go into pages, and the pages of earlier runs are looked for and deleted."""
    handle = await group.client.spawn("many_steps", {"count": 40, "runs": 2}, result=int)
    assert await handle.result(timeout=SOON) == 40
    await group.api.eventually(
        group.api.path("kontinue.cloud/v1alpha1/memopages"),
        lambda found: [page["spec"]["runEpoch"] for page in found["items"]] == [1],
    )


async def one_at_a_time(group: Group) -> None:
    """Mutexes have Leases, which are removed; limited functions are admitted."""
    holders = [await group.client.spawn("exclusive", result=int) for _ in range(3)]
    limited = [await group.client.spawn("limited", result=str) for _ in range(3)]
    assert [await one.result(timeout=SOON) for one in holders] == [2, 2, 2]
    assert [await one.result(timeout=SOON) for one in limited] == ["admitted"] * 3
    mutexes = "?labelSelector=" + labels.WORKER_GROUP
    await group.api.eventually(
        group.api.path("coordination.k8s.io/v1/leases") + mutexes,
        lambda found: not any("mutex" in lease["metadata"]["name"] for lease in found["items"]),
    )


async def started_by_a_schedule(group: Group) -> None:
    """The leader starts what is due, and writes what comes next."""
    path = group.api.path("kontinue.cloud/v1alpha1/scheduledexecutions")
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "ScheduledExecution",
        "metadata": {"name": "yearly"},
        "spec": {"schedule": "@yearly", "function": "add", "arguments": {"a": 1, "b": 2}},
    }
    assert (await group.api.send("POST", path, body))[0] == 201
    await group.api.eventually(f"{path}/yearly", lambda found: "nextScheduleTime" in found.get("status", {}))


async def asks_for_somebody(group: Group) -> None:
    """A long sleep ends, nobody is asked for longer than somebody waits, and a payload that does not fit is refused."""
    asking = await group.client.spawn("asks", result=bool)
    path = group.api.path("kontinue.cloud/v1alpha1/suspensions")

    def is_manual(one: dict[str, Any]) -> bool:
        return one["spec"]["kind"] == "Manual" and "displayName" not in one["spec"]

    found = await group.api.eventually(path, lambda listed: any(map(is_manual, listed["items"])))
    (name,) = [one["metadata"]["name"] for one in found["items"] if is_manual(one)]
    for payload in ("yes", True):
        status = {"status": {"phase": "Completed", "payload": payload}}
        answer = await group.api.send("PATCH", f"{path}/{name}/status", status, content_type=MERGE_PATCH)
        assert answer[0] == 200, answer
        if payload == "yes":
            await group.api.eventually(f"{path}/{name}", lambda one: one["status"]["phase"] == "Suspended")
    assert await asking.result(timeout=SOON) is True


async def runs_jobs_and_pods(group: Group) -> None:
    """They are created, read when they have ended, with a Job's Pods, and deleted when nobody waits for them."""
    server = group.audited.server
    config = KubeConfig(server=server.url, token=server.token, ca_data=server.ca_file.read_text(), source="test")
    transport = KubeTransport(config, user_agent="tests")
    running = await group.client.spawn("runs_elsewhere", result=list[int])
    for resource in (requests.JOBS, requests.PODS):
        name = await quick_one(transport, group.api.namespace, resource)
        if resource is requests.JOBS:
            selector = f"batch.kubernetes.io/job-name={name}"
            async with asyncio.timeout(SOON.total_seconds()):
                while not (pods := await job_answers.listed(transport, group.api.namespace, requests.PODS, selector)):
                    await asyncio.sleep(0.05)
            name = pods[0]["metadata"]["name"]
        await job_answers.end_pod(transport, group.api.namespace, name)
    assert await running.result(timeout=SOON) == [0, 0]
    await transport.close()


async def quick_one(transport: KubeTransport, namespace: str, resource: requests.Resource) -> str:
    """Wait until the one that ends is there, and return its name."""
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            for one in await job_answers.owned(transport, namespace, resource):
                if one["metadata"]["annotations"][labels.DISPLAY_NAME] == "quick":
                    return str(one["metadata"]["name"])
            await asyncio.sleep(0.05)


async def waits_for_other_workloads(group: Group) -> None:
    """Functions count, lock and wait: for what others have until it is seen that they wait."""
    server = group.audited.server
    config = KubeConfig(server=server.url, token=server.token, ca_data=server.ca_file.read_text(), source="test")
    transport = KubeTransport(config, user_agent="tests")
    world = World(transport, group.api.namespace)
    async with world.looked_after():
        blocked = await blocked_by_somebody(world)
        running = await group.client.spawn("coordinates", result=bool)
        for plural, unblock in blocked.items():
            await until_listed(group, plural)
            await unblock()
        assert await running.result(timeout=SOON) is True
    await arrives_where_something_was_left(group)
    await transport.close()


async def blocked_by_somebody(world: World) -> dict[str, Callable[[], Awaitable[object]]]:
    """Create one of each kind that nobody can have, and return what ends that, in the order of ``coordinates``."""
    client = world.client
    counted, gated = WaitGroup("all", client), WaitGroup("gate", client)
    mutex, rw_mutex, semaphore = Mutex("all", client), RWMutex("all", client), Semaphore("all", client)
    lease, once, barrier = Lease("all", client), Once("all", client), Barrier("all", client)
    for one in (counted, gated, mutex, rw_mutex, semaphore, lease, once):
        await one.create()
    await barrier.create(2)
    await barrier.arrive("first")
    await counted.add()
    await gated.add()
    await Gate("all", client).create(["WaitGroup/gate=Done"])
    lock, written = await mutex.lock(holder="somebody"), await rw_mutex.lock(holder="somebody")
    permit, leased = await semaphore.acquire(holder="somebody"), await lease.acquire(holder="somebody")
    trying = once.running(holder="somebody")
    await trying.begin()
    return {
        "waitgroups": counted.done,
        "mutexes": lambda: mutex.unlock(lock),
        "rwmutexes": lambda: rw_mutex.unlock(written),
        "permits": permit.release,
        "leaserequests": lambda: lease.release(leased),
        "onces": lambda: trying.end(ValueError("not this time")),
        "barriers": lambda: barrier.arrive("second"),
        "gates": gated.done,
    }


async def until_listed(group: Group, plural: str) -> None:
    """Wait until the worker has listed objects of a kind: it watches them next."""
    async with asyncio.timeout(SOON.total_seconds()):
        while not any(
            (one.resource, one.verb) == (("konductor.io", plural), "list") for one in group.audited.asked_by(group.user)
        ):
            await asyncio.sleep(0.1)


async def arrives_where_something_was_left(group: Group) -> None:
    """An Arrival of the same name at a Barrier that is gone; garbage collector and coordinator would be faster."""
    owner = {"apiVersion": "konductor.io/v1", "kind": "Barrier", "name": "all", "uid": str(uuid.uuid4())}
    body = {
        "apiVersion": "konductor.io/v1",
        "kind": "Arrival",
        "metadata": {"name": child_name("all", "execution/late"), "ownerReferences": [owner]},
        "spec": {"barrier": "all", "holder": "execution/late"},
    }
    group.audited.plane.kill("kube-controller-manager", signal.SIGSTOP)
    try:
        assert (await group.api.send("POST", group.api.path("konductor.io/v1/arrivals"), body))[0] == 201
        late = await group.client.spawn("arrives", options=SpawnOptions(name="late"))
        await group.finished(late.name)
    finally:
        group.audited.plane.kill("kube-controller-manager", signal.SIGCONT)


async def ends_as_its_ttl_says(group: Group) -> None:
    """The leader replaces what has ended by an archive, and deletes that when its time has come."""
    kept = Retention(archive_after=timedelta(seconds=1), delete_after=timedelta(days=1))
    await group.client.spawn("add", {"a": 1, "b": 2}, options=SpawnOptions(ttl=kept))
    path = group.api.path("kontinue.cloud/v1alpha1/archivedexecutions")
    found = await group.api.eventually(path, lambda listed: listed["items"], patience_s=120)
    now = {"metadata": {"annotations": {labels.DELETE_AT: "2026-01-01T00:00:00Z"}}}
    name = found["items"][0]["metadata"]["name"]
    assert (await group.api.send("PATCH", f"{path}/{name}", now, content_type=MERGE_PATCH))[0] == 200
    await group.api.eventually(path, lambda listed: not listed["items"])


async def death_of_a_replica(group: Group) -> None:
    """What it was running is moved to the other one."""
    file = group.folder / "file"
    dead, alive = group.pods
    waiting = [await group.client.spawn("wait_for", {"file": str(file)}) for _ in range(4)]
    placed = [await group.eventually(one.name, lambda found: labels.SHARD in found.metadata.labels) for one in waiting]
    assert {shard_of(one) for one in placed} == {dead.name, alive.name}
    await asyncio.to_thread(dead.stop, signal.SIGKILL)
    assert dead.probe("livenessProbe") == 0
    for one in waiting:
        await group.eventually(one.name, lambda found: shard_of(found) == alive.name)
    file.touch()
    for one in waiting:
        assert await one.result(timeout=SOON) == "seen"


async def next_release(group: Group) -> None:
    """Functions are changed and pruned once no replica runs the old code."""
    for pod in group.pods:
        if pod.process is not None and pod.process.poll() is None:
            assert await asyncio.to_thread(pod.stop) == 0
    group.pods = [pod.of(group.render("second")) for pod in group.pods]
    await group.start()
    await group.api.eventually(group.api.path("kontinue.cloud/v1alpha1/functions", "dropped"), 404)
    changed = await group.client.spawn("changed", {"a": 1, "b": 2}, result=int)
    assert await changed.result(timeout=SOON) == 3


async def test_a_group_lives_with_the_rights_of_its_role_and_uses_each(group: Group) -> None:
    """Nothing that it asks for is forbidden, and what it is granted it asks for."""
    await group.start()
    for part in (
        children_are_placed,
        applied_by_hand,
        cancelled_with_children,
        crashes,
        leftover_in_the_way,
        long_history,
        one_at_a_time,
        started_by_a_schedule,
        asks_for_somebody,
        ends_as_its_ttl_says,
        runs_jobs_and_pods,
        waits_for_other_workloads,
        death_of_a_replica,
        next_release,
    ):
        await part(group)
    for pod in group.pods:
        assert await asyncio.to_thread(pod.stop) == 0
    asked = group.audited.asked_by(group.user)
    assert [one for one in asked if one.status in {401, 403}] == []
    assert {one.namespace for one in asked} == {group.api.namespace}
    assert {(one.resource, one.verb) for one in asked} == set(granted(group.rendered["Role"]))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/{}/secrets",
        "/api/v1/namespaces/{}/configmaps",
        "/api/v1/namespaces/default/events",
        "/apis/kontinue.cloud/v1alpha1/executions",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/api/v1/namespaces",
    ],
)
async def test_a_worker_may_not_read_what_is_none_of_its_business(group: Group, path: str) -> None:
    """Not secrets, no other namespace, nothing of the cluster."""
    api = Api(group.api.url, group.token, namespace=group.api.namespace, ca_file=group.audited.server.ca_file)
    status, answer = await api.send("GET", path.format(group.api.namespace))
    await api.close()
    assert (status, answer["reason"]) == (403, "Forbidden")


async def test_a_worker_needs_no_rights_on_its_machine(group: Group) -> None:
    """It runs as in the chart's security context: not as root, nothing to be written to but /tmp, no privileges."""
    context = chart.container(group.rendered)["securityContext"]
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
    uid = group.rendered["StatefulSet"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    group.pods = [group.pods[0].started_by(confined(uid, group.folder))]
    await group.start()
    files = ["/here", str(HERE / "here"), "/tmp/here"]
    tried = await group.client.spawn("try_to_write", {"files": files}, result=list[str])
    refused = [f"Read-only file system: {file}" for file in files[:2]]
    assert await tried.result(timeout=SOON) == [str(uid), *refused]
    assert await asyncio.to_thread(group.pods[0].stop) == 0


def confined(uid: int, folder: Path) -> list[str]:
    """Return what starts a program so: in a mount namespace of its own, with everything but ``folder`` read-only.

    One capability stays, to read the test's environment wherever it is installed; an image needs none.
    """
    unshare, chroot, setpriv = (shutil.which(name) for name in ("unshare", "chroot", "setpriv"))
    if not (unshare and chroot and setpriv) or subprocess.run([unshare, "--mount", "true"], check=False).returncode:
        pytest.skip("only root may make a mount namespace, and only on Linux")
    # The project or its Python may stand below /tmp, which is another one in there.
    seen = "".join(
        f"mkdir -p /mnt{path} && mount --bind {path} /mnt{path} && mount -o remount,ro,bind /mnt{path} && "
        for path in dict.fromkeys((HERE.parents[2], sys.prefix, sys.base_prefix))
        if Path(path).is_relative_to("/tmp")
    )
    script = (
        "mount --rbind / /mnt && mount -o remount,ro,bind /mnt && mount -t tmpfs -o mode=1777 tmpfs /mnt/tmp && "
        f"{seen} mkdir -p /mnt{folder} && mount --bind {folder} /mnt{folder} && "
        f"exec {chroot} /mnt {setpriv} --reuid {uid} --regid {uid} --clear-groups --no-new-privs "
        "--bounding-set -all,+dac_read_search --inh-caps -all,+dac_read_search --ambient-caps -all,+dac_read_search "
        '"$@"'
    )
    return [unshare, "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


async def test_without_its_rights_a_worker_says_what_it_lacks(group: Group) -> None:
    """In one line, and ends: a pod that waits in silence would look as if it worked."""
    name = group.rendered["RoleBinding"]["metadata"]["name"]
    status, _ = await group.api.send("DELETE", group.api.path("rbac.authorization.k8s.io/v1/rolebindings", name))
    assert status == 200
    pod = group.pods[0]
    pod.start()
    assert pod.process is not None
    assert await asyncio.to_thread(pod.process.wait, SOON.total_seconds()) == 1
    last = json.loads(pod.log.read_text().splitlines()[-1])
    assert (last["event"], last["error"]) == ("worker cannot run", "Forbidden")
    assert "leases" in last["message"]


async def test_the_documented_rights_are_what_a_client_needs(group: Group) -> None:
    """It spawns, waits, lists and cancels, and sees the shards; it is refused nothing, and has no right too many."""
    (role,) = (text for text in YAML_BLOCK.findall(DOCUMENT.read_text()) if "kind: Role" in text)
    document = yaml.safe_load(role)
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "client"},
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": document["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "client", "namespace": group.api.namespace}],
    }
    for plural, body in (
        ("serviceaccounts", {"metadata": {"name": "client"}}),
        (f"{rbac}/v1/roles", document),
        (f"{rbac}/v1/rolebindings", binding),
    ):
        status, answer = await group.api.send("POST", group.api.path(plural), body)
        assert status == 201, answer
    _, kubeconfig = await group.log_in("client")
    await group.start()
    async with Client(ClientOptions(kubeconfig=str(kubeconfig), qps=None)) as client:
        assert await (await client.spawn("add", {"a": 1, "b": 2}, result=int)).result(timeout=SOON) == 3
        sleeper = await client.spawn("nap")
        await client.cancel(sleeper.name)
        assert (await sleeper.wait(timeout=SOON)).phase is Phase.CANCELED
        assert {found.phase for found in await client.list()} == {Phase.COMPLETED, Phase.CANCELED}
        assert "add" in {function.spec.name for function in await client.functions()}
    shards = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kontinue_engine.cli", "--kubeconfig", str(kubeconfig), "shards"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await shards.communicate()
    assert shards.returncode == 0
    assert all(pod.name in output.decode() for pod in group.pods)
    asked = group.audited.asked_by(f"system:serviceaccount:{group.api.namespace}:client")
    assert [one for one in asked if one.status in {401, 403}] == []
    assert set(granted(document)) == {(one.resource, one.verb) for one in asked}


async def test_renewals_have_a_flow_of_their_own(group: Group) -> None:
    """Lease requests are sorted by the chart's FlowSchema; without it they share one with all other requests."""
    server = group.audited.server
    schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    names = {one["metadata"]["uid"]: one["metadata"]["name"] for one in server.request("GET", schemas)["items"]}
    api = Api(server.url, group.token, namespace=group.api.namespace, ca_file=server.ca_file)

    async def schema_of(path: str) -> str:
        await api.send("GET", path)
        return names.get(api.headers["X-Kubernetes-PF-FlowSchema-UID"], "")

    lease = api.path("coordination.k8s.io/v1/leases", "kontinue-shard.shop.x")
    async with asyncio.timeout(kube.PATIENCE_S):
        while await schema_of(lease) != flow(group):
            await asyncio.sleep(0.02)
    metric = f'apiserver_flowcontrol_dispatched_requests_total{{flow_schema="{flow(group)}",'
    assert metric in group.audited.plane.get("/metrics").decode()
    assert await schema_of(api.path("kontinue.cloud/v1alpha1/executions")) == "service-accounts"
    assert await schema_of(api.path("coordination.k8s.io/v1/leases", "x", namespace="default")) == "service-accounts"
    server.request("DELETE", f"{schemas}/{flow(group)}")
    async with asyncio.timeout(kube.PATIENCE_S):
        while await schema_of(lease) != "service-accounts":
            await asyncio.sleep(0.02)
    await api.close()
