"""Attempts, pauses and retries that somebody asks for, against an API server, with runners played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from controller_world import GROUP, World, decode, eventually, replica
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.patches import retry_operations
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Phase
from kontinue.kube import requests
from kontinue.kube.watch import EventType
from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.observed import ALONE_EPOCH, SHARDED_EPOCH
from kontinue_engine.wire import frames

AT_ONCE = {"retries": 1, "backoff": "0s"}
BOOM = frames.ErrorInfo("builtins.ValueError", "boom", "", ["builtins.ValueError"])
CHILD = "p-0-abc"
STOPPED = {"type": "Stopped", "status": "True", "reason": "Canceled", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server) as one:
        yield one


@pytest.fixture
async def fast_world(api_server: ApiServer) -> AsyncIterator[World]:
    """One in which no machine is so slow that phase Executing is due: for counting writes."""
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def fail(world: World, activate: frames.Activate, *, seqs: list[int] | None = None) -> None:
    world.on_frame(frames.Failed(activate.activation, "UserError", BOOM, [], seqs or [], ["builtins.ValueError"]))


def request_child(world: World, activation: int, name: str = CHILD) -> None:
    command = frames.CreateChild(name, "child", b'{"n":1}', "digest")
    world.on_frame(frames.StepRequested(activation, "0", command))


def arrivals(world: World, activation: int) -> list[Any]:
    return [one.outcome for one in world.runners.sent_of(frames.StepArrived) if one.activation == activation]


async def ask(world: World, name: str, policy: ChildPolicy = ChildPolicy.RETRY_FAILED) -> None:
    """Ask for a retry as a client does."""
    operations = retry_operations(await world.get(name), child_policy=policy)
    await world.transport.send(requests.json_patch(requests.EXECUTIONS, world.namespace, name, operations))


async def edit(world: World, name: str, retries: int) -> Execution:
    """Ask for a retry as a person does, with kubectl edit."""
    patch = {"spec": {"retry": {"retries": retries}}}
    request = requests.merge_patch(requests.EXECUTIONS, world.namespace, name, patch)
    return decode(await world.transport.send(request))


async def cancel(world: World, name: str) -> None:
    status = {"status": {"phase": "Canceled"}}
    request = requests.merge_patch(requests.EXECUTIONS, world.namespace, name, status, subresource="status")
    await world.transport.send(request)


async def test_a_retry_costs_one_write(fast_world: World) -> None:
    """Create, one Backoff for each failed attempt, the end: what attempts begin with, they begin with unwritten."""
    world = fast_world
    before = await world.server.writes()
    first = await world.start("e", retry={"retries": 2, "backoff": "0s"})
    fail(world, first)
    second = await world.run("e", attempt=2)
    fail(world, second)
    third = await world.run("e", attempt=3)
    world.on_frame(frames.Completed(third.activation, b"42"))
    done = await world.phase("e", Phase.COMPLETED)
    assert [attempt.phase for attempt in done.status.attempts] == [Phase.FAILED, Phase.FAILED, Phase.COMPLETED]
    assert await world.server.writes() - before == 4


async def test_while_it_waits_it_says_until_when(world: World) -> None:
    """Kubectl shows what it waits for; no runner is held."""
    first = await world.start("e", retry={"retries": 1, "backoff": "1h"})
    fail(world, first)
    waiting = await world.phase("e", Phase.BACKOFF)
    (timer,) = waiting.status.waiting_for
    assert (timer.kind, timer.name, timer.until is not None) == ("Timer", "attempt 2", True)
    await eventually(lambda: world.entries.by_activation(first.activation) is None)
    assert waiting.status.attempts[0].error is not None


async def test_the_next_attempt_starts_after_a_crash_of_everything(api_server: ApiServer) -> None:
    """All that is needed is in the status; whoever comes next claims it when its time has come."""
    async with replica(api_server, "one") as world:
        fail(world, await world.start("e", retry={"retries": 1, "backoff": "2s"}))
        await world.phase("e", Phase.BACKOFF)
    async with replica(api_server, "two") as world:
        second = await world.run("e", attempt=2)
        claimed = await world.get("e")
        assert claimed.status.owner is not None
        assert (claimed.status.owner.incarnation, claimed.status.owner.epoch) == ("two", 2)
        assert (second.attempt, second.resumption) == (2, 0)
        world.on_frame(frames.Completed(second.activation, b"1"))
        assert (await world.phase("e", Phase.COMPLETED)).status.attempt_count == 2


async def test_an_attempt_gets_the_memo_as_it_was_cut(world: World) -> None:
    """The runner is sent what came before the failure, and what may be taken over."""
    first = await world.start("e", retry=AT_ONCE)
    made = [Record(id=str(seq), kind=RecordKind.STEP, name="s", digest="d", seq=seq, at_ms=1) for seq in range(1, 4)]
    encoded = [frames.EncodedRecord(record.id, encode_record(record)) for record in made]
    world.on_frame(frames.RecordsProduced(first.activation, 3, encoded))
    fail(world, first, seqs=[2])
    second = await world.run("e", attempt=2)
    memo = parse_memo(msgspec.Raw(second.memo))
    assert (len(memo.records), list(memo.cache)) == (1, ["3"])


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELED])
async def test_a_client_can_ask_for_a_retry(world: World, phase: Phase) -> None:
    """One patch; it runs again as soon as nothing of the last attempt does, and its end is the new one."""
    first = await world.start("e")
    if phase is Phase.FAILED:
        fail(world, first)
    else:
        await cancel(world, "e")
        await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    ended = await world.phase("e", phase)
    await ask(world, "e")
    if phase is Phase.CANCELED:
        assert not is_stopped(ended.status.conditions)
        assert (await world.get("e")).is_retry_requested, "its code still runs"
        world.on_frame(frames.Interrupted(first.activation))
    second = await world.run("e", attempt=2)
    world.on_frame(frames.Completed(second.activation, b"1"))
    done = await world.phase("e", Phase.COMPLETED)
    assert [attempt.phase for attempt in done.status.attempts] == [phase, Phase.COMPLETED]


async def test_a_retry_costs_a_patch_and_a_status(fast_world: World) -> None:
    """Beside what any attempt costs."""
    world = fast_world
    fail(world, await world.start("e"))
    await world.phase("e", Phase.FAILED)
    before = await world.server.writes()
    await ask(world, "e")
    second = await world.run("e", attempt=2)
    world.on_frame(frames.Completed(second.activation, b"1"))
    await world.phase("e", Phase.COMPLETED)
    assert await world.server.writes() - before == 3


async def test_a_retry_that_comes_before_the_answer_to_the_last_write_is_not_missed(world: World) -> None:
    """The watch shows it while that write is under way, and never again."""
    first = await world.start("e")
    await cancel(world, "e")
    send, is_answered = world.transport.send, asyncio.Event()

    async def answer_late(request: requests.Request, **options: Any) -> bytes:
        body = await send(request, **options)
        if request.method == "PUT" and request.path.endswith("/e/status") and b"Stopped" in request.body:
            await is_answered.wait()
        return body

    world.transport.send = answer_late  # type: ignore[method-assign]
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(first.activation))
    async with asyncio.timeout(60):
        while not is_stopped((await world.get("e")).status.conditions):
            await asyncio.sleep(0.01)
    await ask(world, "e")
    await world.phase("e", Phase.PENDING)
    entry = world.entries.by_name("e")
    assert entry is not None
    await eventually(lambda: entry.deferred is not None)
    is_answered.set()
    assert (await world.run("e", attempt=2)).attempt == 2


async def test_an_edit_of_the_spec_alone_is_a_retry(world: World) -> None:
    """As with kubectl edit. An edit that asks for no more than was seen is none."""
    fail(world, await world.start("e", retry={"retries": 1, "backoff": "0s"}))
    fail(world, await world.run("e", attempt=2))
    failed = await world.phase("e", Phase.FAILED)
    assert (failed.status.observed_retries, failed.status.attempt_count) == (1, 2)
    await edit(world, "e", 0)
    asked = await edit(world, "e", 1)
    assert not asked.is_retry_requested
    await edit(world, "e", 2)
    third = await world.run("e", attempt=3)
    world.on_frame(frames.Completed(third.activation, b"1"))
    await world.phase("e", Phase.COMPLETED)


async def test_retries_that_are_added_while_it_runs_are_no_wish_after_a_cancel(world: World) -> None:
    """Kubectl's cancel says nothing about them. What somebody adds after it, while its code still stops, is one."""
    first = await world.start("e", retry=AT_ONCE)
    await edit(world, "e", 3)
    entry = world.entries.by_name("e")
    assert entry is not None
    await eventually(lambda: entry.seen_retries == 3)
    await cancel(world, "e")
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(first.activation))
    await eventually(lambda: world.entries.by_name("e") is None)
    canceled = await world.get("e")
    assert (canceled.phase, canceled.is_retry_requested) == (Phase.CANCELED, False)
    assert is_stopped(canceled.status.conditions)
    await edit(world, "e", 4)
    assert (await world.run("e", attempt=2)).attempt == 2


async def test_what_ended_before_it_was_adopted_is_retried_by_the_group_that_has_its_function(world: World) -> None:
    """Applied by hand, canceled by hand, and nobody had looked at it in between; then somebody asks for a retry."""
    await world.create("by-hand", labels={})
    await world.create("foreign", labels={}, function="elsewhere")
    for name in ("by-hand", "foreign"):
        await cancel(world, name)
    while not is_stopped((await world.get("by-hand")).status.conditions):
        await asyncio.sleep(0.01)
    for name in ("by-hand", "foreign"):
        await edit(world, name, 1)
    activate = await world.run("by-hand")
    world.on_frame(frames.Completed(activate.activation, b"1"))
    done = await world.phase("by-hand", Phase.COMPLETED)
    assert done.metadata.labels[labels.WORKER_GROUP] == GROUP
    assert (await world.get("foreign")).is_retry_requested


async def test_a_wish_is_found_by_whoever_leads_later(api_server: ApiServer) -> None:
    """Nobody need have seen the edit; and one that was carried out is not carried out again."""
    async with replica(api_server, "one") as world:
        fail(world, await world.start("e"))
        await world.phase("e", Phase.FAILED)
    await edit(world := world_of(api_server), "e", 1)
    await world.transport.close()
    async with replica(api_server, "two") as world:
        fail(world, await world.run("e", attempt=2))
        await world.phase("e", Phase.FAILED)
    async with replica(api_server, "three") as world:
        await world.start("other")
        await eventually(lambda: not len(world.retries._queue))
        assert (await world.get("e")).phase is Phase.FAILED


def world_of(server: ApiServer) -> World:
    return World(server, "nobody", dead_predecessor="", executing_after_ms=50, limits={})


async def test_a_child_is_not_retried_while_its_parent_lives(world: World) -> None:
    """The parent decides about its children: the wish is refused, and forgotten."""
    parent = await world.start("p")
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await world.phase(CHILD, Phase.FAILED)
    await edit(world, CHILD, 1)
    while (await world.get(CHILD)).is_retry_requested:
        await asyncio.sleep(0.01)
    assert (await world.get(CHILD)).phase is Phase.FAILED
    world.on_frame(frames.Completed(parent.activation, b"null"))
    await world.phase("p", Phase.COMPLETED)
    assert (await world.get(CHILD)).phase is Phase.FAILED


async def test_a_child_can_be_retried_once_its_parent_has_ended(world: World) -> None:
    """It goes on alone: nobody cancels it because it has no parent any more."""
    parent = await world.start("p")
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await world.phase(CHILD, Phase.FAILED)
    fail(world, parent)
    await world.phase("p", Phase.FAILED)
    await ask(world, CHILD)
    again = await world.run(CHILD, attempt=2)
    world.on_frame(frames.Completed(again.activation, b"7"))
    done = await world.phase(CHILD, Phase.COMPLETED)
    assert done.metadata.annotations[labels.RETRIED_ALONE] == "true"


async def test_a_new_attempt_retries_children_that_failed(world: World) -> None:
    """The child runs again, as itself: its own records are kept, and its parent gets the new outcome."""
    parent = await world.start("p", retry=AT_ONCE)
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await eventually(lambda: bool(arrivals(world, parent.activation)))
    fail(world, parent)
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    again = await world.run(CHILD, attempt=2)
    world.on_frame(frames.Completed(again.activation, b"7"))
    await eventually(lambda: bool(arrivals(world, second.activation)))
    assert [one.result for one in arrivals(world, second.activation)] == [b"7"]


async def test_a_replayed_attempt_does_not_ask_its_child_a_second_time(world: World) -> None:
    """A child that has failed for this attempt has failed, however often the attempt is replayed."""
    parent = await world.start("p", retry=AT_ONCE)
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await eventually(lambda: bool(arrivals(world, parent.activation)))
    fail(world, parent)
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    fail(world, await world.run(CHILD, attempt=2))
    await eventually(lambda: bool(arrivals(world, second.activation)))
    world.controller.activations.on_lost(
        second.activation, was_active=True, was_alone=True, reason="RunnerCrashed", message="died"
    )
    await eventually(
        lambda: world.runners.submitted[-1].execution == "p" and world.runners.submitted[-1].resumption > 0
    )
    replayed = await world.run("p", attempt=2)
    request_child(world, replayed.activation)
    await eventually(lambda: bool(arrivals(world, replayed.activation)))
    assert [one.phase for one in arrivals(world, replayed.activation)] == ["Failed"]
    assert (await world.get(CHILD)).status.attempt_count == 2


async def test_the_old_end_of_a_child_is_not_told_to_the_new_attempt(world: World) -> None:
    """It was canceled with its parent, and its code stops only after the retried parent has asked for it."""
    parent = await world.start("p")
    request_child(world, parent.activation)
    child = await world.run(CHILD)
    await cancel(world, "p")
    await world.phase(CHILD, Phase.CANCELED)
    world.on_frame(frames.Interrupted(parent.activation))
    await ask(world, "p")
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    while not (await world.get(CHILD)).is_retry_requested:
        await asyncio.sleep(0.01)
    world.on_frame(frames.Interrupted(child.activation))
    again = await world.run(CHILD, attempt=2)
    world.on_frame(frames.Completed(again.activation, b"7"))
    await eventually(lambda: bool(arrivals(world, second.activation)))
    assert [one.result for one in arrivals(world, second.activation)] == [b"7"]


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_child_that_is_gone_before_its_retry_begins_is_told_to_its_parent(
    world: World, is_deleted: bool
) -> None:
    """Deleted, or somebody has lowered the retries again: nobody has it then, and no watch of live ones shows it."""
    parent = await world.start("p", retry=AT_ONCE)
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await eventually(lambda: bool(arrivals(world, parent.activation)))
    send, is_asked = world.transport.send, asyncio.Event()

    async def intervene(request: requests.Request, **options: Any) -> bytes:
        body = await send(request, **options)
        if request.method == "PATCH" and request.path.endswith(f"/{CHILD}") and not is_asked.is_set():
            is_asked.set()
            if is_deleted:
                await send(requests.delete(requests.EXECUTIONS, world.namespace, CHILD))
            else:
                await edit(world, CHILD, 0)
        return body

    world.retries.on_event = lambda *_: None  # type: ignore[method-assign]  # the leader is slow
    world.transport.send = intervene  # type: ignore[method-assign]
    fail(world, parent)
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    await is_asked.wait()
    async with asyncio.timeout(60):
        while not arrivals(world, second.activation):
            await world.controller.offspring.abroad.look()
            await asyncio.sleep(0.01)
    assert [one.phase for one in arrivals(world, second.activation)] == ["Canceled" if is_deleted else "Failed"]


async def continue_as_new(world: World, parent: frames.Activate) -> frames.Activate:
    """Have the parent begin another run; return it."""
    world.on_frame(frames.Completed(parent.activation, b"", arguments=b"{}"))
    await eventually(lambda: world.runners.submitted[-1].run_epoch == parent.run_epoch + 1)
    activate = world.runners.submitted[-1]
    world.on_frame(frames.Running(activate.activation))
    return activate


@pytest.mark.parametrize("policy", ["RetryFailed", "None", "RetryAll"])
async def test_a_named_child_that_failed_in_an_earlier_run_is_retried_for_the_new_one(
    api_server: ApiServer, policy: str
) -> None:
    """It belongs to the new run from then on: nobody cancels it as one of the old, not even after a restart."""
    async with replica(api_server, "one") as world:
        parent = await world.start("p", retry={"retries": 0, "childPolicy": policy})
        request_child(world, parent.activation)
        fail(world, await world.run(CHILD))
        await eventually(lambda: bool(arrivals(world, parent.activation)))
        again = await continue_as_new(world, parent)
        request_child(world, again.activation)
        await world.run(CHILD, attempt=2)
        await world.phase(CHILD, Phase.EXECUTING)
    async with replica(api_server, "two") as world:
        resumed = await world.run("p")
        request_child(world, resumed.activation)
        child = await world.run(CHILD, attempt=2)
        world.on_frame(frames.Completed(child.activation, b"7"))
        await eventually(lambda: bool(arrivals(world, resumed.activation)))
        assert [one.result for one in arrivals(world, resumed.activation)] == [b"7"]


async def test_a_named_child_that_still_runs_for_an_earlier_run_is_run_again_for_the_new_one(world: World) -> None:
    """It is canceled with the run that started it; the new run is told how it ends then, and not of that."""
    parent = await world.start("p")
    request_child(world, parent.activation)
    first = await world.run(CHILD)
    again = await continue_as_new(world, parent)
    request_child(world, again.activation)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(first.activation))
    child = await world.run(CHILD, attempt=2)
    world.on_frame(frames.Completed(child.activation, b"7"))
    await eventually(lambda: bool(arrivals(world, again.activation)))
    assert [one.result for one in arrivals(world, again.activation)] == [b"7"]


async def test_a_child_that_was_retried_alone_belongs_to_its_parent_again_if_that_asks_for_it(world: World) -> None:
    """Then it ends with it, as it would have before."""
    parent = await world.start("p")
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await world.phase(CHILD, Phase.FAILED)
    fail(world, parent)
    await world.phase("p", Phase.FAILED)
    await ask(world, CHILD)
    child = await world.run(CHILD, attempt=2)
    await ask(world, "p")
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    async with asyncio.timeout(60):
        while labels.RETRIED_ALONE in (await world.get(CHILD)).metadata.annotations:
            await asyncio.sleep(0.01)
    world.on_frame(frames.Completed(child.activation, b"7"))
    await eventually(lambda: bool(arrivals(world, second.activation)))
    assert [one.result for one in arrivals(world, second.activation)] == [b"7"]


async def test_the_policy_none_takes_children_as_they_ended(world: World) -> None:
    """One that has failed fails the new attempt, too."""
    parent = await world.start("p", retry={**AT_ONCE, "childPolicy": "None"})
    request_child(world, parent.activation)
    fail(world, await world.run(CHILD))
    await eventually(lambda: bool(arrivals(world, parent.activation)))
    fail(world, parent)
    second = await world.run("p", attempt=2)
    request_child(world, second.activation)
    await eventually(lambda: bool(arrivals(world, second.activation)))
    assert [one.phase for one in arrivals(world, second.activation)] == ["Failed"]


async def test_the_policy_retry_all_begins_another_run(world: World) -> None:
    """What runs is canceled, and the runner is told of the new run: names of children depend on it."""
    parent = await world.start("p", retry={**AT_ONCE, "childPolicy": "RetryAll"})
    request_child(world, parent.activation)
    child = await world.run(CHILD)
    fail(world, parent)
    second = await world.run("p", attempt=2)
    assert (second.run_epoch, second.memo) == (1, b"")
    await world.phase(CHILD, Phase.CANCELED)
    await eventually(
        lambda: child.activation in [one.activation for one in world.runners.sent_of(frames.CancelActivation)]
    )


@pytest.mark.parametrize("attempts", [1, 2])
async def test_children_of_former_runs_are_canceled_wherever_they_are(world: World, attempts: int) -> None:
    """The last activation has not asked for them: before everything is run anew, and at the end of all attempts."""
    policy = "RetryAll" if attempts == 1 else "RetryFailed"
    first = await world.start("p", retry={**AT_ONCE, "childPolicy": policy})
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "p", "uid": first.uid}
    elsewhere = {labels.WORKER_GROUP: "elsewhere", labels.PARENT: "p"}
    await world.create("far-away", labels=elsewhere, ownerReferences=[owner])
    fail(world, first)
    if attempts == 2:
        fail(world, await world.run("p", attempt=2))
    await world.phase("far-away", Phase.CANCELED)


async def test_a_mutex_is_kept_between_attempts(world: World) -> None:
    """Nobody else gets it while its holder waits for its next attempt."""
    first = await world.start("a", retry={"retries": 1, "backoff": "2s"}, mutex="m")
    await world.create("b", mutex="m")
    fail(world, first)
    await world.phase("a", Phase.BACKOFF)
    second = await world.run("a", attempt=2)
    assert [one.execution for one in world.runners.submitted] == ["a", "a"]
    world.on_frame(frames.Completed(second.activation, b"1"))
    await world.run("b")


async def test_who_is_retried_queues_for_its_mutex_anew(world: World) -> None:
    """It has given it back when it ended; somebody else may have it now."""
    fail(world, await world.start("a", mutex="m"))
    await world.phase("a", Phase.FAILED)
    other = await world.start("b", mutex="m")
    await ask(world, "a")
    await world.phase("a", Phase.PENDING)
    assert [one.execution for one in world.runners.submitted] == ["a", "b"]
    world.on_frame(frames.Completed(other.activation, b"1"))
    again = await world.run("a", attempt=2)
    world.on_frame(frames.Completed(again.activation, b"1"))
    await world.phase("a", Phase.COMPLETED)


async def test_who_is_retried_does_not_run_by_an_old_grant(fast_world: World) -> None:
    """The replica's watch of Leases is late: what it shows gave the mutex to the run that has ended."""
    world = fast_world
    first = await world.start("a", mutex="m")
    await world.create("b", mutex="m")
    late: list[tuple[EventType, Lease]] = []
    show = world.leases.on_event
    world.leases.on_event = lambda *news: late.append(news)  # type: ignore[method-assign]
    fail(world, first)
    await world.phase("a", Phase.FAILED)
    await eventually(lambda: any(lease.metadata.annotations[labels.EXECUTION] == "b" for _, lease in late))
    await ask(world, "a")
    await world.phase("a", Phase.PENDING)
    while not (await world.get("a")).status.waiting_for and len(world.runners.submitted) == 1:
        await asyncio.sleep(0.01)
    assert [one.execution for one in world.runners.submitted] == ["a"]
    for news in late:
        show(*news)
    world.leases.on_event = show  # type: ignore[method-assign]
    other = await world.run("b")
    world.on_frame(frames.Completed(other.activation, b"1"))
    again = await world.run("a", attempt=2)
    assert [one.execution for one in world.runners.submitted] == ["a", "b", "a"]
    assert again.fencing_token > other.fencing_token > first.fencing_token


async def test_who_may_have_run_unwritten_is_claimed_when_it_is_retried(api_server: ApiServer) -> None:
    """Its replica died before it had written anything: the next run has a higher fencing token all the same."""
    async with replica(api_server, "one") as world:
        operations = [{"op": "add", "path": "/status", "value": {"phase": "Canceled", "conditions": [STOPPED]}}]
        await world.create("e", labels={labels.WORKER_GROUP: "nobody"})
        cancel = requests.json_patch(requests.EXECUTIONS, world.namespace, "e", operations, subresource="status")
        await world.transport.send(cancel)
        here = {"metadata": {"labels": {labels.WORKER_GROUP: GROUP}}}
        await world.transport.send(requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", here))
        await ask(world, "e")
        again = await world.run("e")
    assert again.fencing_token > ALONE_EPOCH
    assert again.fencing_token == SHARDED_EPOCH + 1


async def test_who_is_retried_queues_for_a_slot_anew(api_server: ApiServer) -> None:
    """A limit counts it only once it has a slot again."""
    async with replica(api_server, limits={"f": 1}) as world:
        fail(world, await world.start("a"))
        await world.phase("a", Phase.FAILED)
        other = await world.start("b")
        await ask(world, "a")
        await world.phase("a", Phase.PENDING)
        assert [one.execution for one in world.runners.submitted] == ["a", "b"]
        world.on_frame(frames.Completed(other.activation, b"1"))
        await world.run("a", attempt=2)


async def test_a_stale_client_cannot_ask_twice(world: World) -> None:
    """Two clients that saw the same failure ask for one attempt: the second one is told of a change."""
    fail(world, await world.start("e"))
    failed = await world.phase("e", Phase.FAILED)
    operations = retry_operations(failed, child_policy=ChildPolicy.NONE)
    request = requests.json_patch(requests.EXECUTIONS, world.namespace, "e", operations)
    await world.transport.send(request)
    with pytest.raises(errors.Invalid):
        await world.transport.send(request)
