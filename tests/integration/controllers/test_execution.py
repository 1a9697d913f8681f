"""The controller of Executions against an API server, with runners played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from controller_world import GROUP, WINDOW, World, decode, eventually, replica
from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase, WaitingFor
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.controllers.entries import Rest
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.observed import NO_NEWS
from kontinue_engine.wire import frames


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server) as one:
        yield one


@pytest.fixture
async def fast_world(api_server: ApiServer) -> AsyncIterator[World]:
    """One in which no machine is so slow that phase Executing is due: for counting writes."""
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def step_record(number: int) -> frames.EncodedRecord:
    record = Record(id=str(number), kind=RecordKind.STEP, name="s", digest="d", seq=number, at_ms=1)
    return frames.EncodedRecord(str(number), encode_record(record))


def steps_of(execution: Execution) -> list[str]:
    return [record["id"] for record in msgspec.json.decode(execution.status.state)["records"]]


async def test_a_trivial_execution_costs_two_writes(fast_world: World) -> None:
    """Create and terminal status: nothing else is written."""
    world = fast_world
    before = await world.server.writes()
    activate = await world.start("e")
    world.on_frame(frames.Completed(activate.activation, b"42"))
    done = await world.phase("e", Phase.COMPLETED)
    assert bytes(done.status.result) == b"42"
    assert await world.server.writes() - before == 2


async def test_each_step_costs_one_write_and_is_acknowledged_once_durable(fast_world: World) -> None:
    """A flush is answered only after the server has the record; two steps of one flush share the write."""
    world = fast_world
    before = await world.server.writes()
    activate = await world.start("e")
    number = activate.activation
    world.on_frame(frames.RecordsProduced(number, 1, [step_record(1)]))
    await eventually(lambda: frames.StepRecorded(number, 1) in world.runners.sent)
    assert steps_of(await world.get("e")) == ["1"]
    world.on_frame(frames.RecordsProduced(number, 2, [step_record(2), step_record(3)]))
    await eventually(lambda: frames.StepRecorded(number, 2) in world.runners.sent)
    world.on_frame(frames.Completed(number, b"null"))
    done = await world.phase("e", Phase.COMPLETED)
    assert steps_of(done) == ["1", "2", "3"]
    assert await world.server.writes() - before == 4


async def test_records_that_come_during_a_write_join_the_next_one(world: World) -> None:
    """At most one write is in flight per Execution."""
    activate = await world.start("e")
    for flush in range(1, 6):
        world.on_frame(frames.RecordsProduced(activate.activation, flush, [step_record(flush)]))
        await asyncio.sleep(0)
    await eventually(lambda: frames.StepRecorded(activate.activation, 5) in world.runners.sent)
    assert steps_of(await world.get("e")) == ["1", "2", "3", "4", "5"]


async def test_a_label_put_on_by_somebody_else_does_not_disturb_the_next_write(world: World) -> None:
    """The conflict is read, understood, and the write repeated."""
    activate = await world.start("e")
    patch = {"metadata": {"labels": {"team": "a"}}}
    await world.transport.send(requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", patch))
    world.on_frame(frames.Completed(activate.activation, b"1"))
    done = await world.phase("e", Phase.COMPLETED)
    assert done.metadata.labels["team"] == "a"


async def test_a_client_cancel_stops_the_code_and_is_marked_stopped(world: World) -> None:
    """The result that comes too late is discarded."""
    activate = await world.start("e")
    await world.phase("e", Phase.EXECUTING)
    operations = [
        {"op": "test", "path": "/status/phase", "value": "Executing"},
        {"op": "replace", "path": "/status/phase", "value": "Canceled"},
    ]
    request = requests.json_patch(requests.EXECUTIONS, world.namespace, "e", operations, subresource="status")
    await world.transport.send(request)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    assert not is_stopped((await world.get("e")).status.conditions)
    world.on_frame(frames.Completed(activate.activation, b"1"))
    while not is_stopped((await world.get("e")).status.conditions):
        await asyncio.sleep(0.01)
    end = await world.get("e")
    assert end.phase is Phase.CANCELED
    assert end.status.result is msgspec.UNSET


async def test_a_deleted_execution_is_stopped_and_forgotten(world: World) -> None:
    """Nothing is written about what no longer exists."""
    activate = await world.start("e")
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "e"))
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(activate.activation))
    assert world.entries.by_name("e") is None
    with pytest.raises(NotFound):
        await world.get("e")


async def test_a_child_is_created_once_runs_and_its_outcome_reaches_the_parent(world: World) -> None:
    """The child carries owner, root, parent and group; its end is told in memory."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    stored = await world.get("p-0-abc")
    assert stored.metadata.labels[labels.ROOT] == "p"
    assert stored.metadata.labels[labels.PARENT] == "p"
    assert stored.metadata.labels[labels.WORKER_GROUP] == GROUP
    assert stored.metadata.owner_references[0].uid == parent.uid
    world.on_frame(frames.Completed(child.activation, b"7"))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert (arrived.step, arrived.outcome.result, arrived.outcome.phase) == ("0", b"7", "Completed")


def request_child(world: World, activation: int, name: str, function: str = "child") -> None:
    command = frames.CreateChild(name, function, b'{"n":1}', "digest")
    world.on_frame(frames.StepRequested(activation, "0", command))


async def test_a_child_costs_two_writes_and_its_outcome_rides_along(fast_world: World) -> None:
    """Create and end of the child; the parent's own count stays at create and terminal status."""
    world = fast_world
    before = await world.server.writes()
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    world.on_frame(frames.Completed(child.activation, b"7"))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    world.on_frame(frames.Completed(parent.activation, b"7", [step_record(1)]))
    await world.phase("p", Phase.COMPLETED)
    assert await world.server.writes() - before == 4


async def test_a_short_sleep_costs_one_write(fast_world: World) -> None:
    """Its wake time; the write says Executing too."""
    world = fast_world
    before = await world.server.writes()
    activate = await world.start("e")
    world.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(20)))
    world.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Timer", "nap", "0")]))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    world.on_frame(frames.Running(activate.activation))
    world.on_frame(frames.Completed(activate.activation, b"null", [step_record(1)]))
    await world.phase("e", Phase.COMPLETED)
    assert await world.server.writes() - before == 3


async def test_children_that_nobody_waits_for_are_canceled_with_their_parent(world: World) -> None:
    """A terminal parent leaves nothing behind, whether its children run or not."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    world.on_frame(frames.Completed(parent.activation, b"null"))
    await world.phase("p-0-abc", Phase.CANCELED)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(child.activation))
    while not is_stopped((await world.get("p-0-abc")).status.conditions):
        await asyncio.sleep(0.01)


async def test_a_child_that_is_given_up_is_canceled_even_while_it_is_being_created(world: World) -> None:
    """A lost race leaves no child behind."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    world.on_frame(frames.StepRequested(parent.activation, "0", frames.CancelChild("p-0-abc")))
    await world.phase("p-0-abc", Phase.CANCELED)


async def test_a_child_that_is_given_away_by_hand_is_followed_to_its_end(world: World) -> None:
    """It gets the label by which its end is noticed here; its code is killed here without unwinding."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    await world.phase("p-0-abc", Phase.EXECUTING)
    patch = {"metadata": {"labels": {labels.WORKER_GROUP: "elsewhere"}}}
    await world.transport.send(requests.merge_patch(requests.EXECUTIONS, world.namespace, "p-0-abc", patch))
    while (moved := await world.get("p-0-abc")).metadata.labels.get(labels.PARENT_GROUP) != GROUP:
        await asyncio.sleep(0.01)
    assert world.runners.killed == [child.activation]
    await world.transport.send(canceled(world.namespace, "p-0-abc"))
    world.controller.offspring.on_foreign_end(moved.metadata)
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert (arrived.step, arrived.outcome.phase) == ("0", "Canceled")


@pytest.mark.parametrize("problem", ["unreadable", "unanswered"])
async def test_a_child_whose_parent_cannot_be_looked_at_runs_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """One that does not decode lives, as far as anybody can tell; where the server has refused it is asked again."""
    read = executions.read_execution
    looks: list[str] = []

    async def fail_once(transport: Transport, *, namespace: str, name: str) -> Execution | None:
        if name == "p":
            looks.append(name)
            if problem == "unreadable":
                raise executions.UnreadableError(namespace=namespace, name=name, problem="from the future")
            if len(looks) == 1:
                raise errors.Conflict("not now")
        return await read(transport, namespace=namespace, name=name)

    monkeypatch.setattr(executions, "read_execution", fail_once)
    parent = await world.create("p", labels={labels.WORKER_GROUP: "elsewhere"})
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "p", "uid": parent.metadata.uid}
    await world.create("c", ownerReferences=[{**owner, "controller": True}])
    await world.run("c")
    assert len(looks) == (1 if problem == "unreadable" else 2)


async def start_elsewhere(world: World, parent: frames.Activate, *names: str) -> None:
    """Have a parent start children that another group runs, and run them."""
    for step, name in enumerate(names):
        command = frames.CreateChild(name, "far", b"{}", "digest", group="elsewhere")
        world.on_frame(frames.StepRequested(parent.activation, str(step), command))
        await eventually(lambda name=name: name in world.controller.offspring.abroad._children)
        status = {"status": {"phase": "Executing", "owner": {"shard": "x", "incarnation": "x", "epoch": 1}}}
        await world.transport.send(
            requests.merge_patch(requests.EXECUTIONS, world.namespace, name, status, subresource="status")
        )


async def test_a_cancel_of_a_child_elsewhere_is_work_that_a_drain_waits_for(world: World) -> None:
    """Its parent is terminal already, so nobody else would do it; it is repeated until it is done."""
    parent = await world.start("p")
    await start_elsewhere(world, parent, "far")
    may_go = asyncio.Event()
    refused: list[requests.Request] = []
    send = world.transport.send

    async def refuse_once(request: requests.Request, **options: Any) -> bytes:
        if request.method == "PATCH" and "/far" in request.path:
            await may_go.wait()
            if not refused:
                refused.append(request)
                raise errors.Unavailable("not now")
        return await send(request, **options)

    world.transport.send = refuse_once  # type: ignore[method-assign]
    world.on_frame(frames.Failed(parent.activation, "UserError", frames.ErrorInfo("builtins.ValueError", "boom")))
    await world.phase("p", Phase.FAILED)
    await eventually(lambda: world.entries.by_name("p") is None)
    assert world.controller.busy == 1
    may_go.set()
    await eventually(lambda: not world.controller.busy)
    assert (await world.get("far")).phase is Phase.CANCELED
    assert refused


async def test_a_sleeping_parent_is_woken_only_for_what_it_waits_for(world: World) -> None:
    """How its other children have ended is listed as long as these are kept: each would cost it a replay."""
    parent = await world.start("p")
    await start_elsewhere(world, parent, "consumed", "awaited")
    offspring = world.controller.offspring
    await world.transport.send(canceled(world.namespace, "consumed"))
    consumed = (await world.get("consumed")).metadata
    offspring.on_foreign_end(consumed)
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    world.on_frame(frames.Waiting(parent.activation, [frames.WaitingItem("Execution", "awaited", "1")], heard=1))
    world.controller.activations.on_lost(
        parent.activation, was_active=False, was_alone=True, reason="Evicted", message="recycled"
    )
    entry = world.entries.by_name("p")
    assert entry is not None
    await eventually(lambda: entry.rest is Rest.DORMANT)
    offspring.on_foreign_end(consumed)
    await world.start("later")
    assert entry.rest is Rest.DORMANT
    await world.transport.send(canceled(world.namespace, "awaited"))
    offspring.on_foreign_end((await world.get("awaited")).metadata)
    await eventually(lambda: [one.execution for one in world.runners.submitted] == ["p", "later", "p"])


async def test_a_child_of_an_unknown_function_is_rejected_at_the_call(world: World) -> None:
    """The error names function, namespace and remedy."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc", function="nowhere")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    (rejected,) = world.runners.sent_of(frames.StepRejected)
    assert rejected.error.type == "kontinue.errors.UnknownFunction"
    assert "nowhere" in rejected.error.message


async def test_an_execution_with_the_label_of_a_group_that_lacks_its_function_says_which_group_has_it(
    world: World,
) -> None:
    """Only a person can tell which of the two was meant."""
    function = {
        "apiVersion": labels.API_VERSION,
        "kind": "Function",
        "metadata": {"name": "elsewhere"},
        "spec": {"name": "elsewhere", "workerGroup": "shop"},
    }
    await world.client.send(requests.create(requests.FUNCTIONS, world.namespace, function))
    for name, wanted in (("e", "elsewhere"), ("n", "nowhere")):
        await world.create(name, function=wanted)
    messages = {}
    for name in ("e", "n"):
        (waits,) = await told(world, name)
        messages[name] = waits.message
    assert messages == {
        "e": f"owned by group shop; this Execution is labelled {GROUP}: relabel it",
        "n": "no worker group owns it",
    }


async def told(world: World, name: str) -> list[WaitingFor]:
    """Wait until an Execution says what it waits for."""
    async with asyncio.timeout(60):
        while not (waiting := (await world.get(name)).status.waiting_for):
            await asyncio.sleep(0.01)
    return waiting


async def test_a_name_taken_by_somebody_else_rejects_the_child(world: World) -> None:
    """AlreadyExists counts as success only for our own child."""
    parent = await world.start("p")
    await world.create("p-0-abc")
    request_child(world, parent.activation, "p-0-abc")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))


async def test_a_name_that_is_taken_now_and_then_by_what_goes_away_gets_the_child_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leftover that is adopted while it is cleared away, say: what is there then is looked at anew."""
    parent = await world.start("p")
    send = world.transport.send
    answers = iter([errors.AlreadyExists("a leftover", status=409)] * 4)

    async def refuse_first(request: requests.Request, **options: Any) -> bytes:
        if request.method == "POST" and request.path.endswith("/executions"):
            for answer in answers:
                raise answer
        return await send(request, **options)

    monkeypatch.setattr(world.transport, "send", refuse_first)
    request_child(world, parent.activation, "p-0-abc")
    await world.run("p-0-abc")
    assert not world.runners.sent_of(frames.StepRejected)


async def test_what_belongs_to_something_else_than_an_execution_is_no_leftover(world: World) -> None:
    """It stays, whatever has become of its owner: that is the garbage collector's business."""
    parent = await world.start("p")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    mine = msgspec.json.decode(await world.transport.send(requests.create(requests.CONFIGMAPS, world.namespace, body)))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": mine["metadata"]["uid"]}
    labelled = {labels.WORKER_GROUP: "elsewhere"}
    taken = await world.create("p-0-abc", labels=labelled, ownerReferences=[owner])
    request_child(world, parent.activation, "p-0-abc")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    assert (await world.get("p-0-abc")).metadata.uid == taken.metadata.uid


async def test_a_leftover_that_cannot_go_away_rejects_the_child(world: World) -> None:
    """It has a finalizer: the message says what to look for."""
    parent = await world.start("p")
    gone = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "gone", "uid": "gone"}
    metadata = {"labels": {labels.WORKER_GROUP: "elsewhere"}, "ownerReferences": [gone], "finalizers": ["a.b/c"]}
    await world.create("p-0-abc", **metadata)
    request_child(world, parent.activation, "p-0-abc")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    (rejected,) = world.runners.sent_of(frames.StepRejected)
    assert "a leftover that waits for its finalizers a.b/c" in rejected.error.message
    await world.transport.send(
        requests.merge_patch(requests.EXECUTIONS, world.namespace, "p-0-abc", {"metadata": {"finalizers": None}})
    )


async def test_a_short_sleep_wakes_at_the_time_that_was_recorded(world: World) -> None:
    """The wake time is durable before it counts."""
    activate = await world.start("e")
    world.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(50)))
    world.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Timer", "nap", "0")]))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    timers = msgspec.json.decode((await world.get("e")).status.state)["timers"]
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert arrived.outcome == frames.TimerFired(timers["0"])


async def test_an_older_event_does_not_bring_an_ended_execution_back_to_life(world: World) -> None:
    """A list or watch that lags behind our own writes starts nothing twice."""
    created = await world.create("e")
    activate = await world.run("e")
    world.on_frame(frames.Completed(activate.activation, b"1"))
    await eventually(lambda: world.entries.by_name("e") is None)
    world.controller.observation.on_event("MODIFIED", created)
    world.controller.observation.on_list([created], initial=False)
    await world.start("later")
    assert world.entries.by_name("e") is None
    assert [one.execution for one in world.runners.submitted] == ["e", "later"]


async def test_the_next_replica_claims_what_the_dead_one_left_and_replays_it(api_server: ApiServer) -> None:
    """Records survive, the epoch grows, and the crash is charged."""
    async with replica(api_server, "one") as world:
        activate = await world.start("e")
        world.on_frame(frames.RecordsProduced(activate.activation, 1, [step_record(1)]))
        await eventually(lambda: frames.StepRecorded(activate.activation, 1) in world.runners.sent)
    async with replica(api_server, "two") as world:
        activate = await world.run("e")
        assert (activate.resumption, activate.fencing_token) == (1, 2)
        assert msgspec.json.decode(activate.memo)["records"][0]["id"] == "1"
        claimed = await world.get("e")
        assert claimed.status.owner is not None
        assert (claimed.status.owner.incarnation, claimed.status.crashes) == ("two", 1)


async def test_a_replica_that_lost_an_execution_to_another_one_stops_it(api_server: ApiServer) -> None:
    """Its next write meets the new owner: it writes nothing, and its code is killed without unwinding."""
    async with replica(api_server, "one") as world:
        activate = await world.start("e")
        await world.phase("e", Phase.EXECUTING)
        async with replica(api_server, "two") as other:
            await other.run("e")
            world.on_frame(frames.Completed(activate.activation, b"1"))
            await eventually(lambda: world.runners.killed == [activate.activation])
            assert not world.runners.sent_of(frames.CancelActivation)
            assert (await other.get("e")).phase is Phase.EXECUTING


async def test_orphans_of_an_ended_parent_are_canceled_after_a_restart(api_server: ApiServer) -> None:
    """Found by listing, a child asks for its parent before it runs."""
    async with replica(api_server, "one") as world:
        parent = await world.start("p")
        request_child(world, parent.activation, "p-0-abc")
        await world.run("p-0-abc")
        await world.phase("p-0-abc", Phase.EXECUTING)
        status = {"status": {"phase": "Canceled"}}
        request = requests.merge_patch(requests.EXECUTIONS, world.namespace, "p", status, subresource="status")
    client = api_server.transport()
    await client.send(request)
    await client.close()
    async with replica(api_server, "two") as world:
        child = await world.phase("p-0-abc", Phase.CANCELED)
        assert child.status.reason == "CanceledByParent"
        assert not any(one.execution == "p-0-abc" for one in world.runners.submitted)


async def test_a_fresh_child_of_a_parent_that_runs_elsewhere_is_not_run_for_one_that_has_ended(world: World) -> None:
    """It asks for its parent before it runs; the leader may have placed it late."""
    parent = await world.create("p", labels={labels.WORKER_GROUP: "elsewhere"})
    living = await world.create("q", labels={labels.WORKER_GROUP: "elsewhere"})
    status = {"status": {"phase": "Canceled"}}
    await world.transport.send(
        requests.merge_patch(requests.EXECUTIONS, world.namespace, "p", status, subresource="status")
    )
    for owner in (parent, living):
        reference = {"apiVersion": labels.API_VERSION, "kind": "Execution", "controller": True}
        meta = owner.metadata
        await world.create(f"of-{meta.name}", ownerReferences=[{**reference, "name": meta.name, "uid": meta.uid}])
    await world.run("of-q")
    child = await world.phase("of-p", Phase.CANCELED)
    assert child.status.reason == "CanceledByParent"
    assert not any(one.execution == "of-p" for one in world.runners.submitted)


async def test_a_memo_edited_into_nonsense_blocks_instead_of_losing_it(api_server: ApiServer) -> None:
    """What a person broke, a person can mend."""
    async with replica(api_server, "one") as world:
        await world.start("e")
        await world.phase("e", Phase.EXECUTING)
        status = {"status": {"state": {"records": 1}}}
        request = requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", status, subresource="status")
        await world.transport.send(request)
    async with replica(api_server, "two") as world:
        blocked = await world.phase("e", Phase.BLOCKED)
        assert "not a memo" in blocked.status.message
        assert msgspec.json.decode(blocked.status.state) == {"records": 1}


def canceled(namespace: str, name: str, tested: str = "Executing") -> requests.Request:
    operations = [
        {"op": "test", "path": "/status/phase", "value": tested},
        {"op": "replace", "path": "/status/phase", "value": "Canceled"},
    ]
    return requests.json_patch(requests.EXECUTIONS, namespace, name, operations, subresource="status")


async def test_a_child_that_its_parent_cancels_and_still_awaits_tells_how_it_ended(world: World) -> None:
    """Child.cancel() and then await: the outcome arrives."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    cancel = frames.CancelChild("p-0-abc", "enough", is_abandoned=False)
    world.on_frame(frames.StepRequested(parent.activation, "0", cancel))
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(child.activation))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert (arrived.step, arrived.outcome.phase) == ("0", "Canceled")


@pytest.mark.parametrize(
    ("note", "crashes"),
    [
        pytest.param(None, 0, id="nobody knows how its owner ended"),
        pytest.param("two", 0, id="another one has died with it"),
        pytest.param("one", 1, id="its owner has died with it"),
    ],
)
async def test_a_death_before_that_of_the_predecessor_is_charged_if_it_was_noted(
    api_server: ApiServer, note: str | None, crashes: int
) -> None:
    """Its owner is older than the replica before: that one never came to claim it, and tells nothing about its end."""
    async with replica(api_server, "one") as one:
        await one.start("e")
        await one.phase("e", Phase.EXECUTING)
        patch = {"metadata": {"annotations": {labels.LOST_BY: note}}}
        await one.transport.send(requests.merge_patch(requests.EXECUTIONS, one.namespace, "e", patch))
    async with replica(api_server, "three", dead_predecessor="two") as three:
        await three.run("e")
        assert (await three.get("e")).status.crashes == crashes


async def test_a_claim_that_meets_a_late_write_of_the_dead_worker_keeps_its_records(api_server: ApiServer) -> None:
    """The conflict brings the memo along: no step is run and recorded a second time."""
    async with replica(api_server, "one") as one:
        activate = await one.start("e")
        one.on_frame(frames.RecordsProduced(activate.activation, 1, [step_record(1)]))
        await eventually(lambda: frames.StepRecorded(activate.activation, 1) in one.runners.sent)
        stale = await one.get("e")
        one.on_frame(frames.RecordsProduced(activate.activation, 2, [step_record(2)]))
        await eventually(lambda: frames.StepRecorded(activate.activation, 2) in one.runners.sent)
    async with replica(api_server, "two", list_first=[stale]) as two:
        claimed = await two.run("e")
        assert [record["id"] for record in msgspec.json.decode(claimed.memo)["records"]] == ["1", "2"]
        assert steps_of(await two.get("e")) == ["1", "2"]


async def test_only_what_there_is_room_for_is_claimed_after_a_restart(api_server: ApiServer) -> None:
    """What merely queued is not charged for the crash of the worker."""
    async with replica(api_server, "one") as world:
        for number in range(6):
            await world.create(f"e{number}")
        await eventually(lambda: len(world.runners.submitted) == 6)
    for before, incarnation in pairwise(("one", "two", "three", "four", "five")):
        async with replica(api_server, incarnation, dead_predecessor=before) as world:
            await eventually(lambda world=world: len(world.runners.submitted) == WINDOW)  # type: ignore[misc]
            fresh = await world.start(f"fresh-{incarnation}")
            assert len(world.runners.submitted) == WINDOW + 1
            world.on_frame(frames.Completed(fresh.activation, b"1"))
            await world.phase(f"fresh-{incarnation}", Phase.COMPLETED)
    stored = [await world_get(api_server, f"e{number}") for number in range(6)]
    assert [execution.status.crashes for execution in stored] == [3, 3, 0, 0, 0, 0]
    assert [execution.status.owner is None for execution in stored] == [False, False, True, True, True, True]


async def world_get(server: ApiServer, name: str) -> Execution:
    transport = server.transport()
    try:
        return decode(await transport.send(requests.get(requests.EXECUTIONS, server.namespace, name)))
    finally:
        await transport.close()


async def test_room_is_given_on_when_an_inherited_execution_parks_or_ends(api_server: ApiServer) -> None:
    """Every Execution gets its turn."""
    async with replica(api_server, "one") as world:
        for number in range(5):
            await world.create(f"e{number}")
        await eventually(lambda: len(world.runners.submitted) == 5)
    async with replica(api_server, "two") as world:
        done = 0
        while done < 5:
            await eventually(lambda: len(world.runners.submitted) > done)  # noqa: B023
            activate = world.runners.submitted[done]
            world.on_frame(frames.Running(activate.activation))
            world.on_frame(
                frames.Completed(activate.activation, b"1")
                if done % 2
                else frames.Waiting(activate.activation, [frames.WaitingItem("Execution", "c", "0")])
            )
            done += 1


async def test_a_sleeping_execution_costs_nothing_at_a_restart_and_wakes_in_time(api_server: ApiServer) -> None:
    """Found Suspended with a timer, it is claimed only when the timer fires."""
    async with replica(api_server, "one") as world:
        activate = await world.start("e")
        world.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(3_600_000)))
        world.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Timer", "nap", "0")]))
        asleep = await world.phase("e", Phase.SUSPENDED)
    async with replica(api_server, "two") as world:
        await world.start("later")
        assert [one.execution for one in world.runners.submitted] == ["later"]
        assert (await world.get("e")).metadata.resource_version == asleep.metadata.resource_version
        world.let_pass(timedelta(hours=1), "e")
        activate = await world.run("e")
        assert activate.resumption == 1
        world.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(3_600_000)))
        await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))


async def test_a_suspended_parent_rests_until_its_child_ends(api_server: ApiServer) -> None:
    """A restart replays it when there is something to tell it, not before."""
    async with replica(api_server, "one") as world:
        parent = await world.start("p")
        request_child(world, parent.activation, "p-0-abc")
        await world.run("p-0-abc")
        world.on_frame(frames.Waiting(parent.activation, [frames.WaitingItem("Execution", "p-0-abc", "0")]))
        await world.phase("p", Phase.SUSPENDED)
    async with replica(api_server, "two") as world:
        child = await world.run("p-0-abc")
        assert [one.execution for one in world.runners.submitted] == ["p-0-abc"]
        world.on_frame(frames.Completed(child.activation, b"1"))
        await world.run("p")


async def test_a_wake_during_an_eviction_is_not_lost(world: World) -> None:
    """The child ends while the eviction of its parent is being written: the parent is dispatched again."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    await world.phase("p", Phase.EXECUTING)
    world.on_frame(frames.Waiting(parent.activation, [frames.WaitingItem("Execution", "p-0-abc", "0")]))
    world.controller.activations.on_lost(
        parent.activation, was_active=False, was_alone=True, reason="Evicted", message="recycled"
    )
    world.on_frame(frames.Completed(child.activation, b"1"))
    await eventually(lambda: [one.execution for one in world.runners.submitted].count("p") == 2)


async def test_an_answer_that_is_lost_in_an_eviction_is_given_again(world: World) -> None:
    """The child's end was sent to its parked parent, whose runner goes before it reads it: the parent runs again."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    world.on_frame(frames.Waiting(parent.activation, [frames.WaitingItem("Execution", "p-0-abc", "0")]))
    world.on_frame(frames.Completed(child.activation, b"1"))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    world.controller.activations.on_lost(
        parent.activation, was_active=False, was_alone=True, reason="Evicted", message="recycled"
    )
    await eventually(lambda: [one.execution for one in world.runners.submitted].count("p") == 2)


async def test_a_cancel_that_comes_during_a_write_is_noticed(world: World) -> None:
    """The event that says so arrives before the answer to our own write: the object is looked up afterwards."""
    await world.start("e")
    await world.phase("e", Phase.EXECUTING)
    entry = world.entries.by_name("e")
    assert entry is not None
    await eventually(lambda: entry.writing is None)  # what the server has is written before its writer hears of it
    entry.writing = NO_NEWS
    await world.transport.send(canceled(world.namespace, "e"))
    await eventually(lambda: entry.must_verify)
    entry.writing = None
    world.controller.observation.after_write(entry)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))


async def test_nothing_is_remembered_of_what_has_ended_and_left_the_watch(world: World) -> None:
    """Memory does not grow with the number of Executions."""
    for number in range(20):
        activate = await world.start(f"e{number}")
        world.on_frame(frames.Completed(activate.activation, b"1"))
    await eventually(lambda: len(world.entries) == 0)
    await world.create("last")
    await world.run("last")
    assert len(world.entries.tombstones) == 0


async def test_what_another_replica_owns_is_left_alone(world: World) -> None:
    """A worker that was frozen does not take back what others have taken over."""
    await world.start("e")
    await world.phase("e", Phase.EXECUTING)
    for incarnation in ("other", "another"):
        owner = {"status": {"owner": {"shard": "w-1", "incarnation": incarnation, "epoch": 7}}}
        request = requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", owner, subresource="status")
        await world.transport.send(request)
        await eventually(lambda: world.entries.by_name("e") is None)
    await world.start("later")
    stored = await world.get("e")
    assert stored.status.owner is not None
    assert stored.status.owner.incarnation == "another"
    assert [one.execution for one in world.runners.submitted] == ["e", "later"]


async def test_nothing_is_written_while_the_lease_may_be_somebody_elses(fast_world: World) -> None:
    """Neither results nor children, and nothing is started; all of it follows when the Lease is renewed."""
    world = fast_world
    one, two = await world.start("one"), await world.start("two")
    before = await world.server.writes()
    world.lease_remaining_s = 0.0
    world.lease_looks = 0
    world.on_frame(frames.Completed(one.activation, b"1"))
    request_child(world, two.activation, "two-0-abc")
    await world.create("three")
    await eventually(lambda: world.lease_looks >= 16)
    assert await world.server.writes() == before + 1
    assert not any(one.execution == "three" for one in world.runners.submitted)
    world.lease_remaining_s = 30.0
    await world.run("three")
    await world.phase("one", Phase.COMPLETED)
    await world.phase("two-0-abc", Phase.PENDING)


async def test_a_failure_over_one_execution_leaves_the_others_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged and tried again later."""
    send = world.transport.send
    failures = iter([errors.ApiError("etcdserver: leader changed", status=500)] * 2)

    async def fail_twice(request: requests.Request, **options: Any) -> bytes:
        if request.method == "PUT" and "/bad/" in request.path:
            for failure in failures:
                raise failure
        return await send(request, **options)

    monkeypatch.setattr(world.transport, "send", fail_twice)
    bad, good = await world.start("bad"), await world.start("good")
    world.on_frame(frames.Completed(bad.activation, b"1"))
    world.on_frame(frames.Completed(good.activation, b"2"))
    await world.phase("good", Phase.COMPLETED)
    await world.phase("bad", Phase.COMPLETED)


async def test_an_execution_deleted_and_created_anew_starts_over(world: World) -> None:
    """The old one's code is stopped, the new one runs."""
    first = await world.start("e")
    entry = world.entries.by_name("e")
    assert entry is not None
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "e"))
    await world.create("e")
    await eventually(lambda: [one.execution for one in world.runners.submitted] == ["e", "e"])
    assert frames.CancelActivation(first.activation, "it was deleted") in world.runners.sent
