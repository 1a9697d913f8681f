"""What the leader's placement does first when there is much to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.placement import PlacementDuty
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.open_suspensions import OpenSuspensions, SuspensionView
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from scripted_transport import ScriptedTransport
from virtual_time import LoopClock, elapsed_s, virtual_time

ME = ReplicaIdentity(shard="w-0", incarnation="w-0")
DEAD_LEASE = "kontinue-shard.g.w-1"
NOTHING = msgspec.json.encode({"metadata": {"resourceVersion": "9"}, "items": []})


def lease(shard: str, *, holder: str, duration_s: int = 4000) -> Lease:
    meta = ObjectMeta(name=f"kontinue-shard.g.{shard}", resource_version="1", annotations={labels.INCARNATION: shard})
    return Lease(metadata=meta, spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=duration_s))


def execution(name: str, phase: str, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", **meta},
        "spec": {"function": "f"},
        "status": {"phase": phase, "owner": {"shard": "w-1", "incarnation": "w-1", "epoch": 1}},
    }


class Server(ScriptedTransport):
    """An API server that needs a while for each request.

    Attributes:
        written: what was written when: the method and the name of the object.
        items: returns what a list of Executions contains.
        refuse: may raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[tuple[str, str], float] = {}
        self.items: Callable[[str], list[dict[str, Any]]] = lambda query: []
        self.refuse: Callable[[Request], None] = lambda request: None
        self.answer = self._answer

    async def send(self, request: Request, **options: Any) -> bytes:
        await asyncio.sleep(0.03)
        return await super().send(request, **options)

    def _answer(self, request: Request) -> bytes:
        self.refuse(request)
        name = request.path.rpartition("/")[2]
        if request.method != "GET":
            self.written.setdefault((request.method, name), elapsed_s())
        if name == "executions":
            return msgspec.json.encode({**msgspec.json.decode(NOTHING), "items": self.items(request.query)})
        return msgspec.json.encode(lease("w-1", holder=""))


@contextlib.asynccontextmanager
async def leading(server: Server, *found: Lease, suspensions: OpenSuspensions | None = None) -> AsyncIterator[None]:
    clock = LoopClock()
    watch = LeaseWatch(LeaseBook("g"), clock)
    watch.on_list([lease("w-0", holder="w-0"), *found], initial=True)
    duty = PlacementDuty(
        server,
        namespace="ns",
        group="g",
        me=ME,
        watch=watch,
        events=EventRecorder(server, component="test", instance="test", clock=clock),
        clock=clock,
        times=LeaseTimes(),
        limits={},
        suspensions=suspensions or OpenSuspensions(),
    )
    task = asyncio.create_task(duty.run())
    yield
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@virtual_time
async def test_a_verdict_does_not_wait_until_all_newcomers_have_been_placed() -> None:
    """Its Executions stand still, and newcomers go on being given to it."""
    server = Server()
    newcomers = [execution(f"e-{number}", "Pending") for number in range(5000)]
    server.items = lambda query: newcomers if "%21kontinue" in query else []
    async with leading(server, lease("w-1", holder="w-1", duration_s=1)):
        await asyncio.sleep(60)
    assert len([name for method, name in server.written if method == "PATCH"]) == len(newcomers)
    assert server.written["PUT", DEAD_LEASE] < 1.5


def dead_shard(query: str) -> list[dict[str, Any]]:
    """Return what a list contains of a shard with one Execution that lives and many that were canceled."""
    if "shard%3Dw-1" not in query:
        return []
    if "phase%3DCanceled" in query:
        return [execution(f"c-{number}", "Canceled", labels={labels.SHARD: "w-1"}) for number in range(300)]
    return [execution("e", "Executing", labels={labels.SHARD: "w-1"})] if "phase%21%3D" in query else []


@virtual_time
async def test_what_lives_in_a_dead_shard_does_not_wait_until_the_rest_has_been_closed() -> None:
    """Three requests for each that was canceled; somebody waits for the others."""
    server = Server()
    server.items = dead_shard
    async with leading(server, lease("w-1", holder="")):
        await asyncio.sleep(60)
    assert server.written["PATCH", "e"] < 0.5


@virtual_time
async def test_what_lives_in_a_dead_shard_is_moved_although_the_rest_cannot_be_closed() -> None:
    """Closing is tried again by itself."""
    server = Server()
    server.items = dead_shard
    tries = 0

    def refuse(request: Request) -> None:
        nonlocal tries
        if "phase%3DCanceled" in request.query:
            tries += 1
            raise errors.Forbidden("no", status=403)

    server.refuse = refuse
    async with leading(server, lease("w-1", holder="")):
        await asyncio.sleep(60)
    assert server.written["PATCH", "e"] < 0.5
    assert tries > 3


def suspended(query: str) -> list[dict[str, Any]]:
    """Return what a list contains of a shard with one Execution that waits for an approval."""
    if "shard%3Dw-1" not in query or "phase%21%3D" not in query:
        return []
    waiting = execution("e", "Suspended", labels={labels.SHARD: "w-1"})
    waiting["status"]["waitingFor"] = [{"kind": "Suspension", "name": "approval"}]
    return [waiting]


def approval(name: str) -> SuspensionView:
    owner_reference = {"apiVersion": "v1", "kind": "Execution", "name": "e", "uid": "uid-e"}
    meta = {"name": name, "uid": "s", "resourceVersion": "1", "ownerReferences": [owner_reference]}
    return msgspec.convert({"metadata": meta, "spec": {"kind": "Manual"}}, SuspensionView)


@virtual_time
async def test_what_waits_in_a_dead_shard_for_somebody_is_moved_when_he_has_answered() -> None:
    """Not only once the shard's replica has had time to come back: that is for those that wait on."""
    server, open_ones = Server(), OpenSuspensions()
    server.items = suspended
    open_ones.on_list([approval("approval")], initial=True)
    async with leading(server, lease("w-1", holder=""), suspensions=open_ones):
        await asyncio.sleep(10)
        assert ("PATCH", "e") not in server.written
        open_ones.on_event("DELETED", approval("approval"))
        await asyncio.sleep(10)
    assert 10 <= server.written["PATCH", "e"] < 11


@virtual_time
async def test_an_answer_from_before_the_verdict_counts_too() -> None:
    """The Suspension is not open any more when the shard is looked through; as long as nothing is known, it may be."""
    for is_listed, limit_s in ((True, 1.0), (False, LeaseTimes().duration_s + 1.0)):
        server, open_ones = Server(), OpenSuspensions()
        server.items = suspended
        if is_listed:
            open_ones.on_list([approval("another")], initial=True)
        began_s = elapsed_s()
        async with leading(server, lease("w-1", holder=""), suspensions=open_ones):
            await asyncio.sleep(60)
        moved_s = server.written["PATCH", "e"] - began_s
        assert moved_s < limit_s
        assert is_listed or moved_s >= LeaseTimes().duration_s - 1
