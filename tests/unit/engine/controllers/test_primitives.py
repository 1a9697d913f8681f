"""What Executions ask of primitives while answers are slow: what is given up ends before it is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from controller_world import FakeRunners
from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.primitives import Primitives
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.observed import Activation, Worker
from kontinue_engine.wire import frames
from virtual_time import elapsed_s, virtual_time

HOLD, RELEASE = "1", "2"
ID = "0123456789abcdef0123"
VERBS = {"Mutex": "lock", "RWMutex": "lock", "Once": "begin", "Semaphore": "lock", "Lease": "lock"}
WRITES = {"Mutex": "PUT", "RWMutex": "PUT", "Once": "PUT", "Semaphore": "POST", "Lease": "POST"}
ENDS = {**WRITES, "Semaphore": "DELETE", "Lease": "DELETE"}


class Api:
    """An API server that has one object ``x`` of each kind, and what is made of them; it grants at once.

    Attributes:
        objects: by plural and name.
        slow_s: method -> how long its next requests are under way, whether or not anybody waits for the answers.
        breaks: whether asking raises what nobody expects.
        takes_away: so many of the next Permits and LeaseRequests are deleted before anybody sees them.
        made_of_it: status of the next Permits and LeaseRequests.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.slow_s: dict[str, float] = {}
        self.breaks = False
        self.takes_away = 0
        self.made_of_it: dict[str, Any] = {"phase": "Granted"}
        self._version = 0
        self._under_way: set[asyncio.Future[bytes]] = set()
        for kind, plural in (("Mutex", "mutexes"), ("RWMutex", "rwmutexes"), ("Once", "onces"), ("Lease", "leases")):
            self._put(f"{plural}/x", {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": {"name": "x"}})
        spec = {"permits": 1}
        self._put("semaphores/x", {"kind": "Semaphore", "metadata": {"name": "x"}, "spec": spec})

    def _put(self, key: str, body: dict[str, Any]) -> bytes:
        self._version += 1
        meta = {"namespace": "ns", "uid": f"uid-{self._version}", **body["metadata"]}
        self.objects[key] = {**body, "metadata": {**meta, "resourceVersion": str(self._version)}}
        return msgspec.json.encode(self.objects[key])

    async def send(self, request: Request, **_: Any) -> bytes:
        """Carry it out, sometimes late."""
        if self.breaks:
            raise TypeError("a bug")
        if "/events" in request.path:
            return b"{}"
        carrying = asyncio.ensure_future(self._carry_out(request))
        self._under_way.add(carrying)
        carrying.add_done_callback(self._over)
        return await asyncio.shield(carrying)

    def _over(self, carried: asyncio.Future[bytes]) -> None:
        self._under_way.discard(carried)
        if not carried.cancelled():
            carried.exception()

    async def _carry_out(self, request: Request) -> bytes:
        await asyncio.sleep(self.slow_s.get(request.method, 0.0))
        plural, _, name = request.path.split("/namespaces/ns/")[1].removesuffix("/status").partition("/")
        if request.method == "POST":
            return self._create(plural, msgspec.json.decode(request.body))
        if not name:
            listed = [one for key, one in self.objects.items() if key.startswith(f"{plural}/")]
            return msgspec.json.encode({"metadata": {"resourceVersion": str(self._version)}, "items": listed})
        key = f"{plural}/{name}"
        if key not in self.objects:
            raise errors.NotFound(f"no {key}", status=404)
        found = self.objects[key]
        if request.method == "DELETE":
            uid = msgspec.json.decode(request.body)["preconditions"]["uid"]
            if uid != found["metadata"]["uid"]:
                raise errors.Conflict("another one", status=409)
            return msgspec.json.encode(self.objects.pop(key))
        if request.method == "PUT":
            wanted = msgspec.json.decode(request.body)
            if wanted["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise errors.Conflict("modified", status=409)
            return self._put(key, wanted)
        return msgspec.json.encode(found)

    def _create(self, plural: str, body: dict[str, Any]) -> bytes:
        key = f"{plural}/{body['metadata']['name']}"
        if key in self.objects:
            raise errors.AlreadyExists(key, status=409)
        answer = self._put(key, {**body, "status": self.made_of_it})
        if self.takes_away:
            self.takes_away -= 1
            del self.objects[key]
        return answer

    async def stream(self, request: Request, **_: Any) -> AsyncGenerator[bytes, None]:
        """Show nothing more."""
        await asyncio.Event().wait()
        yield b""

    @property
    def chunks(self) -> Any:
        """Not used."""
        return self.stream

    def holds(self, kind: str) -> bool:
        """Tell whether somebody has it, or waits for it."""
        if kind in ("Semaphore", "Lease"):
            return any(key.startswith(("permits/", "leaserequests/")) for key in self.objects)
        status = self.objects[{"Mutex": "mutexes", "RWMutex": "rwmutexes", "Once": "onces"}[kind] + "/x"]["status"]
        return ID in str(status)


class World:
    """A replica with one Execution."""

    def __init__(self) -> None:
        self.api = Api()
        self.runners = FakeRunners()
        clock = SystemClock()
        self.runtime = Runtime(
            self.api,
            self.runners,
            EventRecorder(self.api, component="test", instance="test", clock=clock),
            clock,
            worker=Worker(shard="w-0", incarnation="i", build="b"),
            scope=Scope(namespace="ns", group="g", colours={}, deaf=frozenset(), windows={}, dead_predecessor=""),
            lease_remaining_s=lambda: 30.0,
        )
        self.primitives = Primitives(self.runtime)
        meta = ObjectMeta(name="e", namespace="ns", uid="uid-e", resource_version="1")
        self.entry = Entry(Execution(metadata=meta, spec=ExecutionSpec(function="f")), inherited=False)
        self.runtime.entries.add(self.entry)
        self.activate(1)

    def activate(self, number: int) -> None:
        self.runtime.entries.set_activation(self.entry, Activation(number=number))

    def ask(self, kind: str, verb: str, step: str = HOLD, **options: Any) -> None:
        asked = frames.AskPrimitive(kind, "x", verb, ID, msgspec.json.encode(options))
        self.primitives.request(self.entry, step, asked)

    async def held(self, kind: str) -> None:
        """Let it hold."""
        before = self.told
        self.ask(kind, VERBS[kind])
        await self.reached(lambda: self.told > before)

    async def reached(self, check: Callable[[], bool]) -> None:
        """Let time pass until it is so, and at most a quarter of an hour."""
        while not check():
            assert elapsed_s() < 900, "not reached"
            await asyncio.sleep(0.1)

    @property
    def told(self) -> int:
        return len(self.runners.sent_of(frames.StepArrived))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    one = World()
    running = asyncio.ensure_future(one.runtime.run(lambda _uid: None))
    await one.runtime.started.wait()
    yield one
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("kind", list(VERBS))
@virtual_time
async def test_a_release_that_is_late_does_not_take_the_lock_of_the_next_attempt(kind: str) -> None:
    """Who asks for a lock that is being given back gets it after that, and again."""
    async with world() as one:
        await one.held(kind)
        one.api.slow_s[ENDS[kind]] = 2.0
        one.ask(kind, "release", RELEASE)
        await asyncio.sleep(1.0)
        one.primitives.discard_all(one.entry)
        one.activate(2)
        one.api.slow_s.clear()
        await one.held(kind)
        await asyncio.sleep(10.0)
        assert one.api.holds(kind) or one.api.objects["onces/x"]["status"]["executed"]
        assert len(one.primitives) == 0


@pytest.mark.parametrize("kind", ["Mutex", "Semaphore"])
@virtual_time
async def test_what_an_attempt_has_released_is_not_taken_again_by_its_next_activation(kind: str) -> None:
    """It comes to both calls again, and is answered as the one before; nothing of the block is done again."""
    async with world() as one:
        await one.held(kind)
        one.ask(kind, "release", RELEASE)
        await one.reached(lambda: one.told == 2)
        one.activate(2)
        await one.held(kind)
        assert not one.api.holds(kind)
        one.ask(kind, "release", RELEASE)
        await one.reached(lambda: one.told == 4)


@pytest.mark.parametrize("slow_s", [1.0, 30.0])
@pytest.mark.parametrize("kind", list(VERBS))
@virtual_time
async def test_what_is_given_up_while_it_is_asked_for_is_not_left_behind(kind: str, slow_s: float) -> None:
    """Also if the server carries out the write long after anybody has stopped waiting for its answer."""
    async with world() as one:
        one.api.slow_s[WRITES[kind]] = slow_s
        one.ask(kind, VERBS[kind])
        await asyncio.sleep(0.1)
        one.api.slow_s.clear()
        command = frames.WithdrawPrimitive(kind, "x", VERBS[kind], ID)
        one.primitives.give_up(one.entry, HOLD, command)
        await asyncio.sleep(0.1)
        assert len(one.primitives) == 1
        await one.reached(lambda: len(one.primitives) == 0)
        assert elapsed_s() > slow_s
        await asyncio.sleep(slow_s)
        assert not one.api.holds(kind)
        assert one.told == 0


@virtual_time
async def test_an_error_that_nobody_expects_is_told_and_nothing_waits_for_ever() -> None:
    """The step fails, and says that it is no fault of the program's."""
    async with world() as one:
        one.api.breaks = True
        one.ask("Mutex", "lock")
        await one.reached(lambda: bool(one.runners.sent_of(frames.StepRejected)))
        [rejected] = one.runners.sent_of(frames.StepRejected)
        assert rejected.error.message == ("lock of Mutex/x has failed, which is a bug of kontinue: TypeError: a bug")


@virtual_time
async def test_a_once_that_was_taken_away_by_hand_has_not_been_done_by_this_execution() -> None:
    """Who did the work hears of it; one that somebody else had done before is no error."""
    async with world() as one:
        await one.held("Once")
        one.api.objects["onces/x"]["status"] = {"executed": True, "lockId": "another"}
        one.ask("Once", "release", RELEASE)
        await one.reached(lambda: bool(one.runners.sent_of(frames.StepRejected)))
        [rejected] = one.runners.sent_of(frames.StepRejected)
        assert "taken away from this Execution" in rejected.error.message
        one.ask("Once", "release", "3", isTheirs=True)
        await one.reached(lambda: one.told == 2)


@virtual_time
async def test_a_once_whose_work_has_failed_says_that_and_not_that_it_was_taken_away() -> None:
    """What the step raised goes first."""
    async with world() as one:
        await one.held("Once")
        one.api.objects["onces/x"]["status"] = {}
        one.ask("Once", "release", RELEASE, failure="oh")
        await one.reached(lambda: one.told == 2)
        assert one.api.objects["onces/x"]["status"] == {}


@virtual_time
async def test_a_permit_that_is_deleted_again_and_again_is_asked_for_with_growing_pauses() -> None:
    """Each time as if for the first time, until it is left alone; the server is not asked in a loop."""
    async with world() as one:
        one.api.takes_away = 12
        one.ask("Semaphore", "lock")
        await one.reached(lambda: one.told == 1)
        assert one.api.takes_away == 0
        assert elapsed_s() > 1.0


@virtual_time
async def test_a_permit_of_another_version_is_refused_and_given_back() -> None:
    """What cannot be read is an error that says so; it can be deleted all the same."""
    async with world() as one:
        one.api.made_of_it = {"phase": 7}
        one.ask("Semaphore", "lock")
        await one.reached(lambda: bool(one.runners.sent_of(frames.StepRejected)))
        [rejected] = one.runners.sent_of(frames.StepRejected)
        assert "as this version of kontinue knows it" in rejected.error.message
        one.primitives.discard_all(one.entry)
        await one.reached(lambda: len(one.primitives) == 0)
        assert not one.api.holds("Semaphore")
