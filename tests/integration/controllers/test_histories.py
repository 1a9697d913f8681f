"""Long memos: pages before the status, read before a replay; against an API server, with runners played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from controller_world import World, eventually, replica
from kontinue import errors
from kontinue.api import labels
from kontinue.api.patches import retry_operations
from kontinue.api.v1alpha1 import ChildPolicy, MemoPage, Phase
from kontinue.kube import requests
from kontinue.kube.reflector import Reflector
from kontinue.replay.records import Record, RecordKind, decode_memo, encode_record
from kontinue_engine.controllers import histories
from kontinue_engine.kube import memo_pages
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.continuing import OLD_RUN_MESSAGE
from kontinue_engine.lifecycle.memo import OPEN_RECORDS, Page
from kontinue_engine.wire import frames

BOOM = frames.ErrorInfo("builtins.ValueError", "boom", "", ["builtins.ValueError"])


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def record(seq: int, *, value: bytes = b'{"z":1,"a":1.50}') -> frames.EncodedRecord:
    made = Record(id=str(seq), kind=RecordKind.STEP, name="s", digest="d", seq=seq, at_ms=seq, value=msgspec.Raw(value))
    return frames.EncodedRecord(made.id, encode_record(made))


async def persist(world: World, activate: frames.Activate, first: int, last: int) -> None:
    """Record steps one after the other, each durable before the next."""
    for seq in range(first, last + 1):
        world.on_frame(frames.RecordsProduced(activate.activation, seq, [record(seq)]))
        await eventually(lambda seq=seq: frames.StepRecorded(activate.activation, seq) in world.runners.sent)


async def pages(world: World) -> list[MemoPage]:
    found = Reflector(world.transport, requests.MEMO_PAGES, world.namespace, type_=MemoPage)
    return sorted((await found.fetch()).objects, key=lambda page: page.spec.number)


def fail(world: World, activate: frames.Activate, seqs: list[int]) -> None:
    world.on_frame(frames.Failed(activate.activation, "UserError", BOOM, [], seqs, ["builtins.ValueError"]))


def ids(memo: bytes) -> list[str]:
    return [one.id for one in decode_memo(memo).records]


async def test_a_long_memo_is_replayed_whole_after_the_death_of_the_replica(api_server: ApiServer) -> None:
    """Whoever takes over reads the pages before it runs anything."""
    length = 3 * OPEN_RECORDS + 5
    async with replica(api_server, "one") as world:
        await persist(world, await world.start("e"), 1, length)
        stored = await world.get("e")
        assert stored.status.memo_pages is not None
        assert (stored.status.memo_pages.count, stored.status.memo_pages.records) == (3, 3 * OPEN_RECORDS)
        assert len(decode_memo(stored.status.state).records) == 5
        found = await pages(world)
        assert [page.spec.number for page in found] == [1, 2, 3]
        for page in found:
            (owner,) = page.metadata.owner_references
            assert (owner.kind, owner.uid, owner.controller) == ("Execution", stored.metadata.uid, True)
            assert page.metadata.labels[labels.EXECUTION] == "e"
    async with replica(api_server, "two") as world:
        again = await world.run("e")
        assert ids(again.memo) == [str(seq) for seq in range(1, length + 1)]
        assert len(world.entries.by_name("e").memo.records) == 5, "pages do not stay in memory"  # type: ignore[union-attr]
        await persist(world, again, length + 1, length + OPEN_RECORDS)
        assert len(await pages(world)) == 4


async def test_a_page_costs_one_write(world: World) -> None:
    """A step is one write; each run of records one more."""
    activate = await world.start("e")
    before = await world.server.writes()
    await persist(world, activate, 1, 2 * OPEN_RECORDS)
    assert await world.server.writes() - before == 2 * OPEN_RECORDS, "of Executions"
    assert len(await pages(world)) == 2


async def test_a_page_that_may_not_be_created_holds_up_its_execution_and_no_other(world: World) -> None:
    """A quota, or a Role that is older than pages: it goes on when that is mended."""
    send, is_mended = world.transport.send, asyncio.Event()

    async def refuse(request: requests.Request, **options: Any) -> bytes:
        if request.method == "POST" and "/memopages" in request.path and not is_mended.is_set():
            raise errors.Forbidden("exceeded quota: count/memopages", status=403, reason="Forbidden")
        return await send(request, **options)

    world.transport.send = refuse  # type: ignore[method-assign]
    activate = await world.start("e")
    await persist(world, activate, 1, OPEN_RECORDS - 1)
    world.on_frame(frames.RecordsProduced(activate.activation, OPEN_RECORDS, [record(OPEN_RECORDS)]))
    other = await world.start("other")
    world.on_frame(frames.Completed(other.activation, b"1"))
    await world.phase("other", Phase.COMPLETED)
    assert frames.StepRecorded(activate.activation, OPEN_RECORDS) not in world.runners.sent
    is_mended.set()
    await eventually(lambda: frames.StepRecorded(activate.activation, OPEN_RECORDS) in world.runners.sent)
    assert len(await pages(world)) == 1


async def test_a_crash_between_page_and_status_leaves_the_memo_as_it_was(api_server: ApiServer) -> None:
    """The page that nobody names does no harm; the step runs again, and may have another outcome."""
    async with replica(api_server, "one") as world:
        activate = await world.start("e")
        await persist(world, activate, 1, OPEN_RECORDS - 1)
        stored = await world.get("e")
        _hold(world, "/status")
        world.on_frame(frames.RecordsProduced(activate.activation, OPEN_RECORDS, [record(OPEN_RECORDS)]))
        await until_pages(world, 1)
        assert (await world.get("e")).metadata.resource_version == stored.metadata.resource_version
    async with replica(api_server, "two") as world:
        again = await world.run("e")
        assert len(ids(again.memo)) == OPEN_RECORDS - 1
        other = record(OPEN_RECORDS, value=b'"another one"')
        world.on_frame(frames.RecordsProduced(again.activation, OPEN_RECORDS, [other]))
        await until_pages(world, 2)
        await eventually(lambda: bool(world.runners.sent_of(frames.StepRecorded)))
    async with replica(api_server, "three") as world:
        memo = decode_memo((await world.run("e")).memo)
        assert (len(memo.records), bytes(memo.records[-1].value)) == (OPEN_RECORDS, b'"another one"')


async def until_pages(world: World, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await pages(world)) < count:
            await asyncio.sleep(0.01)


async def test_a_page_that_is_missing_blocks_instead_of_running_again_and_goes_on_when_it_is_back(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is repeated silently; the message names the page. Whoever has it then, the same build goes on."""
    monkeypatch.setattr(histories, "FIRST_LOOK_S", 0.02)
    monkeypatch.setattr(histories, "MAX_LOOK_S", 0.05)
    async with replica(api_server, "one") as world:
        await persist(world, await world.start("e"), 1, 2 * OPEN_RECORDS)
        first = (await pages(world))[0]
        name = first.metadata.name
        await world.transport.send(requests.delete(requests.MEMO_PAGES, world.namespace, name))
    async with replica(api_server, "two") as world:
        blocked = await world.phase("e", Phase.BLOCKED)
        assert blocked.status.reason == "HistoryIncomplete"
        assert f"MemoPage {name}, number 1 of 2, is missing" in blocked.status.message
        assert [item.kind for item in blocked.status.waiting_for] == ["MemoPage"]
        assert world.runners.submitted == []
    async with replica(api_server, "three") as world:
        meta = msgspec.structs.replace(first.metadata, uid="", resource_version="")
        restored = msgspec.structs.replace(first, metadata=meta)
        await world.client.send(requests.create(requests.MEMO_PAGES, world.namespace, restored))
        again = await world.run("e")
        assert ids(again.memo) == [str(seq) for seq in range(1, 2 * OPEN_RECORDS + 1)]
        world.on_frame(frames.Completed(again.activation, b"1"))
        assert (await world.phase("e", Phase.COMPLETED)).status.reason == ""


async def test_what_is_blocked_for_a_missing_page_can_be_canceled(api_server: ApiServer) -> None:
    """It does not wait for the page then."""
    async with replica(api_server, "one") as world:
        await persist(world, await world.start("e"), 1, OPEN_RECORDS)
        (only,) = await pages(world)
        await world.transport.send(requests.delete(requests.MEMO_PAGES, world.namespace, only.metadata.name))
    async with replica(api_server, "two") as world:
        await world.phase("e", Phase.BLOCKED)
        operations = [
            {"op": "test", "path": "/status/phase", "value": "Blocked"},
            {"op": "replace", "path": "/status/phase", "value": "Canceled"},
        ]
        await world.client.send(
            requests.json_patch(requests.EXECUTIONS, world.namespace, "e", operations, subresource="status")
        )
        await eventually(lambda: world.entries.by_name("e") is None)
        assert is_stopped((await world.get("e")).status.conditions)


async def test_a_cut_that_reaches_into_pages_is_carried_out_when_they_are_read(api_server: ApiServer) -> None:
    """The next attempt begins with what came before the failure, and has the rest as a cache; no page is written."""
    length = OPEN_RECORDS + 3
    async with replica(api_server, "one") as world:
        first = await world.start("e", retry={"retries": 2, "backoff": "0s"})
        await persist(world, first, 1, length)
        fail(world, first, [10, length])
        second = await world.run("e", attempt=2)
        memo = decode_memo(second.memo)
        assert ids(second.memo) == [str(seq) for seq in range(1, 10)]
        assert sorted(int(one.id) for one in memo.cache) == list(range(11, length))
        assert memo.cuts == [(10, 1)]
        assert len(await pages(world)) == 1
        await persist(world, second, 10, 12)
    async with replica(api_server, "two") as world:
        again = await world.run("e", attempt=2)
        assert ids(again.memo) == [str(seq) for seq in range(1, 13)]
        assert sorted(int(one.id) for one in decode_memo(again.memo).cache) == list(range(13, length))
        fail(world, again, [12])
        third = await world.run("e", attempt=3)
        assert ids(third.memo) == [str(seq) for seq in range(1, 12)]
        assert "12" not in [one.id for one in decode_memo(third.memo).cache]


@pytest.mark.parametrize("is_manual", [False, True])
async def test_running_everything_anew_deletes_the_pages(world: World, *, is_manual: bool) -> None:
    """By the policy RetryAll, of an attempt of its own as of one that somebody asks for."""
    retry = {"retries": 0 if is_manual else 1, "backoff": "0s", "childPolicy": "RetryAll"}
    first = await world.start("e", retry=retry)
    await persist(world, first, 1, OPEN_RECORDS)
    fail(world, first, [1])
    if is_manual:
        await world.phase("e", Phase.FAILED)
        operations = retry_operations(await world.get("e"), child_policy=ChildPolicy.RETRY_ALL)
        await world.transport.send(requests.json_patch(requests.EXECUTIONS, world.namespace, "e", operations))
    second = await world.run("e", attempt=2)
    assert (second.memo, second.run_epoch) == (b"", 1)
    async with asyncio.timeout(60):
        while await pages(world):
            await asyncio.sleep(0.01)
    await persist(world, second, 1, OPEN_RECORDS)
    assert [page.spec.run_epoch for page in await pages(world)] == [1]


async def test_a_cancel_while_pages_are_read_ends_without_running(api_server: ApiServer) -> None:
    """It has stopped as soon as they are read, and no runner ever had it."""
    async with replica(api_server, "one") as world:
        await persist(world, await world.start("e"), 1, OPEN_RECORDS)
    async with replica(api_server, "two") as world:
        reading, may_go_on = _hold(world, "memopages")
        await eventually(lambda: bool(reading))
        status = {"status": {"phase": "Canceled"}}
        patch = requests.merge_patch(requests.EXECUTIONS, world.namespace, "e", status, subresource="status")
        await world.transport.send(patch)
        await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
        may_go_on.set()
        async with asyncio.timeout(60):
            while not is_stopped((await world.get("e")).status.conditions):
                await asyncio.sleep(0.01)
        assert world.runners.submitted == []


def _hold(world: World, word: str) -> tuple[list[str], asyncio.Event]:
    """Let requests of the worker whose path ends with a word wait; return the paths that came, and what ends that."""
    paths: list[str] = []
    may_go_on = asyncio.Event()
    send = world.transport.send

    async def wait_before(request: requests.Request, **options: Any) -> bytes:
        if request.path.endswith(word):
            paths.append(request.path)
            await may_go_on.wait()
        return await send(request, **options)

    world.transport.send = wait_before  # type: ignore[method-assign]
    return paths, may_go_on


async def test_a_page_is_created_once_and_a_foreign_one_of_its_name_replaced(world: World) -> None:
    """What was written is recognised; what a vanished Execution of the same name has left is deleted."""
    created = await world.create("e")
    page = Page(1, "digest", "", b'{"build":"b","records":[{"id":"1","b":1,"a":2}]}')
    vanished = memo_pages.Owner(world.namespace, "e", "another-uid", 0)
    await memo_pages.create(world.transport, vanished, page)
    owner = memo_pages.Owner(world.namespace, "e", created.metadata.uid, 0)
    await memo_pages.create(world.transport, owner, page)
    (found,) = await pages(world)
    assert [one.uid for one in found.metadata.owner_references] == [created.metadata.uid]
    await memo_pages.create(world.transport, owner, page)
    assert [one.metadata.uid for one in await pages(world)] == [found.metadata.uid]


async def test_a_page_goes_with_its_execution(world: World) -> None:
    """The garbage collector sees to that."""
    await persist(world, await world.start("e"), 1, OPEN_RECORDS)
    assert len(await pages(world)) == 1
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "e"))
    async with asyncio.timeout(60):
        while await pages(world):
            await asyncio.sleep(0.02)
    with pytest.raises(errors.NotFound):
        await world.get("e")


async def test_a_function_starts_again_with_new_arguments_in_one_write(api_server: ApiServer) -> None:
    """The same Execution with an empty memo and a first attempt; pages of the old run go; a crash finds it so."""
    async with replica(api_server, "one", executing_after_ms=60_000) as world:
        first = await world.start("e")
        await persist(world, first, 1, OPEN_RECORDS)
        before = await world.server.writes()
        world.on_frame(frames.Completed(first.activation, b"", arguments=b'{"n":2}'))
        await eventually(lambda: world.runners.submitted[-1].activation != first.activation)
        second = world.runners.submitted[-1]
        assert await world.server.writes() - before == 1
        memo = decode_memo(second.memo)
        assert (memo.records, bytes(memo.arguments), second.run_epoch, second.attempt) == ([], b'{"n":2}', 1, 1)
        assert memo.since_ms >= second.created_at_ms
        async with asyncio.timeout(60):
            while await pages(world):
                await asyncio.sleep(0.01)
        world.on_frame(frames.Running(second.activation))
        await persist(world, second, 1, 2)
    async with replica(api_server, "two") as world:
        again = await world.run("e")
        memo = decode_memo(again.memo)
        assert (len(memo.records), bytes(memo.arguments), again.run_epoch) == (2, b'{"n":2}', 1)
        stored = await world.get("e")
        assert (stored.status.attempt_count, stored.status.run_epoch) == (1, 1)
        world.on_frame(frames.Completed(again.activation, b"7"))
        assert bytes((await world.phase("e", Phase.COMPLETED)).status.result) == b"7"


async def test_children_of_the_run_before_are_canceled_and_those_of_the_new_one_are_not(api_server: ApiServer) -> None:
    """Those that this replica knows, and those that it finds after a crash before the cancel."""
    async with replica(api_server, "one") as world:
        parent = await world.start("p")
        world.on_frame(
            frames.StepRequested(parent.activation, "1", frames.CreateChild("old", "child", b"{}", "digest"))
        )
        await world.run("old")
        world.on_frame(frames.Completed(parent.activation, b"", arguments=b"{}"))
        await eventually(lambda: [one.execution for one in world.runners.submitted].count("p") == 2)
        again = await world.run("p")
        world.on_frame(frames.StepRequested(again.activation, "1", frames.CreateChild("new", "child", b"{}", "digest")))
        canceled = await world.phase("old", Phase.CANCELED)
        assert canceled.status.message == OLD_RUN_MESSAGE
        new = await world.run("new")
        assert (await world.get("new")).metadata.annotations[labels.RUN_EPOCH] == "1"
        owner = (await world.get("new")).metadata.owner_references
        # As one that the replica has no time to cancel before it dies.
        await world.create("late", function="child", ownerReferences=msgspec.to_builtins(owner))
    async with replica(api_server, "two") as world:
        assert (await world.phase("late", Phase.CANCELED)).status.message == OLD_RUN_MESSAGE
        await eventually(lambda: any(one.execution == "new" for one in world.runners.submitted))
        assert (await world.get("new")).phase is not Phase.CANCELED
        assert new.execution == "new"
