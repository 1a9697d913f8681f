"""Mutexes and limits in a group that is not sharded, with runners played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from api_server import ApiServer
from controller_world import GROUP, World, eventually, replica
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.kube import requests
from kontinue_engine.controllers import admission
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.observed import SHARDED_EPOCH
from kontinue_engine.lifecycle.starting import EPOCHS_PER_GRANT
from kontinue_engine.sharding import mutexes
from kontinue_engine.sharding.mutexes import Contender, Grant
from kontinue_engine.sharding.views import granted
from kontinue_engine.wire import frames

LEASE = f"kontinue-mutex.{GROUP}.m"


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


@pytest.fixture
async def limited(api_server: ApiServer) -> AsyncIterator[World]:
    """One whose function ``f`` may run twice at once, and ``child`` once."""
    async with replica(api_server, limits={"f": 2, "child": 1}) as one:
        yield one


def dispatched(world: World) -> list[str]:
    return [activate.execution for activate in world.runners.submitted]


def complete(world: World, activate: frames.Activate) -> None:
    world.on_frame(frames.Completed(activate.activation, b"1"))


async def lease_of(world: World) -> Lease | None:
    """Return the Lease of the mutex ``m``; None if there is none."""
    try:
        body = await world.transport.send(requests.get(requests.LEASES, world.namespace, LEASE))
    except errors.NotFound:
        return None
    return msgspec.json.decode(body, type=Lease)


async def freed(world: World) -> None:
    """Wait until nobody holds the mutex."""
    async with asyncio.timeout(60):
        while await lease_of(world) is not None:
            await asyncio.sleep(0.01)


async def told(world: World, name: str) -> Execution:
    """Wait until an Execution is told in its status what it waits for."""
    async with asyncio.timeout(60):
        while not (execution := await world.get(name)).status.waiting_for:
            await asyncio.sleep(0.01)
    return execution


async def cancel(world: World, name: str) -> None:
    phase = (await world.get(name)).status.phase
    operations = [
        {"op": "test", "path": "/status/phase", "value": phase},
        {"op": "replace", "path": "/status/phase", "value": "Canceled"},
    ]
    await world.transport.send(
        requests.json_patch(requests.EXECUTIONS, world.namespace, name, operations, subresource="status")
    )


def request_child(world: World, parent: frames.Activate, name: str, *, mutex: str = "", function: str = "f") -> None:
    spec = msgspec.json.encode({"mutex": {"name": mutex}}) if mutex else b""
    command = frames.CreateChild(name, function, b"{}", "digest", spec=spec)
    world.on_frame(frames.StepRequested(parent.activation, "0", command))


async def test_a_mutex_costs_two_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Lease is created and deleted; the Execution is written no more often than any other."""
    monkeypatch.setattr(admission, "TELL_AFTER_MS", 600_000)  # what does not come soon is told, and asked for again
    monkeypatch.setattr(mutexes, "SEEN_AGAIN_S", 600.0)
    sent: list[requests.Request] = []
    send = world.transport.send

    async def note(request: requests.Request, **options: object) -> bytes:
        if request.method != "GET" and "/leases" in request.path:
            sent.append(request)
        return await send(request, **options)  # type: ignore[arg-type]

    world.transport.send = note  # type: ignore[method-assign]
    before = await world.server.writes()
    await world.create("e", mutex="m")
    activate = await world.run("e")
    lease = await lease_of(world)
    assert lease is not None
    assert lease.spec.holder_identity == activate.uid
    assert lease.metadata.labels == {labels.WORKER_GROUP: GROUP, labels.MUTEX: "m"}
    assert lease.metadata.annotations == {labels.MUTEX: "m", labels.EXECUTION: "e"}
    complete(world, activate)
    await world.phase("e", Phase.COMPLETED)
    await freed(world)
    assert [request.method for request in sent] == ["POST", "DELETE"]
    assert await world.server.writes() - before == 2


@pytest.mark.slow
async def test_what_was_granted_elsewhere_is_claimed_before_it_runs(world: World) -> None:
    """Its leader saw it in another shard: one of the two replicas is late, and both could start it."""
    await world.create("e", mutex="m", labels={labels.WORKER_GROUP: "nobody"})
    seen = await world.get("e")
    lease = granted(
        Grant(Contender(uid=seen.metadata.uid, name="e", version="", mutex="m", shard="w-9"), None),
        group=GROUP,
        now=datetime.now(UTC),
    )
    await world.transport.send(requests.create(requests.LEASES, world.namespace, lease))
    here = {"metadata": {"labels": {labels.WORKER_GROUP: GROUP}}}
    await world.transport.send(requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", here))
    activate = await world.run("e")
    owner = (await world.get("e")).status.owner
    assert owner is not None
    assert owner.epoch == activate.fencing_token % EPOCHS_PER_GRANT == SHARDED_EPOCH + 1


async def test_one_after_the_other_in_the_order_of_creation(world: World) -> None:
    """Those that wait are Pending and told once who holds it; the next starts when the holder has stopped."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    before = await world.server.writes()
    for name in ("b", "c"):
        await world.create(name, mutex="m")
    for name in ("b", "c"):
        waiting = await told(world, name)
        assert waiting.phase is Phase.PENDING
        (item,) = waiting.status.waiting_for
        assert (item.kind, item.name, item.message) == ("Mutex", "m", "Execution a holds it")
    assert dispatched(world) == ["a"]
    assert await world.server.writes() - before == 4
    complete(world, first)
    second = await world.run("b")
    assert dispatched(world) == ["a", "b"]
    complete(world, second)
    assert (await world.phase("b", Phase.COMPLETED)).status.waiting_for == []
    complete(world, await world.run("c"))
    await freed(world)
    assert dispatched(world) == ["a", "b", "c"]


@pytest.mark.slow
async def test_those_who_are_next_are_told_every_holder_and_the_others_cost_one_write(world: World) -> None:
    """A status names no former holder; a change of hands costs at most three writes, however many wait."""
    names = [f"w-{number}" for number in range(8)]
    await world.create("a", mutex="m")
    first = await world.run("a")
    before = await world.server.writes()
    for name in names:
        await world.create(name, mutex="m")
    assert await messages(world, names, has_changed_to="Execution a holds it") == [
        *["Execution a holds it"] * 3,
        *["others wait for it too, and come first"] * 5,
    ]
    assert await world.server.writes() - before == 8 + 8, "each is created, and told once"
    before = await world.server.writes()
    complete(world, first)
    await world.run("w-0")
    assert await messages(world, names[1:], has_changed_to="Execution w-0 holds it") == [
        *["Execution w-0 holds it"] * 3,
        *["others wait for it too, and come first"] * 4,
    ]
    assert await world.server.writes() - before == 1 + 3, "the end of the first one, and three are told"


async def messages(world: World, names: list[str], *, has_changed_to: str) -> list[str]:
    """Wait until all have been told what they wait for, and three of them this; return what each was told."""
    async with asyncio.timeout(60):
        while True:
            told = [(await world.get(name)).status.waiting_for for name in names]
            found = [items[0].message if items else "" for items in told]
            if all(found) and found.count(has_changed_to) == 3:
                return found
            await asyncio.sleep(0.02)


async def test_other_mutexes_and_executions_without_one_are_not_held_up(world: World) -> None:
    """Only equal names exclude each other."""
    await world.create("a", mutex="m")
    await world.create("b", mutex="M")
    await world.create("c")
    await eventually(lambda: sorted(dispatched(world)) == ["a", "b", "c"])


async def test_fencing_tokens_grow_from_one_holder_to_the_next(world: World) -> None:
    """Both are in their first epoch; a receiver can refuse the one that has lost the mutex."""
    await world.create("a", mutex="m")
    await world.create("b", mutex="m")
    first = await world.run("a")
    complete(world, first)
    second = await world.run("b")
    assert second.fencing_token > first.fencing_token > 0


async def test_a_parked_holder_keeps_its_mutex(world: World) -> None:
    """Also while it sleeps or waits for children."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    command = frames.StartTimer(60_000)
    world.on_frame(frames.StepRequested(first.activation, "0", command))
    world.on_frame(frames.Waiting(first.activation, [frames.WaitingItem("Timer", "sleep", "0")]))
    await world.phase("a", Phase.SUSPENDED)
    await world.create("b", mutex="m")
    await world.create("c", mutex="another")
    await world.run("c")
    assert dispatched(world) == ["a", "c"]


async def test_a_canceled_holder_keeps_its_mutex_until_its_code_has_ended(world: World) -> None:
    """Terminal is not the same as stopped."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    await world.create("b", mutex="m")
    timer = frames.StartTimer(1)
    world.on_frame(frames.StepRequested(first.activation, "0", timer))  # so that it has a status
    await world.phase("a", Phase.EXECUTING)
    await cancel(world, "a")
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    assert not is_stopped((await world.get("a")).status.conditions)
    assert dispatched(world) == ["a"]
    world.on_frame(frames.Interrupted(first.activation))
    await world.run("b")
    assert is_stopped((await world.get("a")).status.conditions)


async def test_a_deleted_holder_keeps_its_mutex_until_its_code_has_ended(world: World) -> None:
    """Deletion stops nothing by itself."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    await world.create("b", mutex="m")
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "a"))
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    assert dispatched(world) == ["a"]
    assert await lease_of(world) is not None
    world.on_frame(frames.Interrupted(first.activation))
    await world.run("b")


async def test_one_that_is_deleted_while_it_waits_leaves_the_queue(world: World) -> None:
    """Nobody waits for it."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    for name in ("b", "c"):
        await world.create(name, mutex="m")
        await eventually(lambda name=name: world.entries.by_name(name) is not None)  # type: ignore[misc]
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "b"))
    await eventually(lambda: world.entries.by_name("b") is None)
    complete(world, first)
    await world.run("c")


@pytest.mark.slow
async def test_the_next_replica_finds_holder_and_queue_as_they_were(api_server: ApiServer) -> None:
    """The holder is replayed under its Lease, with a larger token; the others go on waiting for it."""
    async with replica(api_server) as world:
        await world.create("a", mutex="m")
        first = await world.run("a")
        await world.create("b", mutex="m")
        await world.phase("a", Phase.EXECUTING)
        lease = await lease_of(world)
    async with replica(api_server, "two") as world:
        again = await world.run("a")
        assert again.fencing_token > first.fencing_token
        assert await lease_of(world) == lease
        await told(world, "b")
        assert dispatched(world) == ["a"]
        complete(world, again)
        third = await world.run("b")
        assert third.fencing_token > again.fencing_token


@pytest.mark.slow
async def test_a_mutex_whose_holder_ended_with_its_replica_is_found_and_given_on(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica wrote the end, and died before it deleted the Lease."""
    async with replica(api_server) as world:
        await world.create("a", mutex="m")
        activate = await world.run("a")
        world.leases.book.forget(LEASE)  # so that it deletes nothing
        monkeypatch.setattr(mutexes, "SEEN_AGAIN_S", 600.0)  # nor does its duty as a leader
        complete(world, activate)
        await world.phase("a", Phase.COMPLETED)
        assert await lease_of(world) is not None
    monkeypatch.undo()
    async with replica(api_server, "two") as world:
        await world.create("b", mutex="m")
        complete(world, await world.run("b"))
        await freed(world)


@pytest.mark.slow
async def test_a_lease_that_somebody_deletes_goes_back_to_its_holder(world: World) -> None:
    """It still runs, so nobody else may."""
    await world.create("a", mutex="m")
    first = await world.run("a")
    await world.create("b", mutex="m")
    await world.transport.send(requests.delete(requests.LEASES, world.namespace, LEASE))
    async with asyncio.timeout(60):
        while (lease := await lease_of(world)) is None:
            assert dispatched(world) == ["a"]
            await asyncio.sleep(0.02)
    assert lease.spec.holder_identity == first.uid
    complete(world, first)
    await world.run("b")


@pytest.mark.slow
async def test_a_mutex_that_an_ancestor_holds_is_an_error(world: World) -> None:
    """It could never be free before the child has ended: the call in the parent raises, in any generation."""
    await world.create("p", mutex="m")
    parent = await world.run("p")
    request_child(world, parent, "c")
    child = await world.run("c")
    request_child(world, child, "g", mutex="m")
    failed = await world.phase("g", Phase.FAILED)
    assert failed.status.reason == "MutexHeldByAncestor"
    assert "'m' is held by Execution p" in failed.status.message
    assert is_stopped(failed.status.conditions)
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert arrived.outcome.error.type == "MutexHeldByAncestor"
    assert dispatched(world) == ["p", "c"]


@pytest.mark.slow
async def test_a_limit_is_kept_in_the_order_of_creation(limited: World) -> None:
    """Who waits is told once how many run, and one of them."""
    world = limited
    for name in ("a", "b", "c", "d"):
        await world.create(name)
    activate = await world.run("a")
    await world.run("b")
    (item,) = (await told(world, "c")).status.waiting_for
    assert (item.kind, item.name) == ("Function", "f")
    assert item.message == "2 run already, and its limit is 2: for example Execution a"
    assert dispatched(world) == ["a", "b"]
    complete(world, activate)
    await world.run("c")
    assert (await world.phase("c", Phase.EXECUTING)).status.waiting_for == []
    assert dispatched(world) == ["a", "b", "c"]


async def test_a_slot_is_kept_until_the_code_has_ended(limited: World) -> None:
    """A deleted Execution still runs for a moment."""
    world = limited
    for name in ("a", "b", "c"):
        await world.create(name)
    first = await world.run("a")
    await eventually(lambda: world.entries.by_name("c") is not None)
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "a"))
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    assert dispatched(world) == ["a", "b"]
    world.on_frame(frames.Interrupted(first.activation))
    await world.run("c")


async def test_what_ran_before_a_restart_keeps_its_slot(api_server: ApiServer) -> None:
    """Older ones that have not started wait for it."""
    limits = {"f": 1}
    async with replica(api_server, limits=limits) as world:
        await world.create("b")
        await world.run("b")
        await world.phase("b", Phase.EXECUTING)
        await world.create("a")
    async with replica(api_server, "two", limits=limits) as world:
        again = await world.run("b")
        await world.create("c", function="child")
        await world.run("c")
        assert dispatched(world) == ["b", "c"]
        complete(world, again)
        await world.run("a")


@pytest.mark.slow
async def test_a_limit_that_is_used_up_by_ancestors_is_an_error(limited: World) -> None:
    """The child would wait for its parent, and the parent for it."""
    world = limited
    await world.create("p", function="child")
    parent = await world.run("p")
    request_child(world, parent, "c", function="child")
    failed = await world.phase("c", Phase.FAILED)
    assert failed.status.reason == "ConcurrencyHeldByAncestor"
    assert "all slots of function child are taken by ancestors of this Execution: p" in failed.status.message


@pytest.mark.slow
async def test_a_restart_tells_nobody_again_what_it_waits_for(api_server: ApiServer) -> None:
    """Thousands may wait; and what they are told still holds."""
    limits = {"f": 1}
    async with replica(api_server, limits=limits) as world:
        await world.create("a")
        await world.run("a")
        await world.phase("a", Phase.EXECUTING)
        await world.create("b")
        told_before = await told(world, "b")
    async with replica(api_server, "two", limits=limits) as world:
        again = await world.run("a")
        await world.create("c")
        await told(world, "c")  # by then it would have been told again
        assert (await world.get("b")).metadata.resource_version == told_before.metadata.resource_version
        complete(world, again)
        await world.run("b")


@pytest.mark.slow
async def test_who_has_the_mutex_waits_for_a_slot_and_is_told_so(limited: World) -> None:
    """First it waits for the one, then for the other; without the mutex it would take a slot from others."""
    world = limited
    await world.create("p", function="child")
    slot = await world.run("p")
    await world.create("a", mutex="m")
    holder = await world.run("a")
    await world.create("b", mutex="m", function="child")
    assert [item.kind for item in (await told(world, "b")).status.waiting_for] == ["Mutex"]
    complete(world, holder)
    async with asyncio.timeout(60):
        while [(item.kind, item.message) for item in (await world.get("b")).status.waiting_for] != [
            ("Function", "1 run already, and its limit is 1: for example Execution p")
        ]:
            await asyncio.sleep(0.02)
    complete(world, slot)
    complete(world, await world.run("b"))
    await freed(world)
