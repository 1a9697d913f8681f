"""A cluster that has the original, whose objects stand in ``sync.konductor.io``: its kinds are replaced by ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor import group
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from kontinue.kube.api_groups import for_group
from kontinue.kube.http import KubeTransport
from kontinue.sync import Barrier, Gate, Lease, Lock, Mutex, Once, OncePhase, RWMutex, Semaphore, WaitGroup
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli import koncli, main
from looked_after import World, start_coordinator
from polling import eventually

pytestmark = pytest.mark.slow

ORIGINAL = group.ORIGINAL_GROUP
CRDS = [crd for crd in load_crds() if crd["spec"]["group"] == group.GROUP]
RESOURCES = {
    crd["spec"]["names"]["kind"]: requests.Resource(
        ORIGINAL, "v1", crd["spec"]["names"]["plural"], crd["spec"]["names"]["kind"]
    )
    for crd in CRDS
}
SOON = timedelta(seconds=60)
NOW, NEVER = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


def as_the_original_defines(crd: dict[str, Any]) -> dict[str, Any]:
    """Return its definition of a kind, as far as it matters: conditions that we do not have, other names for people."""
    any_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    status = {**any_object, "properties": {"conditions": {"type": "array", "items": any_object}}}
    schema = {"type": "object", "properties": {"spec": any_object, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    names = {key: crd["spec"]["names"][key] for key in ("plural", "singular", "kind")}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{ORIGINAL}"},
        "spec": {
            "group": ORIGINAL,
            "scope": "Namespaced",
            "names": names,
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.fixture
async def transport(api_server: ApiServer) -> AsyncIterator[KubeTransport]:
    """To a server on which the original's kinds come and go with the test."""
    found = api_server.transport()
    for crd in CRDS:
        await found.send(requests.create(requests.CRDS, "", as_the_original_defines(crd)))
    await asyncio.gather(*(eventually(partial(is_served, found, one)) for one in RESOURCES.values()))
    yield found
    for crd in CRDS:
        await found.send(requests.delete(requests.CRDS, "", f"{crd['spec']['names']['plural']}.{ORIGINAL}"))
    await asyncio.gather(*(eventually(partial(is_gone, found, one)) for one in RESOURCES.values()))
    await found.close()


async def is_served(transport: KubeTransport, resource: requests.Resource) -> bool:
    try:
        await transport.send(requests.list_objects(resource, "default"))
    except errors.NotFound:
        return False
    return True


async def is_gone(transport: KubeTransport, resource: requests.Resource) -> bool:
    try:
        await transport.send(requests.get(requests.CRDS, "", f"{resource.plural}.{ORIGINAL}"))
    except errors.NotFound:
        return True
    return False


async def create(
    transport: KubeTransport,
    namespace: str,
    kind: str,
    name: str,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    **metadata: Any,
) -> dict[str, Any]:
    """Create an object as the original leaves it."""
    resource = RESOURCES[kind]
    body = {"apiVersion": f"{ORIGINAL}/v1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
    created = json.loads(await transport.send(requests.create(resource, namespace, body)))
    await transport.send(requests.replace_status(resource, namespace, name, {**created, "status": status}))
    return created


async def create_child(
    transport: KubeTransport,
    parent: dict[str, Any],
    kind: str,
    suffix: str,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
) -> None:
    """Create an object that belongs to another one."""
    meta, word = parent["metadata"], parent["kind"].lower()
    owner = {"apiVersion": f"{ORIGINAL}/v1", "kind": parent["kind"], "name": meta["name"], "uid": meta["uid"]}
    owner |= {"controller": True, "blockOwnerDeletion": True}
    await create(
        transport,
        meta["namespace"],
        kind,
        f"{meta['name']}-{suffix}",
        {word: meta["name"], **spec},
        status,
        labels={word: meta["name"]},
        ownerReferences=[owner],
    )


async def leave_objects(transport: KubeTransport, namespace: str) -> None:
    """Create what users of the original have: each kind with the fields that it writes."""

    async def one(kind: str, name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        return await create(transport, namespace, kind, name, spec, status)

    held = {"holder": "w0"}
    database = await one(
        "Semaphore", "db", {"permits": 2, "ttl": "10m"}, {"inUse": 1, "available": 1, "phase": "Ready"}
    )
    await create_child(
        transport,
        database,
        "Permit",
        "w0-1700000000000000000",
        {**held, "ttl": "10m0s"},
        {"phase": "Granted", "acquiredAt": NOW},
    )
    start = await one(
        "Barrier", "start", {"expected": 2, "timeout": "9000h"}, {"arrived": 1, "phase": "Waiting", "arrivals": ["w0"]}
    )
    await create_child(transport, start, "Arrival", "w0", held, {"phase": "Recorded"})
    await one("Mutex", "deploy", {"ttl": "1h"}, {**held, "lockedAt": NOW, "expiresAt": NEVER, "phase": "Locked"})
    await one("RWMutex", "catalog", {}, {"readHolders": ["w0", "w1"], "lockedAt": NOW, "phase": "ReadLocked"})
    await one("Once", "migrate", {}, {"executed": True, "executor": "w0", "executedAt": NOW, "phase": "Executed"})
    await one("WaitGroup", "jobs", {"ttl": "1h"}, {"counter": 2, "phase": "Waiting"})
    held_lease = {**held, "acquiredAt": NOW, "expiresAt": NEVER, "phase": "Held", "renewCount": 0}
    await one("Lease", "leader", {"ttl": "10m", "priority": 1}, held_lease)
    await one("LeaseRequest", "leader-w0", {**held, "lease": "leader", "priority": 1}, {"phase": "Granted"})
    condition = {"type": "Barrier", "name": "start"}
    unmet = {**condition, "met": False, "message": "barrier phase is Waiting"}
    spec = {"conditions": [{**condition, "state": "Open"}], "timeout": "9000h"}
    await one("Gate", "ready", spec, {"phase": "Waiting", "conditionStatuses": [unmet]})


async def test_objects_of_the_original_are_taken_over(
    api_server: ApiServer, transport: KubeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was held, counted and done there counts on; nothing has to be created anew."""
    namespace = api_server.namespace
    await leave_objects(transport, namespace)
    words = ["install", "--api-group", ORIGINAL, "--roles", "client", "--kubeconfig", str(api_server.kubeconfig)]
    assert await asyncio.to_thread(main.main, words) == 1
    assert "the original's, or of a newer kontinue" in capsys.readouterr().err
    assert await asyncio.to_thread(main.main, [*words, "--allow-downgrade"]) == 0
    options = ClientOptions(kubeconfig=str(api_server.kubeconfig), api_group=ORIGINAL, qps=None)
    world = World(for_group(transport, ORIGINAL), namespace)
    async with Client(options) as client, world.looked_after():
        jobs = WaitGroup("jobs", client)
        assert [await jobs.done(), await jobs.done()] == [1, 0]
        assert (await jobs.wait(timeout=SOON)).counter == 0
        await check_children(client)
        await check_locks(client)


async def test_one_coordinator_looks_after_both_groups(
    api_server: ApiServer, transport: KubeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two WaitGroups of one name, in either group, have nothing to do with each other."""
    namespace, where = api_server.namespace, ["--kubeconfig", str(api_server.kubeconfig)]
    install = ["install", "--api-group", ",".join(group.GROUPS), "--roles", "coordinator", "--allow-downgrade"]
    assert await asyncio.to_thread(main.main, [*install, *where]) == 0
    coordinator = await start_coordinator(api_server, "--api-group", ",".join(group.GROUPS))
    try:
        ours, theirs = (World(for_group(transport, name), namespace) for name in group.GROUPS)
        pod = await ours.pod("worker")
        groups = [await world.group("jobs") for world in (ours, theirs)]
        assert [await one.add(number, holder=pod) for number, one in enumerate(groups, 1)] == [1, 2]
        capsys.readouterr()
        words = ["waitgroup", "add", "jobs", "--api-group", ORIGINAL, "-o", "name", *where]
        assert await asyncio.to_thread(koncli.main, words) == 0
        assert capsys.readouterr().out == f"waitgroups.{ORIGINAL}/jobs\n"
        await asyncio.to_thread(main.main, ["doctor", "--api-group", ORIGINAL, "-o", "json", *where])
        found = json.loads(capsys.readouterr().out)["findings"]
        assert {one["severity"] for one in found if one["check"] in {"kinds", "waitgroups"}} == {"ok"}
        await transport.send(requests.delete(requests.PODS, namespace, "worker"))
        await groups[0].wait(timeout=SOON)
        await eventually(lambda: is_left(groups[1], 1))
        await eventually(lambda: are_told(transport, namespace))
        leases = requests.list_objects(requests.LEASES, namespace)
        names = {one["metadata"]["name"] for one in json.loads(await transport.send(leases))["items"]}
        assert {"kontinue-coordinator", f"kontinue-coordinator.{ORIGINAL}"} <= names
    finally:
        coordinator.terminate()
        await coordinator.communicate()


async def is_left(found: WaitGroup, counter: int) -> bool:
    return (await found.get()).counter == counter


async def are_told(transport: KubeTransport, namespace: str) -> bool:
    """Tell whether there is an Event about either of the WaitGroups."""
    events = json.loads(await transport.send(requests.list_objects(requests.EVENTS, namespace)))["items"]
    about = [one["involvedObject"]["apiVersion"] for one in events if one["reason"] == "HolderGone"]
    return sorted(about) == [f"{name}/v1" for name in group.GROUPS]


async def check_children(client: Client) -> None:
    database = Semaphore("db", client)
    second = await database.acquire(holder="w1", timeout=SOON)
    with pytest.raises(errors.Held):
        await database.acquire(holder="w2", timeout=timedelta())
    assert await database.release("w0") == "db-w0-1700000000000000000"
    assert await second.release()
    start = Barrier("start", client)
    await start.arrive("w1")
    assert sorted((await start.wait(timeout=SOON)).status.arrivals) == ["w0", "w1"]
    await Gate("ready", client).wait(timeout=SOON)
    leader = Lease("leader", client)
    with pytest.raises(errors.Held, match="w0"):
        await leader.acquire(holder="w1", timeout=timedelta())
    await leader.release(holder="w0")
    await leader.release(await leader.acquire(holder="w1", timeout=SOON))


async def check_locks(client: Client) -> None:
    deploy, catalog, once = Mutex("deploy", client), RWMutex("catalog", client), Once("migrate", client)
    with pytest.raises(errors.Held, match="w0"):
        await deploy.lock(timeout=timedelta())
    await deploy.unlock(holder="w0")
    await deploy.unlock(await deploy.lock(timeout=SOON))
    with pytest.raises(errors.Held, match="w0, w1"):
        await catalog.lock(timeout=timedelta())
    for reader in ("w0", "w1"):
        await catalog.unlock(holder=reader)
    await catalog.unlock(await catalog.lock(timeout=SOON))

    async def work(lock: Lock) -> None:
        raise AssertionError(f"done again: {lock}")

    assert await once.do(work, timeout=SOON) is False
    assert (await once.get()).phase is OncePhase.EXECUTED
