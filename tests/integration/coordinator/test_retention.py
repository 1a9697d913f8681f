"""The duty over what has ended against an API server, its Executions played by the test, at whatever time it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue import archives, errors
from kontinue.api import labels
from kontinue.api.meta import ObjectList, PartialObjectMetadata
from kontinue.api.v1alpha1 import ArchivedExecution, Execution, ExecutionTTL
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator import retention
from kontinue_engine.coordinator.retention import RetentionDuty
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.retention import UNCLAIMED_PATIENCE_S

SOON_S = 120.0
ENDED = datetime(2026, 1, 1, tzinfo=UTC)
TTL = {"archiveAfter": "1h"}

pytestmark = pytest.mark.slow


class SetClock(SystemClock):
    """Tells the time that it was set to: long after everything here has ended."""

    def __init__(self) -> None:
        self.time = ENDED + timedelta(hours=2)
        self.slept_s = 0.0

    def now(self) -> datetime:
        return self.time

    def now_ms(self) -> int:
        return round(self.time.timestamp() * 1000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.slept_s


Gate = Callable[[Request], Awaitable[None]]


class GatedTransport:
    """Hands every request to ``before`` first, and to ``after`` once it was answered."""

    def __init__(self, transport: KubeTransport) -> None:
        self._transport = transport
        self.before: Gate | None = None
        self.after: Gate | None = None

    async def send(self, request: Request, **options: Any) -> bytes:
        if self.before is not None:
            await self.before(request)
        answer = await self._transport.send(request, **options)
        if self.after is not None:
            await self.after(request)
        return answer

    def stream(self, request: Request, **options: Any) -> Any:
        return self._transport.stream(request, **options)


class World:
    """A namespace with Executions that have ended, and leaders that have nothing to do but retention."""

    def __init__(self, server: ApiServer, transport: KubeTransport) -> None:
        self.server = server
        self.transport = transport
        self.namespace = server.namespace
        self.clock = SetClock()
        self._tasks: list[asyncio.Task[None]] = []

    def lead(self, *, ttl: ExecutionTTL | None = None) -> GatedTransport:
        """Begin to lead, or another leader does so beside the first; return its transport."""
        gated = GatedTransport(self.transport)
        events = EventRecorder(self.transport, component="test", instance="test", clock=self.clock)
        duty = RetentionDuty(
            gated,
            events,
            namespace=self.namespace,
            group="g",
            ttl=ttl,
            defaults={},
            owns=lambda function: function == "f",
            clock=self.clock,
        )
        self._tasks += [asyncio.create_task(duty.run()), asyncio.create_task(events.run())]
        return gated

    async def die(self) -> None:
        """End whatever leads, wherever it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def create(
        self,
        name: str,
        *,
        phase: str = "Completed",
        parent: Execution | None = None,
        ttl: dict[str, str] | None = None,
        stopped: bool = True,
        claimed: bool = True,
        **status: Any,
    ) -> Execution:
        """Create an Execution that has ended, as its worker has left it."""
        root = parent and (parent.metadata.labels.get(labels.ROOT) or parent.metadata.name)
        found = {
            labels.WORKER_GROUP: "g",
            **({labels.ROOT: root, labels.PARENT: parent.metadata.name} if parent else {}),
        }
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": found, "ownerReferences": owned_by(parent)},
            "spec": {"function": "f", "arguments": {"who": name}, **({"ttl": ttl} if ttl is not None else {})},
        }
        await self.transport.send(requests.create(requests.EXECUTIONS, self.namespace, body))
        time = ENDED.isoformat().replace("+00:00", "Z")
        condition = {"type": "Stopped", "status": "True", "reason": phase, "lastTransitionTime": time}
        change = {
            "phase": phase,
            "finishedAt": time,
            **({"owner": {"shard": "s", "incarnation": "x", "epoch": 1}} if claimed else {}),
            "conditions": [condition] if stopped else [],
            **status,
        }
        await self.patch(name, {"status": change}, subresource="status")
        return await self.get(name)

    async def put(self, resource: requests.Resource, body: dict[str, Any], owner: Execution) -> None:
        """Create something that belongs to an Execution."""
        meta = body.setdefault("metadata", {})
        meta["ownerReferences"] = owned_by(owner)
        full = {"apiVersion": labels.API_VERSION, "kind": resource.kind, **body}
        await self.transport.send(requests.create(resource, self.namespace, full))

    async def patch(self, name: str, patch: dict[str, Any], *, subresource: Any = "") -> None:
        await self.transport.send(
            requests.merge_patch(requests.EXECUTIONS, self.namespace, name, patch, subresource=subresource)
        )

    async def get(self, name: str) -> Execution:
        body = await self.transport.send(requests.get(requests.EXECUTIONS, self.namespace, name))
        return msgspec.json.decode(body, type=Execution)

    async def names(self, resource: requests.Resource) -> list[str]:
        """Return the names of all objects of a kind."""
        body = await self.transport.send(requests.list_objects(resource, self.namespace))
        found = msgspec.json.decode(body, type=ObjectList[PartialObjectMetadata])
        return sorted(one.metadata.name for one in found.items)

    async def archives(self) -> list[ArchivedExecution]:
        body = await self.transport.send(requests.list_objects(requests.ARCHIVED_EXECUTIONS, self.namespace))
        found = msgspec.json.decode(body, type=ObjectList[ArchivedExecution])
        return sorted(found.items, key=lambda one: (one.spec.execution, one.metadata.name))

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(SOON_S):
            while not await check():
                await asyncio.sleep(0.02)

    async def until_gone(self, *names: str) -> None:
        """Wait until none of these Executions is there any more."""

        async def are_gone() -> bool:
            return not set(names) & set(await self.names(requests.EXECUTIONS))

        await self.until(are_gone)

    async def until_archives(self, count: int) -> None:
        async def are_there() -> bool:
            return len(await self.archives()) == count

        await self.until(are_there)


def owned_by(owner: Execution | None) -> list[dict[str, Any]]:
    if owner is None:
        return []
    meta = owner.metadata
    known = {"apiVersion": labels.API_VERSION, "kind": "Execution", "controller": True}
    return [{**known, "name": meta.name, "uid": meta.uid}]


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    world = World(api_server, transport)
    try:
        yield world
    finally:
        await world.die()
        await transport.close()


async def plant(world: World, name: str = "root", ttl: dict[str, str] | None = None) -> Execution:
    """Create a root with a child, a grandchild, and what belongs to them."""
    root = await world.create(name, ttl=TTL if ttl is None else ttl, result={"z": 1, "a": 2})
    child = await world.create(
        f"{name}-child", parent=root, memoPages={"count": 1, "last": "d", "records": 1, "bytes": 9}
    )
    await world.create(f"{name}-grandchild", parent=child, phase="Failed", ttl={"deleteAfter": "1s"})
    page = {
        "metadata": {"name": f"{name}-page", "labels": {labels.EXECUTION: child.metadata.name}},
        "spec": {"execution": child.metadata.name, "runEpoch": 0, "number": 1, "memo": {"records": []}},
    }
    await world.put(requests.MEMO_PAGES, page, child)
    suspension = {
        "metadata": {"name": f"{name}-suspension", "labels": {labels.ROOT: name, labels.PARENT: name}},
        "spec": {"execution": name, "kind": "Sleep"},
    }
    await world.put(requests.SUSPENSIONS, suspension, root)
    return root


async def test_a_tree_is_replaced_by_its_archive(world: World) -> None:
    """All of it: the root, what is below it, MemoPages and Suspensions; a ttl of a child counts for nothing."""
    root = await plant(world)
    await world.create("kept")
    await world.create("later", ttl={"archiveAfter": "3h"})
    world.lead()
    await world.until_gone("root", "root-child", "root-grandchild")
    (archive,) = await world.archives()
    assert (archive.spec.execution, archive.spec.uid, archive.spec.executions) == ("root", root.metadata.uid, 3)
    found = archives.unpack([archive])
    assert [one.metadata.name for one in found.executions] == ["root", "root-child", "root-grandchild"]
    assert [one.metadata.name for one in found.pages] == ["root-page"]
    assert [one.metadata.name for one in found.suspensions] == ["root-suspension"]
    assert bytes(found.root.status.result) in (b'{"z":1,"a":2}', b'{"a":2,"z":1}')  # type: ignore[arg-type]

    async def nothing_is_left() -> bool:
        return not await world.names(requests.MEMO_PAGES) and not await world.names(requests.SUSPENSIONS)

    await world.until(nothing_is_left)
    assert await world.names(requests.EXECUTIONS) == ["kept", "later"]


async def test_what_has_no_ttl_gets_that_of_the_worker(world: World) -> None:
    """A ttl without a time keeps an Execution for ever; zero is no time."""
    await world.create("default")
    for name, ttl in (("kept", {}), ("zero", {"archiveAfter": "0s", "deleteAfter": "0"})):
        await world.create(name, ttl=ttl)
    world.lead(ttl=ExecutionTTL(archive_after="30m"))
    await world.until_gone("default")
    assert await world.names(requests.EXECUTIONS) == ["kept", "zero"]
    assert [one.spec.execution for one in await world.archives()] == ["default"]


async def test_delete_after_deletes_without_an_archive_or_deletes_the_archive(world: World) -> None:
    """Both count from the end of the root; nothing is archived that would be deleted at once."""
    await world.create("deleted", ttl={"deleteAfter": "1h"})
    await world.create("both", ttl={"archiveAfter": "1h", "deleteAfter": "5h"})
    await world.create("overdue", ttl={"archiveAfter": "30m", "deleteAfter": "1h"})
    world.lead()
    await world.until_gone("deleted", "both", "overdue")
    (archive,) = await world.archives()
    assert archive.spec.execution == "both"
    assert archives.delete_time(archive.metadata) == ENDED + timedelta(hours=5)
    await world.die()
    world.clock.time += timedelta(hours=4)
    world.lead()
    await world.until_archives(0)


async def test_a_tree_of_which_something_may_run_is_kept(world: World) -> None:
    """A child that somebody has retried alone, one that is still being stopped, and one for which a retry is asked."""
    for name, fields in (
        ("running", {"phase": "Executing"}),
        ("stopping", {"phase": "Canceled", "stopped": False}),
        ("wanted", {"phase": "Failed"}),
    ):
        root = await world.create(name, ttl={"deleteAfter": "1h"})
        await world.create(f"{name}-child", parent=root, **fields)
    await world.patch("wanted-child", {"spec": {"retry": {"retries": 1}}})
    looked: set[str] = set()

    async def note(request: Request) -> None:
        if requests.SUSPENSIONS.plural in request.path:
            looked.add(request.query)

    transport = world.lead()
    transport.after = note

    async def all_were_looked_at() -> bool:
        return len(looked) == 3

    await world.until(all_were_looked_at)
    await world.create("behind", ttl={"deleteAfter": "1h"})
    await world.until_gone("behind")
    assert len(await world.names(requests.EXECUTIONS)) == 6


async def test_what_was_canceled_before_it_ran_goes_once_it_was_seen_so_for_some_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says that it has stopped; somebody may have started it just before, without a word."""
    monkeypatch.setattr(retention, "NOT_AT_REST_S", 0.1)
    await world.create("canceled", phase="Canceled", ttl={"deleteAfter": "1h"}, stopped=False, claimed=False)
    looks = 0

    async def count(request: Request) -> None:
        nonlocal looks
        looks += requests.SUSPENSIONS.plural in request.path

    world.lead().after = count

    async def was_looked_at_again() -> bool:
        return looks > 2

    await world.until(was_looked_at_again)
    assert await world.names(requests.EXECUTIONS) == ["canceled"]
    world.clock.slept_s = UNCLAIMED_PATIENCE_S
    await world.until_gone("canceled")


async def test_times_that_no_date_can_name_end_nobody(world: World) -> None:
    """Whoever writes them keeps an Execution for ever; others are dealt with."""
    await world.create("endless", ttl={"archiveAfter": "1h", "deleteAfter": "99999999h"})
    await world.create("odd", ttl={"archiveAfter": "99999999999999999999999999999h"})
    await world.create("late", ttl={"archiveAfter": "1h"}, finishedAt="9999-12-31T23:59:59Z")
    await world.create("mortal", ttl=TTL)
    world.lead()
    await world.until_gone("endless", "mortal")
    assert await world.names(requests.EXECUTIONS) == ["late", "odd"]
    assert [archives.delete_time(one.metadata) for one in await world.archives()] == [None, None]
    path = requests.ARCHIVED_EXECUTIONS
    for name in await world.names(path):
        note = {"metadata": {"annotations": {labels.DELETE_AT: "9999-12-31T23:59:59-23:00"}}}
        await world.transport.send(requests.merge_patch(path, world.namespace, name, note))
    await world.create("behind", ttl=TTL)
    await world.until_gone("behind")


async def test_an_archive_costs_two_writes(world: World) -> None:
    """It is created, and the root deleted; the server does the rest."""
    await plant(world)
    written: list[str] = []

    async def note(request: Request) -> None:
        if request.method != "GET":
            written.append(f"{request.method} {request.path.split('/')[6]}")

    world.lead().before = note
    await world.until_gone("root", "root-child", "root-grandchild")
    assert written == ["POST archivedexecutions", "DELETE executions"]


@pytest.mark.parametrize("answered", [False, True], ids=["before the request", "after it"])
async def test_whenever_a_leader_dies_the_next_one_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """At each request there is the tree, or a whole archive; in the end there is one archive and nothing else."""
    monkeypatch.setattr(archives, "MAX_DATA_BYTES", 400)
    dies_at, was_cut = 0, True
    while was_cut:
        dies_at += 1
        name = f"root-{dies_at}"
        root = await plant(world, name)
        was_cut = await lead_until(world, dies_at, answered=answered)
        await world.die()
        assert name in await world.names(requests.EXECUTIONS) or await is_archived(world, root), dies_at
        world.lead()
        await world.until_gone(name)
        assert await is_archived(world, root), dies_at
        await world.die()
    assert dies_at > 8
    digests = {(one.spec.execution, archives.part_key(one.metadata).digest) for one in await world.archives()}  # type: ignore[union-attr]
    assert len(digests) == dies_at


async def lead_until(world: World, number: int, *, answered: bool) -> bool:
    """Lead until the duty has sent so many requests, or has nothing left to do; return whether it was the former."""
    count, reached = 0, asyncio.Event()

    async def stop(request: Request) -> None:
        nonlocal count
        count += 1
        if count >= number:
            reached.set()
            await asyncio.Event().wait()

    transport = world.lead()
    if answered:
        transport.after = stop
    else:
        transport.before = stop
    gone = asyncio.create_task(world.until_gone(*(one for one in await world.names(requests.EXECUTIONS))))
    cut = asyncio.create_task(reached.wait())
    done, _ = await asyncio.wait((gone, cut), return_when=asyncio.FIRST_COMPLETED)
    for task in (gone, cut):
        task.cancel()
    return cut in done


async def is_archived(world: World, root: Execution) -> bool:
    """Tell whether there is exactly one whole archive of an Execution."""
    parts = [one for one in await world.archives() if one.spec.uid == root.metadata.uid]
    try:
        found = archives.unpack(parts)
    except errors.KontinueError:
        return False
    return len(found.executions) == 3 and len(parts) == parts[0].spec.parts > 1


async def test_a_retry_between_the_archive_and_the_deletion_wins(world: World) -> None:
    """The archive is dropped: what it is of lives."""
    await world.create("root", phase="Failed", ttl=TTL)

    async def retry(request: Request) -> None:
        if request.method == "DELETE" and requests.EXECUTIONS.path(world.namespace, "root") == request.path:
            await world.patch("root", {"spec": {"retry": {"retries": 1}}})
            await world.patch("root", {"status": {"phase": "Pending"}}, subresource="status")

    world.lead().before = retry

    async def is_pending() -> bool:
        return (await world.get("root")).phase == "Pending"

    await world.until(is_pending)
    await world.until_archives(0)
    assert (await world.get("root")).phase == "Pending"


async def test_a_retry_is_not_lost_to_the_death_of_the_leader(world: World) -> None:
    """The next one drops what the last one has written of something that lives again."""
    await world.create("root", phase="Failed", ttl=TTL)
    await world.create("other", phase="Failed", ttl=TTL)
    created = asyncio.Event()

    async def stop(request: Request) -> None:
        if request.method == "POST" and "archivedexecutions" in request.path:
            created.set()
            await asyncio.Event().wait()

    world.lead().after = stop
    await asyncio.wait_for(created.wait(), SOON_S)
    await world.die()
    for name in ("root", "other"):
        await world.patch(name, {"spec": {"retry": {"retries": 1}}})
        await world.patch(name, {"status": {"phase": "Pending"}}, subresource="status")
    assert len(await world.archives()) >= 1
    world.lead()
    await world.until_archives(0)
    assert await world.names(requests.EXECUTIONS) == ["other", "root"]


async def test_an_edit_between_the_archive_and_the_deletion_is_archived(world: World) -> None:
    """Of the root by its version, of what is below it by a comparison."""
    for name in ("root", "below"):
        root = await world.create(name, ttl=TTL)
        await world.create(f"{name}-child", parent=root)
    edited: set[str] = set()

    async def edit(request: Request) -> None:
        if request.method != "POST" or "archivedexecutions" not in request.path:
            return
        name = msgspec.json.decode(request.body, type=ArchivedExecution).spec.execution
        if name not in edited:
            edited.add(name)
            target = "root" if name == "root" else "below-child"
            await world.patch(target, {"metadata": {"annotations": {"edited": "true"}}})

    world.lead().after = edit
    await world.until_gone("root", "root-child", "below", "below-child")

    async def are_settled() -> bool:
        return len({one.spec.execution for one in await world.archives()}) == len(await world.archives()) == 2

    await world.until(are_settled)
    for archive in await world.archives():
        marks = ["edited" in one.metadata.annotations for one in archives.unpack([archive]).executions]
        assert marks == ([True, False] if archive.spec.execution == "root" else [False, True])


async def test_two_leaders_at_once_do_no_harm(world: World) -> None:
    """Each Execution is archived once, however their requests overlap."""
    names = [f"e{number}" for number in range(12)]
    for name in names:
        await world.create(name, ttl=TTL)
    world.lead()
    world.lead()
    await world.until_gone(*names)

    async def is_once_each() -> bool:
        return [one.spec.execution for one in await world.archives()] == sorted(names)

    await world.until(is_once_each)


async def test_what_a_user_deletes_while_it_is_archived_leaves_no_half_of_an_archive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts without a last one are nobody's."""
    monkeypatch.setattr(archives, "MAX_DATA_BYTES", 200)
    monkeypatch.setattr(retention, "SETTLE_S", 0.1)
    await world.create("root", ttl=TTL)
    created = asyncio.Event()

    async def stop(request: Request) -> None:
        if request.method == "POST" and "archivedexecutions" in request.path:
            created.set()
            await asyncio.Event().wait()

    world.lead().after = stop
    await asyncio.wait_for(created.wait(), SOON_S)
    await world.die()
    assert len(await world.archives()) == 1
    await world.transport.send(requests.delete(requests.EXECUTIONS, world.namespace, "root"))
    world.lead()
    await world.until_archives(0)


async def test_deleting_the_first_part_deletes_all_of_an_archive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes an archive by hand leaves nothing behind."""
    monkeypatch.setattr(archives, "MAX_DATA_BYTES", 200)
    await world.create("root", ttl=TTL)
    world.lead()
    await world.until_gone("root")
    first, *others = sorted(await world.archives(), key=lambda one: one.spec.part)
    assert others
    name = first.metadata.name
    await world.transport.send(requests.delete(requests.ARCHIVED_EXECUTIONS, world.namespace, name))
    await world.until_archives(0)


async def test_what_the_server_refuses_is_kept_and_said(world: World) -> None:
    """A Role that is older than archives: the Execution stays, others are dealt with, and an Event says why."""
    await world.create("root", ttl=TTL)
    await world.create("deleted", ttl={"deleteAfter": "1h"})

    async def refuse(request: Request) -> None:
        if request.method == "POST" and "archivedexecutions" in request.path:
            raise errors.Forbidden("archivedexecutions is forbidden", status=403, reason="Forbidden")

    world.lead().before = refuse
    await world.until_gone("deleted")

    async def is_told() -> bool:
        body = await world.transport.send(requests.list_objects(requests.EVENTS, world.namespace))
        return any(one["reason"] == retention.NOT_ARCHIVED for one in msgspec.json.decode(body)["items"])

    await world.until(is_told)
    assert await world.names(requests.EXECUTIONS) == ["root"]
