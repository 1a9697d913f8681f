"""The controller of Executions against the local API server, with runners played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.execution import LIVE_PHASES_SELECTOR, ExecutionController
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.lifecycle.decide import is_stopped
from kontinue_engine.lifecycle.observed import Worker
from kontinue_engine.wire import frames

GROUP = "g"
NAMESPACE = "default"
FUNCTIONS = frozenset({"f", "child"})
decode = msgspec.json.Decoder(Execution).decode


class FakeRunners:
    """Runners that do what the test says."""

    def __init__(self) -> None:
        self.submitted: list[frames.Activate] = []
        self.sent: list[frames.Command] = []
        self.killed: list[int] = []

    def submit(self, activate: frames.Activate) -> None:
        self.submitted.append(activate)

    def send(self, command: frames.Command) -> None:
        self.sent.append(command)

    def forget(self, activation: int) -> None:
        del activation

    def kill_activation(self, activation: int) -> None:
        self.killed.append(activation)

    def sent_of(self, kind: type[frames.Command]) -> list[Any]:
        return [command for command in self.sent if isinstance(command, kind)]


class World:
    """One worker without runners, its API server, and a second client of that server."""

    def __init__(self, transport: KubeTransport) -> None:
        self.transport = transport
        self.runners = FakeRunners()
        self.controller: ExecutionController

    async def create(self, name: str, **metadata: Any) -> Execution:
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": {labels.WORKER_GROUP: GROUP}, **metadata},
            "spec": {"function": "f", "arguments": {}},
        }
        return decode(await self.transport.send(requests.create(requests.EXECUTIONS, NAMESPACE, body)))

    async def get(self, name: str) -> Execution:
        return decode(await self.transport.send(requests.get(requests.EXECUTIONS, NAMESPACE, name)))

    async def start(self, name: str) -> frames.Activate:
        """Create an Execution and let its user code run."""
        await self.create(name)
        return await self.run(name)

    async def run(self, name: str) -> frames.Activate:
        """Wait until it is dispatched (for the last time), and let its user code run."""
        await eventually(lambda: any(one.execution == name for one in self.runners.submitted))
        activate = next(one for one in reversed(self.runners.submitted) if one.execution == name)
        self.controller.on_frame(frames.Running(activate.activation))
        return activate

    async def phase(self, name: str, phase: Phase) -> Execution:
        """Wait until the Execution is in that phase."""
        while (execution := await self.get(name)).phase is not phase:
            await asyncio.sleep(0.01)
        return execution


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own timeout is the limit."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def replica(server: Any, incarnation: str = "one", *, predecessor_released: bool = False) -> AsyncIterator[World]:
    """Run a controller with its informer, until the block ends: then it is dead, without a word."""
    config = KubeConfig(server=server.url, namespace=NAMESPACE, token=server.token, source="test")
    transport = KubeTransport(config, user_agent="test")
    world = World(transport)
    clock = SystemClock()
    world.controller = ExecutionController(
        transport,
        world.runners,
        EventRecorder(transport, component="test", instance="test", clock=clock),
        clock,
        worker=Worker(shard="w-0", incarnation=incarnation, build="b1"),
        namespace=NAMESPACE,
        group=GROUP,
        functions=FUNCTIONS,
        predecessor_released=predecessor_released,
    )
    informer = Informer(
        transport,
        requests.EXECUTIONS,
        NAMESPACE,
        type_=Execution,
        handler=world.controller,
        label_selector=f"{labels.WORKER_GROUP}={GROUP}",
        field_selector=LIVE_PHASES_SELECTOR,
    )
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(world.controller.run())]
        await world.controller.started.wait()
        running.append(tasks.create_task(informer.run()))
        await informer.synced.wait()
        yield world
        for task in running:
            task.cancel()
    await transport.close()


@pytest.fixture
async def world(local_server: Any) -> AsyncIterator[World]:
    async with replica(local_server) as one:
        yield one


def step_record(number: int) -> frames.EncodedRecord:
    record = Record(id=str(number), kind=RecordKind.STEP, name="s", digest="d", seq=number, at_ms=1)
    return frames.EncodedRecord(str(number), encode_record(record))


def steps_of(execution: Execution) -> list[str]:
    return [record["id"] for record in msgspec.json.decode(execution.status.state)["records"]]


async def test_a_trivial_execution_costs_two_writes(world: World) -> None:
    """Create and terminal status: nothing else is written."""
    before = await executions_written(world)
    activate = await world.start("e")
    world.controller.on_frame(frames.Completed(activate.activation, b"42"))
    done = await world.phase("e", Phase.COMPLETED)
    assert bytes(done.status.result) == b"42"
    assert await executions_written(world) - before == 2


async def executions_written(world: World) -> int:
    """Return how many writes of Executions the server has counted."""
    text = (await world.transport.send(requests.Request("GET", "/metrics"))).decode()
    counts = [line for line in text.splitlines() if line.startswith("kontinue_apiserver_writes_total")]
    return sum(int(line.rpartition(" ")[2]) for line in counts if "executions" in line)


async def test_each_step_costs_one_write_and_is_acknowledged_once_durable(world: World) -> None:
    """A flush is answered only after the server has the record; two steps of one flush share the write."""
    before = await executions_written(world)
    activate = await world.start("e")
    number = activate.activation
    world.controller.on_frame(frames.RecordsProduced(number, 1, [step_record(1)]))
    await eventually(lambda: frames.StepRecorded(number, 1) in world.runners.sent)
    assert steps_of(await world.get("e")) == ["1"]
    world.controller.on_frame(frames.RecordsProduced(number, 2, [step_record(2), step_record(3)]))
    await eventually(lambda: frames.StepRecorded(number, 2) in world.runners.sent)
    world.controller.on_frame(frames.Completed(number, b"null"))
    done = await world.phase("e", Phase.COMPLETED)
    assert steps_of(done) == ["1", "2", "3"]
    assert await executions_written(world) - before == 4


async def test_records_that_come_during_a_write_join_the_next_one(world: World) -> None:
    """At most one write is in flight per Execution."""
    activate = await world.start("e")
    for flush in range(1, 6):
        world.controller.on_frame(frames.RecordsProduced(activate.activation, flush, [step_record(flush)]))
        await asyncio.sleep(0)
    await eventually(lambda: frames.StepRecorded(activate.activation, 5) in world.runners.sent)
    assert steps_of(await world.get("e")) == ["1", "2", "3", "4", "5"]


async def test_a_label_put_on_by_somebody_else_does_not_disturb_the_next_write(world: World) -> None:
    """The conflict is read, understood, and the write repeated."""
    activate = await world.start("e")
    patch = {"metadata": {"labels": {"team": "a"}}}
    await world.transport.send(requests.merge_patch(requests.EXECUTIONS, NAMESPACE, "e", patch))
    world.controller.on_frame(frames.Completed(activate.activation, b"1"))
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
    request = requests.json_patch(requests.EXECUTIONS, NAMESPACE, "e", operations, subresource="status")
    await world.transport.send(request)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    assert not is_stopped((await world.get("e")).status.conditions)
    world.controller.on_frame(frames.Completed(activate.activation, b"1"))
    while not is_stopped((await world.get("e")).status.conditions):
        await asyncio.sleep(0.01)
    end = await world.get("e")
    assert end.phase is Phase.CANCELED
    assert end.status.result is msgspec.UNSET


async def test_a_deleted_execution_is_stopped_and_forgotten(world: World) -> None:
    """Nothing is written about what no longer exists."""
    activate = await world.start("e")
    await world.transport.send(requests.delete(requests.EXECUTIONS, NAMESPACE, "e"))
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.controller.on_frame(frames.Interrupted(activate.activation))
    assert world.controller.entries.get("e") is None
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
    world.controller.on_frame(frames.Completed(child.activation, b"7"))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert (arrived.step, arrived.outcome.result, arrived.outcome.phase) == ("0", b"7", "Completed")


def request_child(world: World, activation: int, name: str, function: str = "child") -> None:
    command = frames.CreateChild(name, function, b'{"n":1}', "digest")
    world.controller.on_frame(frames.StepRequested(activation, "0", command))


async def test_children_that_nobody_waits_for_are_canceled_with_their_parent(world: World) -> None:
    """A terminal parent leaves nothing behind, whether its children run or not."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    child = await world.run("p-0-abc")
    world.controller.on_frame(frames.Completed(parent.activation, b"null"))
    await world.phase("p-0-abc", Phase.CANCELED)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.controller.on_frame(frames.Interrupted(child.activation))
    while not is_stopped((await world.get("p-0-abc")).status.conditions):
        await asyncio.sleep(0.01)


async def test_a_child_that_is_given_up_is_canceled_even_while_it_is_being_created(world: World) -> None:
    """A lost race leaves no child behind."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc")
    world.controller.on_frame(frames.StepRequested(parent.activation, "0", frames.CancelChild("p-0-abc")))
    await eventually(lambda: world.controller.entries.get("p-0-abc") is not None)
    await eventually(lambda: any(one.execution == "p-0-abc" for one in world.runners.submitted))
    await world.phase("p-0-abc", Phase.CANCELED)


async def test_a_child_of_an_unknown_function_is_rejected_at_the_call(world: World) -> None:
    """The error names function, namespace and remedy."""
    parent = await world.start("p")
    request_child(world, parent.activation, "p-0-abc", function="nowhere")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    (rejected,) = world.runners.sent_of(frames.StepRejected)
    assert rejected.error.type == "kontinue.errors.UnknownFunction"
    assert "nowhere" in rejected.error.message


async def test_a_name_taken_by_somebody_else_rejects_the_child(world: World) -> None:
    """AlreadyExists counts as success only for our own child."""
    parent = await world.start("p")
    await world.create("p-0-abc")
    request_child(world, parent.activation, "p-0-abc")
    await eventually(lambda: bool(world.runners.sent_of(frames.StepRejected)))


async def test_a_short_sleep_wakes_at_the_time_that_was_recorded(world: World) -> None:
    """The wake time is durable before it counts."""
    activate = await world.start("e")
    world.controller.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(50)))
    world.controller.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Timer", "nap", "0")]))
    await eventually(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    timers = msgspec.json.decode((await world.get("e")).status.state)["timers"]
    (arrived,) = world.runners.sent_of(frames.StepArrived)
    assert arrived.outcome == frames.TimerFired(timers["0"])


async def test_an_older_event_does_not_bring_an_ended_execution_back_to_life(world: World) -> None:
    """A list or watch that lags behind our own writes starts nothing twice."""
    created = await world.create("e")
    activate = await world.run("e")
    world.controller.on_frame(frames.Completed(activate.activation, b"1"))
    await eventually(lambda: world.controller.entries.get("e") is None)
    world.controller.on_event("MODIFIED", created)
    world.controller.on_list([created], initial=False)
    await asyncio.sleep(0.05)
    assert world.controller.entries.get("e") is None
    assert [one.execution for one in world.runners.submitted] == ["e"]


async def test_the_next_replica_claims_what_the_dead_one_left_and_replays_it(local_server: Any) -> None:
    """Records survive, the epoch grows, and the crash is charged."""
    async with replica(local_server, "one") as world:
        activate = await world.start("e")
        world.controller.on_frame(frames.RecordsProduced(activate.activation, 1, [step_record(1)]))
        await eventually(lambda: frames.StepRecorded(activate.activation, 1) in world.runners.sent)
    async with replica(local_server, "two") as world:
        activate = await world.run("e")
        assert (activate.resumption, activate.fencing_token) == (1, 2)
        assert msgspec.json.decode(activate.memo)["records"][0]["id"] == "1"
        claimed = await world.get("e")
        assert claimed.status.owner is not None
        assert (claimed.status.owner.incarnation, claimed.status.crashes) == ("two", 1)


async def test_a_replica_that_lost_an_execution_to_another_one_stops_it(local_server: Any) -> None:
    """Its next write meets the new owner: it writes nothing, and its code is stopped."""
    async with replica(local_server, "one") as world:
        activate = await world.start("e")
        await world.phase("e", Phase.EXECUTING)
        async with replica(local_server, "two") as other:
            await other.run("e")
            world.controller.on_frame(frames.Completed(activate.activation, b"1"))
            await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
            assert (await other.get("e")).phase is Phase.EXECUTING


async def test_orphans_of_an_ended_parent_are_canceled_after_a_restart(local_server: Any) -> None:
    """Found by listing, a child asks for its parent before it runs."""
    async with replica(local_server, "one") as world:
        parent = await world.start("p")
        request_child(world, parent.activation, "p-0-abc")
        await world.run("p-0-abc")
        await world.phase("p-0-abc", Phase.EXECUTING)
        status = {"status": {"phase": "Canceled"}}
        request = requests.merge_patch(requests.EXECUTIONS, NAMESPACE, "p", status, subresource="status")
    config = KubeConfig(server=local_server.url, namespace=NAMESPACE, token=local_server.token, source="test")
    client = KubeTransport(config, user_agent="test")
    await client.send(request)
    await client.close()
    async with replica(local_server, "two") as world:
        child = await world.phase("p-0-abc", Phase.CANCELED)
        assert child.status.reason == "CanceledByParent"
        assert not any(one.execution == "p-0-abc" for one in world.runners.submitted)


async def test_a_memo_edited_into_nonsense_blocks_instead_of_losing_it(local_server: Any) -> None:
    """What a person broke, a person can mend."""
    async with replica(local_server, "one") as world:
        await world.start("e")
        await world.phase("e", Phase.EXECUTING)
        status = {"status": {"state": {"records": 1}}}
        request = requests.merge_patch(requests.EXECUTIONS, NAMESPACE, "e", status, subresource="status")
        await world.transport.send(request)
    async with replica(local_server, "two") as world:
        blocked = await world.phase("e", Phase.BLOCKED)
        assert "not a memo" in blocked.status.message
        assert msgspec.json.decode(blocked.status.state) == {"records": 1}
