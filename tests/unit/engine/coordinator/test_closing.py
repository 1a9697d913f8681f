"""What has ended while nobody had it is closed; what its owner may still have is left to it, as long as that lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.closing import AT_A_TIME, Closer
from kontinue_engine.sharding.fates import STOPPING_S
from kontinue_engine.sharding.leases import LeaseTimes
from scripted_transport import ScriptedTransport
from virtual_time import LoopClock, elapsed_s, virtual_time

LIST = {"metadata": {"resourceVersion": "9"}, "items": []}
TIMES = LeaseTimes()
PATIENCE_S = TIMES.duration_s + STOPPING_S


def canceled(name: str, incarnation: str = "dead", *, shard: str = "w-1", **status: Any) -> dict[str, Any]:
    owner = {"shard": shard, "incarnation": incarnation, "epoch": 1} if incarnation else None
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "resourceVersion": "5",
            "labels": {labels.SHARD: shard},
        },
        "spec": {"function": "f"},
        "status": {"phase": "Canceled", "owner": owner, **status},
    }


class Server:
    """Executions that have been canceled, and who holds which Lease: (holder, incarnation), None for no Lease.

    Attributes:
        written: names of those whose status was written.
        on_list: called before Executions are listed.
        on_children: called before their children are.
    """

    def __init__(self, *stored: dict[str, Any], unreadable: str = "") -> None:
        self.written: list[str] = []
        self.stored = {one["metadata"]["name"]: one for one in stored}
        self.leases: dict[str, tuple[str, str] | None] = {"kontinue-shard.g.w-1": ("w-1", "alive")}
        self.on_list: Callable[[], None] = lambda: None
        self.on_children: Callable[[], None] = lambda: None
        self._unreadable = unreadable

    def __call__(self, request: Request) -> bytes:
        if "/leases/" in request.path:
            return self._lease(request.path.rpartition("/")[2])
        if request.path.endswith(("/jobs", "/pods")):
            return msgspec.json.encode(LIST)
        name = request.path.partition("/executions/")[2].partition("/")[0]
        if not name:
            is_wanted = "phase%3DCanceled" in request.query
            if is_wanted:
                self.on_list()
            elif "parent" in request.query:
                self.on_children()
            found = list(self.stored.values()) if is_wanted else []
            return msgspec.json.encode({**LIST, "items": found})
        if name not in self.stored:
            raise errors.NotFound("no such Execution", status=404)
        if request.method == "PUT":
            self.written.append(name)
            self.stored[name]["status"] = msgspec.json.decode(request.body)["status"]
        found = self.stored[name]
        if name == self._unreadable:
            found = {**found, "spec": {"function": 3}}
        return msgspec.json.encode(found)

    def _lease(self, name: str) -> bytes:
        known = self.leases.get(name)
        if known is None:
            raise errors.NotFound("no such Lease", status=404)
        holder, incarnation = known
        metadata = {"name": name, "resourceVersion": "3", "annotations": {labels.INCARNATION: incarnation}}
        return msgspec.json.encode({"metadata": metadata, "spec": {"holderIdentity": holder}})


def closer(transport: ScriptedTransport, server: Server, *, is_sharded: bool = True) -> Closer:
    transport.answer = server
    return Closer(transport, namespace="ns", group="g", is_sharded=is_sharded, clock=LoopClock(), times=TIMES)


def start(subject: Closer) -> asyncio.Task[None]:
    """Begin with the shard w-1."""
    subject.look_into("w-1")
    return asyncio.create_task(subject.run())


def requests_of_leases(transport: ScriptedTransport) -> list[int]:
    """Return which of the requests have asked for Leases."""
    return [number for number, request in enumerate(transport.sent) if "/leases/" in request.path]


async def test_what_nobody_has_is_closed_and_what_a_replica_has_is_left_to_it(transport: ScriptedTransport) -> None:
    """Its code may still be cleaning up: who says Stopped too early gives its mutex away."""
    server = Server(canceled("a"), canceled("b", "alive"))
    await closer(transport, server).close("w-1")
    assert server.written == ["a"]


@pytest.mark.parametrize(("reason", "noted"), [("", 5), ("UserError", 5), ("CanceledByClient", 2)])
async def test_a_cancel_by_hand_wins_over_retries_that_may_have_been_added_before(
    transport: ScriptedTransport, reason: str, noted: int
) -> None:
    """Nobody looked; other cancels note what was asked for before, so that what is more was asked for afterwards."""
    one = canceled("a", reason=reason, observedRetries=2)
    one["metadata"]["generation"] = 2
    one["spec"]["retry"] = {"retries": 5}
    server = Server(one)
    await closer(transport, server).close("w-1")
    assert server.stored["a"]["status"]["observedRetries"] == noted


async def test_what_has_stopped_is_left_alone(transport: ScriptedTransport) -> None:
    """Sweeps come again and again."""
    server = Server(canceled("a", conditions=[{"type": "Stopped", "status": "True"}]))
    await closer(transport, server).close("w-1")
    assert server.written == []


async def test_one_that_cannot_be_read_keeps_nobody_from_closing_the_others(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """It would fell one leader after the other."""
    server = Server(canceled("a"), canceled("b"), unreadable="a")
    await closer(transport, server).close("w-1")
    assert server.written == ["b"]
    assert "not closed" in caplog.text


@pytest.mark.parametrize("is_held", [True, False], ids=["taken", "free"])
async def test_in_a_group_that_is_not_sharded_leadership_tells_who_lives(
    transport: ScriptedTransport, is_held: bool
) -> None:
    """Whatever the Leases of shards say that it had before."""
    server = Server(canceled("a", "former"), canceled("b", "alive"))
    server.leases = {
        "kontinue-leader.g": ("w-2" if is_held else "", "alive"),
        "kontinue-shard.g.w-1": ("w-1", "former"),
    }
    await closer(transport, server, is_sharded=False).close("")
    assert server.written == (["a"] if is_held else ["a", "b"])


async def test_the_lease_is_asked_for_after_the_executions_and_once_for_all_of_a_shard(
    transport: ScriptedTransport,
) -> None:
    """An owner that has just taken its Lease would count as dead, if it was asked before; many cost one request."""
    server = Server(*(canceled(f"a-{number}", "returned") for number in range(50)))
    server.leases["kontinue-shard.g.w-1"] = ("w-1", "dead")

    def take_the_shard() -> None:
        server.leases["kontinue-shard.g.w-1"] = ("w-1", "returned")

    server.on_list = take_the_shard
    await closer(transport, server).close("w-1")
    assert server.written == []
    assert len(requests_of_leases(transport)) == 1


async def test_one_that_got_another_owner_meanwhile_is_left(transport: ScriptedTransport) -> None:
    """The answer about the Lease is older than that owner, and says nothing of it."""
    server = Server(canceled("a"))
    server.on_children = lambda: server.stored.update(a=canceled("a", "new", shard="w-2"))
    await closer(transport, server).close("w-1")
    assert server.written == []


@virtual_time
async def test_what_was_left_to_its_owner_is_closed_when_that_has_gone() -> None:
    """By whoever has left it: the shard of its label may never be swept again."""
    server = Server(canceled("a", "there", shard="w-2"))
    server.leases["kontinue-shard.g.w-2"] = ("w-2", "there")
    running = start(closer(ScriptedTransport(), server))
    await asyncio.sleep(300)
    assert server.written == []
    server.leases["kontinue-shard.g.w-2"] = ("", "there")
    await asyncio.sleep(60)
    assert server.written == ["a"]
    running.cancel()


@virtual_time
async def test_what_its_owner_has_closed_is_not_asked_for_again() -> None:
    """Nor what was deleted: an idle leader sends nothing."""
    transport, server = ScriptedTransport(), Server(canceled("a", "alive"), canceled("b", "alive"))
    subject = closer(transport, server)
    await subject.close("w-1")
    running = asyncio.create_task(subject.run())
    await asyncio.sleep(10)
    server.stored["a"]["status"]["conditions"] = [{"type": "Stopped", "status": "True"}]
    del server.stored["b"]
    await asyncio.sleep(60)
    sent = len(transport.sent)
    await asyncio.sleep(600)
    assert (len(transport.sent), server.written) == (sent, [])
    running.cancel()


async def test_one_without_an_owner_is_closed_when_nobody_has_its_shard(transport: ScriptedTransport) -> None:
    """It was moved there once nobody had the one before, so whoever started it has lost this Lease."""
    server = Server(canceled("a", ""), canceled("b", "", shard="w-2"))
    server.leases = {"kontinue-shard.g.w-1": ("", "dead"), "kontinue-shard.g.w-2": ("w-2", "alive")}
    await closer(transport, server).close("w-1")
    assert server.written == ["a"]


@virtual_time
@pytest.mark.parametrize("incarnation", ["", "unknown"], ids=["without an owner", "of a Lease that was deleted"])
async def test_what_nobody_can_vouch_for_is_closed_when_every_replica_would_have_stopped_it(incarnation: str) -> None:
    """Somebody may have started it without a word, or go on without knowing that its Lease was deleted."""
    server = Server(canceled("a", incarnation, shard="w-3"))
    running = start(closer(ScriptedTransport(), server))
    await asyncio.sleep(PATIENCE_S - 1)
    assert server.written == []
    await asyncio.sleep(60)
    assert server.written == ["a"]
    running.cancel()


@virtual_time
async def test_code_that_has_longer_to_clean_up_is_waited_for_longer() -> None:
    """Whoever is told that it has stopped may take what it had."""
    server, transport = Server(canceled("a", "")), ScriptedTransport()
    transport.answer = server
    times = LeaseTimes(stopping_s=STOPPING_S + 100)
    subject = Closer(transport, namespace="ns", group="g", is_sharded=True, clock=LoopClock(), times=times)
    running = start(subject)
    await asyncio.sleep(times.patience_s - 1)
    assert server.written == []
    await asyncio.sleep(60)
    assert server.written == ["a"]
    running.cancel()


@virtual_time
async def test_an_api_server_that_is_away_is_waited_for() -> None:
    """Whoever comes back closes what was left, whenever that can be read."""
    transport, server = ScriptedTransport(), Server(canceled("a"))
    subject = closer(transport, server)

    def answer(request: Request) -> bytes:
        if elapsed_s() < 20:
            raise errors.Unavailable("away")
        return server(request)

    transport.answer = answer
    running = start(subject)
    await asyncio.sleep(60)
    assert server.written == ["a"]
    running.cancel()


@virtual_time
async def test_what_could_not_be_closed_is_tried_again_and_keeps_nobody_from_closing_the_others() -> None:
    """The sweep that has told of it does not come again."""
    transport, server = ScriptedTransport(), Server(*(canceled(f"a-{number}") for number in range(20)))
    subject = closer(transport, server)

    def answer(request: Request) -> bytes:
        if request.method == "PUT" and "/a-3/" in request.path and elapsed_s() < 20:
            raise errors.Forbidden("no", status=403)
        return server(request)

    transport.answer = answer
    running = start(subject)
    await asyncio.sleep(10)
    assert sorted(server.written) == sorted(set(server.stored) - {"a-3"})
    await asyncio.sleep(60)
    assert sorted(server.written) == sorted(server.stored)
    running.cancel()


class SlowTransport(ScriptedTransport):
    """Needs a second for each request.

    Attributes:
        most: requests at a time.
    """

    most = 0
    _now = 0

    async def send(self, request: Request, **options: Any) -> bytes:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(1)
        self._now -= 1
        return await super().send(request, **options)


@virtual_time
async def test_a_few_are_closed_at_a_time() -> None:
    """Somebody may wait for a mutex of one of them, and everybody else wants to write, too."""
    transport, server = SlowTransport(), Server(*(canceled(f"a-{number}") for number in range(40)))
    await closer(transport, server).close("w-1")
    assert (len(server.written), transport.most) == (40, AT_A_TIME)
    assert elapsed_s() < 3 * 40 / AT_A_TIME + 10
