"""Mutexes and limits among the replicas of a sharded group, also while they die."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, SpawnOptions
from kontinue.client.handle import ExecutionHandle
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from polling import eventually
from replica import LEASE_S, Replica, replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)
AFTER_A_LEASE = timedelta(seconds=LEASE_S + 60)

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(own_server: StartableServer, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas with two runners each; the first one leads."""
    options = ("--sync-runners", "2")
    with replicas(tmp_path, own_server.kubeconfig, "admitted_app:app", HERE, "w-0", options=options) as [first]:
        first.wait_for("leading")
        with replicas(tmp_path, own_server.kubeconfig, "admitted_app:app", HERE, "w-1", options=options) as [second]:
            yield first, second


async def told(client: Client, name: str) -> Execution:
    """Wait until an Execution is told what it waits for."""
    async with asyncio.timeout(SOON.total_seconds()):
        while not (found := await client.get(name)).status.waiting_for:
            await asyncio.sleep(0.02)
    return found


async def is_free(transport: KubeTransport, mutex: str) -> bool:
    """Tell whether nobody holds the mutex."""
    try:
        body = await transport.send(requests.get(requests.LEASES, "default", f"kontinue-mutex.gated.{mutex}"))
    except errors.NotFound:
        return True
    return not msgspec.json.decode(body, type=Lease).spec.holder_identity


async def freed(transport: KubeTransport, mutex: str) -> None:
    """Wait until nobody holds the mutex."""
    async with asyncio.timeout(SOON.total_seconds()):
        while not await is_free(transport, mutex):
            await asyncio.sleep(0.02)


def spans(notes: Path) -> list[tuple[str, str, int]]:
    """Return what was noted: begin or end, by whom, and with which token."""
    lines = [line.split() for line in notes.read_text().splitlines()]
    return [(what, name, int(token)) for what, name, token in lines]


def most_at_once(notes: Path) -> int:
    """Return how many were between begin and end at the same time. One that begins again was replayed."""
    running: set[str] = set()
    most = 0
    for what, name, _ in spans(notes):
        if what == "begin":
            running.add(name)
        else:
            running.discard(name)
        most = max(most, len(running))
    return most


async def spawn_work(
    client: Client, notes: Path, name: str, *, mutex: str, until: Path | str = ""
) -> ExecutionHandle[str]:
    """Start what excludes others; it lasts until there is a file, if one is named."""
    arguments = {"file": str(notes), "name": name, "until": str(until)}
    return await client.spawn("work", arguments, result=str, options=SpawnOptions(name=name, mutex=mutex))


@pytest.mark.usefixtures("pair")
async def test_a_mutex_lets_one_run_after_the_other(client: Client, transport: KubeTransport, tmp_path: Path) -> None:
    """In the order of creation, on the leader's shard, with growing tokens, and free in the end."""
    notes, end = tmp_path / "notes", tmp_path / "end"
    first = await spawn_work(client, notes, "first", mutex="order", until=end)
    await eventually(notes.exists)
    handles = [await spawn_work(client, notes, f"order-{number}", mutex="order") for number in range(7)]
    for handle in handles:
        await told(client, handle.name)
    end.touch()
    for handle in (first, *handles):
        await handle.result(timeout=SOON)
    seen = spans(notes)
    # All of them have come to the leader while the first one runs: it orders those that it knows.
    names = ["first", *(f"order-{number}" for number in range(7))]
    assert [(what, name) for what, name, _ in seen] == [(what, name) for name in names for what in ("begin", "end")]
    tokens = [token for _, _, token in seen]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 8
    ended = [await client.get(handle.name) for handle in (first, *handles)]
    assert {one.metadata.labels[labels.SHARD] for one in ended} == {"w-0"}
    await freed(transport, "order")


async def test_a_mutex_survives_the_death_of_its_holder_and_leader(
    client: Client, pair: tuple[Replica, Replica], transport: KubeTransport, tmp_path: Path
) -> None:
    """The holder goes on in the other shard, with a larger token; those that wait come along and run after it."""
    first, _ = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    holder = await spawn_work(client, notes, "a-holder", mutex="death", until=end)
    await eventually(notes.exists)
    others = [await spawn_work(client, notes, f"b-waits-{number}", mutex="death") for number in range(3)]
    (item,) = (await told(client, "b-waits-0")).status.waiting_for
    assert (item.kind, item.name, item.message) == ("Mutex", "death", "Execution a-holder holds it")
    first.kill()
    end.touch()
    for handle in (holder, *others):
        await handle.result(timeout=AFTER_A_LEASE)
    assert {(await client.get(one.name)).metadata.labels[labels.SHARD] for one in (holder, *others)} == {"w-1"}
    assert most_at_once(notes) == 1
    tokens = [token for _, _, token in spans(notes)]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 5
    await freed(transport, "death")


async def test_waiting_ones_move_with_leadership_and_the_holder_stays(
    client: Client, pair: tuple[Replica, Replica], transport: KubeTransport, tmp_path: Path
) -> None:
    """The leader loses its leadership only: a live shard keeps what runs there."""
    _, second = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    holder = await spawn_work(client, notes, "c-holder", mutex="lead", until=end)
    await eventually(notes.exists)
    waiting = await spawn_work(client, notes, "d-waits", mutex="lead")
    await told(client, "d-waits")
    body = await transport.send(requests.get(requests.LEASES, "default", "kontinue-shard.gated.w-1"))
    heir = msgspec.json.decode(body, type=Lease)
    handed_over = {"spec": {"holderIdentity": "w-1"}, "metadata": {"annotations": heir.metadata.annotations}}
    await transport.send(requests.merge_patch(requests.LEASES, "default", "kontinue-leader.gated", handed_over))
    await asyncio.to_thread(second.wait_for, "leading")
    end.touch()
    await holder.result(timeout=SOON)
    await waiting.result(timeout=SOON)
    assert (await client.get("c-holder")).metadata.labels[labels.SHARD] == "w-0"
    assert (await client.get("d-waits")).metadata.labels[labels.SHARD] == "w-1"
    assert most_at_once(notes) == 1


async def test_a_frozen_holder_is_replaced_and_its_token_is_too_small_then(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """When it wakes it is refused; the mutex went to the shard that took its Execution over."""
    first, _ = pair
    notes, end = tmp_path / "notes", tmp_path / "end"
    holder = await spawn_work(client, notes, "e-holder", mutex="frozen", until=end)
    await eventually(notes.exists)
    first.signal(signal.SIGSTOP)
    end.touch()
    try:
        waiting = await spawn_work(client, notes, "f-waits", mutex="frozen")
        await waiting.result(timeout=AFTER_A_LEASE)
        await holder.result(timeout=SOON)
    finally:
        first.signal(signal.SIGCONT)
    assert (await client.get("e-holder")).status.phase is Phase.COMPLETED
    last = {name: token for _, name, token in spans(notes)}
    assert last["f-waits"] > last["e-holder"]


@pytest.mark.usefixtures("pair")
async def test_a_limit_holds_across_shards(client: Client, tmp_path: Path) -> None:
    """Two at a time in the whole group; who waits has no shard, and is told why."""
    notes, ends = tmp_path / "notes", [tmp_path / f"end-{number}" for number in range(6)]
    handles = [
        await client.spawn(
            "scarce",
            {"file": str(notes), "name": f"scarce-{number}", "until": str(end)},
            result=str,
            options=SpawnOptions(name=f"scarce-{number}"),
        )
        for number, end in enumerate(ends)
    ]

    def begun() -> list[str]:
        return [name for what, name, _ in spans(notes) if what == "begin"] if notes.exists() else []

    waiting = await told(client, "scarce-5")
    (item,) = waiting.status.waiting_for
    assert (item.kind, item.name, labels.SHARD in waiting.metadata.labels) == ("Function", "scarce", False)
    assert item.message.startswith("2 run already, and its limit is 2: for example Execution scarce-")
    for pair in ((0, 1), (2, 3), (4, 5)):
        await eventually(lambda pair=pair: len(begun()) == pair[1] + 1)  # type: ignore[misc]
        assert set(begun()[-2:]) == {f"scarce-{number}" for number in pair}
        for number in pair:
            ends[number].touch()
    for handle in handles:
        await handle.result(timeout=SOON)
    assert most_at_once(notes) == 2


@pytest.mark.usefixtures("pair")
async def test_a_limit_holds_for_children_of_several_parents(client: Client, tmp_path: Path) -> None:
    """They are in both shards, and their parents wait without a slot of their own."""
    notes = tmp_path / "notes"
    parents = [
        await client.spawn("parent_of_scarce", {"file": str(notes), "name": f"p{number}"}, result=list[str])
        for number in range(4)
    ]
    for number, parent in enumerate(parents):
        assert await parent.result(timeout=SOON) == [f"p{number}-0", f"p{number}-1"]
    seen = spans(notes)
    assert sorted(name for what, name, _ in seen if what == "begin") == sorted(
        f"p{parent}-{child}" for parent in range(4) for child in range(2)
    )
    assert most_at_once(notes) == 2


@pytest.mark.usefixtures("pair")
async def test_a_mutex_is_held_through_a_crash_and_a_retry(
    client: Client, transport: KubeTransport, tmp_path: Path
) -> None:
    """Its runner dies under the holder, and then a step fails that is tried again: who waits runs after all that."""
    notes = tmp_path / "notes"
    holder = await client.spawn(
        "stubborn",
        {"file": str(notes), "name": "s-holder"},
        result=str,
        options=SpawnOptions(name="s-holder", mutex="stubborn"),
    )
    await eventually(notes.exists)
    waiting = await spawn_work(client, notes, "t-waits", mutex="stubborn")
    assert await holder.result(timeout=SOON) == "s-holder"
    await waiting.result(timeout=SOON)
    held = [name for _, name, _ in spans(notes)]
    assert held == ["s-holder"] * (len(held) - 2) + ["t-waits"] * 2
    assert (tmp_path / "notes.crashed").exists()
    tokens = [token for _, _, token in spans(notes)]
    assert tokens == sorted(tokens)
    await freed(transport, "stubborn")


async def test_a_limit_survives_the_death_of_the_leader(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """The next one counts who has a shard before it admits anybody."""
    first, _ = pair
    notes = tmp_path / "notes"
    handles = [
        await client.spawn(
            "scarce",
            {"file": str(notes), "name": f"kept-{number}", "seconds": 2.0},
            result=str,
            options=SpawnOptions(name=f"kept-{number}"),
        )
        for number in range(5)
    ]
    await eventually(lambda: notes.exists() and len(spans(notes)) >= 2)
    first.kill()
    for handle in handles:
        await handle.result(timeout=AFTER_A_LEASE)
    assert most_at_once(notes) == 2


@pytest.mark.usefixtures("pair")
async def test_what_an_ancestor_holds_is_an_error_and_not_a_deadlock(client: Client, tmp_path: Path) -> None:
    """The call in the parent raises."""
    parent = await client.spawn(
        "family", {"file": str(tmp_path / "notes")}, result=str, options=SpawnOptions(mutex="m")
    )
    assert await parent.result(timeout=SOON) == "MutexHeldByAncestor"
    alone = await client.spawn("family", {"file": str(tmp_path / "notes")}, result=str)
    assert await alone.result(timeout=SOON) == "child"
    nested = await client.spawn("nested", {"depth": 1}, result=str)
    assert await nested.result(timeout=SOON) == "ConcurrencyHeldByAncestor"


@pytest.mark.usefixtures("pair")
async def test_a_mutex_in_a_shard_that_somebody_chose_is_granted_too(
    client: Client, transport: KubeTransport, tmp_path: Path
) -> None:
    """The label of the mutex is missing there, by which the leader finds those that want one."""
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": "by-hand", "labels": {labels.WORKER_GROUP: "gated", labels.SHARD: "w-1"}},
        "spec": {
            "function": "work",
            "arguments": {"file": str(tmp_path / "notes"), "name": "by-hand"},
            "mutex": {"name": "chosen"},
        },
    }
    await transport.send(requests.create(requests.EXECUTIONS, "default", body))
    ended = await client.wait_for_execution("by-hand", timeout=SOON)
    assert (ended.phase, ended.metadata.labels[labels.SHARD]) == (Phase.COMPLETED, "w-0")
    await freed(transport, "chosen")


async def spawn_careful(client: Client, notes: Path, name: str, *, mutex: str) -> ExecutionHandle[None]:
    """Start what waits until it is ended; with a mutex, or with the only slot of its function."""
    options = SpawnOptions(name=name, mutex=mutex) if mutex else SpawnOptions(name=name)
    function = "careful" if mutex else "lonely"
    return await client.spawn(function, {"file": str(notes), "name": name}, result=None, options=options)


async def noted(notes: Path, *last: str) -> None:
    """Wait until that was noted, in this order, after whatever else."""
    await eventually(
        lambda: notes.exists() and [f"{what} {who}" for what, who, _ in spans(notes)][-len(last) :] == [*last]
    )


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("mutex", ["careful", ""], ids=["mutex", "limit"])
async def test_who_is_canceled_skipped_or_retried_excludes_others_until_its_code_has_ended(
    client: Client, tmp_path: Path, mutex: str
) -> None:
    """The code cleans up first; a retry of what was canceled queues again."""
    notes = tmp_path / "notes"
    prefix = mutex or "limited"
    names = [f"{prefix}-{letter}" for letter in "abc"]
    await spawn_careful(client, notes, names[0], mutex=mutex)
    await noted(notes, f"begin {names[0]}")
    for name in names[1:]:
        await spawn_careful(client, notes, name, mutex=mutex)
        await told(client, name)
    await client.cancel(names[0])
    await noted(notes, f"end {names[0]}", f"begin {names[1]}")
    await client.retry_execution(names[0])
    async with asyncio.timeout(SOON.total_seconds()):
        while (retried := await client.get(names[0])).phase is not Phase.PENDING or not retried.status.waiting_for:
            await asyncio.sleep(0.02)
    await client.skip(names[1])
    await noted(notes, f"end {names[1]}", f"begin {names[0]}")  # it is older than the third one
    await client.cancel(names[0])
    await noted(notes, f"end {names[0]}", f"begin {names[2]}")
    await client.cancel(names[2])
    await noted(notes, f"end {names[2]}")
    assert most_at_once(notes) == 1


@pytest.mark.parametrize("mutex", ["orphaned", ""], ids=["mutex", "limit"])
async def test_who_was_canceled_when_its_replica_died_holds_nobody_up(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path, mutex: str
) -> None:
    """Nobody can say that its code has ended; that its replica has lost its Lease does."""
    first, _ = pair
    notes = tmp_path / "notes"
    names = [f"{mutex or 'slotless'}-{letter}" for letter in "ab"]
    await spawn_careful(client, notes, names[0], mutex=mutex)
    await noted(notes, f"begin {names[0]}")
    first.kill()
    await client.cancel(names[0])
    await spawn_careful(client, notes, names[1], mutex=mutex)
    async with asyncio.timeout(AFTER_A_LEASE.total_seconds()):
        while spans(notes)[-1][:2] != ("begin", names[1]):
            await asyncio.sleep(0.05)
    await client.cancel(names[1])
    await noted(notes, f"end {names[1]}")
