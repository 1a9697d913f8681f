"""Several replicas of one group: they share the work, and whatever happens to one of them is mended by the others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cluster import runners_of
from kontinue.api import labels
from kontinue.api.meta import Event, ObjectList, PartialObjectMetadata
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions
from kontinue.errors import InvalidState, NotFound
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from partition import wire
from polling import eventually, stopped
from replica import LEASE_S, Replica, replicas
from startable import StartableServer, startable
from write_counts import executions_written

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)
AFTER_A_LEASE = timedelta(seconds=LEASE_S + 60)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartableServer]:
    """An API server."""
    one = startable(server_kind, tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def pair(server: StartableServer, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas; the first one leads."""
    with replicas(tmp_path, server.kubeconfig, "sharded_app:app", HERE, "w-0") as [first]:
        first.wait_for("leading")
        with replicas(tmp_path, server.kubeconfig, "sharded_app:app", HERE, "w-1") as [second]:
            yield first, second


@pytest.fixture
def patient_pair(
    request: pytest.FixtureRequest, server: StartableServer, tmp_path: Path
) -> Iterator[tuple[Replica, Replica]]:
    """The same, with Leases that last for longer than a process takes to start anywhere, or as long as asked for."""
    lease_s = getattr(request, "param", 90)
    place, options = (tmp_path, server.kubeconfig, "sharded_app:app", HERE), ("--lease-duration", str(lease_s))
    with replicas(*place, "w-0", options=options) as [first]:
        first.wait_for("leading")
        with replicas(*place, "w-1", options=options) as [second]:
            yield first, second


@pytest.fixture
async def client(server: StartableServer) -> AsyncIterator[Client]:
    """A client that nothing slows down."""
    async with Client(ClientOptions(kubeconfig=str(server.kubeconfig), qps=None)) as one:
        yield one


def shard_of(execution: Execution) -> str:
    """Return the label, which must agree with the owner that wrote the status."""
    shard = execution.metadata.labels[labels.SHARD]
    assert execution.status.owner is not None
    assert execution.status.owner.shard == shard
    return shard


def state_of(pid: int) -> str:
    """Return the state of a process, as in proc(5): T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def running_in(client: Client, name: str, shard: str) -> Execution:
    """Wait until the Execution is Executing or Suspended there."""
    async with asyncio.timeout(AFTER_A_LEASE.total_seconds()):
        while True:
            found = await client.get(name)
            owner = found.status.owner
            if owner is not None and owner.shard == shard and found.phase in {Phase.EXECUTING, Phase.SUSPENDED}:
                return found
            await asyncio.sleep(0.02)


async def start_in(client: Client, shard: str, function: str, arguments: dict[str, object]) -> str:
    """Spawn until one lands in that shard, which a leader may hear of late; returns its name.

    The others are canceled, and leave nothing in the file that they have written: later tests need the runners.
    """
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            handle = await client.spawn(function, arguments)
            while labels.SHARD not in (found := await client.get(handle.name)).metadata.labels:
                await asyncio.sleep(0.01)
            if found.metadata.labels[labels.SHARD] == shard:
                return handle.name
            with suppress(InvalidState):  # it has ended
                await client.cancel(handle.name)
                await stopped(client, handle.name)
            if isinstance(file := arguments.get("file"), str):
                Path(file).unlink(missing_ok=True)


@pytest.mark.usefixtures("pair")
async def test_executions_are_shared_at_a_cost_of_one_write_each(client: Client, server: StartableServer) -> None:
    """Round-robin: both replicas run half of them; create, label and end are three writes."""
    await client.wait_for_execution(await start_in(client, "w-1", "add", {"a": 0, "b": 0}), timeout=SOON)
    before = await settled(lambda: executions_written(server.metrics()))
    path = requests.list_objects(requests.EXECUTIONS, "default", limit=1)
    began = msgspec.json.decode(await client.kube.send(path), type=ObjectList[PartialObjectMetadata]).metadata
    handles = [await client.spawn("add", {"a": number, "b": 1}, result=int) for number in range(20)]
    assert [await handle.result(timeout=SOON) for handle in handles] == list(range(1, 21))
    shards = [shard_of(await client.get(handle.name)) for handle in handles]
    assert (shards.count("w-0"), shards.count("w-1")) == (10, 10)
    # One that a busy machine keeps for more than 50 ms writes Executing, too.
    phases = await phases_since(client, began.resource_version, {handle.name for handle in handles})
    await eventually(lambda: executions_written(server.metrics()) - before - phases.count("Executing") == 60)


async def settled(count: Callable[[], int]) -> int:
    """Return what is counted once nothing is added any more: a real server counts a little after its answer."""
    last = -1
    while (now := count()) != last:
        last = now
        await asyncio.sleep(1)
    return now


async def phases_since(client: Client, version: str, names: set[str]) -> list[str]:
    """Return the phase of each state of Executions since then, up to their ends."""
    phases, left = [], set(names)
    watch = requests.watch(requests.EXECUTIONS, "default", resource_version=version)
    async with asyncio.timeout(SOON.total_seconds()), aclosing(client.kube.stream(watch)) as lines:
        async for line in lines:
            found = msgspec.json.decode(line)["object"]
            name = found["metadata"].get("name", "")
            if name in names:
                phases.append(found.get("status", {}).get("phase", ""))
                left -= {name} if phases[-1] == "Completed" else set()
            if not left:
                break
    return phases


@pytest.mark.usefixtures("pair")
async def test_children_stay_with_their_parent_unless_told_otherwise(client: Client) -> None:
    """Either way the parent gets their results."""
    await start_in(client, "w-1", "add", {"a": 0, "b": 0})
    parent = await client.spawn("together", {"count": 6}, result=int)
    assert await parent.result(timeout=SOON) == 15
    at_home = {shard_of(child) for child in await client.get_child_executions(parent.name)}
    assert at_home == {shard_of(await client.get(parent.name))}
    parent = await client.spawn("spread", {"count": 6}, result=int)
    assert await parent.result(timeout=SOON) == 15
    assert {shard_of(child) for child in await client.get_child_executions(parent.name)} == {"w-0", "w-1"}


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("label", ["w-0", "no-such-shard"])
async def test_a_label_that_is_changed_by_hand_is_not_told_as_the_end_of_a_replica(client: Client, label: str) -> None:
    """The replica that had it lives; condition and Event say that somebody moved it, and say so once."""
    name = await start_in(client, "w-1", "nap", {"seconds": 600})
    found = await client.wait_for_execution(name, until=[Phase.SUSPENDED], timeout=SOON)
    patch = {"metadata": {"labels": {labels.SHARD: label}}}
    await client.kube.send(requests.merge_patch(requests.EXECUTIONS, "default", name, patch))
    await client.resume_execution(name)
    ended = await client.wait_for_execution(name, timeout=AFTER_A_LEASE)
    assert ended.phase is Phase.COMPLETED
    if shard_of(ended) != "w-1":  # an unknown label may be replaced by the one that it had
        (told,) = (one for one in ended.status.conditions if one.type == "Reassigned")
        assert (told.reason, told.message) == ("MovedByHand", f"from w-1 to {shard_of(ended)}")
        assert await events_of(client, found.metadata.uid, "Resumed") == [
            f"Resumed by {shard_of(ended)}: somebody has moved it from w-1"
        ]


async def events_of(client: Client, uid: str, reason: str) -> list[str]:
    """Wait for Events with that reason about an Execution; return their messages."""
    selector = f"involvedObject.uid={uid},reason={reason}"
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            body = await client.kube.send(requests.list_objects(requests.EVENTS, "default", field_selector=selector))
            if items := msgspec.json.decode(body, type=ObjectList[Event]).items:
                return [event.message for event in items]
            await asyncio.sleep(0.05)


async def test_what_a_killed_replica_ran_goes_on_elsewhere(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """With a higher fencing token, after its Lease; its runners died with it. What slept, sleeps on."""
    _, victim = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    name = await start_in(client, "w-1", "noting", {"file": str(notes), "end": str(end)})
    sleeper = await start_in(client, "w-1", "nap", {"seconds": 12})
    await running_in(client, name, "w-1")
    await running_in(client, sleeper, "w-1")
    await eventually(notes.exists)
    runners = runners_of(victim.pid)
    victim.kill()
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in runners))
    end.touch()
    ended = await client.wait_for_execution(name, timeout=AFTER_A_LEASE)
    assert (ended.phase, shard_of(ended), ended.status.resumptions) == (Phase.COMPLETED, "w-0", 1)
    assert ended.status.crashes == 0  # a record came after the crash that it was charged for
    tokens = [int(line.split()[1]) for line in notes.read_text().splitlines()]
    assert tokens == sorted(tokens)
    assert tokens[-1] > tokens[0]
    assert (await client.wait_for_execution(sleeper, timeout=AFTER_A_LEASE)).phase is Phase.COMPLETED


async def test_children_elsewhere_end_with_a_parent_that_is_canceled_while_nobody_runs_it(
    client: Client, pair: tuple[Replica, Replica]
) -> None:
    """The leader closes what no replica can: it ends the children and says that the parent has stopped."""
    _, victim = pair
    name = await start_in(client, "w-1", "wait_for_naps", {"count": 2, "seconds": 600})
    async with asyncio.timeout(SOON.total_seconds()):
        while {child.phase for child in await client.get_child_executions(name)} != {Phase.SUSPENDED}:
            await asyncio.sleep(0.02)
    victim.kill()
    await client.cancel(name)
    async with asyncio.timeout(AFTER_A_LEASE.total_seconds()):
        while {child.phase for child in await client.get_child_executions(name)} != {Phase.CANCELED}:
            await asyncio.sleep(0.02)
        while not any(one.type == "Stopped" for one in (await client.get(name)).status.conditions):
            await asyncio.sleep(0.02)


async def test_what_was_canceled_while_its_replica_was_away_is_closed_when_it_is_back(
    client: Client, patient_pair: tuple[Replica, Replica]
) -> None:
    """It comes back in its pod before anybody else takes over."""
    _, victim = patient_pair
    name = await start_in(client, "w-1", "nap", {"seconds": 600})
    await running_in(client, name, "w-1")
    victim.kill()
    await client.cancel(name)
    victim.start()
    async with asyncio.timeout(SOON.total_seconds()):
        while not any(one.type == "Stopped" for one in (await client.get(name)).status.conditions):
            await asyncio.sleep(0.02)


async def test_a_killed_leader_is_replaced_by_who_is_left(client: Client, pair: tuple[Replica, Replica]) -> None:
    """New Executions wait for a leader, and are placed."""
    leader, other = pair
    leader.kill()
    handle = await client.spawn("add", {"a": 1, "b": 2}, result=int)
    assert await handle.result(timeout=AFTER_A_LEASE) == 3
    assert shard_of(await client.get(handle.name)) == "w-1"
    assert other.events("leading")


async def test_a_frozen_replica_loses_its_shard_and_can_do_no_harm_when_it_wakes(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """Its Executions end elsewhere; when it wakes it writes nothing, kills its runners and ends with status 3."""
    _, frozen = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    name = await start_in(client, "w-1", "noting", {"file": str(notes), "end": str(end)})
    await running_in(client, name, "w-1")
    await eventually(notes.exists)
    runners = runners_of(frozen.pid)
    frozen.signal(signal.SIGSTOP)
    end.touch()
    ended = await client.wait_for_execution(name, timeout=AFTER_A_LEASE)
    assert shard_of(ended) == "w-0"
    frozen.signal(signal.SIGCONT)
    assert await asyncio.to_thread(frozen.wait) == 3
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in runners))
    assert (await client.get(name)).metadata.resource_version == ended.metadata.resource_version


async def test_a_replica_cut_off_from_the_api_server_fences_itself_before_others_take_over(
    client: Client, server: StartableServer, tmp_path: Path
) -> None:
    """Its code stands still from then on; it ends when it hears that it has lost its shard."""
    notes = tmp_path / "notes"
    place = (tmp_path, server.kubeconfig, "sharded_app:app", HERE)
    async with wire(server.kubeconfig, tmp_path) as cable:
        with replicas(*place, "w-0") as [left]:
            left.wait_for("leading")
            cut_off = Replica(tmp_path, cable.kubeconfig, "sharded_app:app", HERE, "w-1")
            await asyncio.to_thread(cut_off.start)
            name = await start_in(client, "w-1", "noting", {"file": str(notes), "end": str(tmp_path / "end")})
            await running_in(client, name, "w-1")
            await eventually(notes.exists)
            runners = runners_of(cut_off.pid)
            cable.cut()
            await asyncio.to_thread(cut_off.wait_for, "fenced: the Lease could not be renewed in time")
            assert not left.events("shard is dead")
            await eventually(lambda: {state_of(pid) for pid in runners} == {"T"})
            await running_in(client, name, "w-0")
            cable.mend()
            assert await asyncio.to_thread(cut_off.wait) == 3
            assert cut_off.events("lease lost")
            await client.cancel(name)


async def test_a_container_that_starts_again_in_its_pod_takes_its_shard_back_at_once(
    client: Client, patient_pair: tuple[Replica, Replica]
) -> None:
    """Nothing is moved, and nobody waits for a Lease to run out."""
    leader, victim = patient_pair
    name = await start_in(client, "w-1", "nap", {"seconds": 600})
    before = await client.wait_for_execution(name, until=[Phase.SUSPENDED], timeout=SOON)
    victim.kill()
    victim.start()
    await client.resume_execution(name)
    ended = await client.wait_for_execution(name, timeout=SOON)
    assert (ended.phase, shard_of(ended)) == (Phase.COMPLETED, "w-1")
    assert ended.status.owner is not None
    assert before.status.owner is not None
    assert ended.status.owner.epoch == before.status.owner.epoch + 1
    assert not leader.events("shard is dead")


async def test_a_second_holder_of_an_id_is_refused_and_told_who_has_it(pair: tuple[Replica, Replica]) -> None:
    """Two pods under one host name are a mistake that must not pass for a restart."""
    _, holder = pair
    twin = Replica(holder.log.parent, Path(), "", Path(), "twin")
    twin._command = [*holder._command]
    twin.start(wait=False)
    assert await asyncio.to_thread(twin.wait) == 1
    assert "is held by 'w-1'" in twin.events("worker cannot run")[0]["message"]


async def test_a_replica_that_ends_in_order_hands_over_at_once(
    client: Client, patient_pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """Leadership first, its shard last: nobody waits for a Lease to run out, and nobody is charged."""
    leader, other = patient_pair
    end = tmp_path / "end"
    name = await start_in(client, "w-0", "noting", {"file": str(tmp_path / "notes"), "end": str(end)})
    await running_in(client, name, "w-0")
    assert await asyncio.to_thread(leader.stop) == 0
    await asyncio.to_thread(other.wait_for, "leading")
    end.touch()
    ended = await client.wait_for_execution(name, timeout=SOON)
    assert (shard_of(ended), ended.status.crashes) == ("w-1", 0)
    assert not other.events("shard is dead")


async def test_leases_that_are_deleted_by_hand_are_made_again_and_nothing_runs_twice(
    client: Client, pair: tuple[Replica, Replica], server: StartableServer, tmp_path: Path
) -> None:
    """Their holders live: nobody else begins, neither in the shard nor to lead."""
    leader, other = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    name = await start_in(client, "w-1", "noting", {"file": str(notes), "end": str(end)})
    await running_in(client, name, "w-1")
    await eventually(notes.exists)
    transport = KubeTransport(load_config(kubeconfig=str(server.kubeconfig)), user_agent="tests")
    try:
        for lease in ("kontinue-shard.shared.w-1", "kontinue-shard.shared.w-0", "kontinue-leader.shared"):
            await transport.send(requests.delete(requests.LEASES, "default", lease))
            async with asyncio.timeout(SOON.total_seconds()):
                while True:
                    with suppress(NotFound):
                        await transport.send(requests.get(requests.LEASES, "default", lease))
                        break
                    await asyncio.sleep(0.02)
    finally:
        await transport.close()
    end.touch()
    ended = await client.wait_for_execution(name, timeout=AFTER_A_LEASE)
    assert (ended.phase, shard_of(ended), ended.status.resumptions) == (Phase.COMPLETED, "w-1", 0)
    assert [one.process.poll() for one in pair if one.process is not None] == [None, None]
    assert (len(leader.events("leading")), other.events("leading")) == (1, [])


async def test_executions_wait_while_no_replica_lives(client: Client, pair: tuple[Replica, Replica]) -> None:
    """Nothing is lost: whoever comes first places and runs them."""
    first, second = pair
    first.stop()
    second.stop()
    handle = await client.spawn("add", {"a": 2, "b": 2}, result=int)
    second.start(same_pod=False)
    assert await handle.result(timeout=SOON) == 4


async def test_a_replica_without_sharding_waits_until_no_shard_lives(
    client: Client, pair: tuple[Replica, Replica], server: StartableServer, tmp_path: Path
) -> None:
    """It would run what they run; once they have ended it runs everything, whatever the labels say."""
    first, second = pair
    name = await start_in(client, "w-1", "nap", {"seconds": 600})
    await running_in(client, name, "w-1")
    alone = Replica(tmp_path, server.kubeconfig, "sharded_app:app", HERE, "alone", sharding=False)
    alone.start(wait=False)
    waiting = "waiting for shards to end: this replica has no --sharding, and would run what they run"
    await asyncio.to_thread(alone.wait_for, waiting)
    first.stop()
    handle = await client.spawn("add", {"a": 1, "b": 1}, result=int)
    assert await handle.result(timeout=SOON) == 2
    assert shard_of(await client.get(handle.name)) == "w-1"
    assert not alone.events("worker ready")
    second.stop()
    await asyncio.to_thread(alone.wait_for, "worker ready")
    handle = await client.spawn("add", {"a": 2, "b": 1}, result=int)
    assert await handle.result(timeout=SOON) == 3
    assert alone.stop() == 0


async def test_a_group_that_loses_sharding_and_gets_it_back_runs_nothing_twice(
    client: Client, pair: tuple[Replica, Replica], server: StartableServer, tmp_path: Path
) -> None:
    """Sharded replicas wait for a leader without sharding, although Executions have kept the label of their shards."""
    ticks, end = tmp_path / "ticks", tmp_path / "end"

    def tokens() -> list[int]:
        lines = ticks.read_text().splitlines() if ticks.exists() else []
        return [int(line.split()[1]) for line in lines]

    name = await start_in(client, "w-1", "ticking", {"file": str(ticks), "end": str(end)})
    await eventually(tokens)
    alone = Replica(tmp_path, server.kubeconfig, "sharded_app:app", HERE, "alone", sharding=False)
    alone.start(wait=False)
    for one in pair:
        one.stop()
    await asyncio.to_thread(alone.wait_for, "worker ready")
    await running_in(client, name, "alone")
    await eventually(lambda: len(set(tokens())) == 2)
    sleeper = await client.spawn("nap", {"seconds": 5}, result=str)
    logged = {one: one.log.stat().st_size for one in pair}
    for one in pair:
        one.start(same_pod=False, wait=False)
    for one in pair:
        waiting = "waiting for the leader to end: it has no --sharding, and runs what this replica would run"
        await asyncio.to_thread(one.wait_for, waiting, since=logged[one])
    known = len(tokens())
    await eventually(lambda: len(tokens()) > known + 100)
    assert len(set(tokens())) == 2
    assert not any(one.events("worker ready", since=logged[one]) for one in pair)
    assert alone.stop() == 0
    for one in pair:
        await asyncio.to_thread(one.wait_for, "worker ready", since=logged[one])
    await eventually(lambda: len(set(tokens())) == 3)
    end.touch()
    ended = await client.wait_for_execution(name, timeout=SOON)
    assert (ended.phase, ended.status.crashes) == (Phase.COMPLETED, 0)
    assert shard_of(ended) in {"w-0", "w-1"}  # the first one may have moved it before the other was there
    assert tokens() == sorted(tokens())
    assert await sleeper.result(timeout=SOON) == "rested"


@pytest.mark.parametrize("patient_pair", [20], indirect=True)
async def test_busy_runners_cost_no_lease(client: Client, patient_pair: tuple[Replica, Replica]) -> None:
    """More CPU-bound code than cores, for longer than a Lease: one that a disk that hangs for seconds does not end."""
    busy = 2 * (os.cpu_count() or 1)
    handles = [await client.spawn("burn", {"seconds": 11}) for _ in range(busy)]
    for handle in handles:
        await handle.result(timeout=AFTER_A_LEASE)
    for replica in patient_pair:
        assert not replica.events("fenced: the Lease could not be renewed in time")
