"""Several worker groups in one namespace: each runs its own functions, children cross over, functions move."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kubectls
from api import unique
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Event, Lease, ObjectList, PartialObjectMetadata
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from polling import eventually
from replica import Replica
from startable import StartableServer

SOON_S = 60
SOON = timedelta(seconds=SOON_S)

pytestmark = pytest.mark.slow

DEPLOYMENTS = """
import time
from pathlib import Path
from kontinue import App, ExecutionContext

app = App(group="deployments")


@app.function(name="deploy-service")
def deploy(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return "by deployments"


@app.function
async def roll_out(ctx: ExecutionContext, gate: str) -> str:
    return await ctx.execute(deploy, gate)
"""
RELEASES = """
import time
from pathlib import Path
from kontinue import App, ChildFailed, ExecutionContext, remote

app = App(group="releases")


@remote("deploy-service")
def deploy(gate: str) -> str: ...


@remote("nowhere")
def nowhere() -> None: ...


@app.function
async def release(ctx: ExecutionContext, gate: str, services: int) -> list[str]:
    while Path(gate).with_name("hold").exists():
        time.sleep(0.01)
    return await ctx.map(deploy, [gate] * services)


@app.function
async def release_nothing(ctx: ExecutionContext) -> str:
    try:
        await ctx.execute(nowhere)
    except ChildFailed as error:
        return error.type
    return "?"
"""
DEPLOYING_RELEASES = """
from kontinue import App

app = App(group="releases")


@app.function(name="deploy-service")
def deploy(gate: str) -> str:
    return "by releases"
"""
ANOTHER_FUNCTION = """

@app.function
def another() -> None: ...
"""


class Place:
    """A namespace of one test, and the workers in it."""

    def __init__(self, folder: Path, server: StartableServer, namespace: str, client: Client) -> None:
        self.namespace = namespace
        self.kubeconfig = str(server.kubeconfig)
        self.client = client
        self.gate = folder / "gate"
        self._folder = folder
        self._server = server
        self._workers: list[Replica] = []

    def worker(self, shard: str, app: str, *options: str, sharding: bool = False, wait: bool = True) -> Replica:
        """Start a worker with that app."""
        folder = self._folder / f"app-{len(self._workers)}"
        folder.mkdir()
        (folder / "app.py").write_text(app)
        found = ("--namespace", self.namespace, *options)
        worker = Replica(folder, self._server.kubeconfig, "app:app", folder, shard, *found, sharding=sharding)
        self._workers.append(worker)
        worker.start(wait=wait)
        return worker

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()

    def kubectl(self, *arguments: str) -> Any:
        """Return what kubectl prints as JSON."""
        command = [str(kubectls.program(kubectls.ENVIRONMENT)), "--kubeconfig", str(self._server.kubeconfig)]
        command += ["--namespace", self.namespace, *arguments, "-o", "json"]
        home = {**os.environ, "HOME": str(self._folder)}
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60, env=home).stdout)

    async def list(self, resource: requests.Resource, type_: type[Any]) -> list[Any]:
        """Return all objects of the namespace."""
        body = await self.client.kube.send(requests.list_objects(resource, self.namespace))
        return msgspec.json.decode(body, type=ObjectList[type_]).items  # type: ignore[valid-type]

    async def events(self, reason: str, function: str) -> list[str]:
        """Return the messages of Events about a Function."""
        found: list[Event] = await self.list(requests.EVENTS, Event)
        about = [one for one in found if one.reason == reason and one.involved_object.kind == "Function"]
        return [one.message for one in about if one.involved_object.name == function]

    async def functions(self) -> dict[str, str]:
        """Return the registered functions and their groups."""
        return {one.spec.name: one.spec.worker_group for one in await self.client.functions()}

    async def delete_function(self, name: str) -> None:
        """Delete a Function, as a person does."""
        await self.client.kube.send(requests.delete(requests.FUNCTIONS, self.namespace, name))

    async def in_phase(self, name: str, phase: Phase) -> Execution:
        """Wait until the Execution is in that phase."""
        return await self.client.wait_for_execution(name, until=[phase], timeout=SOON)

    async def only_child(self, parent: str) -> Execution:
        """Wait until there is a child and it runs."""
        children: list[Execution] = []

        async def is_there() -> bool:
            children[:] = await self.client.get_child_executions(parent)
            return bool(children)

        await eventually(is_there)
        return await self.in_phase(children[0].metadata.name, Phase.EXECUTING)


@pytest.fixture
async def place(tmp_path: Path, own_server: StartableServer) -> AsyncIterator[Place]:
    """A fresh namespace."""
    namespace = unique("groups")
    options = ClientOptions(kubeconfig=str(own_server.kubeconfig), namespace=namespace, qps=None)
    async with Client(options) as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.kube.send(requests.create(requests.NAMESPACES, "", body))
        one = Place(tmp_path, own_server, namespace, client)
        yield one
        one.end()


async def has_resumed(client: Client, name: str) -> bool:
    """Tell whether a worker has claimed the Execution again."""
    return (await client.get(name)).status.resumptions > 0


def group_of(execution: Execution) -> str:
    """Return the worker group that runs the Execution."""
    return execution.metadata.labels[labels.WORKER_GROUP]


async def test_each_group_runs_its_own_and_everything_says_whose_it_is(place: Place) -> None:
    """By a label, which kubectl and the client select by; children run where their function is owned."""
    place.gate.touch()
    place.worker("d", DEPLOYMENTS)
    place.worker("r-0", RELEASES, sharding=True)
    place.worker("t", DEPLOYING_RELEASES.replace("deploy-service", "test-service"), "--group", "testing")
    client, gate = place.client, str(place.gate)
    release = await client.spawn("release", {"gate": gate, "services": 3}, result=list[str])
    assert await release.result(timeout=SOON) == ["by deployments"] * 3
    deploy = await client.spawn("deploy-service", {"gate": gate}, result=str)
    assert await deploy.result(timeout=SOON) == "by deployments"
    test = await client.spawn("test-service", {"gate": gate}, result=str)
    assert await test.result(timeout=SOON) == "by releases"
    lonely = await client.spawn("release_nothing", {}, result=str)
    assert (await lonely.result(timeout=SOON)).endswith("UnknownFunction")

    executions = await client.list()
    ran_by = {(group_of(one), one.status.owner.shard) for one in executions if one.status.owner is not None}
    assert (len(executions), ran_by) == (7, {("deployments", "d"), ("releases", "r-0"), ("testing", "t")})
    everything: list[PartialObjectMetadata] = [
        *await place.list(requests.FUNCTIONS, PartialObjectMetadata),
        *await place.list(requests.LEASES, PartialObjectMetadata),
        *await place.list(requests.EXECUTIONS, PartialObjectMetadata),
    ]
    groups = {one.metadata.labels.get(labels.WORKER_GROUP) for one in everything}
    assert (len(everything), groups) == (5 + 4 + 7, {"deployments", "releases", "testing"})

    selector = f"{labels.WORKER_GROUP}=deployments"
    found = place.kubectl("get", "functions.kontinue.cloud,executions", "-l", selector)["items"]
    by_client = [*await client.functions(worker_group="deployments"), *await client.list(worker_group="deployments")]
    names = {item["metadata"]["name"] for item in found}
    assert names == {one.metadata.name for one in by_client}
    assert {"deploy-service", "roll-out"} < names
    assert len(names) == 2 + 4


@pytest.mark.parametrize("sharding", [False, True], ids=["one-replica", "sharded"])
async def test_parent_and_child_find_each_other_after_a_restart_of_either_side(place: Place, sharding: bool) -> None:
    """A killed worker of either group loses nothing, and an end that nobody was there to see is found."""
    parents = place.worker("r-0", RELEASES, sharding=sharding)
    children = place.worker("d-0", DEPLOYMENTS, sharding=sharding)
    client = place.client
    release = await client.spawn("release", {"gate": str(place.gate), "services": 1}, result=list[str])
    child = await place.only_child(release.name)
    parents.kill()
    parents.start()
    children.kill()
    children.start()
    parents.kill()
    place.gate.touch()
    assert (await place.in_phase(child.metadata.name, Phase.COMPLETED)).metadata.uid == child.metadata.uid
    parents.start()
    assert await release.result(timeout=SOON) == ["by deployments"]
    assert len(await client.get_child_executions(release.name)) == 1


async def test_a_canceled_parent_takes_its_children_in_other_groups_along(place: Place) -> None:
    """They are not left to run for nobody."""
    place.worker("r-0", RELEASES)
    place.worker("d-0", DEPLOYMENTS)
    release = await place.client.spawn("release", {"gate": str(place.gate), "services": 1})
    child = await place.only_child(release.name)
    await place.client.cancel(release)
    assert group_of(await place.in_phase(child.metadata.name, Phase.CANCELED)) == "deployments"


@pytest.mark.parametrize("sharding", [False, True], ids=["one-replica", "sharded"])
async def test_a_parent_canceled_while_its_worker_is_away_takes_them_along_later(place: Place, sharding: bool) -> None:
    """Nobody saw the cancel: who comes back looks for such parents."""
    parents = place.worker("r-0", RELEASES, sharding=sharding)
    place.worker("d-0", DEPLOYMENTS, sharding=sharding)
    release = await place.client.spawn("release", {"gate": str(place.gate), "services": 1})
    child = await place.only_child(release.name)
    parents.kill()
    await place.client.cancel(release)
    assert (await place.client.get(child.metadata.name)).phase is Phase.EXECUTING
    parents.start()
    await place.in_phase(child.metadata.name, Phase.CANCELED)


async def test_a_parent_canceled_before_its_replay_comes_to_its_children_takes_them_along(place: Place) -> None:
    """The worker that came back has not heard of them yet: it looks for them."""
    parents = place.worker("r-0", RELEASES)
    place.worker("d-0", DEPLOYMENTS)
    release = await place.client.spawn("release", {"gate": str(place.gate), "services": 1})
    child = await place.only_child(release.name)
    parents.kill()
    place.gate.with_name("hold").touch()
    parents.start()
    await eventually(lambda: has_resumed(place.client, release.name))
    await place.client.cancel(release)
    await place.in_phase(child.metadata.name, Phase.CANCELED)


async def test_a_function_moves_to_another_group_only_by_force_and_new_executions_follow(place: Place) -> None:
    """What runs goes on in the old group; its own children of that function are new Executions, too."""
    old = place.worker("d", DEPLOYMENTS)
    client, gate = place.client, str(place.gate)
    running = await client.spawn("deploy-service", {"gate": gate}, result=str)
    await place.in_phase(running.name, Phase.EXECUTING)

    refused = place.worker("r", DEPLOYING_RELEASES, wait=False)
    assert await asyncio.to_thread(refused.wait) == 1
    (line,) = refused.events("worker cannot run")
    assert line["message"].startswith(
        "function deploy-service is owned by worker group deployments (current worker group: releases).\n"
        "Set TakeOwnershipOfFunctions=true to override"
    )
    new = place.worker("r", DEPLOYING_RELEASES, "--take-ownership")
    (line,) = new.events("function taken over")
    assert (line["level"], line["function"], line["owner"]) == ("warning", "deploy-service", "deployments")
    assert await place.functions() == {"deploy-service": "releases", "roll_out": "deployments"}
    await asyncio.to_thread(old.wait_for, "function lost: another worker group has taken it over")

    async with Client(ClientOptions(kubeconfig=place.kubeconfig, namespace=place.namespace)) as another:
        follower = await another.spawn("deploy-service", {"gate": gate}, result=str)
        assert await follower.result(timeout=SOON) == "by releases"
    parent = await client.spawn("roll_out", {"gate": gate}, result=str)
    assert await parent.result(timeout=SOON) == "by releases"
    (child,) = await client.get_child_executions(parent.name)
    assert (group_of(await client.get(parent.name)), group_of(child)) == ("deployments", "releases")
    adopted = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": "by-hand"},
        "spec": {"function": "deploy-service", "arguments": {"gate": gate}},
    }
    await client.kube.send(requests.create(requests.EXECUTIONS, place.namespace, adopted))
    assert group_of(await place.in_phase("by-hand", Phase.COMPLETED)) == "releases"
    place.gate.touch()
    assert await running.result(timeout=SOON) == "by deployments"


async def test_two_groups_that_both_force_it_flip_a_function_and_the_second_warns(place: Place) -> None:
    """At each start, and never in between: a running group does not fight."""
    first = place.worker("d", DEPLOYMENTS, "--take-ownership")
    second = place.worker("r", DEPLOYING_RELEASES, "--take-ownership")
    assert not first.events("function taken over")
    assert len(second.events("function taken over")) == 1
    assert await asyncio.to_thread(first.stop) == 0
    await asyncio.to_thread(first.start)
    (line,) = first.events("function taken over")
    assert (line["level"], line["owner"], line["group"]) == ("warning", "releases", "deployments")
    await asyncio.to_thread(second.wait_for, "function lost: another worker group has taken it over")
    assert (await place.functions())["deploy-service"] == "deployments"

    async def are_told() -> bool:
        return len(await place.events("FunctionTakenOver", "deploy-service")) == 2

    await eventually(are_told)
    assert set(await place.events("FunctionTakenOver", "deploy-service")) == {
        "worker group releases has taken function deploy-service over from worker group deployments",
        "worker group deployments has taken function deploy-service over from worker group releases",
    }


async def test_a_function_is_pruned_when_the_last_replica_of_the_old_build_has_gone(place: Place) -> None:
    """Not before: others may still spawn what the old replicas can run. Nor does an old leader prune what is new."""
    client = place.client
    first = place.worker("d-0", DEPLOYMENTS + ANOTHER_FUNCTION, sharding=True)
    first.wait_for("leading")
    second = place.worker("d-1", DEPLOYMENTS + ANOTHER_FUNCTION, sharding=True)
    third = place.worker("d-2", DEPLOYMENTS + ANOTHER_FUNCTION.replace("another", "newer"), sharding=True)
    await asyncio.to_thread(first.wait_for, "functions not pruned yet: replicas run other code")
    assert set(await place.functions()) == {"deploy-service", "roll_out", "another", "newer"}
    assert await asyncio.to_thread(first.stop) == 0

    async def somebody_leads() -> bool:
        return bool(second.events("leading") or third.events("leading"))

    await eventually(somebody_leads)
    assert set(await place.functions()) == {"deploy-service", "roll_out", "another", "newer"}
    assert await asyncio.to_thread(second.stop) == 0

    async def is_pruned() -> bool:
        return "another" not in await place.functions()

    await eventually(is_pruned)
    assert set(await place.functions()) == {"deploy-service", "roll_out", "newer"}
    await eventually(lambda: third.events("function pruned: the app no longer has it"))
    (line,) = third.events("function pruned: the app no longer has it")
    assert line["function"] == "another"

    async def are_told() -> bool:
        return await place.events("FunctionPruned", "another") == [
            "worker group deployments no longer has function another"
        ]

    await eventually(are_told)
    with pytest.raises(errors.UnknownFunction):
        await client.spawn("another", {})


async def test_pruning_can_be_switched_off_and_what_waits_for_a_pruned_function_says_so(place: Place) -> None:
    """An Execution outlives its Function, and runs when the function is back."""
    client = place.client
    place.worker("d", DEPLOYMENTS + ANOTHER_FUNCTION).stop()
    stranded = await client.spawn("another", {})
    keeping = place.worker("d", DEPLOYMENTS, "--no-prune")

    async def says_so() -> bool:
        waiting = (await client.get(stranded.name)).status.waiting_for
        return [(one.kind, one.name) for one in waiting] == [("Function", "another")]

    await eventually(says_so)
    assert "another" in await place.functions()
    keeping.stop()
    pruning = place.worker("d", DEPLOYMENTS)
    await asyncio.to_thread(pruning.wait_for, "function pruned: the app no longer has it")
    assert "another" not in await place.functions()
    assert (await client.get(stranded.name)).phase is Phase.PENDING
    pruning.stop()
    place.worker("d", DEPLOYMENTS + ANOTHER_FUNCTION)
    await stranded.result(timeout=SOON)


@pytest.mark.parametrize("sharding", [False, True], ids=["one-replica", "sharded"])
async def test_a_function_that_somebody_deletes_is_registered_again(place: Place, sharding: bool) -> None:
    """By the workers that run, not at their next start."""
    place.worker("d-0", DEPLOYMENTS, sharding=sharding)
    before = {one.metadata.uid for one in await place.client.functions()}
    for name in ("deploy-service", "roll-out"):
        await place.delete_function(name)

    async def are_back() -> bool:
        return len(await place.functions()) == 2

    await eventually(are_back)
    assert not before & {one.metadata.uid for one in await place.client.functions()}


async def test_the_leases_of_a_group_say_which_build_its_replicas_run(place: Place) -> None:
    """Pruning depends on it: equal code has an equal digest, other code another one."""
    place.worker("a", DEPLOYMENTS, sharding=True)
    place.worker("b", DEPLOYMENTS, sharding=True)
    place.worker("c", DEPLOYMENTS + ANOTHER_FUNCTION, sharding=True)
    found: list[Lease] = await place.list(requests.LEASES, Lease)
    builds = {one.spec.holder_identity: one.metadata.annotations[labels.BUILD] for one in found}
    assert builds["a"] == builds["b"] != builds["c"]
