"""The chart kontinue-coordinator: what helm makes of it, and that its Roles are what is needed, no more and no less."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

import chart
import kubectls
from api import MERGE_PATCH, Api, execution
from kontinue.api.konductor.group import GROUP, GROUPS, ORIGINAL_GROUP
from kontinue.api.rights import Role
from kontinue.client import Client, ClientOptions
from kontinue.errors import KontinueError, NotFound
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.sync import (
    Barrier,
    Gate,
    Holder,
    HolderKind,
    Lease,
    Lock,
    Mutex,
    Once,
    RWMutex,
    Semaphore,
    WaitGroup,
)
from kontinue.sync.holding import renewing
from kontinue_engine.arbiter.options import parse_options
from kontinue_engine.cli.deployment.rights import COORDINATOR_ACCOUNT, role_objects
from polling import eventually
from service_accounts import granted, log_in

pytestmark = pytest.mark.slow

FOLDER = chart.FOLDER.parent / "kontinue-coordinator"
IMAGE = ("--set", "image=registry.example/kontinue:1")
VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "cluster": ("--set", "clusterWide=true"),
    "both groups": ("--set-json", f"apiGroups={json.dumps(GROUPS)}"),
    "an account of somebody else": ("--set", "serviceAccount.create=false,serviceAccount.name=mine,rbac.create=false"),
    "everything set": (
        *("--set", "lease.durationSeconds=20,lease.renewSeconds=2.5,logLevel=debug,replicas=1,probes.port=8090"),
        *("--set", "podAnnotations.a=b,podLabels.a=b,nodeSelector.a=b,priorityClassName=high,tolerations[0].key=a"),
        *("--set", "imagePullSecrets[0].name=s,fullnameOverride=" + "n" * 60),
        *("--set-json", 'extraArgs=["--log-level","info"]'),
    ),
}


def template(*options: str, namespace: str = "default") -> subprocess.CompletedProcess[str]:
    """Render the chart."""
    words = ("--kube-version", chart.KUBE_VERSION, "--namespace", namespace)
    return chart.helm("template", "locks", str(FOLDER), *words, *options)


def render(*options: str, namespace: str = "default") -> list[dict[str, Any]]:
    """Render the chart with what it requires; returns its objects."""
    done = template(*IMAGE, *options, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(objects: list[dict[str, Any]], kind: str, *, suffix: str = "coordinator") -> dict[str, Any]:
    """Return the object of a kind whose name ends so."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(suffix))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_server_takes_what_the_chart_renders(audited: Any, tmp_path: Path, variant: str) -> None:
    """A dry run on the server, with no field unknown; and helm's own linter finds nothing."""
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(render(*VARIANTS[variant])))
    command = [kubectls.program(kubectls.ENVIRONMENT), "--kubeconfig", audited.server.kubeconfig]
    command += ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", manifest]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    linted = chart.helm("lint", "--strict", str(FOLDER), *IMAGE, *VARIANTS[variant])
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_coordinator_understands_its_arguments(variant: str) -> None:
    """What the chart passes is what the process parses."""
    (container,) = one(render(*VARIANTS[variant]), "Deployment", suffix="")["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["coordinator", "run"]
    options = parse_options(container["args"][2:])
    assert options.all_namespaces is (variant == "cluster")
    assert options.api_groups == (GROUPS if variant == "both groups" else (GROUP,))
    assert options.health is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "image is required"),
        ((*IMAGE, "--set", "lease.renewSeconds=9"), "lease.renewSeconds 9 is too long"),
        ((*IMAGE, "--set", "replica=3"), "replica"),
        ((*IMAGE, "--set", "apiGroups[0]=kontinue.cloud"), "apiGroups"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_reason(options: tuple[str, ...], says: str) -> None:
    """Before anything reaches the cluster."""
    done = template(*options)
    assert done.returncode != 0
    assert says in done.stderr


class World:
    """A namespace with the chart's accounts and Roles.

    Attributes:
        audited: the control plane.
        api: an administrator's client.
        folder: for kubeconfigs.
    """

    def __init__(self, audited: Any, api: Api, folder: Path, objects: list[dict[str, Any]]) -> None:
        self.audited = audited
        self.api = api
        self.objects = objects
        self._folder = folder

    def user(self, account: str) -> str:
        """Return a service account as a user of the API server."""
        return f"system:serviceaccount:{self.api.namespace}:{account}"

    async def log_in(self, account: str) -> Path:
        """Return a kubeconfig of a service account."""
        original = self.audited.server.kubeconfig
        _, kubeconfig = await log_in(self.api, account, original=original, folder=self._folder)
        return kubeconfig

    def asked_by(self, account: str) -> set[tuple[tuple[str, str], str]]:
        """Return what an account has asked for; nothing of it may have been forbidden."""
        asked = self.audited.asked_by(self.user(account))
        assert [each for each in asked if each.status == 403] == []
        return {(each.resource, each.verb) for each in asked}


@pytest.fixture
async def world(audited: Any, tmp_path: Path) -> AsyncIterator[World]:
    """All of the chart but the Deployment, which nobody here could run; account ``user`` has the user Role."""
    server, namespace = audited.server, chart.new_namespace()
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    api = Api(server.url, server.token, namespace=namespace, ca_file=server.ca_file)
    objects = render(namespace=namespace)
    paths = {
        "ServiceAccount": "serviceaccounts",
        "Role": "rbac.authorization.k8s.io/v1/roles",
        "RoleBinding": "rbac.authorization.k8s.io/v1/rolebindings",
    }
    user = {"metadata": {"name": "user"}}
    bound = {
        "kind": "RoleBinding",
        "metadata": {"name": "user"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "locks-kontinue-coordinator-user"},
        "subjects": [{"kind": "ServiceAccount", "name": "user", "namespace": namespace}],
    }
    for each in [*objects, {"kind": "ServiceAccount", **user}, bound]:
        if each["kind"] in paths:
            status, answer = await api.send("POST", api.path(paths[each["kind"]]), each)
            assert status == 201, answer
    yield World(audited, api, tmp_path, objects)
    await api.close()


@contextlib.asynccontextmanager
async def coordinator(kubeconfig: Path) -> AsyncIterator[None]:
    """Run a coordinator meanwhile, as the container would."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kontinue_engine.arbiter", "--lease-duration", "7", "--lease-renew", "0.5"),
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def worker_dies(world: World, group: WaitGroup) -> None:
    """Start a Pod that nobody runs, bind a count to it and delete it; return once the count is released."""
    pod = {"metadata": {"name": "worker-0"}, "spec": {"containers": [{"name": "main", "image": "worker"}]}}
    status, answer = await world.api.send("POST", world.api.path("pods"), pod)
    assert status == 201, answer
    await group.add(holder=Holder(kind=HolderKind.POD, name="worker-0"))
    await world.api.send("DELETE", world.api.path("pods", "worker-0"))
    await group.wait(timeout=timedelta(seconds=60))


async def semaphore_is_used(world: World, client: Client) -> None:
    """Acquire a permit that is given back, and one whose Pod ends."""
    db = Semaphore("db", client)
    await db.create()
    await client.kube.send(requests.list_objects(requests.SEMAPHORES, world.api.namespace))
    with mock.patch.object(renewing, "RENEW_AFTER", 0.001):
        async with db.hold(timeout=timedelta(seconds=60), ttl=timedelta(minutes=5)):
            renewal = ((GROUP, "permits"), "patch")
            await eventually(lambda: renewal in world.asked_by("user"))
    async with db.hold(timeout=timedelta(seconds=60)):
        assert len(await db.permits()) == 1
        queued = asyncio.create_task(db.acquire(timeout=timedelta(seconds=60), on_progress=lambda _: None))
        watching = {((GROUP, kind), "watch") for kind in ("permits", "semaphores")}
        await eventually(lambda: watching <= world.asked_by("user"))
    await (await queued).release()
    pod = {"metadata": {"name": "worker-1"}, "spec": {"containers": [{"name": "main", "image": "worker"}]}}
    status, answer = await world.api.send("POST", world.api.path("pods"), pod)
    assert status == 201, answer
    await db.acquire(bound_to=Holder(kind=HolderKind.POD, name="worker-1"), timeout=timedelta(seconds=60))
    await world.api.send("DELETE", world.api.path("pods", "worker-1"))
    await db.acquire(timeout=timedelta(seconds=60))
    await db.delete()


async def barrier_is_used(world: World, client: Client) -> None:
    """Arrive at one, and at one that is made again; what is left of the first one is deleted by somebody."""
    start = Barrier("start", client)
    await start.create(1)
    await client.kube.send(requests.list_objects(requests.BARRIERS, world.api.namespace))
    waiting = asyncio.create_task(start.wait(timeout=timedelta(seconds=60)))
    watching = ((GROUP, "barriers"), "watch")
    await eventually(lambda: watching in world.asked_by("user"))
    for _ in range(2):
        await start.arrive("me")
    await waiting
    await client.kube.send(requests.delete(requests.ARRIVALS, world.api.namespace, "start-me"))
    await start.delete()
    asked = (("konductor.io", "arrivals"), "delete")

    async def stray_is_deleted() -> bool:
        owner = {"apiVersion": "konductor.io/v1", "kind": "Barrier", "name": "start", "uid": "gone", "controller": True}
        body: dict[str, Any] = {"apiVersion": owner["apiVersion"], "kind": "Arrival"}
        body["metadata"] = {"name": "stray", "ownerReferences": [owner]}
        body["spec"] = {"barrier": "start", "holder": "x"}
        await world.api.send("POST", world.api.path("konductor.io/v1/arrivals"), body)
        return asked in world.asked_by("locks-kontinue-coordinator")

    await eventually(stray_is_deleted)


async def lease_is_used(world: World, client: Client) -> None:
    """Hold one, and lose one whose request is deleted."""
    deploy = Lease("deploy", client)
    await deploy.create()
    await client.kube.send(requests.list_objects(requests.KONDUCTOR_LEASES, world.api.namespace))
    async with deploy.held(timeout=timedelta(seconds=60)):
        await eventually(lambda: ((GROUP, "leases"), "watch") in world.asked_by("user"))
    await deploy.acquire(timeout=timedelta(seconds=60))
    (request,) = await deploy.requests()
    await client.kube.send(requests.delete(requests.LEASE_REQUESTS, world.api.namespace, request.metadata.name))
    lock = await deploy.acquire(timeout=timedelta(seconds=60))
    await deploy.release(lock)
    await deploy.delete()


async def gate_is_used(world: World, client: Client) -> None:
    """Wait for one that is about a Job, and open it by hand."""
    go = Gate("go", client)
    await go.create(["Job/migrate=Complete"])
    await client.kube.send(requests.list_objects(requests.GATES, world.api.namespace))
    waiting = asyncio.create_task(go.wait(timeout=timedelta(seconds=60)))
    await eventually(lambda: ((GROUP, "gates"), "watch") in world.asked_by("user"))
    await go.open()
    await waiting
    assert await go.check()
    await go.delete()


async def test_coordinator_and_users_live_with_their_roles_and_use_each_right(world: World) -> None:
    """Each right of the two Roles was used, and nothing was refused."""
    needed = set(granted(one(world.objects, "Role")))
    at_its_end = {(("coordination.k8s.io", "leases"), "get")}  # its Lease is given back
    kubeconfig = await world.log_in("locks-kontinue-coordinator")
    options = ClientOptions(kubeconfig=str(await world.log_in("user")), qps=None)
    async with coordinator(kubeconfig), Client(options) as client:
        short = WaitGroup("short", client)
        await short.create(ttl=timedelta(milliseconds=1))
        await short.add()
        await short.done()
        await eventually(lambda: is_missing(short))
        group = WaitGroup("jobs", client)
        await group.create()
        await client.kube.send(requests.list_objects(requests.WAIT_GROUPS, world.api.namespace))
        path = world.api.path("kontinue.cloud/v1alpha1/executions")
        assert (await world.api.send("POST", path, execution("build")))[0] == 201
        await group.add(holder=Holder(kind=HolderKind.EXECUTION, name="build"))
        waiting = asyncio.create_task(group.wait(timeout=timedelta(seconds=60)))
        watching = ((GROUP, "waitgroups"), "watch")
        await eventually(lambda: watching in world.asked_by("user"))  # before there is nothing to wait for any more
        ended = {"status": {"phase": "Completed"}}
        await world.api.send("PATCH", f"{path}/build/status", ended, content_type=MERGE_PATCH)
        await waiting
        for _ in range(2):  # the second Event of a kind raises the count of the first
            await worker_dies(world, group)
        await semaphore_is_used(world, client)
        await barrier_is_used(world, client)
        await gate_is_used(world, client)
        await lease_is_used(world, client)
        await use_mutex(Mutex("deploy", client), requests.MUTEXES, client, world)
        await use_mutex(RWMutex("catalog", client), requests.RW_MUTEXES, client, world)
        await use_once(Once("migrate", client), Once("short", client), client, world)
        await eventually(lambda: needed - at_its_end <= world.asked_by("locks-kontinue-coordinator"))
        await group.delete()
    assert world.asked_by("locks-kontinue-coordinator") == needed
    assert world.asked_by("user") == set(granted(one(world.objects, "Role", suffix="user")))


@pytest.mark.parametrize("groups", [(GROUP,), (ORIGINAL_GROUP,), GROUPS])
def test_the_roles_of_an_installation_are_those_of_the_chart(groups: tuple[str, ...]) -> None:
    """The coordinator's to the last right; who counts and waits has also the rights of a client."""
    name = COORDINATOR_ACCOUNT
    there = ("--set-json", f"apiGroups={json.dumps(groups)}")
    rendered = render("--set", f"fullnameOverride={name}", *there, namespace="shop")
    ours = {each["kind"]: each for each in role_objects(Role.COORDINATOR, "shop", {}, groups)}
    assert set(granted(ours["Role"])) == set(granted(one(rendered, "Role")))
    for part in ("subjects", "roleRef"):
        assert ours["RoleBinding"][part] == one(rendered, "RoleBinding")[part]
    assert ours["ServiceAccount"]["metadata"]["name"] == one(rendered, "ServiceAccount")["metadata"]["name"]
    (client,) = role_objects(Role.CLIENT, "shop", {}, groups)
    users = set(granted(one(rendered, "Role", suffix="user")))
    assert users <= set(granted(client))
    assert {each for each in granted(client) if each[0][0] in groups} <= users


async def use_mutex(mutex: Mutex | RWMutex, resource: Resource, client: Client, world: World) -> None:
    """Do with a Mutex what a user may do; first let the coordinator write its phase."""
    await mutex.create()
    await eventually(lambda: is_settled(mutex))
    held = await mutex.lock(holder="a")
    waiting = asyncio.create_task(mutex.lock(holder="b"))
    await eventually(lambda: ((GROUP, resource.plural), "watch") in world.asked_by("user"))
    await mutex.unlock(held)
    await waiting
    await client.kube.send(requests.list_objects(resource, mutex.namespace))
    await mutex.delete()


async def use_once(once: Once, short: Once, client: Client, world: World) -> None:
    """Do with a Once what a user may do; one with a ttl is deleted by the coordinator."""

    async def work(_: Lock) -> None:
        waiting.append(asyncio.create_task(once.do(work)))
        await eventually(lambda: ((GROUP, "onces"), "watch") in world.asked_by("user"))

    waiting: list[asyncio.Task[bool]] = []
    await once.create()
    await eventually(lambda: is_settled(once))
    assert await once.do(work)
    assert not await waiting[0]
    await client.kube.send(requests.list_objects(requests.ONCES, once.namespace))
    await once.delete()
    await short.create(ttl=timedelta(milliseconds=1))
    await short.do(lambda _: asyncio.sleep(0))
    await eventually(lambda: is_missing(short))


async def is_settled(found: Mutex | RWMutex | Once) -> bool:
    """Tell whether its phase has been written."""
    return (await found.get()).status.phase is not None


async def is_missing(group: WaitGroup | Once) -> bool:
    """Tell whether something is gone."""
    try:
        await group.get()
    except NotFound:
        return True
    return False


async def test_who_may_not_count_is_told_what_is_missing(world: World) -> None:
    """An account without the Role."""
    await world.api.send("POST", world.api.path("serviceaccounts"), {"metadata": {"name": "stranger"}})
    options = ClientOptions(kubeconfig=str(await world.log_in("stranger")), qps=None)
    async with Client(options) as client:
        for call in (WaitGroup("jobs", client).add, WaitGroup("jobs", client).wait):
            with pytest.raises(KontinueError, match=r"waitgroups.*forbidden"):
                await call()
