"""Worker, client and operator on a real server: each can do its work by its Role alone, and nothing else.

A worker that lives by its Role is in ``test_rights.py``; here are those who look on and who act, and what none may do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api import Api, unique
from api_server import ApiServer, kubeconfig_for
from fake_kubelet import pod_printer
from job_answers import end_job, pod_of
from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.rights import RULES, Right, Role, rights
from kontinue.api.v1alpha1 import ExecutionSpec, Phase, ScheduledExecution, ScheduledExecutionSpec
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from kontinue.sync import Barrier, Holder, HolderKind, Lease, Mutex, Semaphore, WaitGroup
from kontinue_engine.cli.deployment.rights import role_objects
from kontinue_engine.kube import played_jobs
from played_worker import PlayedWorker, build
from polling import eventually
from servers import Server

SOON = timedelta(seconds=40)
RBAC = "rbac.authorization.k8s.io/v1"
OURS = ("functions", "executions", "suspensions", "scheduledexecutions", "archivedexecutions", "memopages")
OTHERS = {
    *(("", name) for name in ("secrets", "configmaps", "pods/exec", "serviceaccounts", "persistentvolumeclaims")),
    *(("kontinue.cloud", f"{name}/status") for name in OURS),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
}
"""What is asked for besides what any role has a right to: resources that only some of them, or none, may touch."""
RESOURCES = sorted(OTHERS | {(right.group, right.resource) for role in Role for right in rights(RULES[role])})
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
pytestmark = pytest.mark.slow


class House:
    """A namespace with kontinue's Roles, each bound to a user of its own.

    Attributes:
        server: with the namespace of the test.
        admin: who may do everything.
        worker: writes statuses, as the administrator.
        clients: of each role.
    """

    def __init__(self, server: ApiServer, admin: Client, clients: dict[Role, Client]) -> None:
        self.server = server
        self.admin = admin
        self.worker = PlayedWorker(admin.kube, admin.namespace)
        self.clients = clients

    def user(self, role: Role) -> str:
        """Return the name of whoever has a role here."""
        return f"{role}-of-{self.server.namespace}"

    async def bind(self) -> None:
        """Create the Roles as ``kontinue install`` does, and bind them."""
        api = Api(self.server.url, self.server.token, namespace=self.server.namespace, ca_file=self.server.ca_file)
        for role in Role:
            (found,) = (one for one in role_objects(role, api.namespace, {}) if one["kind"] == "Role")
            assert (await api.send("POST", api.path(f"{RBAC}/roles"), found))[0] == 201
            binding = {
                "metadata": {"name": role.object_name},
                "roleRef": {"apiGroup": RBAC.partition("/")[0], "kind": "Role", "name": role.object_name},
                "subjects": [{"kind": "User", "name": self.user(role), "apiGroup": RBAC.partition("/")[0]}],
            }
            assert (await api.send("POST", api.path(f"{RBAC}/rolebindings"), binding))[0] == 201
        await api.close()
        for role in Role:  # a real server's authorizer learns of them by a watch
            async with asyncio.timeout(SOON.total_seconds()):
                while not await self.may(role, Right("kontinue.cloud", "executions", "list")):
                    await asyncio.sleep(0.02)

    async def may(self, role: Role, right: Right, namespace: str | None = None) -> bool:
        """Ask the server whether a role has a right."""
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "namespace": self.server.namespace if namespace is None else namespace,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "verb": right.verb,
        }
        body = msgspec.json.encode({"spec": {"user": self.user(role), "resourceAttributes": attributes}})
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = await self.admin.kube.send(requests.Request("POST", path, body=body))
        return bool(msgspec.json.decode(answer)["status"].get("allowed"))


@pytest.fixture
async def house(kube_server: Server, tmp_path: Path) -> AsyncIterator[House]:
    namespace = unique("roles")
    kube_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    kubeconfig = kubeconfig_for(namespace, kube_server.kubeconfig, tmp_path / "kubeconfig")
    server = ApiServer(kube_server.url, kube_server.token, kube_server.ca_file, kubeconfig, namespace)
    async with contextlib.AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Client(ClientOptions(kubeconfig=str(kubeconfig), qps=None)))
        one = House(server, admin, {})
        for role in Role:
            options = ClientOptions(kubeconfig=str(kubeconfig), qps=None, impersonate=one.user(role))
            one.clients[role] = await stack.enter_async_context(Client(options))
        await one.bind()
        await one.worker.register()
        yield one
    kube_server.leave(namespace)


@pytest.mark.parametrize("role", Role)
async def test_a_role_has_the_rights_of_its_table_and_no_others(house: House, role: Role) -> None:
    """As the server sees it: in its namespace; in another one, and in all of them, none."""
    asked = [Right(group, name, verb) for group, name in RESOURCES for verb in VERBS]
    answers = await asyncio.gather(*(house.may(role, right) for right in asked))
    allowed = {right for right, answer in zip(asked, answers, strict=True) if answer}
    assert allowed == set(rights(RULES[role]))
    for namespace in ("default", ""):
        assert not any(await asyncio.gather(*(house.may(role, right, namespace) for right in allowed)))


async def test_a_client_does_its_work_by_its_role(house: House, tmp_path: Path) -> None:
    """It spawns, waits, reads, follows trees and logs."""
    client = house.clients[Role.CLIENT]
    handle = await client.spawn(build, "amd64")
    waiting = asyncio.ensure_future(handle.result(timeout=SOON))
    top = await client.get(handle.name)
    await house.worker.create_child(top, f"{handle.name}-1", "1")
    await house.worker.suspend(top, f"{handle.name}-2", "2")
    await house.admin.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, client.namespace, schedule()))
    assert [one.metadata.name for one in await client.get_child_executions(handle)] == [f"{handle.name}-1"]
    assert len(list((await client.get_tree(handle)).walk())) == 3
    async with asyncio.timeout(SOON.total_seconds()), client.watch_tree(handle) as watcher:
        async for tree in watcher:
            if tree.root.phase == "Completed":
                break
            await house.worker.write(handle.name, Phase.COMPLETED, result=["amd64"])
    assert await waiting == ["amd64"]
    assert len(await client.list()) == 2
    assert [one.spec.name for one in await client.functions()] == ["build"]
    assert (await client.get_suspension(f"{handle.name}-2")).is_open
    assert len(await client.list_scheduled_executions()) == 1
    assert await logs_of_a_job(house, tmp_path) == "built\n"


async def test_a_client_counts_and_waits_by_its_role(house: House) -> None:
    """It creates a WaitGroup, binds counts to an Execution, waits and deletes; and the same with a Mutex."""
    client = house.clients[Role.CLIENT]
    handle = await client.spawn(build, "amd64")
    group = WaitGroup("jobs", client)
    await group.create()
    await group.add(holder=Holder(kind=HolderKind.EXECUTION, name=handle.name))
    waiting = asyncio.create_task(group.wait(timeout=SOON))
    await group.done(holder=Holder(kind=HolderKind.EXECUTION, name=handle.name))
    assert (await waiting).counter == 0
    await group.delete()
    mutex = Mutex("deploy", client)
    await mutex.create()
    async with mutex.held(holder=Holder(kind=HolderKind.EXECUTION, name=handle.name)) as lock:
        assert lock.token == 1
    await mutex.delete()


async def test_a_client_asks_for_permits_by_its_role(house: House) -> None:
    """It creates a Semaphore, asks, is shown it while it waits, withdraws and deletes; nobody grants anything here."""
    client = house.clients[Role.CLIENT]
    db = Semaphore("db", client)
    await db.create()
    with pytest.raises(errors.WaitTimeout):
        await db.acquire(timeout=timedelta(seconds=2))
    assert await db.permits() == []
    seen: list[int] = []
    asking = db.acquire(timeout=SOON, on_progress=lambda one: seen.append(one.status.waiting or 0))
    waiting = asyncio.create_task(asking)
    for number in (1, 2):  # the first may be seen by a list
        await tell(house, requests.SEMAPHORES, db.name, {"phase": "Full", "waiting": number})
        await eventually(lambda latest=number: latest in seen)
    await give_up(waiting)
    assert await db.permits() == []
    await db.delete()


async def test_a_client_asks_for_a_lease_by_its_role(house: House) -> None:
    """It creates a Lease, asks, is shown it while it waits, withdraws and deletes; nobody grants anything here."""
    deploy = Lease("deploy", house.clients[Role.CLIENT])
    await deploy.create()
    with pytest.raises(errors.WaitTimeout):
        await deploy.acquire(timeout=timedelta(seconds=2))
    assert await deploy.requests() == []
    seen: list[int] = []
    asking = deploy.acquire(timeout=SOON, on_progress=lambda one: seen.append(one.status.waiting))
    waiting = asyncio.create_task(asking)
    for number in (1, 2):
        await tell(house, requests.KONDUCTOR_LEASES, deploy.name, {"phase": "Held", "holder": "x", "waiting": number})
        await eventually(lambda latest=number: latest in seen)
    await give_up(waiting)
    assert await deploy.requests() == []
    await deploy.delete()


async def tell(house: House, resource: requests.Resource, name: str, status: dict[str, object]) -> None:
    """Write a status, as the coordinator does."""
    request = requests.merge_patch(resource, house.server.namespace, name, {"status": status}, subresource="status")
    await house.admin.kube.send(request)


async def give_up(waiting: asyncio.Task[object]) -> None:
    """Wait no longer."""
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def test_a_client_arrives_by_its_role(house: House) -> None:
    """It creates a Barrier, arrives, waits and deletes; nobody opens anything here."""
    client = house.clients[Role.CLIENT]
    start = Barrier("start", client)
    await start.create(2)
    await start.arrive("me")
    assert (await start.arrive("me")).spec.holder == "me"
    with pytest.raises(errors.WaitTimeout):
        await start.wait(timeout=timedelta(seconds=2))
    await start.delete()


async def logs_of_a_job(house: House, folder: Path) -> str:
    """Run a Job, and read what it has printed as a client."""
    kube, namespace = house.admin.kube, house.server.namespace
    container = {"name": "main", "image": "busybox"}
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    body = await kube.send(requests.create(requests.JOBS, namespace, {"metadata": {"name": "job"}, "spec": spec}))
    job: dict[str, Any] = msgspec.json.decode(body)
    async with pod_printer(house.server, kube, folder) as printer:
        pod = await pod_of(house.server, kube, job)
        await printer.take(pod)
        now = datetime.now(UTC)
        await played_jobs.say_running(kube, namespace=namespace, name=pod, container="main", now=now)
        await printer.print(pod, "built")
        await end_job(house.server, kube, job)
        async with house.clients[Role.CLIENT].get_job_logs("job") as chunks:
            return b"".join([chunk async for chunk in chunks]).decode()


def schedule() -> ScheduledExecution:
    """Return a schedule of the function ``build``."""
    spec = ScheduledExecutionSpec(schedule="0 3 * * *", function="build", arguments=msgspec.Raw(b'{"target":"x"}'))
    return ScheduledExecution(metadata=ObjectMeta(name="nightly"), spec=spec)


async def test_an_operator_acts_by_its_role(house: House) -> None:
    """It cancels, skips, retries and resumes, and suspends, resumes and triggers schedules."""
    operator = house.clients[Role.OPERATOR]
    canceled, skipped, asking = [await operator.spawn(build, "x") for _ in range(3)]
    await operator.cancel(canceled)
    await operator.skip(skipped, result=["by hand"])
    assert await skipped.result(timeout=SOON) == ["by hand"]
    await operator.retry_execution(canceled)
    assert (await operator.get(canceled.name)).is_retry_requested
    top = await operator.get(asking.name)
    await house.worker.suspend(top, f"{asking.name}-1", "1", payload_schema={"type": "boolean"})
    await house.worker.suspend(top, f"{asking.name}-2", "2")
    await operator.resume_suspension(f"{asking.name}-1", True)
    assert len(await operator.resume_execution(asking)) == 1
    await house.admin.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, operator.namespace, schedule()))
    await operator.suspend_scheduled_execution("nightly")
    await operator.resume_scheduled_execution("nightly")
    triggered = await operator.trigger_scheduled_execution("nightly")
    assert [one.metadata.name for one in await operator.list(schedule="nightly")] == [triggered.name]


Act = Callable[[Client], Awaitable[object]]
REFUSED: dict[str, tuple[Role, Act, str, str]] = {
    "a client cancels": (
        Role.CLIENT,
        lambda client: client.cancel("x"),
        'cannot patch resource "executions/status" in API group "kontinue.cloud"',
        "The Roles kontinue-worker and kontinue-operator grant it there (`kontinue install`)",
    ),
    "a client skips": (
        Role.CLIENT,
        lambda client: client.skip("x", result=[]),
        'cannot patch resource "executions/status"',
        "kontinue-operator",
    ),
    "a client retries": (
        Role.CLIENT,
        lambda client: client.retry_execution("failed"),
        'cannot patch resource "executions"',
        "kontinue-operator",
    ),
    "a client resumes": (
        Role.CLIENT,
        lambda client: client.resume_suspension("x-1"),
        'cannot patch resource "suspensions/status"',
        "The Role kontinue-operator grants it there",
    ),
    "a client suspends a schedule": (
        Role.CLIENT,
        lambda client: client.suspend_scheduled_execution("nightly"),
        'cannot patch resource "scheduledexecutions"',
        "The Role kontinue-operator grants it there",
    ),
    "an operator deletes": (
        Role.OPERATOR,
        lambda client: client.kube.send(requests.delete(requests.EXECUTIONS, client.namespace, "x")),
        'cannot delete resource "executions"',
        "The Role kontinue-worker grants it there",
    ),
    "a worker reads secrets": (
        Role.WORKER,
        lambda client: client.kube.send(
            requests.list_objects(requests.Resource("", "v1", "secrets", "Secret"), client.namespace)
        ),
        'cannot list resource "secrets" in API group ""',
        "No role of kontinue grants that",
    ),
    "a worker makes a schedule": (
        Role.WORKER,
        lambda client: client.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, client.namespace, schedule())),
        'cannot create resource "scheduledexecutions"',
        "No role of kontinue grants that",
    ),
    "a client looks into another namespace": (
        Role.CLIENT,
        lambda client: client.list(namespace="default"),
        'in the namespace "default"',
        "The Roles kontinue-worker, kontinue-client and kontinue-operator grant it there",
    ),
    "an operator waits in another namespace": (
        Role.OPERATOR,
        lambda client: client.with_namespace("default").wait_for_execution("x", timeout=SOON),
        'in the namespace "default"',
        "grant it there",
    ),
    "a client lists all namespaces": (
        Role.CLIENT,
        lambda client: client.list(namespace=""),
        "at the cluster scope",
        "The roles of kontinue hold in one namespace: name it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_a_role_may_not_do_is_refused_with_who_may(house: House, case: str) -> None:
    """The error names user, verb, resource and namespace, and which Role grants it; nothing has changed."""
    role, act, refusal, remedy = REFUSED[case]
    for name in ("x", "failed"):
        body = {"apiVersion": "kontinue.cloud/v1alpha1", "kind": "Execution", "metadata": {"name": name}}
        spec = ExecutionSpec(function="build")
        await house.admin.kube.send(requests.create(requests.EXECUTIONS, house.admin.namespace, {**body, "spec": spec}))
    await house.worker.write("failed", Phase.FAILED)
    await house.worker.suspend(await house.admin.get("x"), "x-1", "1")
    if "schedule" in case and role is Role.CLIENT:
        await house.admin.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, house.admin.namespace, schedule()))
    before = [(one.metadata.name, one.metadata.resource_version) for one in await house.admin.list()]
    with pytest.raises(errors.Forbidden) as caught:
        await act(house.clients[role])
    text = str(caught.value)
    assert f'User "{house.user(role)}" cannot ' in text
    assert refusal in text
    assert remedy in text
    assert [(one.metadata.name, one.metadata.resource_version) for one in await house.admin.list()] == before
    assert (await house.admin.get_suspension("x-1")).is_open
