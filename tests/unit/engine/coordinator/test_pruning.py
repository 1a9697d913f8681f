"""The leader deletes Functions that the code no longer has, and only when no replica may still need them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.pruning import PRUNED, PruningDuty
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.sharding.lease_book import LeaseBook
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time


def function(name: str, group: str = "g", **meta: Any) -> Function:
    metadata = ObjectMeta(name=name, uid=f"uid-{name}", resource_version="7", **meta)
    return Function(metadata=metadata, spec=FunctionSpec(name=name, worker_group=group))


def lease(shard: str, build: str, holder: str | None = None) -> Lease:
    meta = ObjectMeta(name=f"kontinue-shard.g.{shard}", annotations={labels.BUILD: build})
    spec = LeaseSpec(holder_identity=shard if holder is None else holder, lease_duration_seconds=40)
    return Lease(metadata=meta, spec=spec)


class World:
    """A leader of build b1 whose app has ``kept``, and what the server has and answers."""

    def __init__(self, *functions: Function) -> None:
        self.functions = {one.metadata.name: one for one in functions}
        self.leases: list[Lease] = []
        self.answers: dict[str, Any] = {}  # to a GET, in place of what is stored
        self.refusals: list[errors.ApiError] = []
        self.deleted: list[Any] = []
        self.waiters: set[asyncio.Event] = set()
        self.registered = {one.metadata.name: one.metadata for one in functions}
        self.wanted = {"kept": function("kept")}
        self.subscribe = self.waiters.add
        self.unsubscribe = self.waiters.discard
        clock = SystemClock()
        self.watch = LeaseWatch(LeaseBook("g"), clock)
        self.transport = ScriptedTransport()
        self.transport.answer = self.answer
        self.events = EventRecorder(self.transport, component="test", instance="test", clock=clock)
        self.duty = PruningDuty(
            self.transport,
            self.events,
            namespace="ns",
            group="g",
            build="b1",
            functions=self,
            watch=self.watch,
            clock=clock,
        )

    def answer(self, request: Request) -> bytes:
        name = request.path.rpartition("/")[2]
        if request.method == "GET" and name in self.answers:
            meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7"}
            return json.dumps({"metadata": meta, **self.answers[name]}).encode()
        if request.path.endswith("/leases"):
            return json.dumps({"metadata": {}, "items": json.loads(msgspec.json.encode(self.leases))}).encode()
        if request.method == "GET":
            if name not in self.functions:
                raise errors.NotFound("no such Function", status=404)
            return msgspec.json.encode(self.functions[name])
        assert request.method == "DELETE"
        if self.refusals:
            raise self.refusals.pop(0)
        self.deleted.append((name, json.loads(request.body)["preconditions"]))
        self.registered.pop(name)
        return b"{}"

    def show(self, *found: Lease) -> None:
        """The watch of Leases shows these, and the server has them."""
        self.leases = list(found)
        self.watch.on_list(found, initial=False)

    async def work(self, seconds: float = 1) -> list[str]:
        """Lead for a while; return which Functions were deleted meanwhile."""
        before = len(self.deleted)
        running = asyncio.ensure_future(self.duty.run())
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()
        return [name for name, _ in self.deleted[before:]]


@virtual_time
async def test_what_the_app_no_longer_has_is_deleted_as_it_was_read() -> None:
    """With uid and resourceVersion, so that whoever registers it again at that moment wins."""
    world = World(function("kept"), function("old"))
    assert await world.work() == ["old"]
    assert world.deleted == [("old", {"uid": "uid-old", "resourceVersion": "7"})]


@virtual_time
async def test_nothing_is_deleted_while_a_replica_runs_other_code() -> None:
    """Once it has given its Lease back, the Function goes, without anything else having to happen."""
    world = World(function("old"))
    world.show(lease("a", "b1"), lease("b", "b0"))
    running = asyncio.ensure_future(world.duty.run())
    await asyncio.sleep(100)
    assert world.deleted == []
    assert world.transport.sent == []
    world.show(lease("a", "b1"), lease("b", "b0", holder=""))
    await asyncio.sleep(1)
    assert [name for name, _ in world.deleted] == ["old"]
    running.cancel()


@virtual_time
async def test_a_replica_whose_lease_the_watch_has_not_shown_yet_is_respected() -> None:
    """What it has registered may be seen before its Lease."""
    world = World(function("new"))
    world.show(lease("a", "b1"))
    world.leases.append(lease("b", "b2"))
    assert await world.work() == []
    assert [request.method for request in world.transport.sent] == ["GET", "GET"]


@virtual_time
async def test_what_is_going_or_not_ours_or_gone_is_left_alone() -> None:
    """A label that somebody edited does not make another group's function ours."""
    going = function("going", deletion_timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    world = World(going, function("theirs", group="other"), function("gone"))
    del world.functions["gone"]
    assert await world.work() == []


@virtual_time
async def test_a_refusal_is_tried_again_and_a_conflict_is_left_to_the_watch() -> None:
    """A permission may come later; what has changed is shown again."""
    world = World(function("old"))
    world.refusals = [errors.Forbidden("no", status=403)] * 3
    assert await world.work(60) == ["old"]
    world = World(function("old"))
    world.refusals = [errors.Conflict("changed", status=409)]
    assert await world.work(60) == []


@virtual_time
async def test_what_cannot_be_read_ends_no_leader_and_keeps_no_other_one() -> None:
    """A newer version wrote it, say, before an older one was rolled back in; the next leader would end, too."""
    newer, nonsense = function("newer"), function("nonsense")
    world = World(newer, nonsense, function("old"))
    world.answers["newer"] = {"spec": {"name": "newer", "workerGroup": "g", "defaults": {"retry": "Clairvoyant"}}}
    world.answers["nonsense"] = {"spec": {"name": "nonsense", "workerGroup": 3}}
    assert await world.work() == ["newer", "old"]
    world = World(newer)
    world.answers["newer"] = {"metadata": 3}
    assert await world.work(60) == []


@virtual_time
async def test_a_lease_that_cannot_be_read_keeps_functions_from_being_pruned() -> None:
    """Its replica may need them; but the leader goes on."""
    world = World(function("old"))
    world.answers["leases"] = {"metadata": {}, "items": [{"metadata": {"name": "x"}, "spec": "nonsense"}]}
    assert await world.work(60) == []


@virtual_time
async def test_people_are_told() -> None:
    """By an Event about the Function, which outlives it."""
    world = World(function("old"))
    await world.work()
    written: list[Request] = []
    world.transport.answer = lambda request: written.append(request) or b"{}"  # type: ignore[func-returns-value]
    running = asyncio.ensure_future(world.events.run())
    await asyncio.sleep(1)
    running.cancel()
    (event,) = (json.loads(request.body) for request in written)
    assert (event["reason"], event["type"], event["involvedObject"]["uid"]) == (PRUNED, "Normal", "uid-old")
    assert event["message"] == "worker group g no longer has function old"
    assert elapsed_s() < 10
